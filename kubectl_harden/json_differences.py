"""Where two JSON values differ: items of lists are aligned by their names or contents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from kubectl_harden.json_values import ABSENT, same

__all__ = ["Difference", "Pairs", "align", "differences"]

# The keys that identify items of Kubernetes lists; the same value may be under several of them.
_IDENTITY: Final = ("name", "key", "mountPath", "devicePath", "containerPort", "protocol", "topologyKey", "ip", "kind")

Pairs = list[tuple[int | None, int | None]]


class Difference(NamedTuple):
    """A place where two JSON values differ: keys and list indexes, and the value on each side (or ``ABSENT``)."""

    path: tuple[str | int, ...]
    old: Any
    new: Any


def differences(old: object, new: object, path: tuple[str | int, ...] = ()) -> Iterator[Difference]:
    """Yield the smallest values in which two JSON values differ, in the order of the new one.

    Indexes are those of the new value, or of the old one for an item that only the old one has.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in (*new, *(key for key in old if key not in new)):
            yield from differences(old.get(key, ABSENT), new.get(key, ABSENT), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for before, after in align(old, new):
            left = ABSENT if before is None else old[before]
            right = ABSENT if after is None else new[after]
            yield from differences(left, right, (*path, before if after is None else after))  # type: ignore[arg-type]
    elif not same(old, new):
        yield Difference(path, old, new)


def align(old: list[object], new: list[object]) -> Pairs:
    """Pair the items of two lists, in order: first equal items, then those that have the same identity.

    Returns (old index, new index) pairs; None on one side is a removed or an added item. Items without a name, among
    which none has one, are paired by their places.
    """
    shorter = min(len(old), len(new))
    head = tail = 0
    while head < shorter and same(old[head], new[head]):
        head += 1
    while tail < shorter - head and same(old[-1 - tail], new[-1 - tail]):
        tail += 1
    pairs: Pairs = [(index, index) for index in range(head)]
    between = (slice(head, len(old) - tail), slice(head, len(new) - tail))
    # A single item that is left on each side is not equal.
    single = len(old) - tail - head == len(new) - tail - head == 1
    for gap in [between] if single else _gaps(old, new, between, _content, pairs):
        for rest in _gaps(old, new, gap, _identity, pairs):
            gone, come = (range(part.start, part.stop) for part in rest)
            nameless = all(_identity(old[i]) is None for i in gone) and all(_identity(new[j]) is None for j in come)
            paired = list(zip(gone, come, strict=False)) if nameless else []
            pairs += paired
            pairs += [(i, None) for i in gone[len(paired) :]]
            pairs += [(None, j) for j in come[len(paired) :]]
    pairs += [(len(old) - 1 - index, len(new) - 1 - index) for index in reversed(range(tail))]
    return pairs


def _gaps(
    old: list[object],
    new: list[object],
    within: tuple[slice, slice],
    key_of: Callable[[object], str | None],
    pairs: Pairs,
) -> Iterator[tuple[slice, slice]]:
    """Pair the items whose keys are equal, in order, and yield the parts of both lists between them."""
    first, second = within
    if first.start == first.stop or second.start == second.stop:
        yield within
        return
    from difflib import SequenceMatcher  # late: most lists differ in one item

    keys, others = (_numbered(map(key_of, part)) for part in (old[first], new[second]))
    i, j = first.start, second.start
    for block in SequenceMatcher(None, keys, others, autojunk=False).get_matching_blocks():
        a, b = first.start + block.a, second.start + block.b
        yield slice(i, a), slice(j, b)
        pairs += [(a + step, b + step) for step in range(block.size)]
        i, j = a + block.size, b + block.size


def _numbered(keys: Iterable[str | None]) -> list[object]:
    """Return unique keys: where many are equal, each would be compared with each.

    An item without a key equals no other.
    """
    met: Counter[str] = Counter()
    out: list[object] = []
    for key in keys:
        if key is not None:
            met[key] += 1
        out.append(object() if key is None else (key, met[key]))
    return out


def _content(item: object) -> str:
    return json.dumps(item, sort_keys=True)


def _identity(item: object) -> str | None:
    """Return the identity of an item: of an object its names, of a string its text."""
    if isinstance(item, dict):
        metadata = item.get("metadata")
        names = [item.get(key) for key in _IDENTITY]
        names += [metadata.get("name"), metadata.get("namespace")] if isinstance(metadata, dict) else []
        return _content(names) if any(name is not None for name in names) else None
    if isinstance(item, str):
        return item.casefold().removeprefix("cap_")
    return None if isinstance(item, list) else _content(item)

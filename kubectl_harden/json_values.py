"""JSON values: compared and aligned exactly, changed without a copy of all, read with care."""

# Annotations are evaluated here: each one of a named tuple would be compiled on its own otherwise, at every start.
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

__all__ = [
    "ABSENT",
    "Difference",
    "Draft",
    "align",
    "copied",
    "differences",
    "json_line",
    "mapping",
    "mappings",
    "same",
    "size",
    "value_at",
]

ABSENT: Final = object()
"""What stands for a value where there is none: on one side of a difference, or at a path."""


class Difference(NamedTuple):
    """A place where two JSON values differ: keys and list indexes, and the value on each side (or ``ABSENT``)."""

    path: tuple[str | int, ...]
    old: Any
    new: Any


def json_line(value: object, indent: int | None = None) -> str:
    """Return JSON for a file, in one line without ``indent``; only surrogates without their other half are escaped."""
    import json  # late: most checks print none

    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Return the items of a list that are mappings; none of any other value."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class Draft:
    """A JSON value that may be changed while the original stays: only what is on the way to a change is copied.

    ``value`` is the changed value; it shares with the original all that was not asked for by ``at``.
    """

    def __init__(self, value: Any) -> None:
        self.value = value.copy()
        # By id; the reference keeps an id from being given to another object.
        self._own: dict[int, Any] = {}

    def at(self, path: Iterable[str | int], *, make: bool = False) -> Any:
        """Return the object or list at a path, to be changed; ``make`` creates missing objects on the way.

        Raises KeyError, IndexError, TypeError or AttributeError where nothing of the kind is there.
        """
        found, own = self.value, self._own
        for part in path:
            if make and ((isinstance(found, dict) and part not in found) or found[part] is None):
                item: Any = {}
            else:
                item = found[part]
                if id(item) in own:
                    found = item
                    continue
                item = item.copy()
            own[id(item)] = item
            found[part] = item
            found = item
        return found


def value_at(value: object, path: Iterable[str | int]) -> Any:
    """Return what is at a path of keys and list indexes, ``ABSENT`` where nothing is."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part, ABSENT)
        else:
            there = isinstance(value, list) and isinstance(part, int) and part < len(value)
            value = value[part] if there else ABSENT  # type: ignore[index]
    return value


def copied(value: object) -> Any:
    """Return a deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def size(value: object) -> int:
    """Return how many fields and items a JSON value has."""
    count, stack = 0, [value]
    while stack:
        item = stack.pop()
        count += 1
        if isinstance(item, (dict, list)):
            stack.extend(item.values() if isinstance(item, dict) else item)
    return count


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal, of the same types (true is not 1, 1 is not 1.0)."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


# What tells the items of Kubernetes lists apart; a value may stand under several of these keys.
_IDENTITY: Final = ("name", "key", "mountPath", "devicePath", "containerPort", "protocol", "topologyKey", "ip", "kind")

Pairs = list[tuple[int | None, int | None]]


def differences(old: object, new: object, path: tuple[str | int, ...] = ()) -> Iterator[Difference]:
    """Yield the smallest values in which two JSON values differ, in the order of the new one.

    Indexes are the new value's, but for an item that only the old one has.
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
    """Pair the items of two lists, in order: those that are equal, and then those that are the same thing changed.

    Returns (old index, new index) pairs; None on one side is a removed or an added item. Of items that neither have
    a name nor stand beside one that has, those in the same place are paired.
    """
    shorter = min(len(old), len(new))
    head = tail = 0
    while head < shorter and same(old[head], new[head]):
        head += 1
    while tail < shorter - head and same(old[-1 - tail], new[-1 - tail]):
        tail += 1
    pairs: Pairs = [(index, index) for index in range(head)]
    between = (slice(head, len(old) - tail), slice(head, len(new) - tail))
    # What is left of one item on each side is not the same.
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
    from difflib import SequenceMatcher

    keys, others = (_numbered(map(key_of, part)) for part in (old[first], new[second]))
    i, j = first.start, second.start
    for block in SequenceMatcher(None, keys, others, autojunk=False).get_matching_blocks():
        a, b = first.start + block.a, second.start + block.b
        yield slice(i, a), slice(j, b)
        pairs += [(a + step, b + step) for step in range(block.size)]
        i, j = a + block.size, b + block.size


def _numbered(keys: Iterable[str | None]) -> list[object]:
    """Return keys of which none comes twice: many that are equal would each be compared with each.

    What has no key is like nothing else.
    """
    met: Counter[str] = Counter()
    out: list[object] = []
    for key in keys:
        if key is not None:
            met[key] += 1
        out.append(object() if key is None else (key, met[key]))
    return out


def _content(item: object) -> str:
    import json

    return json.dumps(item, sort_keys=True)


def _identity(item: object) -> str | None:
    """Return what an item is known by: an object by its names, a string by its letters."""
    if isinstance(item, dict):
        metadata = item.get("metadata")
        names = [item.get(key) for key in _IDENTITY]
        names += [metadata.get("name"), metadata.get("namespace")] if isinstance(metadata, dict) else []
        return _content(names) if any(name is not None for name in names) else None
    if isinstance(item, str):
        return item.casefold().removeprefix("cap_")
    return None if isinstance(item, list) else _content(item)

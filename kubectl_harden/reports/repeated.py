"""Notes on many workloads: a note that many of them share is shown a few times, then only their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from kubectl_harden.model import Identity
from kubectl_harden.reports.terminal import UNLIMITED, object_name, paint, place, printable, wrapped
from kubectl_harden.words import counted

__all__ = ["Repeated"]

_FEW: Final = 3
"""How often the same note is shown in full."""
_NO_NAMESPACE: Final = "(none)"


class _Group(NamedTuple):
    """Workloads with the same notes: the first, those that were held back, by namespace, and how many in all."""

    first: str
    names: dict[str, list[str]]
    told: list[int]


class Repeated:
    """Passes on notes, and holds back those that were already shown for others."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def notes(self, identity: Identity, render: Callable[[int], Iterable[str]], columns: int) -> Iterator[str]:
        """Yield the notes on a workload, which ``render`` makes for a width, unless the same were shown a few times."""
        text = "".join(render(UNLIMITED))
        if not text:
            return
        first = object_name(identity)
        group = self._groups.setdefault(_nameless(text, identity), _Group(first, {}, [0]))
        group.told[0] += 1
        if group.told[0] <= _FEW:
            yield from render(columns)
            return
        names = group.names.setdefault(identity.namespace or _NO_NAMESPACE, [])
        where = place(identity.source)
        names.append(printable(f"{identity.kind} {identity.name}") + (f" ({where})" if where else ""))

    def rest(self, columns: int) -> Iterator[str]:
        """Yield the workloads whose notes were held back, by the first one with the same notes."""
        for group in self._groups.values():
            more = group.told[0] - _FEW
            if more > 0:
                yield f"{paint(counted(more, 'more workload'), 'strong')}: the same as {group.first}\n"
                for space, names in sorted(group.names.items()):
                    yield wrapped(f"{printable(space)}: {', '.join(names)}", 4, columns) + "\n"


def _nameless(text: str, identity: Identity) -> str:
    """Return notes without the names that distinguish workloads."""
    for name in (object_name(identity), place(identity.source), f"/{identity.name}", f"-n {identity.namespace}"):
        text = text.replace(name, "*") if name else text
    return text

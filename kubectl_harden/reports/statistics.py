"""Violations counted by control and by namespace, and workloads grouped by their violations."""

# Annotations are evaluated here: each one of a named tuple would be compiled on its own otherwise, at every start.
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from kubectl_harden.model import LADDER, Checked, Identity, Level, LiveSource
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.reports.terminal import level_text, paint, place, printable, template_of, wrapped
from kubectl_harden.words import counted

__all__ = ["Alike", "Statistics"]

_NO_NAMESPACE: Final = "(none)"


class Statistics:
    """Counts of the violations that are neither accepted nor known."""

    def __init__(self) -> None:
        self._violations: Counter[str] = Counter()
        self._workloads: Counter[str] = Counter()
        self._namespaces: dict[str, Counter[str]] = {}

    def add(self, checked: Checked) -> None:
        """Count a verdict."""
        counts = left(checked.violations)
        name = _space(checked.identity)
        space = self._namespaces.setdefault(name, Counter())
        space[checked.level] += 1
        space["below"] += bool(counts)
        self._violations.update(one.check for one in counts)
        self._workloads.update({one.check for one in counts})

    def controls(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield each control that is violated, by how many workloads and how often; the most frequent first."""
        for check, count in sorted(self._workloads.items(), key=lambda entry: (-entry[1], entry[0])):
            yield check, (count, self._violations[check])

    def namespaces(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield each namespace: workloads, those below their level, and those at each; the most below first."""
        for name, space in sorted(self._namespaces.items(), key=lambda entry: (-entry[1]["below"], entry[0])):
            levels = tuple(space[level] for level in LADDER)
            yield name, (sum(levels), space["below"], *levels)

    def lines(self) -> Iterator[str]:
        """Yield the two tables; names are whole, and come last."""
        if self._violations:
            yield paint("WORKLOADS  VIOLATIONS  CONTROL", "strong") + "\n"
            for check, (workloads, violations) in self.controls():
                yield f"{workloads:>9,}  {violations:>10,}  {check}\n"
            yield "\n"
        if len(self._namespaces) > 1:
            levels = "  ".join(f"{level.upper():>10}" for level in LADDER)
            yield paint(f"WORKLOADS       BELOW  {levels}  NAMESPACE", "strong") + "\n"
            for name, (total, *counts) in self.namespaces():
                numbers = "  ".join(f"{count:>10,}" for count in counts)
                yield f"{total:>9,}  {numbers}  {printable(name)}\n"
            yield "\n"


def _space(identity: Identity) -> str:
    """Return the namespace of an object, with its cluster before it where there are several."""
    name = identity.namespace or _NO_NAMESPACE
    return f"{identity.cluster}: {name}" if identity.cluster else name


class _Same(NamedTuple):
    """What workloads that are grouped have in common."""

    level: Level
    policy: str
    violations: tuple[tuple[str, str], ...]


class Alike:
    """Workloads grouped by their violations: each explanation once, then the workloads."""

    def __init__(self) -> None:
        self._groups: dict[_Same, dict[str, list[str]]] = {}

    def add(self, checked: Checked) -> bool:
        """Take a workload below the level; False for one that has more to show than its violations."""
        violations = [one for one in checked.violations if not one.known]
        more = checked.pods or checked.advice or checked.before or any(one.accepted for one in violations)
        if more or (isinstance(checked.identity.source, LiveSource) and checked.identity.source.owner):
            return False
        reasons = tuple((one.check, one.reason) for one in violations)
        same = _Same(checked.level, str(checked.policy), reasons)
        identity = checked.identity
        where = place(identity.source)
        name = f"{identity.kind} {identity.name}{template_of(identity)}" + (f" ({where})" if where else "")
        space = _space(identity)
        self._groups.setdefault(same, {}).setdefault(space, []).append(printable(name))
        return True

    def lines(self, *, columns: int) -> Iterator[str]:
        """Yield a paragraph for each set of violations: the lowest level first, then by the number of workloads."""

        def order(entry: tuple[_Same, dict[str, list[str]]]) -> tuple[int, int]:
            return LADDER.index(entry[0].level), -sum(map(len, entry[1].values()))

        for same, spaces in sorted(self._groups.items(), key=order):
            what = paint(counted(sum(map(len, spaces.values())), "workload"), "strong")
            yield f"{what}: {level_text(same.level)}, not {printable(same.policy)}\n"
            for check, reason in same.violations:
                yield f"  {paint(reason, 'bad')}  [{check}]\n"
            for space, names in sorted(spaces.items()):
                yield wrapped(f"{printable(space)}: {', '.join(names)}", 4, columns) + "\n"
            yield "\n"

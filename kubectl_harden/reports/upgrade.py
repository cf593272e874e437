"""What ``check --upgrade-to`` counts and says: only what becomes new is listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from kubectl_harden.model import Checked, Checks
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.reports.tally import Tally, unread
from kubectl_harden.reports.terminal import paint, printable
from kubectl_harden.words import counted

if TYPE_CHECKING:
    from kubectl_harden.migration.model import Survey

__all__ = ["Upgrades", "survey_upgrade", "survey_upgrade_json"]

_NAMED: Final = 20


class Upgrades(Tally):
    """Counts of a run that compares the policy version in force, or asked for, with another one (``version``)."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version
        self.controls: Counter[str] = Counter()
        self.compared = 0
        self.met = 0
        self.ahead = 0
        self.pinned = 0

    def add(self, found: Checks) -> None:
        """Count what one file brought."""
        super().add(found)
        for checked in found.checked:
            before = checked.before
            if before is None or before.policy.level == "privileged":
                continue
            if before.policy == checked.policy:
                self.ahead += 1
                continue
            counts = left(checked.violations)
            self.compared += 1
            self.met += before.met and not counts
            self.pinned += bool(counts) and before.policy.named == before.policy.version
            self.controls.update(violation.check for violation in counts)

    def listed(self, checked: Iterable[Checked]) -> Iterable[Checked]:
        """Return those that fail newly."""
        return [item for item in checked if item.violations]

    @property
    def uncomparable(self) -> bool:
        """Whether workloads are held to a policy, and none to an older version than the one to compare with."""
        return bool(self.ahead and not self.compared)

    def summary(self) -> Mapping[str, object]:
        """Return the report's summary object."""
        upgrade = {
            "version": self.version,
            "compared": self.compared,
            "failing": self.violating,
            "meeting": self.met,
            "failingBefore": self.compared - self.violating - self.met,
            "notOlder": self.ahead,
            "controls": dict(sorted(self.controls.items())),
        }
        return {**super().summary(), "upgrade": upgrade}

    def line(self) -> str:
        """Return the last line for people."""
        if not self.workloads:
            return self.passed.instead(read=not self.problems)
        if self.violating:
            controls = ", ".join(f"{control} {count:,}" for control, count in sorted(self.controls.items()))
            verb = "fails" if self.violating == 1 else "fail"
            head = f"{self.violating:,} {verb} newly at {self.version} ({controls})"
        else:
            head = f"nothing new fails at {self.version}"
        failing = self.compared - self.violating - self.met
        counts = {
            "meets its level as before" if self.met == 1 else "meet their level as before": self.met,
            "already below their level, with nothing new": failing,
            f"held to {self.version} or a newer version already": self.ahead,
        }
        told = "".join(f"; {count:,} {words}" for words, count in counts.items() if count)
        more = self.goals.unbound() + self.passed.unjudged() + ("" if self.violating else unread(self.problems))
        return f"{counted(self.workloads, 'workload')}: {head}{told}{more}"


def survey_upgrade(found: Survey, minor: int) -> Iterator[str]:
    """Yield what of surveyed namespaces fails at a policy version and not today: by control, then by workload."""
    version = f"v1.{minor}"
    failing = [(item, workload) for item in found.namespaces for workload in item.workloads if workload.newly]
    older = sum(item.goal.minor < minor for item in found.namespaces)
    if not failing:
        if older:
            yield f"\nAt policy version {version} nothing fails that does not fail today\n"
        else:
            yield f"\nNothing is held to a policy version before {version}: nothing to compare\n"
        return
    controls = Counter(check for _, workload in failing for check in workload.newly)
    told = ", ".join(f"{check} {count:,}" for check, count in sorted(controls.items()))
    spaces = len({item.name for item, _ in failing})
    head = f"At policy version {version} {counted(len(failing), 'workload')} in {counted(spaces, 'namespace')}"
    yield "\n" + paint(f"{head} fail{'s' if len(failing) == 1 else ''} newly:", "strong") + f" {told}\n"
    for _, workload in failing[:_NAMED]:
        yield printable(f"  {workload.proposal.name}: {', '.join(workload.newly)}") + "\n"
    if len(failing) > _NAMED:
        yield f"  and {len(failing) - _NAMED:,} more (-o json has all)\n"


def survey_upgrade_json(found: Survey, minor: int) -> dict[str, object]:
    """Return the same for programs."""
    failing = [
        {"namespace": item.name, "workload": workload.proposal.name, "controls": list(workload.newly)}
        for item in found.namespaces
        for workload in item.workloads
        if workload.newly
    ]
    older = sum(item.goal.minor < minor for item in found.namespaces)
    return {"version": f"v1.{minor}", "comparedNamespaces": older, "failing": failing}

"""What a run of ``check`` counts, and the last line that says so."""

# Annotations are evaluated here: each one of a named tuple would be compiled on its own otherwise, at every start.
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kubectl_harden.model import LADDER, Checked, Checks, Policy, Problem
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.reports.goals import Goals
from kubectl_harden.reports.passed import Passed
from kubectl_harden.words import counted

if TYPE_CHECKING:
    from kubectl_harden.reports.page_model import About

__all__ = ["Report", "Tally", "left_out_words", "summary_line", "unread"]


class Tally:
    """Counts of a run, and the baseline file that the project file names; ``summary`` is the JSON report's.

    ``audit`` is what the JSON report has of an audit log; ``clusters`` are the counts by
    cluster, where there are several. ``about`` is what a page says of the run.
    """

    def __init__(self) -> None:
        self.levels: dict[str, int] = dict.fromkeys(reversed(LADDER), 0)
        self.violations = 0
        self.accepted = 0
        self.known = 0
        self.left_out = 0
        self.baseline = ""
        self.violating = 0
        self.refused = 0
        self.problems: list[Problem] = []
        self.passed = Passed()
        self.goals = Goals()
        self.audit: Mapping[str, object] | None = None
        self.clusters: dict[str, Tally] = {}
        self.about: About | None = None

    def add(self, found: Checks) -> None:
        """Count what one file brought."""
        of = {item.identity.cluster for item in found.checked} | {problem.cluster for problem in found.problems}
        for name in of & self.clusters.keys():
            self.clusters[name].add(found)
        self.problems.extend(found.problems)
        self.passed.add(found.others)
        for checked in found.checked:
            self.levels[checked.level] += 1
            counts = left(checked.violations)
            self.violations += len(counts)
            self.violating += bool(counts)
            self.refused += bool(checked.pods_refused)
            self.accepted += sum(bool(violation.accepted) for violation in checked.violations)
            self.known += sum(violation.known for violation in checked.violations)
            self.left_out += checked.left_out
            self.goals.add(checked.policy)

    @property
    def workloads(self) -> int:
        """All pod templates that were evaluated."""
        return sum(self.levels.values())

    def listed(self, checked: Iterable[Checked]) -> Iterable[Checked]:
        """Return those that the report lists."""
        return checked

    def summary(self) -> Mapping[str, object]:
        """Return the report's summary object."""
        return {
            "workloads": self.workloads,
            **self.levels,
            "violations": self.violations,
            "accepted": self.accepted,
            "known": self.known,
            **({"leftOut": self.left_out} if self.left_out else {}),
            "exempt": self.goals.exempt,
            "errors": len(self.problems),
        }


class Report(NamedTuple):
    """What a format is made of: verdicts as they come, the policy of the run, and the columns to write in.

    ``tally`` is whole once the verdicts are at their end. ``statistics``: tables of counts were asked for.
    """

    results: Iterator[Checked]
    policy: Policy
    tally: Tally
    columns: int
    statistics: bool = False


def unread(problems: Sequence[Problem]) -> str:
    """Return what a summary that says nothing bad goes on with, where not all could be read."""
    return f"; not all was checked ({counted(len(problems), 'error')})" if problems else ""


def left_out_words(count: int) -> str:
    """Return what a report must say of violations that are not in it."""
    verb = "is" if count == 1 else "are"
    return f"{counted(count, 'violation')} of other controls {verb} left out here, but not by Pod Security admission"


def summary_line(tally: Tally) -> str:
    """Return the last line for people."""
    if not tally.workloads:
        return tally.passed.instead(read=not tally.problems)
    goal = tally.goals.goal()
    excused = [counted(tally.accepted, "accepted violation")] if tally.accepted else []
    file = f" {tally.baseline}" if tally.baseline else ""
    excused += [f"{counted(tally.known, 'violation')} of the baseline file{file}"] if tally.known else []
    words = " and ".join(excused)
    more = tally.goals.unbound() + tally.passed.unjudged()
    more += f"; {tally.refused:,} with refused pods, regardless of their templates" if tally.refused else ""
    if tally.left_out:
        more += f"; {left_out_words(tally.left_out)}"
        if not tally.violating:
            but = f" but {words}" if words else ""
            head = f"{counted(tally.workloads, 'workload')}: none violates the selected controls"
            return f"{head}{but}{more}{unread(tally.problems)}"
    if not tally.violating:
        head = f"{counted(tally.workloads, 'workload')}: all meet {goal}{f' except for {words}' if words else ''}"
        return f"{head}{more}{unread(tally.problems)}"
    return (
        f"{counted(tally.workloads, 'workload')}: {tally.violating:,} below {goal} "
        f"({counted(tally.violations, 'violation')}{f', not counting {words}' if words else ''}); "
        f"{tally.levels['privileged']:,} privileged, {tally.levels['baseline']:,} baseline, "
        f"{tally.levels['restricted']:,} restricted{more}"
    )

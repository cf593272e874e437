"""``fix`` at admission, where workloads cannot be edited: print the policies, or create them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Sequence
from threading import Event
from typing import TYPE_CHECKING, Final

from kubectl_harden.errors import HardenError, UsageError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.journal import Change, Journal, Run
    from kubectl_harden.live.propose import Proposal
    from kubectl_harden.model import Problem
    from kubectl_harden.planning.admission_policy import PolicyObjects

__all__ = ["create_policies", "delete_policies", "expiry", "print_policies"]

_MOST_DAYS: Final = 3_650


def expiry(text: str) -> str:
    """Return the day that --expires means: ``90d`` from now, or a date. Raises UsageError."""
    from kubectl_harden.times import day_after

    if (match := re.fullmatch(r"([0-9]{1,4})d", text)) is not None and int(match[1]) <= _MOST_DAYS:
        return day_after(int(match[1]))
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f'--expires "{text}": write days, such as 90d, or a date, such as 2027-01-31') from None


def print_policies(
    cluster: Cluster, proposals: Sequence[Proposal], problems: list[Problem], expires: str
) -> tuple[bool, list[Problem]]:
    """Print the policies that make the edits of proposals to new pods, as YAML for ``kubectl apply``.

    Returns whether edits are left out that no policy can make, and what went wrong, with ``problems``.
    """
    from kubectl_harden.reports.at_admission import policies_yaml
    from kubectl_harden.reports.output import data, report_problems

    made, wrong = _made(cluster, proposals, expires)
    data([policies_yaml(objects for _, objects in made)])
    report_problems(wrong)
    return any(objects.left_out for _, objects in made), [*problems, *wrong]


def create_policies(
    cluster: Cluster, journal: Journal, proposals: Sequence[Proposal], expires: str, *, yes: bool
) -> tuple[list[Outcome], list[Problem], bool]:
    """Show the policies for proposals, ask, create and prove them, and report the outcome of each.

    Returns the outcomes, what went wrong, and whether a signal has ended it.
    """
    from kubectl_harden.cli.interrupts import calling, raising_again
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.at_admission import Creator
    from kubectl_harden.reports.at_admission import policies_yaml
    from kubectl_harden.reports.live import outcome_lines
    from kubectl_harden.reports.output import ask, line, report_problems, tell, write
    from kubectl_harden.reports.terminal import printable, width
    from kubectl_harden.words import counted

    proposals, left = _cleared(cluster, proposals, yes=yes)
    made, wrong = _made(cluster, proposals, expires, asked=True)
    report_problems(wrong)
    if not made:
        return left, wrong, False
    write([f"{printable(text)}\n" for text in policies_yaml(objects for _, objects in made).splitlines()])
    what = made[0][0].name if len(made) == 1 else counted(len(made), "workload")
    with raising_again():
        agreed = yes or ask(f"Create {counted(len(made), 'policy')} for new pods of {what} {cluster.connection.place}?")
    if not agreed:
        return [*left, *(Outcome(proposal, "skipped", "not confirmed") for proposal, _ in made)], wrong, False
    outcomes = left
    stop = Event()
    with calling(lambda _count: stop.set()):
        creator = Creator(cluster, journal, stop, line)
        for proposal, objects in made:
            if stop.is_set():
                outcome = Outcome(proposal, "skipped", "not started")
            else:
                try:
                    outcome = creator.create(proposal, objects)
                except HardenError as error:
                    outcome = Outcome(proposal, "failed", str(error))
            outcomes.append(outcome)
            tell(outcome_lines(outcome, columns=width(2)))
    return outcomes, wrong, stop.is_set()


def _cleared(cluster: Cluster, proposals: Sequence[Proposal], *, yes: bool) -> tuple[list[Proposal], list[Outcome]]:
    """Delete, after asking unless ``yes``, what killed runs have left of the policies for proposals.

    Returns the proposals to continue with, and the outcomes of the others.
    """
    from kubectl_harden.cli.interrupts import raising_again
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.cut_off_policies import clear, cut_off_policies
    from kubectl_harden.planning.admission_policy import policy_name
    from kubectl_harden.reports.live import outcome_lines
    from kubectl_harden.reports.output import ask, line, tell
    from kubectl_harden.reports.terminal import width

    cut_off = cut_off_policies(cluster.connection.server)
    clean, others = [], []
    for proposal in proposals:
        live = proposal.live
        left = cut_off.get(policy_name(live.namespace, live.resource.kind, live.name))
        why, agreed = "", True
        if left is not None:
            names = " and ".join(change.name for change in reversed(left.changes))
            with raising_again():
                agreed = yes or ask(f"Delete {names}, which run {left.run} was creating when it was cut off?")
            why = clear(cluster, live, left, Event()) if agreed else "not confirmed"
            if not why:
                line(f"{proposal.name}: deleted what run {left.run} was creating when it was cut off")
        if not why:
            clean.append(proposal)
            continue
        others.append(Outcome(proposal, "failed" if agreed else "skipped", why))
        tell(outcome_lines(others[-1], columns=width(2)))
    return clean, others


def delete_policies(
    cluster: Cluster,
    chosen: Run,
    changes: Sequence[Change],
    *,
    yes: bool,
    dry_run: bool,
    even_if_refused: bool,
    lowered: Collection[str] = (),
) -> list[str]:
    """Delete what a run has created, after asking unless ``yes``; ``changes`` begin with the latest.

    A policy that new pods need to be admitted stays unless ``even_if_refused``; in namespaces that are ``lowered``
    first they need none. With ``dry_run`` it is only shown. Returns a sentence for each that is not deleted.
    """
    from kubectl_harden.cli.interrupts import raising_again
    from kubectl_harden.live.at_admission import delete_created, refused_without
    from kubectl_harden.live.journal import mark_undone
    from kubectl_harden.reports.output import ask, line

    left = []
    if changes and not yes and not dry_run:
        names = ", ".join(change.name for change in changes)
        with raising_again():
            if not ask(f"Delete {names} {cluster.connection.place}?"):
                return [f"{change.name}: not confirmed" for change in changes]
    for change in changes:
        try:
            why = "" if even_if_refused else refused_without(cluster, change, lowered)
            if why:
                why += "; --even-if-refused deletes it anyway"
            else:
                why = delete_created(cluster, chosen.id, change, dry_run=dry_run)
        except HardenError as error:
            why = str(error)
        if why:
            left.append(f"{change.name}: {why}")
        elif not dry_run:
            mark_undone(chosen.id, [change.id])
        words = f"left alone: {why}" if why else "would be deleted" if dry_run else "deleted"
        line(f"{change.name}: {words}")
    if changes and not left and not dry_run:
        line("new pods follow their templates again as soon as the API server has noticed")
    return left


def _made(
    cluster: Cluster, proposals: Sequence[Proposal], expires: str, *, asked: bool = False
) -> tuple[list[tuple[Proposal, PolicyObjects]], list[Problem]]:
    """Return the policies for proposals, and what went wrong; edits that no policy can make are noted.

    With ``asked``, the API server shows which mutations are needed, and only these are included.
    """
    from kubectl_harden.live.at_admission import needed_objects_for, objects_for, served_version
    from kubectl_harden.live.find import problem
    from kubectl_harden.live.made_pods import Trials
    from kubectl_harden.reports.at_admission import not_made
    from kubectl_harden.reports.output import note

    made: list[tuple[Proposal, PolicyObjects]] = []
    wrong: list[Problem] = []
    try:
        version = served_version(cluster) if proposals else ""
    except HardenError as error:
        return made, [problem(error)]
    trials = Trials(cluster, [])
    for proposal in proposals:
        try:
            if asked:
                objects = needed_objects_for(trials, proposal, version, expires)
            else:
                objects = objects_for(proposal, version, expires)
        except HardenError as error:
            wrong.append(problem(error, proposal.name, proposal.live.namespace))
            continue
        if objects is not None:
            made.append((proposal, objects))
            if objects.left_out:
                note(not_made(proposal.name, objects))
    return made, wrong

"""The command ``undo``."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from threading import Event
from typing import TYPE_CHECKING, Final

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.at_admission import delete_policies
from kubectl_harden.cli.clusters import made_on
from kubectl_harden.cli.codes import INTERRUPTED, OK, UNREADABLE, VIOLATIONS, exit_code
from kubectl_harden.cli.connect import seconds
from kubectl_harden.cli.interrupts import calling
from kubectl_harden.cli.options import Command, Connect, cluster_options
from kubectl_harden.cli.undo_helm import undo_upgrades
from kubectl_harden.errors import HardenError, UsageError
from kubectl_harden.words import first_of

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.journal import Change, Journal, Run
    from kubectl_harden.live.propose import Proposal

__all__ = ["undo"]

_LAG_SECONDS: Final = 5.0
"""How long the API server may still judge pods by the old value of a label."""


@click.command(cls=Command, short_help="Undo what an earlier --apply did.")
@click.argument("run", required=False, shell_complete=completing.runs)
@click.option("--last", is_flag=True, help="Undo the latest run that still has changes in force.")
@click.option("-y", "--yes", is_flag=True, help="Undo without asking.")
@click.option("--dry-run", is_flag=True, help="Only show what would be undone.")
@click.option("--even-if-refused", is_flag=True, help="Undo even if the cluster would refuse the earlier pods today.")
@click.option("--timeout", default="5m", show_default=True, metavar="TIME", help="Longest wait for a rollout.")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, metavar="N",
              help="Number of workloads to work on at a time.")  # fmt: skip
@cluster_options
def undo(
    connect: Connect,
    namespace: str | None,  # noqa: ARG001 (the journal knows it)
    run: str | None,
    last: bool,
    yes: bool,
    dry_run: bool,
    even_if_refused: bool,
    timeout: str,
    parallel: int,
) -> int:
    """Undo what a run of --apply (or of undo itself) changed, as the journal recorded it.

    Without RUN, the runs are listed. A run of another context is undone there, unless you name one. Only fields that
    still have the values that the run set are undone. A workload that someone has changed since is left alone and
    named, and so is one whose earlier pods the cluster would refuse today. The exit code is 0 when everything is as it
    was before, 1 when something is not or its pods do not run, and 4 when the cluster refused.

    \b
    Examples:
      kubectl harden undo
      kubectl harden undo --last
      kubectl harden undo 20261121T105236.482Z-1f0c --dry-run
    """
    from kubectl_harden.cli.apply import agreed, may_ask, show
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.helm_undo import is_upgrade
    from kubectl_harden.live.journal import Journal, last_run, read_run
    from kubectl_harden.live.undo import by_object
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.live import refused, summary
    from kubectl_harden.reports.output import line, note

    limit = seconds(timeout, "--timeout")
    if run and last:
        raise UsageError("name a RUN or use --last, not both")
    if not run and not last:
        return _list()
    chosen = read_run(run) if run else last_run(lambda damaged: note(f"{damaged.trouble}, and skipped"))
    may_ask(not dry_run, yes)
    if _deleted_policies(chosen):
        # Levels that it lowered would be enforced again, and would refuse the pods that the policies were for.
        raise UsageError(
            f"run {chosen.id} has deleted admission policies, and undo does not recreate them: run the command of "
            f"run {chosen.about['undoes']} again"
        )
    server, context = (chosen.about.get(key) for key in ("server", "context"))
    cluster = made_on(connect, server, context, "the run was made {place}, and is undone there")
    if server not in (None, cluster.connection.server):
        note(f"the run was made on {server} (context {context}), and this is {cluster.connection.server}")
    open_changes = [change for change in reversed(chosen.changes) if change.state in ("applied", "begun")]
    created = [change for change in open_changes if change.created]
    upgrades = [change for change in open_changes if is_upgrade(change)]
    open_changes = [change for change in open_changes if not change.created and not is_upgrade(change)]
    about = {"undoes": chosen.id} if "undoes" not in chosen.about else {"redoes": chosen.id}
    journal = Journal(command="undo", server=cluster.connection.server, context=cluster.connection.context, **about)
    stop = Event()
    not_back = undo_upgrades(
        cluster,
        journal,
        chosen,
        upgrades,
        yes=yes,
        dry_run=dry_run,
        even_if_refused=even_if_refused,
        limit=limit,
        stop=stop,
    )
    if stop.is_set():
        return INTERRUPTED

    def delete(lowered: Collection[str] = ()) -> list[str]:
        how = {"yes": yes, "dry_run": dry_run, "even_if_refused": even_if_refused}
        return delete_policies(cluster, chosen, created, lowered=lowered, **how)

    undoing = _Undoing(cluster, even_if_refused=even_if_refused)
    proposals = undoing.propose(by_object(open_changes))
    for proposal in proposals:
        show(proposal)
        name = undoing.changes[proposal.live.uid][0].name
        if not proposal.patch and proposal.refusal is None:
            but = f", but its fields belong to {cluster.manager} in managedFields" if proposal.ownership else ""
            line(f"{name}: nothing is left of the change{but}")
        elif proposal.refusal and not proposal.patch:
            line(f"{name}: {proposal.refusal}")
    refusals = [item for item in proposals if item.refusal is not None]
    if dry_run:
        delete(undoing.lowered)
        open_ones = any(item.patch or item.ownership for item in proposals)
        return VIOLATIONS if open_ones or refusals or created or not_back else OK
    ready = [item for item in proposals if item.patch and item.refusal is None]
    behind = [item for item in proposals if not item.patch and item.refusal is None and item.ownership]
    agrees = yes or not (ready or behind) or agreed([*ready, *behind], cluster)
    # A signal between two phases, or before the outcome is recorded and reported, ends nothing halfway.
    with calling(lambda _count: stop.set()):
        if agrees:
            outcomes = _phases(undoing, journal, proposals, yes=yes, limit=limit, parallel=parallel, stop=stop)
            behind = _not_given_back(cluster, behind)
        else:
            outcomes = [Outcome(item, "skipped", "not confirmed") for item in ready]
        kept = {item.live.uid for item in behind}
        _mark(chosen, undoing.changes, [item for item in proposals if item.live.uid not in kept], outcomes)
        # New pods may be refused without their policy, until their namespace enforces less.
        policies_left = delete() if not stop.is_set() else []
        if outcomes:
            again = journal.used and not created
            back = cluster.connection.commands.harden("undo", journal.run) if again else ""
            line(summary(outcomes, back))
        elif not refusals and not behind and not policies_left and not not_back:
            line(f"run {chosen.id}: everything is as it was before")
    if stop.is_set():
        return INTERRUPTED
    denied = [Problem(item.refusal or "", refused=True) for item in refusals if item.denied]
    left = bool(refusals or behind or policies_left or not_back) or any(
        outcome.state not in ("applied", "unwatched") for outcome in outcomes
    )
    denied += [problem for problem in not_back if problem.refused]
    return exit_code([*refused(outcomes), *denied], left=left)


def _deleted_policies(run: Run) -> bool:
    """Whether a run has undone one that had created policies, so that these are gone."""
    from kubectl_harden.live.journal import read_run

    if "undoes" not in run.about:
        return False
    try:
        return any(change.created and change.state == "undone" for change in read_run(run.about["undoes"]).changes)
    except HardenError:
        return False


class _Undoing:
    """Proposes to undo changes; ``changes`` has those of each object, by its uid.

    ``lowered`` are the namespaces that will enforce less, and do not yet.
    """

    def __init__(self, cluster: Cluster, *, even_if_refused: bool) -> None:
        self.cluster = cluster
        self.changes: dict[str, list[Change]] = {}
        self._even_if_refused = even_if_refused
        self.lowered: frozenset[str] = frozenset()

    def propose(self, groups: Sequence[list[Change]]) -> list[Proposal]:
        """Propose for each object; what only becomes possible once namespaces are lowered is not asked for yet."""
        from kubectl_harden.live.undo import lowers

        first = {id(group): self._proposed(group) for group in groups if group[0].object["kind"] == "Namespace"}
        self.lowered = frozenset(item.live.name for item in first.values() if lowers(item))
        return [first.get(id(group)) or self._proposed(group) for group in groups]

    def again(self, old: Proposal) -> Proposal:
        """Propose once more for the same object."""
        return self._proposed(self.changes[old.live.uid])

    def after_labels(self, old: Proposal, stop: Event) -> Proposal:
        """Propose once more, after the namespaces were lowered; a set ``stop`` ends the waiting for that."""
        was_lowered = old.live.namespace in self.lowered
        self.lowered -= {old.live.namespace}
        # The server reads the label from its cache.
        deadline = time.monotonic() + (_LAG_SECONDS if was_lowered else 0)
        while (now := self.again(old)).refusal is not None and time.monotonic() < deadline and not stop.is_set():
            stop.wait(0.2)
        return now

    def _proposed(self, group: list[Change]) -> Proposal:
        from kubectl_harden.live.undo import propose_undo

        lowered, even = self.lowered, self._even_if_refused
        proposal = propose_undo(self.cluster, group, lowered=lowered, even_if_refused=even)
        self.changes[proposal.live.uid] = group
        return proposal


def _phases(
    undoing: _Undoing,
    journal: Journal,
    proposals: list[Proposal],
    *,
    yes: bool,
    limit: float,
    parallel: int,
    stop: Event,
) -> list[Outcome]:
    """Carry proposals out phase by phase, and return the outcomes; ``stop`` is set where a signal ends it."""
    from kubectl_harden.cli.apply import carry_out, show
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.undo import in_phases, lowers
    from kubectl_harden.reports.live import outcome_lines
    from kubectl_harden.reports.output import tell
    from kubectl_harden.reports.terminal import width

    outcomes: list[Outcome] = []
    lowered = False
    for phase in in_phases(proposals):
        if lowered and not stop.is_set():
            before = phase
            phase = [
                undoing.after_labels(item, stop) if item.patch and item.refusal is None else item for item in before
            ]
            for old, now in zip(before, phase, strict=True):
                if now.refusal != old.refusal:
                    show(now)
        if stop.is_set():
            for item in phase:
                if item.patch and item.refusal is None:
                    outcomes.append(Outcome(item, "skipped", "not started"))
                    tell(outcome_lines(outcomes[-1], columns=width(2)))
            continue
        ended, interrupted = carry_out(
            undoing.cluster,
            journal,
            phase,
            again=undoing.again,
            yes=yes,
            asked=True,
            limit=limit,
            rollback=False,
            at_once=parallel,
            fail_fast=False,
        )
        outcomes.extend(ended)
        lowered = lowered or any(map(lowers, phase))
        if interrupted:
            stop.set()
    return outcomes


def _not_given_back(cluster: Cluster, proposals: list[Proposal]) -> list[Proposal]:
    """Give the fields of restored objects back to their former owners; returns the objects where that failed."""
    from kubectl_harden.live.ownership import given_back
    from kubectl_harden.reports.output import note

    left = []
    for item in proposals:
        trouble = given_back(cluster, item.live.resource, item.live.value, item.owners)
        if trouble:
            note(f"{item.name}: {trouble}")
            left.append(item)
    return left


def _mark(chosen: Run, changes: dict[str, list[Change]], proposals: list[Proposal], outcomes: list[Outcome]) -> None:
    """Record in the journal of the run which of its changes are undone."""
    from kubectl_harden.live.journal import mark_undone

    done = [item.proposal.live.uid for item in outcomes if item.state in ("applied", "unwatched", "left", "down")]
    done += [item.live.uid for item in proposals if not item.patch and item.refusal is None]
    mark_undone(chosen.id, [change.id for uid in done for change in changes.get(uid, ())])


def _list() -> int:
    """List the runs."""
    from kubectl_harden.live.journal import runs
    from kubectl_harden.reports.output import error, line, write
    from kubectl_harden.reports.terminal import printable

    empty, code = True, OK
    for run in runs():
        if run.trouble:
            error(run.trouble)
            empty, code = False, UNREADABLE
            continue
        states: dict[str, int] = {}
        for change in run.changes:
            word = "cut off" if change.state == "begun" else change.state
            states[word] = states.get(word, 0) + 1
        counts = ", ".join(f"{count} {word}" for word, count in states.items()) or "nothing changed"
        names = first_of([change.name for change in run.changes], 3)
        where = run.about.get("context") or run.about.get("server", "")
        write([printable(f"{run.id}  {run.about.get('command') or '?'!s:<5} {where}  {counts}: {names}") + "\n"])
        empty = False
    if empty:
        line("no runs yet: fix --apply and migrate --apply record them")
    return code

"""The command ``undo``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.codes import INTERRUPTED, OK, UNREADABLE, VIOLATIONS, exit_code
from kubectl_harden.cli.connect import seconds
from kubectl_harden.cli.options import Command, cluster_options
from kubectl_harden.errors import UsageError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.journal import Change, Journal, Run
    from kubectl_harden.live.propose import Proposal

__all__ = ["undo"]


@click.command(cls=Command, short_help="Take back what an earlier --apply did.")
@click.argument("run", required=False, shell_complete=completing.runs)
@click.option("--last", is_flag=True, help="The latest run of which something is still in force.")
@click.option("-y", "--yes", is_flag=True, help="Take it back without asking.")
@click.option("--dry-run", is_flag=True, help="Only show what would be taken back.")
@click.option("--timeout", default="5m", show_default=True, metavar="TIME", help="Longest wait for a rollout.")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, metavar="N",
              help="Workloads to work on at a time.")  # fmt: skip
@cluster_options
def undo(
    connect: Callable[[], Cluster],
    namespace: str | None,  # noqa: ARG001 (the journal knows it)
    run: str | None,
    last: bool,
    yes: bool,
    dry_run: bool,
    timeout: str,
    parallel: int,
) -> int:
    """Take back what a run of --apply (or of undo itself) changed, from the journal.

    Without a RUN the runs are listed. Only fields that still have the values that the run gave them are taken
    back: where someone has changed them since, that workload is left alone and named. The exit code is 0 when
    all is as it was before, 1 when something is not, 4 when the cluster refused.

    \b
    Examples:
      kubectl harden undo
      kubectl harden undo --last
      kubectl harden undo 20261121T105236.482Z-1f0c --dry-run
    """
    from kubectl_harden.cli.apply import may_ask, show
    from kubectl_harden.live.journal import Journal, last_run, read_run
    from kubectl_harden.live.undo import by_object, propose_undo
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.live import refused, summary
    from kubectl_harden.reports.output import line, note

    limit = seconds(timeout, "--timeout")
    if run and last:
        raise UsageError("name a RUN or give --last, not both")
    if not run and not last:
        return _list()
    chosen = read_run(run) if run else last_run(lambda damaged: note(f"{damaged.trouble}, and passed over"))
    may_ask(not dry_run, yes)
    cluster = connect()
    if chosen.about.get("server") not in (None, cluster.connection.server):
        where = f"{chosen.about['server']} (context {chosen.about.get('context')})"
        note(f"the run was made on {where}, and this is {cluster.connection.server}")
    open_changes = [change for change in reversed(chosen.changes) if change.state in ("applied", "begun")]
    changes: dict[str, list[Change]] = {}
    proposals = []
    for group in by_object(open_changes):
        proposal = propose_undo(cluster, group)
        changes[proposal.live.uid] = group
        proposals.append(proposal)
        show(proposal)
        if not proposal.patch and proposal.refusal is None:
            line(f"{group[0].name}: nothing of the change is left")
        elif proposal.refusal and not proposal.patch:
            line(f"{group[0].name}: {proposal.refusal}")
    refusals = [item for item in proposals if item.refusal is not None]
    if dry_run:
        return VIOLATIONS if any(item.patch for item in proposals) or refusals else OK
    about = {"undoes": chosen.id} if "undoes" not in chosen.about else {"redoes": chosen.id}
    journal = Journal(command="undo", server=cluster.connection.server, context=cluster.connection.context, **about)
    outcomes, interrupted = _phases(cluster, journal, proposals, changes, yes=yes, limit=limit, parallel=parallel)
    _mark(chosen, changes, proposals, outcomes)
    if outcomes:
        back = cluster.connection.commands.harden("undo", journal.run) if journal.used else ""
        line(summary(outcomes, back))
    elif not refusals:
        line(f"run {chosen.id}: everything is as it was before")
    if interrupted:
        return INTERRUPTED
    denied = [Problem(None, None, None, None, item.refusal or "", refused=True) for item in refusals if item.denied]
    left = bool(refusals) or any(outcome.state not in ("applied", "unwatched") for outcome in outcomes)
    return exit_code([*refused(outcomes), *denied], left=left)


def _phases(
    cluster: Cluster,
    journal: Journal,
    proposals: list[Proposal],
    changes: dict[str, list[Change]],
    *,
    yes: bool,
    limit: float,
    parallel: int,
) -> tuple[list[Outcome], bool]:
    """Ask once, and carry proposals out phase by phase; returns the outcomes and whether Ctrl-C ended it."""
    from kubectl_harden.cli.apply import agreed, carry_out
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.undo import in_phases, propose_undo

    ready = [item for item in proposals if item.patch and item.refusal is None]
    if ready and not yes and not agreed(ready, cluster):
        return [Outcome(item, "skipped", "not confirmed") for item in ready], False
    outcomes: list[Outcome] = []
    for phase in in_phases(proposals):
        ended, interrupted = carry_out(
            cluster,
            journal,
            phase,
            again=lambda old: propose_undo(cluster, changes[old.live.uid]),
            yes=yes,
            asked=True,
            limit=limit,
            rollback=False,
            parallel=parallel,
            fail_fast=False,
        )
        outcomes.extend(ended)
        if interrupted:
            return outcomes, True
    return outcomes, False


def _mark(chosen: Run, changes: dict[str, list[Change]], proposals: list[Proposal], outcomes: list[Outcome]) -> None:
    """Note in the journal of the run which of its changes are taken back."""
    from kubectl_harden.live.journal import mark_undone

    done = [item.proposal.live.uid for item in outcomes if item.state in ("applied", "unwatched", "left")]
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
        names = ", ".join(change.name for change in run.changes[:3]) + (", …" if len(run.changes) > 3 else "")
        where = run.about.get("context") or run.about.get("server", "")
        write([printable(f"{run.id}  {run.about.get('command') or '?'!s:<5} {where}  {counts}: {names}") + "\n"])
        empty = False
    if empty:
        line("no runs yet: fix --apply and migrate --apply write them")
    return code

"""``fix`` for the custom resources that operators make workloads from: show their fields, change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING

from kubectl_harden.errors import HardenError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.at_owner import AtOwner, Owners
    from kubectl_harden.live.journal import Journal
    from kubectl_harden.live.owner_change import Changer
    from kubectl_harden.live.propose import ApplyOptions, Proposal

__all__ = ["change_owners", "show_owner"]


def show_owner(cluster: Cluster, proposal: Proposal, found: AtOwner, others: Sequence[str], *, instead: bool) -> None:
    """Report on the custom resource that a workload is made from; with ``instead`` its diff is shown, too.

    ``others`` are workloads that are made from it, too.
    """
    from kubectl_harden.reports.at_owner import owner_notes
    from kubectl_harden.reports.live import diff, proposal_notes
    from kubectl_harden.reports.output import tell, write
    from kubectl_harden.reports.terminal import width

    live, commands = proposal.live, cluster.connection.commands
    if instead:
        write([diff(found.change)] if found.change is not None else [])
        tell(proposal_notes(proposal._replace(refusal=None, managers=()), columns=width(2)))
    made = "" if instead else commands.harden("fix", live.target, "--at-owner", "--apply", namespace=live.namespace)
    policy = commands.harden("fix", live.target, "-o", "mutating-policy", namespace=live.namespace)
    tell(owner_notes(found, (made, policy), others, columns=width(2)))


def change_owners(
    cluster: Cluster,
    journal: Journal,
    proposals: Sequence[Proposal],
    owners: Owners,
    known: Mapping[str, AtOwner],
    *,
    again: Callable[[Proposal], Proposal],
    options: ApplyOptions,
    yes: bool,
    limit: float,
) -> tuple[list[Outcome], bool]:
    """Ask, change the custom resources that workloads are made from, one after the other, and report each outcome.

    ``known`` has what was found for workloads, by their uid. Returns the outcomes, and whether a signal has ended it.
    """
    from kubectl_harden.cli.interrupts import calling, raising_again
    from kubectl_harden.live.apply import Applier, Outcome
    from kubectl_harden.live.owner_change import Changer
    from kubectl_harden.reports.live import outcome_lines
    from kubectl_harden.reports.output import ask, line, tell
    from kubectl_harden.reports.terminal import width

    planned = [item for item in proposals if item.patch]
    names = dict.fromkeys(found.name for item in planned if (found := known[item.live.uid]).change is not None)
    if names and not yes:
        with raising_again():
            if not ask(f"Change {', '.join(names)} {cluster.connection.place}?"):
                return [Outcome(item, "skipped", "not confirmed") for item in planned], False
    stop = Event()

    def report(name: str, words: str) -> None:
        line(f"{name}: {words}")

    applier = Applier(
        cluster,
        journal,
        again=again,
        seconds=limit,
        rollback=options.rollback,
        confirm=lambda _proposal: False,
        report=report,
        stop=stop,
    )
    changer = Changer(cluster, journal, applier, owners, options=options, seconds=limit, report=report, stop=stop)
    outcomes: list[Outcome] = []
    with calling(lambda _count: stop.set()):
        for proposal in planned:
            if stop.is_set():
                outcome = Outcome(proposal, "skipped", "not started")
            else:
                outcome = _changed(changer, owners, proposal, again if outcomes else None, known)
            outcomes.append(outcome)
            tell(outcome_lines(outcome, columns=width(2)))
    return outcomes, stop.is_set()


def _changed(
    changer: Changer,
    owners: Owners,
    proposal: Proposal,
    again: Callable[[Proposal], Proposal] | None,
    known: Mapping[str, AtOwner],
) -> Outcome:
    """Carry the change for one workload out; ``again`` looks again, since an earlier change may have made it."""
    from kubectl_harden.live.apply import Outcome

    try:
        found = known[proposal.live.uid]
        if again is not None:
            proposal = again(proposal)
            if not proposal.patch:
                return Outcome(proposal, "applied", "its operator made this change along with that of another workload")
            found = owners.of(proposal)
        return changer.change(proposal, found)
    except HardenError as error:
        return Outcome(proposal, "failed", str(error))

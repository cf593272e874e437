"""What ``fix`` does with live workloads, and ``undo`` with runs: show, ask, apply, sum up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Final

from kubectl_harden.cli.at_admission import create_policies, expiry, print_policies
from kubectl_harden.cli.at_owner import change_owners, show_owner
from kubectl_harden.cli.codes import INTERRUPTED, exit_code
from kubectl_harden.cli.connect import seconds
from kubectl_harden.cli.interrupts import raising_again
from kubectl_harden.cli.parallel import Parallel
from kubectl_harden.cli.resume import missing_elsewhere, resume_cut_off
from kubectl_harden.cli.targets import LiveInputs
from kubectl_harden.errors import HardenError, UsageError

if TYPE_CHECKING:
    from kubectl_harden.cli.fix_helm import Releases
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.at_owner import AtOwner
    from kubectl_harden.live.journal import Journal
    from kubectl_harden.live.propose import ApplyOptions, Proposal
    from kubectl_harden.model import Problem
    from kubectl_harden.planning.options import FixOptions
    from kubectl_harden.reports.repeated import Repeated

__all__ = ["agreed", "carry_out", "fix_live", "may_ask", "show"]

_FAILED: Final = ("tried", "down", "rolled back", "left", "failed", "unknown", "unwatched")
"""States of outcomes after which --fail-fast begins nothing more."""


def fix_live(
    inputs: LiveInputs,
    options: FixOptions,
    output: str | None,
    *,
    apply: bool,
    yes: bool,
    timeout: str,
    no_rollback: bool,
    parallel: int,
    fail_fast: bool,
    trial: bool | None,
    recreate: bool,
    even_if_managed: bool,
    at_admission: bool,
    owner_fields: tuple[str, ...] | None,
    expires: str,
    notes: list[str],
) -> int:
    """Propose for live workloads, and apply what was agreed to; returns the exit code.

    ``notes`` has in the end which evidence could not be read. With ``owner_fields``, even an empty one, the custom
    resources that workloads are made from are changed instead.
    """
    from kubectl_harden.cli.fix_helm import Releases
    from kubectl_harden.live.at_owner import Owners, made_from
    from kubectl_harden.live.find import Finder
    from kubectl_harden.live.journal import Journal
    from kubectl_harden.live.propose import ApplyOptions, propose, propose_all
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.output import line, note, report_problems, tell
    from kubectl_harden.reports.repeated import Repeated
    from kubectl_harden.reports.terminal import width

    limit = seconds(timeout, "--timeout")
    may_ask(apply, yes)
    day = expiry(expires)
    if apply and output not in (None, "diff", "json"):
        raise UsageError(f"-o {output} prints patches for you to apply; leave out --apply")
    if at_admission and (not apply or output not in (None, "diff")):
        raise UsageError("--at-admission creates policies: it goes with --apply; -o mutating-policy prints them")
    allowed = ApplyOptions(recreate, even_if_managed, trial, not no_rollback)
    people = output is None or output == "diff"
    left_out = False
    repeated = Repeated()
    finder = Finder(inputs.cluster, inputs.choice, inputs.targets.pod_paths)
    proposals: list[Proposal] = []
    owners = Owners(inputs.cluster, named=owner_fields or (), even_if_managed=even_if_managed, dry_run=people or apply)
    owned: dict[str, AtOwner] = {}
    at_owner = owner_fields is not None
    if at_owner:
        inputs = inputs._replace(targets=made_from(inputs.cluster, inputs.targets))
    targets = inputs.targets
    releases_off = at_admission or at_owner or even_if_managed or output not in (None, "diff", "json")
    releases = Releases(inputs, options, apply=apply, rollback=not no_rollback, off=releases_off)

    def takes(name: str) -> bool:
        return targets.takes(name) if targets.namespace is None else name == targets.namespace

    problems = resume_cut_off(inputs.cluster, takes, line, apply=apply, yes=yes, seconds=limit)
    report_problems(problems)
    for found in propose_all(
        finder, inputs.targets, options, allowed, dry_run=(people or apply) and not (at_admission or at_owner)
    ):
        if isinstance(found, Problem):
            problems.append(found)
            report_problems([found])
            continue
        report_problems(found.problems)
        problems.extend(found.problems)
        if releases.takes(found):
            continue
        if found.patch and (found.live.owner or at_owner) and not at_admission and output != "mutating-policy":
            owned[proposal_key(found)] = owners.of(found)
        if people and not (at_admission or at_owner):
            show(found, None if proposal_key(found) in owned else repeated)
        if people and proposal_key(found) in owned:
            others = owners.others(found, owned[proposal_key(found)]) if at_owner else []
            show_owner(inputs.cluster, found, owned[proposal_key(found)], others, instead=at_owner)
        # What is not applied is only counted from here on; thousands of objects need not stay in memory.
        proposals.append(found if apply or not people else found.counted())
    proposals += releases.planned(show if people else None)
    told = [item.message.partition(":")[0] for item in problems]
    names = inputs.cluster.known_namespaces() if targets.namespace is None else [targets.namespace]
    problems += missing_elsewhere(inputs.cluster, list(filter(takes, names)), told)
    tell(repeated.rest(width(2)))
    for words in (*finder.notes, *notes):
        note(words)
    outcomes: list[Outcome] = []
    interrupted = False
    cluster = inputs.cluster
    journal = Journal(command="fix", server=cluster.connection.server, context=cluster.connection.context)
    if at_admission:
        outcomes, wrong, interrupted = create_policies(cluster, journal, proposals, day, yes=yes)
        problems += [*wrong, *_refused(outcomes)]
    elif apply and at_owner:
        outcomes, interrupted = change_owners(
            cluster,
            journal,
            proposals,
            owners,
            owned,
            again=lambda old: _read_again(cluster, old, options, allowed),
            options=allowed,
            yes=yes,
            limit=limit,
        )
        problems.extend(_refused(outcomes))
    elif apply:
        releases.ask(yes=yes)
        outcomes, interrupted = carry_out(
            cluster,
            journal,
            [proposal for proposal in proposals if not releases.has(proposal)],
            again=lambda old: propose(cluster, old.live, options, allowed),
            yes=yes,
            limit=limit,
            rollback=not no_rollback,
            at_once=parallel,
            fail_fast=fail_fast,
        )
        ended = interrupted or (fail_fast and any(item.state in _FAILED for item in outcomes))
        more, signalled = releases.carry_out(journal, limit=limit, fail_fast=fail_fast, begun=ended)
        outcomes, interrupted = outcomes + more, interrupted or signalled
        problems.extend(_refused(outcomes))
    else:
        problems.extend(_denied(proposals))
    undo = cluster.connection.commands.harden("undo", journal.run) if journal.used else ""
    if people:
        _sum_up(proposals, outcomes, problems, undo)
    elif output == "mutating-policy":
        left_out, problems = print_policies(inputs.cluster, proposals, problems, day)
    else:
        _print(str(output), proposals, outcomes, problems, inputs, owned, releases)
    if interrupted:
        return INTERRUPTED
    return exit_code(problems, left=left_out or _left(proposals, outcomes, people=people, apply=apply))


def _read_again(cluster: Cluster, old: Proposal, options: FixOptions, allowed: ApplyOptions) -> Proposal:
    """Propose for a workload as it is now. Raises ClusterError."""
    from kubectl_harden.live.propose import propose

    value = {**old.live.resource.head, **cluster.get(old.live.resource, old.live.namespace, old.live.name)}
    return propose(cluster, old.live.changed(value), options, allowed, dry_run=False)


def may_ask(apply: bool, yes: bool) -> None:
    """Raise UsageError where there is no terminal to ask on and no --yes."""
    if apply and not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("--apply asks before it changes anything, and there is no terminal to ask on: use --yes")


def show(proposal: Proposal, repeated: Repeated | None = None) -> None:
    """Write a proposal's diff to stdout, and what a person should know about it to stderr.

    ``repeated`` holds back notes that were shown for others.
    """
    from kubectl_harden.reports.live import diff
    from kubectl_harden.reports.output import tell, write
    from kubectl_harden.reports.terminal import width

    write([diff(proposal)])
    if repeated is None or not proposal.planned:
        tell(_notes_on(proposal, width(2)))
    else:
        render = partial(_notes_on, proposal)
        tell(repeated.notes(proposal.planned[0].identity, render, width(2)))


def _notes_on(proposal: Proposal, columns: int) -> Iterator[str]:
    from kubectl_harden.reports.live import proposal_notes

    return proposal_notes(proposal, columns=columns)


def carry_out(
    cluster: Cluster,
    journal: Journal,
    proposals: Sequence[Proposal],
    *,
    again: Callable[[Proposal], Proposal],
    yes: bool,
    limit: float,
    rollback: bool,
    at_once: int,
    fail_fast: bool,
    asked: bool = False,
) -> tuple[list[Outcome], bool]:
    """Ask (unless ``asked`` already), apply, and report; returns the outcomes and whether Ctrl-C ended it."""
    from kubectl_harden.live.apply import Applier, Outcome
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.live import outcome_lines
    from kubectl_harden.reports.output import line, report_problems, tell
    from kubectl_harden.reports.progress import Progress
    from kubectl_harden.reports.terminal import width

    changed = [proposal for proposal in proposals if proposal.patch]
    ready = [proposal for proposal in changed if proposal.refusal is None]
    outcomes = [Outcome(item, "refused", item.refusal or "") for item in changed if item.refusal is not None]
    if not ready:
        return outcomes, False
    if not yes and not asked and not agreed(ready, cluster):
        return outcomes + [Outcome(proposal, "skipped", "not confirmed") for proposal in ready], False
    stop, leave = Event(), Event()

    def report(name: str, words: str) -> None:
        # A closed terminal or pipe must not end a step halfway.
        with suppress(OSError):
            display.report(name, words)

    def ended(outcome: Outcome) -> None:
        outcomes.append(outcome)
        with suppress(OSError):
            display.finish(outcome.proposal.name)

    def interrupted() -> None:
        with suppress(OSError):
            line("interrupted: finishing the current step of each workload …")

    parallel = Parallel(at_once, (stop, leave), interrupted)
    with Progress(len(ready)) as display:

        def asked_again(proposal: Proposal) -> bool:
            with display.paused():
                show(proposal)
                return agreed([proposal], cluster)

        def confirm(proposal: Proposal) -> bool:
            return yes or parallel.ask(lambda: asked_again(proposal))

        applier = Applier(
            cluster,
            journal,
            again=again,
            seconds=limit,
            rollback=rollback,
            confirm=confirm,
            report=report,
            stop=stop,
            leave=leave,
        )

        def work(proposal: Proposal) -> Outcome:
            try:
                outcome = applier.apply(proposal)
            except HardenError as error:
                outcome = Outcome(proposal, "failed", str(error))
            if fail_fast and outcome.state not in ("applied", "refused", "skipped"):
                stop.set()
            return outcome

        signalled = parallel(ready, work, ended)
    if journal.trouble is not None:
        report_problems([Problem(f"{journal.trouble}: the journal does not have everything that was done")])
    order = {proposal.live.uid: index for index, proposal in enumerate(proposals)}
    outcomes.sort(key=lambda outcome: order.get(outcome.proposal.live.uid, len(order)))
    for outcome in outcomes:
        tell(outcome_lines(outcome, columns=width(2)))
    return outcomes, signalled


def agreed(proposals: Sequence[Proposal], cluster: Cluster) -> bool:
    """Ask whether proposals are to be carried out, in this cluster. A signal at the question raises click.Abort."""
    from kubectl_harden.reports.live import deeds
    from kubectl_harden.reports.output import ask

    unit = "workloads" if all(proposal.live.namespace for proposal in proposals) else "objects"
    what = proposals[0].name if len(proposals) == 1 else f"these {len(proposals)} {unit}"
    verb = "Delete and create" if proposals[0].recreate else "Change"
    question = f"{verb} {what} {cluster.connection.place}?"
    if len(proposals) > 1 and any(proposal.recreate for proposal in proposals):
        question = f"{deeds(proposals)} {cluster.connection.place}?"
    with raising_again():
        return ask(question)


def _refused(outcomes: Sequence[Outcome]) -> list[Problem]:
    from kubectl_harden.reports.live import refused

    return list(refused(outcomes))


def _denied(proposals: Sequence[Proposal]) -> list[Problem]:
    from kubectl_harden.model import Problem

    return [Problem(f"{item.name}: {item.refusal}", refused=True) for item in proposals if item.denied]


def _left(proposals: Sequence[Proposal], outcomes: Sequence[Outcome], *, people: bool, apply: bool) -> bool:
    """Whether something is left to do."""
    from kubectl_harden.planning.plan import left_below

    remaining = any(left_below(item.plan) for proposal in proposals for item in proposal.planned)
    remaining = remaining or any(proposal.injected or proposal.pods_refused for proposal in proposals)
    if apply:
        return remaining or any(outcome.state not in ("applied", "unwatched") for outcome in outcomes)
    return remaining or (people and any(proposal.patch for proposal in proposals))


def _sum_up(proposals: Sequence[Proposal], outcomes: Sequence[Outcome], problems: Sequence[Problem], undo: str) -> None:
    from kubectl_harden.planning.plan import left_below
    from kubectl_harden.reports.live import summary
    from kubectl_harden.reports.output import paragraph
    from kubectl_harden.words import counted

    templates = sum(len(proposal.planned) for proposal in proposals)
    changed = [proposal for proposal in proposals if proposal.patch]
    left = sum(left_below(item.plan) for proposal in proposals for item in proposal.planned)
    refused = sum(bool(proposal.pods_refused or proposal.injected) for proposal in proposals)
    if outcomes:
        line = summary(outcomes, undo)
    elif not templates:
        line = "no workloads could be read" if problems else "no workloads found"
    elif not changed and not left and not refused:
        line = f"{counted(templates, 'workload')}: all meet the level, nothing to do"
    else:
        line = f"{counted(templates, 'workload')}: {len(changed):,} to change"
        line += f", {left:,} with something left below the level" if left else ""
        line += f", {refused:,} with pods below it, regardless of their templates" if refused else ""
        if changed:
            line += "; --apply makes the changes"
    paragraph(line)


def _print(
    output: str,
    proposals: Sequence[Proposal],
    outcomes: Sequence[Outcome],
    problems: Sequence[Problem],
    inputs: LiveInputs,
    owned: Mapping[str, AtOwner],
    releases: Releases,
) -> None:
    """Print an output for programs."""
    from kubectl_harden.plan_model import FileFix
    from kubectl_harden.pod_security.namespace_labels import chosen_policy
    from kubectl_harden.reports.at_owner import owner_json
    from kubectl_harden.reports.fix import FixTally, plan_json, planned_json, render
    from kubectl_harden.reports.live import outcome_json, proposal_json, yaml_text
    from kubectl_harden.reports.output import data
    from kubectl_harden.reports.terminal import json_text

    policy = chosen_policy(inputs.choice, None, inputs.cluster.minor())
    if output == "yaml":
        data(["---\n".join(yaml_text(proposal) for proposal in proposals)])
    elif output == "json":
        states = {proposal_key(outcome.proposal): outcome for outcome in outcomes}
        workloads = []
        tally = FixTally()
        tally.problems.extend(problems)
        for proposal in proposals:
            tally.count(proposal.planned)
            outcome = states.get(proposal_key(proposal))
            for item in proposal.planned:
                of_owner = owner_json(owned.get(proposal_key(proposal)))
                entry = {**planned_json(item, policy), **proposal_json(proposal), **of_owner, **releases.json(proposal)}
                workloads.append({**entry, "outcome": outcome_json(outcome)} if outcome else entry)
        data([json_text(plan_json(workloads, list(problems), policy, tally)), "\n"])
    else:
        fixes = []
        for proposal in proposals:
            objects = ((proposal.planned[0].identity, proposal.live.value, proposal.goal),) if proposal.patch else ()
            fixes.append(FileFix(proposal.name, "", (), proposal.planned, (), objects))
        data(render(output, iter(fixes), policy))


def proposal_key(proposal: Proposal) -> str:
    """Return the key of a proposal."""
    return proposal.live.uid

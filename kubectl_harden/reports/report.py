"""A survey, and what a migration did, as the page.

The page shows names, levels, edited fields and reasons; no other part of an object gets into it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final

from kubectl_harden.cluster.command import Commands
from kubectl_harden.field_path import parse_pointer
from kubectl_harden.live.propose import Proposal
from kubectl_harden.migration.at_source import SourceChanges
from kubectl_harden.migration.migrate import Migrated
from kubectl_harden.migration.model import Aim, Blocker, NamespaceSurvey, Survey, Surveyed
from kubectl_harden.model import LADDER, RISKS, Problem
from kubectl_harden.planning.json_patch import Operation
from kubectl_harden.reports.history import Key, Run, Seen
from kubectl_harden.reports.matrix import STATES, causes, disagreement, enforced, reached
from kubectl_harden.reports.migrate_source import source_page
from kubectl_harden.reports.origin import origin_words
from kubectl_harden.reports.page import page_text
from kubectl_harden.reports.page_charts import BY_LEVEL
from kubectl_harden.reports.page_model import About, Cell, Chart, Page, Reason, Space, Workload
from kubectl_harden.reports.terminal import error_line
from kubectl_harden.words import counted
from kubectl_harden.yaml_text.tree import dump

__all__ = ["field_diff", "report_page", "run_of"]

_ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_ENFORCED: Final = (
    ("restricted", "restricted", "enforce restricted"),
    ("baseline", "baseline", "enforce baseline"),
    ("privileged", "privileged", "enforce privileged"),
    ("–", "none", "enforce nothing"),
    ("exempt", "none", "are exempt"),
    ("not known", "unknown", "not known"),
)
_LEVELS: Final[tuple[str, ...]] = LADDER


def report_page(
    found: Survey,
    aim: Aim,
    done: Sequence[Migrated],
    *,
    about: About | None = None,
    problems: Sequence[Problem] = (),
    changes: SourceChanges | None = None,
) -> str:
    """Return the page. ``found`` is a detailed survey, ``about`` says what it is of and when it was made.

    ``changes`` are those of checkouts, if any were named: their diffs are on the page, too.
    """
    about = about or About()
    outcomes = {item.name: item for item in done}
    commands = about.commands.get("", Commands())
    goal = "the highest level" if aim.level == "highest" else aim.level
    states = tuple((words, state, words) for state, (_, _, words) in reversed(STATES.items()))
    charts = [Chart("Enforced before" if done else "Namespaces: enforced now", "ns", "e", _ENFORCED)]
    if done:
        charts.append(Chart("Enforced now", "ns", "f", _ENFORCED))
    else:
        charts.append(Chart(f"Namespaces: on the way to {goal}", "ns", "s", states))
    if done:
        charts.append(Chart("Workloads: level met before", "w", "b", BY_LEVEL))
    charts.append(Chart("Workloads: level met now", "w", "l", BY_LEVEL))
    if not done:
        charts.append(Chart("Workloads: after the fixes", "w", "a", BY_LEVEL))
    ordered = sorted(found.namespaces, key=lambda item: (list(STATES).index(item.state), item.name))
    page = Page(
        "migrate",
        f"Namespaces on their way to {goal}",
        tuple(_space(item, outcomes.get(item.name), aim, commands, applied=bool(done)) for item in ordered),
        ("State", "Enforces", "Met before" if done else "Meets", "Reaches", "Workloads", "Fixes", "Held back by"),
        tuple(charts),
        about.where,
        about.made[:16].replace("T", " ") + " UTC" if about.made else "",
        footer="migrate --report",
        problems=tuple(error_line(problem) for problem in problems),
        parts=tuple(source_page(changes)),
        history=about.history,
    )
    return "".join(page_text(page))


def run_of(found: Survey, done: Sequence[Migrated], about: About, problems: int) -> Run:
    """Return what the history keeps of a run: the levels at its end."""
    scope = about.history.scope if about.history is not None else ""
    outcomes = {item.name: item for item in done}
    workloads: dict[Key, Seen] = {}
    enforces: dict[tuple[str, str], str] = {}
    for item in found.namespaces:
        ended = outcomes.get(item.name)
        enforces["", item.name] = _enforced_after(item, ended)
        for one in item.workloads:
            level = _met_now(one, ended)
            workloads["", item.name, _name(one.proposal)] = Seen(level, one.team or item.team)
    return Run(about.made, scope, workloads, enforces, problems)


def _name(proposal: Proposal) -> str:
    return proposal.name.replace(f" {proposal.live.namespace}/", " ", 1)


def _outcome(item: Surveyed, done: Migrated | None) -> str:
    outcomes = done.outcomes if done is not None else ()
    return next((ended.state for ended in outcomes if ended.proposal.live.uid == item.proposal.live.uid), "")


def _met_now(item: Surveyed, done: Migrated | None) -> str:
    """Return the level that a workload meets at the end of the run."""
    return item.after if _outcome(item, done) == "applied" else item.now


def _enforced_after(item: NamespaceSurvey, done: Migrated | None) -> str:
    return (done.labels or {}).get(_ENFORCE) or enforced(item) if done is not None else enforced(item)


def _space(item: NamespaceSurvey, done: Migrated | None, aim: Aim, commands: Commands, *, applied: bool) -> Space:
    blockers = done.blockers if done is not None else item.blockers
    own = {workload.proposal.name for workload in item.workloads}
    mark, _, words = STATES[item.state]
    state = done.state if done is not None else words
    after = _enforced_after(item, done)
    held = ", ".join(f"{cause} ({count})" for cause, count, _ in causes([item._replace(blockers=tuple(blockers))]))
    shown_after = after if after != enforced(item) else ""
    cells = (
        Cell(state if done is not None else f"{mark} {words}", list(STATES).index(item.state)),
        Cell(enforced(item), _rank(after), after=shown_after),
        Cell(item.now, _rank(item.now)),
        Cell(reached(item), _rank(reached(item))),
        Cell(f"{len(item.workloads):,}", len(item.workloads), number=True),
        Cell(f"{len(item.to_fix):,}" if item.to_fix else "–", len(item.to_fix), number=True),
        Cell(held or "–", len(blockers)),
    )
    notes = [done.message] if done is not None and done.message and not blockers else []
    if item.server.asked and not item.server.agrees:
        notes += ["The API server says otherwise than this survey.", *disagreement(item)]
    if item.origin:
        notes.append(f"from: {origin_words(item.origin)}")
    if item.bare_pods:
        notes.append(f"{counted(item.bare_pods, 'pod')} of no controller")
    notes += [error_line(problem) for problem in item.problems]
    if item.to_evict:
        notes.append(f"older than their policy, and evicted with --apply: {', '.join(item.to_evict)}")
    policies = ("--at-admission",) if aim.at_admission else ()
    go = commands.harden("migrate", item.name, "--level", aim.level, *policies, "--apply")
    return Space(
        item.name,
        cells,
        tuple(_workload(one, item, done, state, blockers, commands, applied=applied) for one in item.workloads),
        level=item.now,
        after=reached(item),
        state=state,
        team=item.team,
        enforces=enforced(item),
        enforces_after=after,
        causes=tuple(dict.fromkeys(blocker.cause for blocker in blockers)),
        reasons=tuple(_counted_once([blocker for blocker in blockers if blocker.subject not in own])),
        notes=tuple(notes),
        commands=(go,) if not applied and item.state in ("ready", "fixable") else (),
    )


def _rank(level: str) -> int:
    return _LEVELS.index(level) if level in _LEVELS else -1


def _counted_once(blockers: Sequence[Blocker]) -> Iterator[Reason]:
    """Yield the reasons that are not about workloads; an object counts once for each cause."""
    seen: set[tuple[str, str]] = set()
    for blocker in blockers:
        key = (blocker.subject, blocker.cause)
        reason = _reason(blocker)
        yield reason._replace(head=f"{blocker.subject}: {reason.head}", cause="" if key in seen else blocker.cause)
        seen.add(key)


def _reason(blocker: Blocker) -> Reason:
    whose = [f"of {blocker.owner}"] if blocker.owner else []
    whose += [f"team {blocker.team}"] if blocker.team else []
    come_from = f"from: {origin_words(blocker.origin)}" if blocker.origin else ""
    why = "; ".join(filter(None, (blocker.why, come_from, *whose)))
    return Reason(blocker.cause, blocker.what, why, tuple(blocker.choices), commands=tuple(blocker.commands))


def _workload(
    item: Surveyed, space: NamespaceSurvey, done: Migrated | None, state: str, blockers: Sequence[Blocker],
    commands: Commands, *, applied: bool,
) -> Workload:  # fmt: skip
    proposal = item.proposal
    plans = [planned.plan for planned in proposal.planned]
    whys = list(dict.fromkeys((step.risk, step.why) for plan in plans for step in (*plan.steps, *plan.held_back)))
    risk = max((risk for risk, _ in whys), key=RISKS.index, default="")
    mine = [blocker for blocker in blockers if blocker.subject == proposal.name]
    held = tuple(dict.fromkeys(blocker.cause for blocker in mine))
    edits = [edit for plan in plans for edit in plan.edits]
    outcome = _outcome(item, done)
    controls = dict.fromkeys(check for edit in edits for check in edit.checks if outcome != "applied")
    controls |= dict.fromkeys(left.check for plan in plans for left in plan.remaining)
    controls |= dict.fromkeys(blocker.check for blocker in mine if blocker.check)
    words = counted(len(edits), "edit")
    of = ", ".join(dict.fromkeys(check for edit in edits for check in edit.checks))
    text = ""
    if proposal.patch and proposal.refusal is None:
        lift = f"lift{'s' if len(edits) == 1 else ''} it"
        text = f"{words} {lift} from {item.now} to {item.after}: {of}."
        if item.after == item.now:
            text = f"{words} alone {lift} no further than {item.now}: {of}."
        text = f"{words}, {outcome}: {of}." if outcome else text
    elif not mine:
        text = f"It meets {item.now}: there is nothing to do for {space.goal.level}."
    notes = [f"cannot be applied: {proposal.refusal}"] if proposal.refusal is not None and proposal.patch else []
    if proposal.by_policy:
        notes.append(f"made to its new pods, by MutatingAdmissionPolicy {proposal.by_policy}")
    notes += [f"from: {origin_words(proposal.origin)}"] if proposal.origin else []
    if item.newly:
        notes.append(f"fails at the policy version to compare with, and not today: {', '.join(item.newly)}")
    short = f"held back: {', '.join(held)}" if held else words if proposal.patch and not outcome else ""
    fixable = bool(proposal.patch) and proposal.refusal is None and not outcome and not proposal.by_policy
    return Workload(
        _name(proposal),
        now := _met_now(item, done),
        now if applied else item.after,
        state,
        item.team or space.team,
        item.owner,
        short,
        text,
        tuple(controls),
        held,
        tuple(map(_reason, mine)),
        (_fix(proposal, commands),) if fixable else (),
        tuple(notes),
        risk,
        outcome,
        "\n".join(field_diff(proposal.patch, item.before)),
        "Edited fields" if proposal.patch else "Why",
        tuple(f"{risk}: {why}" for risk, why in whys),
        item.now if applied else "",
    )


def _fix(proposal: Proposal, commands: Commands) -> str:
    """Return the command that shows the fix of one workload."""
    resource = proposal.live.resource
    group = f".{resource.group}" if resource.group not in ("", "apps", "batch") else ""
    return commands.harden(
        "fix", f"{resource.kind.lower()}{group}/{proposal.live.name}", namespace=proposal.live.namespace
    )


def field_diff(patch: Sequence[Operation], before: Mapping[str, object]) -> Iterator[str]:
    """Yield the lines of a diff of the touched fields alone, each under its field path.

    ``patch`` is an RFC 6902 patch, ``before`` the values of its fields by JSON pointer.
    """
    for operation in patch:
        *parents, last = parse_pointer(operation["path"])
        yield f"@ {_dotted(parents)}"
        old = before.get(operation["path"]) if operation["op"] != "add" else None
        if old is not None or operation["op"] in ("remove", "replace"):
            yield from _lines("-", last, old)
        if operation["op"] != "remove":
            yield from _lines("+", last, operation["value"])


def _dotted(parts: Sequence[str | int]) -> str:
    out = ""
    for part in parts:
        out += f"[{part}]" if str(part).isdecimal() else f".{part}"
    return out.removeprefix(".")


def _lines(sign: str, key: str | int, value: object) -> Iterator[str]:
    item = str(key).isdecimal() or key == "-"
    text = _yaml(json.dumps([value] if item else {str(key): value}))
    for line in text.splitlines():
        yield f"{sign} {line}"


@cache
def _yaml(text: str) -> str:
    return dump(json.loads(text))

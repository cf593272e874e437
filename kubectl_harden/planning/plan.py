"""A minimal plan for violations, in steps.

Companions come first (``accompany``), except a user namespace where root stays (``user_namespaces``); each control
proposes edits for its own fields (``proposals``); those that may be made and are wanted are chosen (``choose``); edits
that are refused or make no difference are dropped (``prune``); edits that reach no level are left out, and the rest
becomes an RFC 6902 patch (``field_edits``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kubectl_harden.model import Edit, Finding, Learned, Level, Obstacle
from kubectl_harden.plan_model import Plan, Remaining
from kubectl_harden.planning.accompany import accompanied, accompany
from kubectl_harden.planning.case import Case, Violations
from kubectl_harden.planning.choose import choose_from
from kubectl_harden.planning.companions import Asked
from kubectl_harden.planning.field_edits import in_object, lowered
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.proposals import propose, within_risk
from kubectl_harden.planning.prune import prune
from kubectl_harden.planning.user_namespaces import ENTER, Rootful, entering
from kubectl_harden.pod_security.accepted import excused
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import Policy, controls_of, evaluate, worded

__all__ = ["left_below", "plan"]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
_NAMED: Final = 3
"""At most this many violations are named in the line that says why nothing more is changed."""


def _allowed(_edit: Edit) -> str:
    return ""


def left_below(made: Plan) -> bool:
    """Whether a plan leaves a violation that nobody has accepted."""
    return any(not left.accepted for left in made.remaining)


def plan(
    value: Any,
    location: Location,
    policy: Policy,
    options: FixOptions,
    learned: Learned = _EMPTY,
    choose: Callable[[list[Edit]], list[Edit]] | None = None,
    accepted: Mapping[str, str] = _EMPTY,
    objection: Callable[[Edit], str] = _allowed,
) -> Plan:
    """Return the plan for one pod template of an object.

    It reaches the policy's level, else baseline where the pod template is below that, else it has only safe edits.
    With ``options.partial``, or where a person chooses, it has every edit.

    ``value`` is the object, ``location`` one of its pod templates, ``learned`` what else is known about its containers,
    ``choose`` returns the edits that a person wants, ``accepted`` are reasons by control. ``objection`` returns why an
    edit must not be made whatever its risk, or "". Raises InputError where the pod template cannot be judged.
    """
    pod = location.pod()
    violations = evaluate(pod, policy)
    case = Case(pod, location, policy, violations, options, learned, choose, accepted, objection)
    draft = _drafted(case)
    if not options.partial and choose is None:
        draft = _reaching(case, draft)
    return Plan(
        before=case.level(pod, violations),
        after=case.level(draft.after, draft.left),
        edits=tuple(lowered(value, in_object(value, location, draft.edits))),
        remaining=tuple(_remaining(case, draft)),
        steps=tuple(draft.edits),
        held_back=tuple(in_object(value, location, draft.held_back)),
        notes=tuple(draft.notes),
        reaches=draft.reaches,
    )


class _Draft(NamedTuple):
    """Edits to a pod template, the pod ``after`` them, and the violations ``left`` in it.

    ``obstacles`` say why a proposed edit is not made. ``held_back`` are edits that are not made, ``accepted`` are
    reasons by control, ``reaches`` is the level that is reached, where violations that a person has accepted or left
    out do not count.
    """

    edits: list[Edit]
    after: Pod
    left: Violations
    held_back: list[Edit]
    obstacles: list[Obstacle]
    notes: list[str]
    accepted: Mapping[str, str]
    reaches: Level | None

    @property
    def cures(self) -> bool:
        """Whether a control asks for one of the edits: companions are only made together with these."""
        return any(not edit.companion for edit in self.edits)


# -- every edit --------------------------------------------------------------------------------------------


def _drafted(case: Case) -> _Draft:
    """Return the edits for all violations that nobody has accepted or left out, if they may be made."""
    if not case.violations and case.options.asked == Asked():
        return _Draft([], case.pod, case.violations, [], [], [], _EMPTY, case.policy.level)
    asked = case.options.asked.user_namespace
    if asked is None and case.choose is None:
        return _edits(case, [])
    silent = _edits(case._replace(choose=None), [])
    enter, notes = entering(_rootful(case, silent), asked or "stopped")
    made, too_risky = within_risk([] if enter is None else [enter], case.options.max_risk)
    wanted = case.wanted(made)
    draft = _edits(case, wanted) if wanted or case.choose is not None else silent
    if asked is None:
        return draft
    notes.extend(f"--user-namespace is not done: {edit.why}" for edit in too_risky)
    return draft._replace(held_back=[*draft.held_back, *too_risky], notes=[*draft.notes, *notes])


def _rootful(case: Case, silent: _Draft) -> Rootful:
    """Return the evidence on whether a pod needs a user namespace; ``silent`` is the draft without one."""
    inside = {control.id for control, _ in evaluate(case.patched([ENTER]), case.policy)}
    violated = [control.id for control, _ in case.violations]
    violated = [check for check in violated if check not in silent.accepted and not case.options.leaves(check)]
    broken = {check for edit in silent.edits if edit.risk == "breaks" for check in edit.checks}
    beside = accompanied(case, [edit for edit in silent.edits if edit.companion])
    relieved = tuple(check for check in violated if check not in inside)
    stopped = broken.union(control.id for control, _ in silent.left).intersection(violated)
    facts = case.facts(beside)
    return Rootful(case.location, beside, silent.after, facts, case.policy, tuple(violated), relieved, stopped)


def _edits(case: Case, first: list[Edit]) -> _Draft:
    """Return the edits after those that come ``first``, for the violations that these leave."""
    beside = accompany(case, first)
    violations = evaluate(beside.pod, case.policy) if first or beside.edits else case.violations
    accepted = excused(beside.pod, case.policy, violations, case.accepted)
    proposed, told = propose(case, beside.pod, violations, accepted)
    chosen = choose_from(case, proposed, told)
    pruned = prune(case, [*first, *beside.edits, *chosen.edits])
    return _Draft(
        pruned.edits,
        pruned.after,
        pruned.left,
        held_back=[*beside.held_back, *chosen.held_back],
        obstacles=[*chosen.obstacles, *pruned.obstacles],
        notes=[*beside.notes, *pruned.notes],
        accepted=accepted,
        reaches=None if list(_unsaid(case, pruned.left, accepted)) else case.policy.level,
    )


# -- what reaches a level ----------------------------------------------------------------------------------


def _unsaid(case: Case, left: Violations, accepted: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the violations that nobody has accepted or left out."""
    for control, finding in left:
        if control.id not in accepted and not case.options.leaves(control.id):
            yield finding


def _reaching(case: Case, full: _Draft) -> _Draft:
    """Return the draft of every edit where it reaches the level, else that for baseline, else the safe edits of it."""
    is_safe = all(edit.risk == "safe" for edit in full.edits) and (full.cures or not full.edits)
    if full.reaches or is_safe:
        return full
    lower = _for_baseline(case)
    baseline = None if lower is None else _drafted(lower)
    if lower is not None and baseline is not None and not baseline.reaches:
        return _restated(case, full, _safe(case), "baseline", list(_unsaid(lower, baseline.left, baseline.accepted)))
    chosen = baseline if baseline is not None and baseline.cures else _safe(case)
    return _restated(case, full, chosen, case.policy.level, list(_unsaid(case, full.left, full.accepted)))


def _for_baseline(case: Case) -> Case | None:
    """Return the case for baseline, where the pod template is below it and a higher level is asked for.

    What a person says about a control applies to the baseline controls that it overrides.
    """
    if case.policy.level == "baseline" or case.level(case.pod, case.violations) != "privileged":
        return None
    policy = case.policy._replace(level="baseline")
    stands_for = {control.id: revision.overrides for control, revision in controls_of(case.policy)}

    def also(checks: frozenset[str]) -> frozenset[str]:
        return checks.union(*(stands_for.get(check, ()) for check in checks))

    options = case.options._replace(only=also(case.options.only), skip=also(case.options.skip))
    return case._replace(policy=policy, violations=evaluate(case.pod, policy), options=options)


def _safe(case: Case) -> _Draft:
    """Return the safe edits; without any of a control, there are no companions, either."""
    draft = _drafted(case._replace(options=case.options._replace(max_risk="safe")))
    return draft if draft.cures else draft._replace(edits=[], after=case.pod)


def _restated(case: Case, full: _Draft, chosen: _Draft, short_of: Level, because: list[Finding]) -> _Draft:
    """Return a draft of fewer edits than ``full`` that says what it does not do, and why.

    ``short_of`` is the level that is not reached, ``because`` the violations that nothing fixes.
    """
    made = [(edit.op, edit.path, edit.value) for edit in chosen.edits]
    undone = [edit for edit in full.edits if (edit.op, edit.path, edit.value) not in made]
    checks = dict.fromkeys(check for edit in undone for check in edit.checks)
    why = f"not changed, since {short_of} is out of reach (--partial)"
    left = evaluate(chosen.after, case.policy)
    return chosen._replace(
        left=left,
        held_back=[*full.held_back, *undone],
        obstacles=[*full.obstacles, *(Obstacle(check, why) for check in checks)],
        notes=[_undone(undone, chosen, short_of, because), *full.notes] if undone else full.notes,
        accepted=excused(chosen.after, case.policy, left, case.accepted),
    )


def _undone(undone: list[Edit], chosen: _Draft, short_of: Level, because: list[Finding]) -> str:
    """Return the reason why nothing more is changed, in one line."""
    words = [worded(finding.reason, finding.detail) for finding in because]
    named = ", ".join(words[:_NAMED]) + (f" and {len(words) - _NAMED} more" if len(words) > _NAMED else "")
    more, other = (" more", "other ") if chosen.edits else ("", "")
    edits = "edit" if len(undone) == 1 else f"{len(undone)} edits"
    return f"nothing{more} is changed: it stays below {short_of} because of {named}; --partial makes the {other}{edits}"


# -- the plan ----------------------------------------------------------------------------------------------


def _remaining(case: Case, draft: _Draft) -> Iterable[Remaining]:
    # What is left is judged in the pod after the edits: they may remove what evidence is about.
    obstacles = [*propose(case, draft.after, draft.left, draft.accepted)[1], *draft.obstacles] if draft.left else []
    for control, found in draft.left:
        if control.id in draft.accepted:
            why = f"accepted: {draft.accepted[control.id]}"
            yield Remaining(control.id, found.reason, found.detail, why, (), accepted=True)
            continue
        mine = [obstacle for obstacle in obstacles if obstacle.check == control.id]
        why = "; ".join(dict.fromkeys(obstacle.why for obstacle in mine)) or control.stays(draft.after)
        why = why or "no automatic edit is known"
        choices = tuple(dict.fromkeys(choice for obstacle in mine for choice in obstacle.choices))
        yield Remaining(control.id, found.reason, found.detail, why, choices)

"""Violations become a minimal plan.

Each control proposes edits for its own fields. They are filtered by what a person has asked for, proved against the
API's own rules and the controls themselves, kept where they reach a level, and put into the form of an RFC 6902 patch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.json_values import size
from kubectl_harden.model import (
    Edit,
    Facts,
    Finding,
    FixContext,
    Learned,
    Level,
    Obstacle,
    Path,
    Plan,
    Remaining,
    Remedy,
)
from kubectl_harden.planning.api_rules import refusals
from kubectl_harden.planning.companions import companions, refused_by_kubelet
from kubectl_harden.planning.field_edits import edited, in_object, lowered, place_before
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.proposals import proposals, within_risk
from kubectl_harden.planning.user_namespaces import ENTER, Rootful, entering, may_enter
from kubectl_harden.pod_security.accepted import excused
from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import Policy, controls_of, evaluate, highest_level, worded
from kubectl_harden.pod_security.risks import IN_USER_NAMESPACE, POD_LEVEL_OFFERS

__all__ = ["left_below", "plan"]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
_OF_POD: Final[Path] = ("spec", "securityContext")
_NAMED: Final = 3
"""So many violations are named in the line that says why nothing more is changed."""

_Violations = list[tuple[Control, Finding]]

MAX_EFFORT: Final = 500_000
"""Edits of a pod template times its fields, where each edit is tried without: some seconds."""


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

    It reaches the policy's level, else baseline where the pod template is below it, else it makes only what is safe.
    With ``options.partial``, or where a person chooses, it makes every edit.

    ``value`` is the object, ``location`` one of its pod templates, ``learned`` what else is known of its containers,
    ``choose`` returns the edits that a person wants, ``accepted`` are reasons by control. ``objection`` returns why an
    edit must not be made whatever its risk, or "". Raises InputError where the pod template cannot be judged.
    """
    pod = location.pod()
    violations = evaluate(pod, policy)
    case = _Case(pod, location, policy, violations, options, learned, choose, accepted, objection)
    draft = _drafted(case)
    if not options.partial and choose is None:
        draft = _reaching(case, draft)
    return Plan(
        case.level(pod, violations),
        case.level(draft.after, draft.left),
        tuple(lowered(value, in_object(value, location, draft.edits))),
        tuple(_remaining(case, draft)),
        tuple(draft.edits),
        tuple(in_object(value, location, draft.held_back)),
        tuple(draft.notes),
        draft.reaches,
    )


class _Case(NamedTuple):
    """A pod template to plan for: its ``violations`` of the policy, and what a person asks for."""

    pod: Pod
    location: Location
    policy: Policy
    violations: _Violations
    options: FixOptions
    learned: Learned
    choose: Callable[[list[Edit]], list[Edit]] | None
    accepted: Mapping[str, str]
    objection: Callable[[Edit], str]

    def facts(self, pod: Pod) -> Facts:
        return facts_of(pod, self.learned)

    def patched(self, edits: list[Edit]) -> Pod:
        """Return the pod with edits made."""
        return Pod(edited(self.pod.written, edits), is_pod=self.location.is_pod, decoded=True)

    def refusals(self, after: Pod, edits: list[Edit]) -> set[tuple[Path, str]]:
        """Return why the API server refuses the pod that edits make, by the paths that the edits are written for."""
        found = refusals(after)
        if not found or all(edit.op != "remove" for edit in edits):
            return found
        before = place_before(self.pod.written, edits)
        return {(before(path), why) for path, why in found}

    def offering(self, edits: list[Edit]) -> list[Edit]:
        """Return edits that offer nothing which takes a field that the object has not, or that is of no use to it."""
        without = () if self.location.pod_security_context else POD_LEVEL_OFFERS
        if not may_enter(self.location, self.policy):
            without = (*without, IN_USER_NAMESPACE)
        if not without:
            return edits
        return [edit._replace(offers=tuple(o for o in edit.offers if o not in without)) for edit in edits]

    def level(self, pod: Pod, violations: _Violations) -> Level:
        return highest_level(pod, self.policy, [control.level for control, _ in violations])

    def wanted(self, edits: list[Edit]) -> list[Edit]:
        return edits if self.choose is None else self.choose(edits)


class _Draft(NamedTuple):
    """Edits to a pod template, the pod ``after`` them, and the violations ``left`` in it.

    ``obstacles`` say why a proposed edit is not made. ``held_back`` are edits that are not made, ``accepted`` are
    reasons by control, ``reaches`` is the level that is reached, where violations that a person has accepted or left
    out do not count.
    """

    edits: list[Edit]
    after: Pod
    left: _Violations
    held_back: list[Edit]
    obstacles: list[Obstacle]
    notes: list[str]
    accepted: Mapping[str, str]
    reaches: Level | None

    @property
    def cures(self) -> bool:
        """Whether a control asks for an edit of it: companions only belong to such."""
        return any(not edit.companion for edit in self.edits)


# -- every edit --------------------------------------------------------------------------------------------


def _drafted(case: _Case) -> _Draft:
    """Return the edits for all violations that nobody has accepted or left out, as far as they may be made."""
    asked = case.options.asked.user_namespace
    if asked is None and case.choose is None:
        return _edits(case)
    silent = _edits(case._replace(choose=None))
    enter, notes = entering(_rootful(case, silent), asked or "stopped")
    made, too_risky = within_risk([] if enter is None else [enter], case.options.max_risk)
    wanted = case.wanted(made)
    draft = _edits(case, wanted) if wanted or case.choose is not None else silent
    if asked is None:
        return draft
    notes.extend(f"--user-namespace is not done: {edit.why}" for edit in too_risky)
    return draft._replace(held_back=[*draft.held_back, *too_risky], notes=[*draft.notes, *notes])


def _rootful(case: _Case, silent: _Draft) -> Rootful:
    """Return what tells whether a pod needs a user namespace; ``silent`` is the draft without one."""
    inside = {control.id for control, _ in evaluate(case.patched([ENTER]), case.policy)}
    violated = [control.id for control, _ in case.violations]
    violated = [check for check in violated if check not in silent.accepted and not case.options.leaves(check)]
    broken = {check for edit in silent.edits if edit.risk == "breaks" for check in edit.checks}
    beside = _accompanied(case, [edit for edit in silent.edits if edit.companion])
    relieved = tuple(check for check in violated if check not in inside)
    stopped = broken.union(control.id for control, _ in silent.left).intersection(violated)
    facts = case.facts(beside)
    return Rootful(case.location, beside, silent.after, facts, case.policy, tuple(violated), relieved, stopped)


def _edits(case: _Case, first: list[Edit] | None = None) -> _Draft:
    """Return the edits beside those that come ``first``, for what is still violated then."""
    first = first or []
    inside = case.patched(first) if first else case.pod
    beside, held_back, notes = _companions(case, inside)
    pod = _accompanied(case, [*first, *beside]) if first or beside else case.pod
    violations = evaluate(pod, case.policy) if first or beside else case.violations
    accepted = excused(pod, case.policy, violations, case.accepted)
    cures, told = _proposed(case, pod, violations, accepted)
    cures, too_risky = within_risk(cures, case.options.max_risk)
    obstacles = list(_risks(too_risky, told))
    cures, against = _without_objection(case, cures)
    obstacles.extend(Obstacle(edit.checks[0], case.objection(edit), _apart(edit)) for edit in against)
    cures, refused = _chosen(case, cures)
    obstacles.extend(refused)
    edits = [*first, *beside, *cures]
    impossible, why = refused_by_kubelet(case.patched(edits), edits) if beside else ([], [])
    notes.extend(why)
    edits, after, refused = _without_refusals(case, [edit for edit in edits if edit not in impossible])
    obstacles.extend(refused)
    notes.extend(obstacle.why for obstacle in refused if not obstacle.check)
    left = evaluate(after, case.policy)
    if left:
        _refuse_too_much(case, edits)
        edits, after = _effective(case, edits, after, left)
    reaches = None if list(_unsaid(case, left, accepted)) else case.policy.level
    return _Draft(edits, after, left, [*held_back, *too_risky, *against], obstacles, notes, accepted, reaches)


def _companions(case: _Case, pod: Pod) -> tuple[list[Edit], list[Edit], list[str]]:
    """Return the companions that are made, those that are too risky, and notes on what is not known or not done."""
    facts = case.facts(pod)
    asked = companions(
        pod,
        facts,
        case.policy,
        case.options.asked._replace(user_namespace=None),
        pod_security_context=case.location.pod_security_context,
        objection=case.objection,
    )
    beside, held_back = within_risk(case.offering(list(asked.edits)), case.options.max_risk)
    unknown = dict.fromkeys(_missing(facts)) if case.violations else ()
    notes = [*unknown, *asked.notes, *(f"{edit.companion} is not done: {edit.why}" for edit in held_back)]
    beside, against = _without_objection(case, beside)
    notes.extend(f"{edit.companion} is not done: {case.objection(edit)}" for edit in against)
    return case.wanted(beside), [*held_back, *against], notes


def _without_objection(case: _Case, edits: list[Edit]) -> tuple[list[Edit], list[Edit]]:
    """Return the edits that may be made as far as others are concerned, and those that may not."""
    against = [edit for edit in edits if case.objection(edit)]
    return [edit for edit in edits if edit not in against], against


def _missing(facts: Facts) -> Iterator[str]:
    """Yield what could not be learned, and why."""
    for known in facts.containers.values():
        yield from (f"{fact.text}: {fact.value}" for fact in known if fact.kind == "unknown" and fact.value)


def _accompanied(case: _Case, edits: list[Edit]) -> Pod:
    """Return the pod with companions, where every container that stays keeps its place."""
    gone = {edit.path for edit in edits if edit.op == "remove"}
    out = case.patched([edit for edit in edits if edit.op != "remove"])
    out.containers = tuple(container for container in out.containers if container.path not in gone)
    return out


def _proposed(
    case: _Case, pod: Pod, violations: _Violations, accepted: Collection[str]
) -> tuple[list[Edit], list[Obstacle]]:
    """Return what violated controls propose for a pod, and what they cannot do."""
    options = case.options
    in_context = case.location.pod_security_context
    context = FixContext(case.policy.level, case.policy.minor, case.facts(pod), options.host_paths, in_context)
    left = [control.id for control, _ in violations if options.leaves(control.id) and control.id not in accepted]
    leaving = [Obstacle(check, "left as it is, as asked by --only or --skip") for check in left]
    asked = [control for control, _ in violations if control.id not in accepted and control.id not in left]
    has_os = in_context and not case.location.spread and "os" not in pod.spec
    edits, obstacles = proposals(
        asked,
        context,
        lambda control, context: _remedy(case, pod, control, context),
        options.max_risk,
        lambda edits: case.facts(Pod(edited(pod.written, edits), is_pod=case.location.is_pod, decoded=True)),
        (lambda edits: bool(case.refusals(case.patched(edits), edits) - refusals(case.pod))) if has_os else None,
    )
    return case.offering(edits), [*leaving, *obstacles]


def _remedy(case: _Case, pod: Pod, control: Control, context: FixContext) -> Remedy:
    """Return what a control proposes; for the containers, where the pod's securityContext stays as it is for others."""
    remedy = control.fix(pod, context)
    wanted, _ = within_risk(remedy.edits, case.options.max_risk)
    if any(edit.path[:2] == _OF_POD and case.objection(edit) for edit in wanted):
        return control.fix(pod, context._replace(pod_security_context=False))
    return remedy


def _risks(too_risky: list[Edit], known: Collection[Obstacle]) -> Iterator[Obstacle]:
    """Yield why edits are too risky, each reason once."""
    told = {(obstacle.check, obstacle.why) for obstacle in known}
    for edit in too_risky:
        if (edit.checks[0], edit.why) not in told:
            told.add((edit.checks[0], edit.why))
            choices = (*edit.offers, f"accept it: --max-risk {edit.risk}")
            yield Obstacle(edit.checks[0], edit.why, choices)


def _apart(edit: Edit) -> tuple[str, ...]:
    """Return what a person can do where an edit of a shared field is not right for all that share it."""
    return ("give the template a securityContext of its own",) if edit.path[:2] == _OF_POD else ()


def _refuse_too_much(case: _Case, edits: Collection[Edit]) -> None:
    """Raise InputError where trying a plan without each of its edits would take longer than seconds."""
    fields = size(case.pod.written)
    if len(edits) * fields > MAX_EFFORT:
        raise InputError(
            f"cannot be planned: {len(edits):,} edits in a pod template of {fields:,} fields "
            f"(at most {MAX_EFFORT:,} in their product)"
        )


def _chosen(case: _Case, edits: list[Edit]) -> tuple[list[Edit], list[Obstacle]]:
    """Return the edits that a person wants, and an obstacle for each that they refuse."""
    wanted = case.wanted(edits)
    if wanted == edits:
        return edits, []
    places = {(edit.op, edit.path) for edit in wanted}
    refused = (edit for edit in edits if (edit.op, edit.path) not in places)
    return wanted, [Obstacle(edit.checks[0], f"you refused it: {edit.why}") for edit in refused]


def _without_refusals(case: _Case, edits: list[Edit]) -> tuple[list[Edit], Pod, list[Obstacle]]:
    """Take out edits whose result the API server would refuse, until it refuses nothing but what it did before.

    Returns the edits that are left, the pod that they make, and why the others are not made.
    """
    known = refusals(case.pod)
    kept = list(edits)
    obstacles: list[Obstacle] = []
    while True:
        after = case.patched(kept)
        new = sorted(case.refusals(after, kept) - known, key=str)
        if not new:
            return kept, after, obstacles
        _refuse_too_much(case, edits)
        guilty, why = _guilty(case, new, kept)
        kept = [edit for edit in kept if edit not in guilty]
        obstacles.extend(
            Obstacle(next(iter(edit.checks), ""), f"the API server would refuse the change: {why}") for edit in guilty
        )


def _guilty(case: _Case, refused: list[tuple[Path, str]], edits: list[Edit]) -> tuple[list[Edit], str]:
    """Return the edits at, above or below a refused field, else those without which it is not refused, and why."""
    for path, why in refused:
        found = [edit for edit in edits if edit.path[: len(path)] == path or path[: len(edit.path)] == edit.path]
        if not found:
            without = ((edit, [other for other in edits if other is not edit]) for edit in edits)
            found = [edit for edit, rest in without if (path, why) not in case.refusals(case.patched(rest), rest)]
        if found:
            return found, why
    raise InputError(f"cannot be planned: the API server would refuse the result: {refused[0][1]}", refused[0][0])


def _effective(case: _Case, edits: list[Edit], after: Pod, left: _Violations) -> tuple[list[Edit], Pod]:
    """Drop edits without which the same is ``left``, because something else stays in their way."""
    known = refusals(case.pod)
    goal = [finding[:2] for _, finding in left]
    kept = edits
    while True:
        before = kept
        for edit in before:
            if edit.companion:
                continue
            fewer = [other for other in kept if other is not edit]
            lesser = case.patched(fewer)
            same = [finding[:2] for _, finding in evaluate(lesser, case.policy)] == goal
            if same and not case.refusals(lesser, fewer) - known:
                kept, after = fewer, lesser
        # Without one edit another may no longer make a difference.
        if len(kept) == len(before):
            return kept, after


# -- what reaches a level ----------------------------------------------------------------------------------


def _unsaid(case: _Case, left: _Violations, accepted: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the violations that nobody has accepted or left out."""
    for control, finding in left:
        if control.id not in accepted and not case.options.leaves(control.id):
            yield finding


def _reaching(case: _Case, full: _Draft) -> _Draft:
    """Return the draft of every edit where it reaches the level, else that of baseline, else what is safe of it."""
    is_safe = all(edit.risk == "safe" for edit in full.edits) and (full.cures or not full.edits)
    if full.reaches or is_safe:
        return full
    lower = _for_baseline(case)
    baseline = None if lower is None else _drafted(lower)
    if lower is not None and baseline is not None and not baseline.reaches:
        return _restated(case, full, _safe(case), "baseline", list(_unsaid(lower, baseline.left, baseline.accepted)))
    chosen = baseline if baseline is not None and baseline.cures else _safe(case)
    return _restated(case, full, chosen, case.policy.level, list(_unsaid(case, full.left, full.accepted)))


def _for_baseline(case: _Case) -> _Case | None:
    """Return the case of baseline, where the pod template is below it and more is asked for.

    What a person says of a control holds for the baseline controls that it stands for.
    """
    if case.policy.level == "baseline" or case.level(case.pod, case.violations) != "privileged":
        return None
    policy = case.policy._replace(level="baseline")
    stands_for = {control.id: revision.overrides for control, revision in controls_of(case.policy)}

    def also(checks: frozenset[str]) -> frozenset[str]:
        return checks.union(*(stands_for.get(check, ()) for check in checks))

    options = case.options._replace(only=also(case.options.only), skip=also(case.options.skip))
    return case._replace(policy=policy, violations=evaluate(case.pod, policy), options=options)


def _safe(case: _Case) -> _Draft:
    """Return the edits that are safe; where there are none, companions have nothing to accompany."""
    draft = _drafted(case._replace(options=case.options._replace(max_risk="safe")))
    return draft if draft.cures else draft._replace(edits=[], after=case.pod)


def _restated(case: _Case, full: _Draft, chosen: _Draft, short_of: Level, because: list[Finding]) -> _Draft:
    """Return a draft of fewer edits than ``full`` that tells what it leaves undone, and why.

    ``short_of`` is the level that is not reached, ``because`` the violations that nothing cures.
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
    """Return in a line why nothing more is changed."""
    words = [worded(finding.reason, finding.detail) for finding in because]
    named = ", ".join(words[:_NAMED]) + (f" and {len(words) - _NAMED} more" if len(words) > _NAMED else "")
    more, other = (" more", "other ") if chosen.edits else ("", "")
    edits = "edit" if len(undone) == 1 else f"{len(undone)} edits"
    return f"nothing{more} is changed: it stays below {short_of} because of {named}; --partial makes the {other}{edits}"


# -- the plan ----------------------------------------------------------------------------------------------


def _remaining(case: _Case, draft: _Draft) -> Iterable[Remaining]:
    # What is said of the rest is true of the pod that the edits make: they may take away what evidence rests on.
    obstacles = [*_proposed(case, draft.after, draft.left, draft.accepted)[1], *draft.obstacles] if draft.left else []
    for control, found in draft.left:
        if control.id in draft.accepted:
            why = f"accepted: {draft.accepted[control.id]}"
            yield Remaining(control.id, found.reason, found.detail, why, (), accepted=True)
            continue
        mine = [obstacle for obstacle in obstacles if obstacle.check == control.id]
        why = "; ".join(dict.fromkeys(obstacle.why for obstacle in mine)) or _consequence(control.id, draft.after)
        choices = tuple(dict.fromkeys(choice for obstacle in mine for choice in obstacle.choices))
        yield Remaining(control.id, found.reason, found.detail, why, choices)


def _consequence(check: str, after: Pod) -> str:
    """Explain a violation that no control owns an edit for: another one's remainder causes it."""
    if check == "hostPorts" and after.spec.get("hostNetwork"):
        return "the API server fills these in while hostNetwork is true"
    if check == "appArmorProfile":
        return "the API server fills the profile in from an annotation"
    return "no automatic edit is known"

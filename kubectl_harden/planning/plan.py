"""Violations become a minimal plan.

Each control proposes edits for its own fields; here they are filtered, proved against the API's own
rules and the controls themselves, and put into the form of an RFC 6902 patch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.json_values import Draft
from kubectl_harden.model import (
    Edit,
    Facts,
    Finding,
    FixContext,
    Learned,
    Obstacle,
    Op,
    Path,
    Plan,
    Planned,
    Problem,
    Remaining,
    Risk,
)
from kubectl_harden.planning.api_rules import refusals
from kubectl_harden.planning.companions import companions
from kubectl_harden.planning.json_patch import apply, resolve_path
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.subject import Subject
from kubectl_harden.pod_security.accepted import excused
from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.pod_templates import Location
from kubectl_harden.pod_security.policy import Policy, evaluate, highest_level
from kubectl_harden.pod_security.risks import RISKS

__all__ = ["ObjectPlan", "left_below", "plan", "planned"]

_DROP: Final = object()


_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})


class ObjectPlan(NamedTuple):
    """The plans for the pod templates of an object, what they make of it, and what could not be planned."""

    value: dict[str, Any]
    planned: tuple[Planned, ...]
    problems: tuple[Problem, ...]


def planned(subject: Subject, options: FixOptions) -> ObjectPlan:
    """Plan for each pod template of an object in turn, each on what the plans before it made of the object."""
    accepted, problems = subject.accepted()
    found = list(problems)
    plans = []
    for index in range(len(subject.templates())):
        location = subject.templates()[index]
        identity, policy = subject.named(location), subject.policy_for(location)
        choose = partial(options.choose, identity) if options.choose is not None else list
        learned = options.learn(identity, subject.value, location.value)
        try:
            made = plan(subject.value, location, policy, options, learned, choose, accepted)
        except InputError as error:
            found.append(subject.problem(error, location))
            continue
        subject = subject.changed(apply(subject.value, made.edits))
        plans.append(Planned(identity, made, policy))
    return ObjectPlan(subject.value, tuple(plans), tuple(found))


def left_below(made: Plan) -> bool:
    """Whether a plan leaves a violation that nobody has accepted."""
    return any(not left.accepted for left in made.remaining)


def plan(
    value: Any,
    location: Location,
    policy: Policy,
    options: FixOptions,
    learned: Learned = _EMPTY,
    choose: Callable[[list[Edit]], list[Edit]] = list,
    accepted: Mapping[str, str] = _EMPTY,
) -> Plan:
    """Return the plan that lifts one pod template of an object to a policy.

    ``value`` is the object, ``location`` one of its pod templates, ``learned`` what is known of its containers
    besides, ``choose`` returns the edits that are wanted, ``accepted`` are reasons by control. Raises InputError
    where the pod template cannot be decoded.
    """
    pod = Pod(location.value, is_pod=location.is_pod, decoded=location.decoded)
    facts = facts_of(pod, learned)
    asked = companions(pod, facts, policy, options.asked, pod_security_context=location.pod_security_context)
    beside, held_back = _within_risk(asked.edits, options.max_risk)
    notes = [*asked.notes, *(f"{edit.companion} is not done: {edit.why}" for edit in held_back)]
    beside = choose(beside)
    findings = evaluate(pod, policy)
    if findings:
        notes[:0] = dict.fromkeys(_missing(facts))
    start = pod
    if beside:
        start = _accompanied(pod, location, beside)
        facts = facts_of(start, learned)
    context = FixContext(policy.level, policy.minor, facts, options.host_paths, location.pod_security_context)
    proposed: list[Edit] = []
    obstacles: list[Obstacle] = []
    to_cure = evaluate(start, policy) if beside else findings
    may_stay = excused(start, policy, to_cure, accepted)
    for control, _ in to_cure:
        if control.id in may_stay:
            continue
        if control.id in options.skip or (options.only and control.id not in options.only):
            obstacles.append(Obstacle(control.id, "left as it is, as asked by --only or --skip"))
            continue
        remedy = control.fix(start, context)
        proposed.extend(remedy.edits)
        obstacles.extend(remedy.obstacles)
    kept, too_risky = _within_risk(proposed, options.max_risk)
    for edit in too_risky:
        if not any(o.check == edit.checks[0] and o.why == edit.why for o in obstacles):
            choices = (*edit.offers, f"accept it: --max-risk {edit.risk}")
            obstacles.append(Obstacle(edit.checks[0], edit.why, choices))
    held_back += too_risky
    wanted = choose(kept)
    if wanted != kept:
        places = {(edit.op, edit.path) for edit in wanted}
        refused = (edit for edit in kept if (edit.op, edit.path) not in places)
        obstacles.extend(Obstacle(edit.checks[0], f"you refused it: {edit.why}") for edit in refused)
        kept = wanted
    known = refusals(pod)
    edits = [*beside, *kept]
    if any(edit.companion == "--low-ports" for edit in edits) and _patched(pod, location, edits).spec.get(
        "hostNetwork"
    ):
        notes.append("--low-ports: the kubelet refuses network sysctls for a pod on the node's network")
        edits = [edit for edit in edits if edit.companion != "--low-ports"]
    kept, after, refusing = _without_refusals(pod, location, edits, known)
    obstacles.extend(refusing)
    notes.extend(obstacle.why for obstacle in refusing if not obstacle.check)
    left = evaluate(after, policy)
    if left:
        kept, after = _effective(pod, location, policy, kept, after, left, known)
    return Plan(
        highest_level(pod, policy, [control.level for control, _ in findings]),
        highest_level(after, policy, [control.level for control, _ in left]),
        tuple(_lower(value, _in_object(location, kept))),
        tuple(_remaining(after, left, obstacles, may_stay)),
        tuple(kept),
        tuple(_in_object(location, held_back)),
        tuple(notes),
    )


def _missing(facts: Facts) -> Iterator[str]:
    """Yield what could not be learned, and why."""
    for known in facts.containers.values():
        yield from (f"{fact.text}: {fact.value}" for fact in known if fact.kind == "unknown" and fact.value)


def _accompanied(pod: Pod, location: Location, edits: list[Edit]) -> Pod:
    """Return the pod with companions, where every container that stays keeps its place."""
    gone = {edit.path for edit in edits if edit.op == "remove"}
    out = _patched(pod, location, [edit for edit in edits if edit.op != "remove"])
    out.containers = tuple(container for container in out.containers if container.path not in gone)
    return out


def _in_object(location: Location, edits: list[Edit]) -> list[Edit]:
    return [Edit(edit.op, location.in_object(edit.path), *edit[2:]) for edit in edits]


def _within_risk(edits: Collection[Edit], max_risk: Risk) -> tuple[list[Edit], list[Edit]]:
    limit = RISKS.index(max_risk)
    kept = [edit for edit in edits if RISKS.index(edit.risk) <= limit]
    return kept, [edit for edit in edits if RISKS.index(edit.risk) > limit]


def _patched(pod: Pod, location: Location, edits: list[Edit]) -> Pod:
    return Pod(_edited(pod.written, edits), is_pod=location.is_pod, decoded=True)


def _without_refusals(
    pod: Pod, location: Location, edits: list[Edit], known: set[tuple[Path, str]]
) -> tuple[list[Edit], Pod, list[Obstacle]]:
    """Take out edits whose result the API server would refuse, until it refuses nothing but what is known.

    Returns the edits that are left, the pod that they make, and why the others are not made.
    """
    kept = list(edits)
    obstacles: list[Obstacle] = []
    while True:
        after = _patched(pod, location, kept)
        new = sorted(refusals(after) - known, key=str)
        if not new:
            return kept, after, obstacles
        guilty, why = _guilty(new, kept)
        kept = [edit for edit in kept if edit not in guilty]
        obstacles.extend(
            Obstacle(next(iter(edit.checks), ""), f"the API server would refuse the change: {why}") for edit in guilty
        )


def _guilty(refused: list[tuple[Path, str]], edits: list[Edit]) -> tuple[list[Edit], str]:
    """Return the edits at, above or below a refused field, and why it is refused."""
    for path, why in refused:
        found = [edit for edit in edits if edit.path[: len(path)] == path or path[: len(edit.path)] == edit.path]
        if found:
            return found, why
    raise InputError(f"cannot be planned: the API server would refuse the result: {refused[0][1]}", refused[0][0])


def _effective(
    pod: Pod,
    location: Location,
    policy: Policy,
    edits: list[Edit],
    after: Pod,
    left: list[tuple[Control, Finding]],
    known: set[tuple[Path, str]],
) -> tuple[list[Edit], Pod]:
    """Drop edits without which the same is ``left``, because something else stays in their way."""
    kept = edits
    goal = [finding[:2] for _, finding in left]
    while True:
        before = kept
        for edit in before:
            if edit.companion:
                continue
            fewer = [other for other in kept if other is not edit]
            lesser = _patched(pod, location, fewer)
            if [finding[:2] for _, finding in evaluate(lesser, policy)] == goal and not refusals(lesser) - known:
                kept, after = fewer, lesser
        # Without one edit another may no longer make a difference.
        if len(kept) == len(before):
            return kept, after


def _remaining(
    after: Pod, left: list[tuple[Control, Finding]], obstacles: list[Obstacle], accepted: Mapping[str, str]
) -> Iterable[Remaining]:
    for control, found in left:
        if control.id in accepted:
            why = f"accepted: {accepted[control.id]}"
            yield Remaining(control.id, found.reason, found.detail, why, (), accepted=True)
            continue
        mine = [obstacle for obstacle in obstacles if obstacle.check == control.id]
        why = "; ".join(dict.fromkeys(obstacle.why for obstacle in mine)) or _consequence(control.id, after)
        choices = tuple(dict.fromkeys(choice for obstacle in mine for choice in obstacle.choices))
        yield Remaining(control.id, found.reason, found.detail, why, choices)


def _consequence(check: str, after: Pod) -> str:
    """Explain a violation that no control owns an edit for: another one's remainder causes it."""
    if check == "hostPorts" and after.spec.get("hostNetwork"):
        return "the API server fills these in while hostNetwork is true"
    if check == "appArmorProfile":
        return "the API server fills the profile in from an annotation"
    return "no automatic edit is known"


def _edited(value: Any, edits: Collection[Edit]) -> Any:
    """Return a value with the edits applied: missing parents are created, emptied ones go."""
    out = _marked(value, edits)
    return _without_marks(out) if any(edit.op == "remove" for edit in edits) else out


def _marked(value: Any, edits: Iterable[Edit]) -> Any:
    """Return a value with the edits applied, where everything that goes is marked with _DROP.

    All paths count from the value as it was: nothing moves while there are only marks.
    """
    draft = Draft(value)
    removed: list[Path] = []
    for edit in edits:
        last = edit.path[-1]
        parent = draft.at(edit.path[:-1], make=edit.op != "remove")
        if edit.op == "remove":
            parent[last] = _DROP
            removed.append(edit.path)
        elif isinstance(parent, list) and last == len(parent):
            parent.append(edit.value)
        else:
            parent[last] = edit.value
    for path in removed:
        _prune(draft.value, path)
    return draft.value


def _is_gone(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(item is _DROP for item in value.values())
    return isinstance(value, list) and bool(value) and all(item is _DROP for item in value)


def _prune(root: Any, path: Path) -> None:
    """Mark the parents of a removed thing that its removal leaves empty."""
    parents = [root]
    for part in path[:-1]:
        if parents[-1] is _DROP:
            return
        parents.append(parents[-1][part])
    for length in range(len(parents) - 1, 0, -1):
        if not _is_gone(parents[length]):
            return
        parents[length - 1][path[length - 1]] = _DROP


def _without_marks(value: Any) -> Any:
    """Return a value without what is marked."""
    if isinstance(value, dict):
        return {key: _without_marks(item) for key, item in value.items() if item is not _DROP}
    if isinstance(value, list):
        return [_without_marks(item) for item in value if item is not _DROP]
    return value


def _lower(value: Any, edits: list[Edit]) -> list[Edit]:
    """Return the edits as RFC 6902 operations on the object, each applicable without the others.

    Fields below a missing parent become one operation that adds the parent; removals that empty a
    parent become one that removes it. Removals come last, highest index first.
    """
    additions: dict[Path, Edit] = {}
    removals: dict[Path, Edit] = {}
    goal = _marked(value, edits)
    for edit in edits:
        if edit.op == "remove":
            path = _emptied(goal, edit.path)
            removals[path] = _merged(removals.get(path), edit._replace(path=path))
            continue
        path = _missing_parent(value, edit.path)
        op: Op = "replace" if _present(value, path) else "add"
        if op == "add" and isinstance(resolve_path(value, path[:-1]), list):
            additions[path] = edit._replace(op=op, path=(*path[:-1], "-"))
        else:
            whole = Edit(op, path, resolve_path(goal, path), *edit[3:])
            additions[path] = _merged(additions.get(path), whole)
    last_first = sorted(removals.values(), key=lambda edit: _order(edit.path), reverse=True)
    return [*additions.values(), *last_first]


def _emptied(goal: Any, path: Path) -> Path:
    """Return the path of the outermost thing that a removal takes away."""
    for length in range(1, len(path)):
        if resolve_path(goal, path[:length]) is _DROP:
            return path[:length]
    return path


def _present(value: Any, path: Path) -> bool:
    try:
        resolve_path(value, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _missing_parent(value: Any, path: Path) -> Path:
    """Return the shortest prefix of the path that is missing or null, or the path itself."""
    for length, part in enumerate(path[:-1], start=1):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return path[:length]
        if value is None:
            return path[:length]
    return path


def _merged(first: Edit | None, second: Edit) -> Edit:
    if first is None:
        return second
    return Edit(
        second.op,
        second.path,
        second.value,
        tuple(dict.fromkeys((*first.checks, *second.checks))),
        max(first.risk, second.risk, key=RISKS.index),
        "; ".join(dict.fromkeys((*first.why.split("; "), *second.why.split("; ")))),
        tuple(dict.fromkeys((*first.offers, *second.offers))),
        " ".join(dict.fromkeys((*first.companion.split(), *second.companion.split()))),
    )


def _order(path: Path) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in path)

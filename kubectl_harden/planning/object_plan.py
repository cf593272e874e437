"""Plans for the pod templates of an object: each by itself, except for fields that several share.

A field that several pod templates share, as in an Argo Workflow, is only edited if that is right for all. These edits
are made first; then each pod template is planned, starting from the object with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError, unexpected
from kubectl_harden.field_path import field_path
from kubectl_harden.model import Edit, Identity, Level, Path, Problem
from kubectl_harden.plan_model import Plan, Planned
from kubectl_harden.planning.agreement import Agreement, is_shared, uncovered
from kubectl_harden.planning.alike import once
from kubectl_harden.planning.field_edits import in_object, lowered
from kubectl_harden.planning.json_patch import apply, resolve_path
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.plan import plan
from kubectl_harden.planning.subject import Subject
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.policy import evaluate

__all__ = ["ObjectPlan", "edits_of", "planned", "undone"]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
_ROUNDS: Final = 4
"""Shared fields are edited at most this often, each time after what the edits before have made possible."""


class ObjectPlan(NamedTuple):
    """The plans for the pod templates of an object, the object with them, and what could not be planned."""

    value: dict[str, Any]
    planned: tuple[Planned, ...]
    problems: tuple[Problem, ...]


def planned(subject: Subject, options: FixOptions) -> ObjectPlan:
    """Plan for each pod template of an object in turn, starting from the object with the plans before it.

    Where they share fields, edits of some may make others agree to more: they are planned until nothing is left to do.
    The edits of shared fields come with the first pod template that needs one.
    """
    accepted, problems = subject.accepted()
    planner = _Planner(options, accepted)
    templates = subject.templates()
    turn = _in_turn(planner, subject, templates)
    plans = {item.identity.pod_path: item for item in turn.planned}
    if len(templates) > 1 and any(location.spread for location in templates):
        for _ in range(_ROUNDS):
            changed = subject.changed(turn.value)
            again = _in_turn(planner, changed, changed.templates())
            if not any(undone(plans[item.identity.pod_path].plan, item) for item in again.planned):
                break
            turn = again._replace(shared=(*turn.shared, *again.shared), sharing=turn.sharing | again.sharing)
            plans = {item.identity.pod_path: _after(plans[item.identity.pod_path].plan, item) for item in again.planned}
    after = {location.path: location for location in subject.changed(turn.value).templates()} if turn.shared else {}
    made = [_reworded(item, after[path]) if after else item for path, item in plans.items()]
    if turn.shared:
        first = next((at for at, item in enumerate(made) if item.identity.pod_path in turn.sharing), 0)
        plan_of_first = made[first].plan
        made[first] = made[first]._replace(plan=plan_of_first._replace(edits=(*turn.shared, *plan_of_first.edits)))
    return ObjectPlan(turn.value, tuple(made), (*problems, *turn.problems))


def undone(first: Plan, again: Planned) -> list[Edit]:
    """Return the edits of a second plan that the first should have made: at baseline, safe edits may be left over."""
    at_baseline = first.reaches == "baseline" and again.policy.level == "restricted"
    return [edit for edit in (*again.plan.edits, *again.plan.steps) if not (at_baseline and edit.risk == "safe")]


def edits_of(subject: Subject, pod_path: Path, options: FixOptions) -> tuple[Edit, ...]:
    """Return the edits of an object for one of its pod templates. Raises InputError where they cannot be planned."""
    templates = subject.templates()
    index = next(index for index, location in enumerate(templates) if location.path == pod_path)
    planner = _Planner(options, _EMPTY)
    after, _, shared = planner.share(subject, templates, only=index)
    return (*shared, *planner.plan(after, after.templates()[index], shares=False).edits)


class _Turn(NamedTuple):
    """A plan for each pod template, and the object with these plans.

    ``shared`` are the edits of shared fields, which are made first and are in none of the plans; ``sharing`` are the
    pod templates that need them.
    """

    value: dict[str, Any]
    planned: tuple[Planned, ...]
    problems: tuple[Problem, ...]
    shared: tuple[Edit, ...] = ()
    sharing: frozenset[Path] = frozenset()


def _in_turn(planner: _Planner, subject: Subject, templates: list[Location]) -> _Turn:
    plans: list[Planned] = []
    found: list[Problem] = []
    original = subject.value
    try:
        subject, common, shared = planner.share(subject, templates)
    except Exception as error:  # noqa: BLE001 (one object must not end the run)
        return _Turn(original, (), (subject.problem(unexpected(error)),))
    # Edits of shared fields change other pod templates, edits of a template's own fields do not.
    current = subject.templates() if shared else templates
    for index, first in enumerate(templates):
        try:
            location = current[index]
            if plans and not location.spread:
                location = location._replace(value=resolve_path(subject.value, location.path))
            made = planner.plan(subject, location, shares=False)
            subject = subject.changed(apply(subject.value, made.edits))
            made = common[index].before(made) if index in common else made
            plans.append(Planned(subject.named(location), made, subject.policy_for(location)))
        except InputError as error:
            found.append(subject.problem(error, first))
        except Exception as error:  # noqa: BLE001 (one object must not end the run)
            found.append(subject.problem(unexpected(error)))
    if not plans:
        return _Turn(original, (), tuple(found))
    sharing = frozenset(templates[index].path for index, each in common.items() if each.steps)
    return _Turn(subject.value, tuple(plans), tuple(found), shared, sharing)


def _after(first: Plan, item: Planned) -> Planned:
    """Return the plan of a later round, together with the plans before it."""
    then = item.plan
    notes = tuple(dict.fromkeys((*first.notes, *then.notes)))
    steps, edits = (*first.steps, *then.steps), (*first.edits, *then.edits)
    return item._replace(plan=then._replace(before=first.before, steps=steps, edits=edits, notes=notes))


def _reworded(item: Planned, after: Location) -> Planned:
    """Return a plan with its remaining violations worded for the pod after all plans: merged lists may change order."""
    if not item.plan.remaining:
        return item
    found = {control.id: finding for control, finding in evaluate(after.pod(), item.policy)}
    remaining = (
        left._replace(reason=found[left.check].reason, detail=found[left.check].detail) if left.check in found else left
        for left in item.plan.remaining
    )
    return item._replace(plan=item.plan._replace(remaining=tuple(remaining)))


class _Common(NamedTuple):
    """What comes before the plan of a pod template: its level before, and the steps in shared fields that it needs."""

    level: Level
    steps: tuple[Edit, ...] = ()

    def before(self, made: Plan) -> Plan:
        """Return the plan with these steps before its own."""
        return made._replace(before=self.level, steps=(*self.steps, *made.steps))


class _Planner:
    """Makes the plans for the pod templates of one object; a person is asked once for each edit."""

    def __init__(self, options: FixOptions, accepted: Mapping[str, str]) -> None:
        self._options, self._accepted = options, accepted
        self._agreement: Agreement | None = None
        self._answers: dict[tuple[Path, str, Path], Edit | None] = {}

    def share(
        self, subject: Subject, templates: list[Location], only: int | None = None
    ) -> tuple[Subject, dict[int, _Common], tuple[Edit, ...]]:
        """Return the object with the plans' edits of shared fields, the pod templates that need them, and these edits.

        ``only``: just those that this one of the pod templates needs.
        """
        common: dict[int, _Common] = {}
        shared: list[Edit] = []
        if len(templates) == 1 or not any(location.spread for location in templates):
            return subject, common, ()
        for _ in range(_ROUNDS):
            self._agreement = Agreement(subject, templates, self._options, self._accepted)
            wanted: dict[tuple[bool, Path], Edit] = {}
            first: int | None = None
            for index, location in enumerate(templates):
                if only not in (None, index):
                    continue
                try:
                    made = self.plan(subject, location, shares=True)
                except InputError:
                    continue  # It is reported where its own plan is made.
                common.setdefault(index, _Common(made.before))
                steps = tuple(step for step in made.steps if is_shared(location, step))
                for edit in in_object(subject.value, location, steps):
                    wanted.setdefault((edit.op == "remove", edit.path), edit)
                if steps and first is None:
                    first = index
                    common[index] = common[index]._replace(steps=(*common[index].steps, *steps))
            if first is None:
                break
            edits = lowered(subject.value, list(wanted.values()))
            changed = subject.changed(apply(subject.value, edits))
            orphans = _orphans(templates, changed.templates(), list(wanted.values()))
            more = lowered(changed.value, orphans)
            subject = changed.changed(apply(changed.value, more))
            templates = subject.templates()
            shared.extend((*edits, *more))
        return subject, common, tuple(shared)

    def plan(self, subject: Subject, location: Location, *, shares: bool) -> Plan:
        """Return the plan for a pod template; without ``shares`` it leaves shared fields as they are."""
        identity, policy = subject.named(location), subject.policy_for(location)
        learned = self._options.learn(identity, subject.value, location.value)
        choose = partial(self._choose, identity, subject.value) if self._options.choose is not None else None

        def objection(edit: Edit) -> str:
            why = uncovered(location, edit)
            if why:
                return why
            if self._agreement is None or not is_shared(location, edit):
                return ""
            if edit.op == "add" and "volumeMounts" in edit.path:
                # The volume would be added to one template only.
                return f"{field_path(location.in_object(edit.path))} is shared with others"
            why = self._agreement.objection(location, edit)
            return why or ("" if shares else f"{field_path(location.in_object(edit.path))} is shared with others")

        def make() -> Plan:
            return plan(subject.value, location, policy, self._options, learned, choose, self._accepted, objection)

        if self._agreement is not None:
            return make()
        return once(location, policy, self._options, learned, self._accepted, make)

    def _choose(self, identity: Identity, value: object, edits: list[Edit]) -> list[Edit]:
        """Return the edits that a person wants, who is asked only about new ones."""
        ask = self._options.choose
        if ask is None:
            return edits
        path = identity.pod_path
        new = [edit for edit in edits if (path, edit.op, edit.path) not in self._answers]
        if new:
            wanted = {(edit.op, edit.path): edit for edit in ask(identity, value, new)}
            for edit in new:
                self._answers[path, edit.op, edit.path] = wanted.get((edit.op, edit.path))
        answers = (self._answers[path, edit.op, edit.path] for edit in edits)
        return [answer for answer in answers if answer is not None]


def _orphans(before: list[Location], after: list[Location], edits: list[Edit]) -> list[Edit]:
    """Return the removals, in the object, of mounts whose volumes pod templates had before and no longer have."""
    found: dict[Path, Edit] = {}
    cause = next((edit for edit in edits if edit.op == "remove" and "volumes" in edit.path), None)
    for old, new in zip(before, after, strict=True) if cause is not None else ():
        gone = _volumes(old) - _volumes(new)
        for path, mount in _mounts(new):
            if gone and cause is not None and mount.get("name") in gone:
                real = new.in_object(path)
                found[real] = cause._replace(path=real)
    return list(found.values())


def _volumes(location: Location) -> set[str]:
    volumes = location.value["spec"]["volumes"]
    return {volume["name"] for volume in volumes if isinstance(volume, dict) and isinstance(volume.get("name"), str)}


def _mounts(location: Location) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the mounts of a pod template that is spread over an object, and their paths in the pod template."""
    for key in ("initContainers", "containers"):
        containers = location.value["spec"][key]
        for number, container in enumerate(containers if isinstance(containers, list) else ()):
            mounts = container.get("volumeMounts") if isinstance(container, dict) else None
            for index, mount in enumerate(mounts if isinstance(mounts, list) else ()):
                if isinstance(mount, dict):
                    yield ("spec", key, number, "volumeMounts", index), mount

"""Values as plans: the risk and the reason of each field that they change, by pod template, and what is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from kubectl_harden.json_values import ABSENT, same
from kubectl_harden.manifests.chart_effects import Change, Effect, TemplateKey, Unit, key_of
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import RISKS, Checked, Edit, Path, Risk
from kubectl_harden.plan_model import Plan, Planned, Remaining
from kubectl_harden.planning.options import FixOptions

__all__ = ["NO_VALUE", "FullPlan", "full_plans", "planned_by_values", "risk_of"]

_BESIDE: Final = "no rule of the level asks for it: the chart sets it together with the rest"
_ITEM: Final = len(("spec", "initContainers", 0))
_NOT_RUN: Final = "not run any more: what it did must be done elsewhere (on the nodes), or must not be needed"
_HELD: Final = "values of the chart set it, but they bring no pod to a level (--partial)"
NO_VALUE: Final = "no value of the chart was found that sets it"


class FullPlan(NamedTuple):
    """A plan with edits of any risk, and the object before and after it."""

    planned: Planned
    before: Any
    after: Any

    def settings(self) -> Iterator[tuple[Edit, Path, Any]]:
        """Yield each step about a security context, with the field in it and the value to set.

        Lists of capabilities are separate, other fields are complete.
        """
        base = self.planned.identity.pod_path
        for step in self.planned.plan.steps:
            where = next((index for index, part in enumerate(step.path) if part == "securityContext"), None)
            if where is None or where + 1 >= len(step.path):
                continue
            path = (*base, *step.path[: where + 2])
            field = step.path[where + 1]
            value = _override(_at(self.before, path), _at(self.after, path))
            if field == "capabilities" and isinstance(value, dict):
                yield from ((step, (field, key), item) for key, item in value.items())
            else:
                yield step, (field,), value


def full_plans(texts: Iterable[Manifest], policies: Policies, options: FixOptions) -> dict[TemplateKey, FullPlan]:
    """Return the plan for every pod template, with edits of any risk; where a person chooses, with those chosen."""
    if options.choose is None:
        options = options._replace(max_risk="breaks", partial=True)
    found = {}
    for text in texts:
        fixed = fix_text(text, policies, options)
        changes = {identity.source: (before, after) for identity, before, after in fixed.objects}
        for planned in fixed.planned:
            before, after = changes.get(planned.identity.source, (None, None))
            found[key_of(planned.identity)] = FullPlan(planned, before, after)
    return found


def risk_of(change: Change, plans: Mapping[TemplateKey, FullPlan]) -> Risk:
    """Return the risk of a change: that of the edits planned for the field, else ``review``."""
    risks = [step.risk for step in _steps(change, plans)]
    return max(risks, key=RISKS.index) if risks else "review"


def _steps(change: Change, plans: Mapping[TemplateKey, FullPlan]) -> list[Edit]:
    """Return the planned edits that a change carries out: of this field, else of one with the same name and value."""
    if _is_container(change):
        # Without the container, none of its fields is left to judge.
        return []
    plan = plans.get(change.template)
    steps = plan.planned.plan.steps if plan is not None else ()
    near = [step for step in steps if _is_within(step.path, change.path) or _is_within(change.path, step.path)]
    alike = [step for step in steps if step.path[-1] == change.path[-1] and same(step.value, change.new)]
    return [step for step in near if _agrees(step, change)] or alike


def _is_container(change: Change) -> bool:
    """Whether a whole init container is removed, or the list of them."""
    return "initContainers" in change.path and change.new is ABSENT and len(change.path) <= _ITEM


def _is_within(path: Path, other: Path) -> bool:
    return path[: len(other)] == other


def _agrees(step: Edit, change: Change) -> bool:
    """Whether a change sets its field as a step does, or more strictly."""
    if step.op == "remove":
        return change.new is ABSENT or change.new in (None, [], {}, "", False)
    if len(step.path) >= len(change.path):
        value = _at(change.new, step.path[len(change.path) :])
        return same(value, step.value)
    return same(_at(step.value, change.path[len(step.path) :]), change.new)


def planned_by_values(
    plans: Mapping[TemplateKey, FullPlan],
    checked: Iterable[Checked],
    effect: Effect,
    texts: Iterable[Manifest],
    policies: Policies,
    options: FixOptions,
) -> Iterator[Planned]:
    """Yield, for each pod template, the plan that values carry out, and what is left, with choices.

    What is left in ``effect`` is what other values, which are not set, would fix.
    """
    rest = {
        key_of(planned.identity): planned.plan
        for text in texts
        for planned in fix_text(text, policies, options._replace(choose=None)).planned
    }
    changes: dict[TemplateKey, list[Change]] = {}
    for change in effect.changes:
        changes.setdefault(change.template, []).append(change)
    for one in checked:
        key = key_of(one.identity)
        edits = [edit for change in changes.get(key, ()) for edit in _edits(change, plans)]
        edits = list({(edit.op, edit.path, str(edit.value)): edit for edit in edits}.values())
        before = plans[key].planned.plan.before if key in plans else one.level
        remaining = tuple(_remaining(one, rest.get(key), effect.left))
        in_object = tuple(edit._replace(path=(*one.identity.pod_path, *edit.path)) for edit in edits)
        yield Planned(one.identity, Plan(before, one.level, in_object, remaining, tuple(edits)), one.policy)


def _edits(change: Change, plans: Mapping[TemplateKey, FullPlan]) -> Iterator[Edit]:
    steps = _steps(change, plans)
    if steps:
        yield from steps
        return
    if change.new is ABSENT:
        if _is_container(change):
            names = [item.get("name") for item in (change.old if isinstance(change.old, list) else [change.old])]
            words = f"init container {', '.join(map(str, names))}: {_NOT_RUN}"
            yield Edit("remove", change.path, None, (), "review", words)
        else:
            yield Edit("remove", change.path, None, (), "review", "the chart leaves it out together with the rest")
        return
    yield Edit("replace" if change.old is not ABSENT else "add", change.path, change.new, (), "review", _BESIDE)


def _remaining(checked: Checked, rest: Plan | None, held: frozenset[Unit]) -> Iterator[Remaining]:
    """Yield the violations that are left: why an edit is not made, or that no value makes it; ``held`` would be fixed
    by values that are not set.
    """
    key = key_of(checked.identity)
    known = {(item.check, item.reason, item.detail): item for item in (rest.remaining if rest is not None else ())}
    for violation in checked.violations:
        found = known.get((violation.check, violation.reason, violation.detail))
        if found is not None:
            yield found
        elif violation.accepted:
            why = f"accepted: {violation.accepted}"
            yield Remaining(violation.check, violation.reason, violation.detail, why, (), accepted=True)
        else:
            is_held = any(Unit(key, violation.check, at.field) in held for at in violation.at)
            why = _HELD if is_held else NO_VALUE
            yield Remaining(violation.check, violation.reason, violation.detail, why, ())


def _override(before: Any, after: Any) -> Any:
    """Return the smallest value that turns ``before`` into ``after`` as helm merges values: null removes a key."""
    if after is None and isinstance(before, list):
        return []
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    gone = {key: _override(before[key], None) for key in before if key not in after}
    new = {key: value for key, value in after.items() if key not in before or not same(before[key], value)}
    return {**{key: _override(before.get(key), value) for key, value in new.items()}, **gone}


def _at(value: Any, path: Path) -> Any:
    for part in path:
        is_there = isinstance(value, list) and isinstance(part, int) and part < len(value)
        value = value.get(part) if isinstance(value, dict) else value[part] if is_there else None
    return value

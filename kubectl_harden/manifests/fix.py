"""The smallest change to manifests: load → locate → remediate → edit → prove."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

from kubectl_harden.errors import EditError, InputError
from kubectl_harden.json_values import same
from kubectl_harden.manifests.reader import (
    Inputs,
    Object,
    Work,
    accepted,
    each_file,
    pods,
    read_objects,
    report,
    templates,
)
from kubectl_harden.model import Checked, FileFix, Identity, Path, Plan, Planned, Problem, Replacement, Source, Splice
from kubectl_harden.objects import items_of
from kubectl_harden.planning.plan import FixOptions, apply, planned_for
from kubectl_harden.pod_security.pod_templates import Location, PodPaths, locate
from kubectl_harden.pod_security.policy import Policy
from kubectl_harden.yaml_text.documents import Document, Fault
from kubectl_harden.yaml_text.editor import edit_document, spliced

__all__ = ["fix_files", "fix_text", "proposal"]


def fix_files(inputs: Inputs, policy: Policy, options: FixOptions) -> Iterator[FileFix]:
    """Yield the plan and the proved new text for each file, in the order in which they were named."""
    if options.learn.looks_around:
        options.learn.prepare(templates(inputs))
    work = partial(fix_text, policy=policy, options=options)
    yield from each_file(inputs, work, _unread, parallel=not (options.learn.looks_around or options.choose))


def _unread(file: str, message: str) -> FileFix:
    return FileFix(file, "", (), (), (Problem(file, None, None, None, message),))


def fix_text(
    file: str,
    text: str,
    *,
    policy: Policy,
    options: FixOptions,
    listed: bool = False,
    pod_paths: PodPaths | None = None,
    lined: bool = True,
) -> FileFix:
    """Plan for every pod template in a text, and edit the text; the result is proved.

    A document that cannot be edited provably keeps its text and becomes a problem.
    """
    work = Work.of(file, text, listed=listed, pod_paths=pod_paths, lined=lined)
    planned: list[Planned] = []
    objects: list[tuple[Identity, Any, Any]] = []
    edited: dict[int, tuple[Document, dict[Path, dict[str, Any]]]] = {}
    values: dict[int, Any] = {}
    for found in read_objects(work, _noted(work.documents(), values)):
        document = found.document
        plans, patched = _plan_object(work, found, policy, options)
        planned.extend(plans)
        if plans and not same(patched, found.value):
            objects.append((plans[0].identity, found.value, patched))
            edited.setdefault(document.index, (document, {}))[1][found.base] = patched
    splices: list[Splice] = []
    for index, (document, patches) in edited.items():
        goal = _patched(document.value, (), patches)
        try:
            made = edit_document(document, goal)
        except EditError as error:
            work.problem(index, document.start, f"not edited: {error}")
            planned = [item for item in planned if _document(item.identity) != index]
            objects = [item for item in objects if _document(item[0]) != index]
            continue
        splices.extend(made)
        values[index] = goal
    if splices:
        try:
            plans_by_key = {_key(item): item.plan for item in planned}
            _prove_file(work, spliced(text, splices), values, plans_by_key, policy, options)
        except EditError as error:
            work.problem(None, None, f"not edited: {error}")
            return FileFix(file, text, (), (), tuple(work.problems))
    return FileFix(file, text, tuple(splices), tuple(planned), tuple(work.problems), tuple(objects))


def proposal(work: Work, found: Object, checked: Checked, location: Location, check: str) -> tuple[Replacement, ...]:
    """Return what cures one control of a pod template in its text; nothing where no edit can be proposed."""
    options = FixOptions(only=frozenset((check,)))
    try:
        made = planned_for(checked.identity, found.value, location, checked.policy, options)
        goal = _patched(found.document.value, (), {found.base: apply(found.value, made.edits)})
        splices = edit_document(found.document, goal) if made.edits else ()
    except (InputError, EditError):
        return ()
    place = work.lines.place
    return tuple(Replacement(*place(start), *place(end), new) for start, end, new in splices)


def _noted(found: Iterable[Document | Fault], values: dict[int, Any]) -> Iterator[Document | Fault]:
    """Pass documents on, and note what each means."""
    for document in found:
        if isinstance(document, Document):
            values[document.index] = document.value
        yield document


def _plan_object(
    work: Work, found: Object, policy: Policy, options: FixOptions
) -> tuple[list[Planned], dict[str, Any]]:
    """Plan for each pod template in turn, each on what the plans before it made of the object."""
    value = found.value
    plans = []
    reasons = accepted(work, found)
    for index, (identity, first) in enumerate(list(pods(work, found))):
        location = first if index == 0 else (locate(value, work.pod_paths) or [])[index]
        try:
            made = planned_for(identity, value, location, policy, options, reasons)
        except InputError as error:
            report(work, found, location.in_object(error.path or ()), error.args[0])
            continue
        value = apply(value, made.edits)
        plans.append(Planned(identity, made, policy))
    return plans, value


def _patched(value: Any, base: Path, patches: Mapping[Path, dict[str, Any]]) -> Any:
    """Return a document's value with the objects at the bases replaced.

    A kind that a typed List implied for an object stays out.
    """
    if base in patches:
        implied = {key for key in ("apiVersion", "kind") if key not in value}
        return {key: item for key, item in patches[base].items() if key not in implied}
    items = items_of(value)
    if items is None:
        return value
    return {**value, "items": [_patched(item, (*base, "items", i), patches) for i, item in enumerate(items)]}


def _key(item: Planned) -> tuple[int | None, int | None, Path]:
    source = cast(Source, item.identity.source)
    return source.document, source.item, item.identity.pod_path


def _document(identity: Identity) -> int | None:
    return cast(Source, identity.source).document


def _left(plan: Plan) -> list[tuple[str, str, str]]:
    return [(left.check, left.reason, left.detail) for left in plan.remaining]


def _prove_file(
    work: Work,
    after: str,
    values: Mapping[int, Any],
    plans: Mapping[tuple[int | None, int | None, Path], Plan],
    policy: Policy,
    options: FixOptions,
) -> None:
    """Raise EditError unless the new text means what was planned, in every document.

    Every edited pod template must have the planned verdict, and a second run nothing to do.
    """
    again = Work.of(work.file, after, listed=work.listed, pod_paths=work.pod_paths)
    found_values: dict[int, Any] = {}
    for found in read_objects(again, _noted(again.documents(), found_values)):
        for item in _plan_object(again, found, policy, options)[0]:
            first = plans.get(_key(item))
            if first is not None and (
                item.plan.edits or item.plan.before != first.after or _left(item.plan) != _left(first)
            ):
                raise EditError(
                    f"{item.identity.kind} {item.identity.name}: the edited text does not have the planned verdict"
                )
    if found_values.keys() != values.keys() or not all(same(values[i], found_values[i]) for i in values):
        raise EditError("the edited text changes the meaning of another document")

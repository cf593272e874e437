"""The main job on manifests: load → locate → evaluate → remediate → prove, a file at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from kubectl_harden.errors import EditError, InputError
from kubectl_harden.manifests import STDIN, cannot_hold_pod, find_files, read_text, template_line
from kubectl_harden.model import (
    Checked,
    FileCheck,
    FileFix,
    Identity,
    Path,
    Plan,
    Planned,
    Problem,
    Source,
    Violation,
)
from kubectl_harden.pod import Pod
from kubectl_harden.policy import Policy, evaluate, highest_level
from kubectl_harden.remediate import FixOptions, apply, plan
from kubectl_harden.streams import SKIPPED, Document, Fault, Lines, documents
from kubectl_harden.values import same
from kubectl_harden.workload import Location, item_kind, items_of, locate, pod_kinds
from kubectl_harden.yaml_edit import edit_document
from kubectl_harden.yaml_tree import ALIAS, MAPPING, SEQUENCE, Node, key_of

__all__ = ["Inputs", "check_files", "check_text", "fix_files", "fix_text"]

T = TypeVar("T")

PARALLEL_BYTES: Final = 2 << 20
"""From this much input on, a second process saves more time than it costs to start."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Which files to read, and what in them is a workload."""

    names: tuple[str, ...]
    recursive: bool = False
    pod_paths: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Object:
    """One object of a document: ``base`` leads to it from the document's root."""

    document: Document
    base: Path
    item: int | None
    value: dict[str, Any]


@dataclass(slots=True)
class _Text:
    """One file while it is worked on."""

    file: str
    text: str
    listed: bool
    pod_paths: Mapping[tuple[str, str], tuple[str, ...]]
    lines: Lines
    problems: list[Problem]
    template: int | None = None

    def problem(self, document: int | None, offset: int | None, message: str) -> None:
        line, column = self.lines.place(offset) if offset is not None else (None, None)
        self.problems.append(Problem(self.file, document, line, column, message))


def check_files(inputs: Inputs, policy: Policy) -> Iterator[FileCheck]:
    """Yield what is found in each file, in the order in which the files were named."""
    return _each_file(inputs, partial(check_text, policy=policy), _unread_check)


def fix_files(inputs: Inputs, policy: Policy, options: FixOptions) -> Iterator[FileFix]:
    """Yield the plan and the proved new text for each file, in the order in which they were named."""
    return _each_file(inputs, partial(fix_text, policy=policy, options=options), _unread_fix)


def _unread_check(file: str, message: str) -> FileCheck:
    return FileCheck(file, (), (Problem(file, None, None, None, message),))


def _unread_fix(file: str, message: str) -> FileFix:
    return FileFix(file, "", "", (), (Problem(file, None, None, None, message),))


def _each_file(inputs: Inputs, work: Callable[..., T], unread: Callable[[str, str], T]) -> Iterator[T]:
    pod_paths = dict(inputs.pod_paths)
    named: list[tuple[str, bool, str | None]] = []
    try:
        for found in find_files(inputs.names, recursive=inputs.recursive):
            if isinstance(found, InputError):
                named.append((found.args[0].partition(": ")[0], False, found.args[0].partition(": ")[2]))
            else:
                named.append((*found, None))
    except InputError as error:
        named.append((error.args[0].partition(": ")[0], False, error.args[0].partition(": ")[2]))
    job = partial(_one_file, work=work, unread=unread, pod_paths=pod_paths)
    if len(named) > 1 and (os.cpu_count() or 1) > 1 and _total_bytes(named) >= PARALLEL_BYTES:
        import multiprocessing

        with multiprocessing.Pool(min(os.cpu_count() or 1, 8)) as pool:
            yield from pool.imap(job, named, chunksize=max(1, min(32, len(named) // 16)))
    else:
        yield from map(job, named)


def _total_bytes(named: Iterable[tuple[str, bool, str | None]]) -> int:
    total = 0
    for file, _, message in named:
        if message is None and file != STDIN:
            total += os.stat(file).st_size
    return total


def _one_file(
    named: tuple[str, bool, str | None],
    work: Callable[..., T],
    unread: Callable[[str, str], T],
    pod_paths: Mapping[tuple[str, str], tuple[str, ...]],
) -> T:
    file, listed, message = named
    if message is not None:
        return unread(file, message)
    try:
        text = read_text(file)
    except InputError as error:
        return unread(file, error.args[0])
    return work(file, text, listed=listed, pod_paths=pod_paths)


# -- objects ---------------------------------------------------------------------------------------


def _objects(work: _Text, found: Iterable[Document | Fault]) -> Iterator[_Object]:
    """Yield the objects of a file; what is none becomes a problem, or nothing in a listed file."""
    for document in found:
        if isinstance(document, Fault):
            _fault(work, document)
            continue
        if document.value is None or document.value is SKIPPED:
            continue
        for offset, key in document.repeated:
            work.problem(document.index, offset, f'the key "{key}" is repeated; kubectl takes the last one')
        yield from _objects_below(work, document, document.value, (), None)


def _objects_below(
    work: _Text, document: Document, value: Any, base: Path, item: int | None
) -> Iterator[_Object]:
    if not isinstance(value, dict) or not value.get("kind") or not value.get("apiVersion"):
        if not work.listed:
            missing = "apiVersion and kind" if not isinstance(value, dict) else _missing(value)
            work.problem(document.index, document.start, f"this is no Kubernetes object: {missing} not set")
        return
    items = items_of(value)
    if items is None:
        yield _Object(document, base, item, value)
        return
    for index, child in enumerate(items):
        yield from _objects_below(work, document, item_kind(value, child), (*base, "items", index), index)


def _missing(value: dict[str, Any]) -> str:
    return " and ".join(name for name in ("apiVersion", "kind") if not value.get(name))


def _fault(work: _Text, fault: Fault) -> None:
    line = template_line(work.text)
    if line is None:
        work.problem(fault.index, fault.offset, fault.message)
    elif work.template is None:
        # One problem for the whole template: what its pieces mean is only known when it is rendered.
        work.template = line
        message = "a template, not YAML yet: render it first (helm template CHART | kubectl harden check -f -)"
        work.problems.append(Problem(work.file, None, line, None, message))


def _pods(work: _Text, found: _Object) -> Iterator[tuple[Identity, Location]]:
    """Yield the pod templates of an object; one that has none where it must have is a problem."""
    try:
        locations = locate(found.value, work.pod_paths) or []
    except InputError as error:
        _object_problem(work, found, (), error)
        return
    for location in locations:
        yield _identity(work, found, location.path), location


def _object_problem(work: _Text, found: _Object, path: Path, error: InputError) -> None:
    full = (*path, *(error.path or ()))
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in full).lstrip(".")
    name = f"{found.value.get('kind')} {_name(found.value)}"
    offset = _offset(found.document, (*found.base, *full))
    advice = ""
    if full[-1:] == ("containers",) or not error.path:
        advice = " (if this is a patch, check what it is applied to)"
    work.problem(found.document.index, offset, f"{name}: {where}: {error.args[0]}{advice}")


def _name(value: dict[str, Any]) -> str:
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    name = metadata.get("name") or metadata.get("generateName")
    return name if isinstance(name, str) else ""


def _identity(work: _Text, found: _Object, path: Path) -> Identity:
    metadata = found.value.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    line, _ = work.lines.place(_offset(found.document, found.base))
    return Identity(
        Source(work.file, found.document.index, line, found.item),
        found.value["apiVersion"],
        found.value["kind"],
        namespace if isinstance(namespace, str) else None,
        _name(found.value),
        path,
    )


def _offset(document: Document, path: Path) -> int:
    """Return where a field stands in the file, or the innermost of its parents that is there."""
    node = document.tree()
    if node is None:
        return document.start
    offset = node.start
    for part in path:
        while node.kind == ALIAS:
            node = node.children[0]
        step = _step(node, part)
        if step is None:
            break
        offset, node = step
    return document.start + offset


def _step(node: Node, part: str | int) -> tuple[int, Node] | None:
    if node.kind == SEQUENCE and isinstance(part, int) and part < len(node.children):
        return node.children[part].start, node.children[part]
    if node.kind == MAPPING:
        for key, value in node.pairs():
            if not key.is_merge and key_of(key) == part:
                return key.start, value
    return None


# -- check -----------------------------------------------------------------------------------------


def _open(file: str, text: str, *, listed: bool, pod_paths: Mapping[tuple[str, str], tuple[str, ...]]) -> _Text:
    return _Text(file, text, listed, pod_paths, Lines(text), [])


def check_text(
    file: str,
    text: str,
    *,
    policy: Policy,
    listed: bool = False,
    pod_paths: Mapping[tuple[str, str], tuple[str, ...]] | None = None,
) -> FileCheck:
    """Evaluate every pod template in a text; ``listed`` files may hold what is no Kubernetes object."""
    work = _open(file, text, listed=listed, pod_paths=pod_paths or {})
    kinds = pod_kinds(work.pod_paths)
    checked = []
    for found in _objects(work, documents(text, lambda body: cannot_hold_pod(body, kinds))):
        for identity, location in _pods(work, found):
            try:
                pod = Pod(location.value, is_pod=location.is_pod)
            except InputError as error:
                _object_problem(work, found, location.in_object(error.path or ()), InputError(error.args[0]))
                continue
            checked.append(Checked(identity, *_verdict(work, found, location, pod, policy)))
    return FileCheck(file, tuple(checked), tuple(work.problems))


def _verdict(
    work: _Text, found: _Object, location: Location, pod: Pod, policy: Policy
) -> tuple[Any, tuple[Violation, ...]]:
    violations = []
    for control, finding in evaluate(pod, policy):
        paths = tuple(location.in_object(path) for path in finding.paths)
        line, _ = work.lines.place(_offset(found.document, (*found.base, *paths[0])))
        violations.append(Violation(control.id, control.level, finding.reason, finding.detail, paths, line))
    return highest_level(pod, policy.minor), tuple(violations)


# -- fix -------------------------------------------------------------------------------------------


def fix_text(
    file: str,
    text: str,
    *,
    policy: Policy,
    options: FixOptions,
    listed: bool = False,
    pod_paths: Mapping[tuple[str, str], tuple[str, ...]] | None = None,
) -> FileFix:
    """Plan for every pod template in a text, and edit the text; the result is proved.

    A document that cannot be edited provably keeps its text and becomes a problem.
    """
    work = _open(file, text, listed=listed, pod_paths=pod_paths or {})
    kinds = pod_kinds(work.pod_paths)
    planned: list[Planned] = []
    objects: list[tuple[Identity, Any, Any]] = []
    goals: dict[int, tuple[Document, Any]] = {}
    values: dict[int, Any] = {}
    for found in _objects(work, _noted(documents(text, lambda body: cannot_hold_pod(body, kinds)), values)):
        if found.document.repeated:
            continue
        plans, patched = _plan_object(work, found, policy, options)
        planned.extend(plans)
        if plans and not same(patched, found.value):
            objects.append((plans[0].identity, found.value, patched))
            document, goal = goals.get(found.document.index, (found.document, found.document.value))
            goals[found.document.index] = (document, _put(goal, found.base, patched))
    after = text
    for index in sorted(goals, reverse=True):
        document, goal = goals[index]
        try:
            after = after[: document.start] + edit_document(document, goal) + after[document.end :]
            values[index] = goal
        except EditError as error:
            work.problem(index, document.start, f"not edited: {error}")
            planned = [item for item in planned if item.identity.source.document != index]
            objects = [item for item in objects if item[0].source.document != index]
    if after != text:
        try:
            _prove_file(work, after, values, {_key(item): item.plan for item in planned}, policy, options)
        except EditError as error:
            work.problem(None, None, f"not edited: {error}")
            return FileFix(file, text, text, (), tuple(work.problems))
    return FileFix(file, text, after, tuple(planned), tuple(work.problems), tuple(objects))


def _noted(found: Iterable[Document | Fault], values: dict[int, Any]) -> Iterator[Document | Fault]:
    """Pass documents on, and note what each means."""
    for document in found:
        if isinstance(document, Document):
            values[document.index] = document.value
        yield document


def _plan_object(
    work: _Text, found: _Object, policy: Policy, options: FixOptions
) -> tuple[list[Planned], dict[str, Any]]:
    """Plan for each pod template in turn, each on what the plans before it made of the object."""
    value = found.value
    plans = []
    for index, (identity, first) in enumerate(list(_pods(work, found))):
        location = first if index == 0 else (locate(value, work.pod_paths) or [])[index]
        try:
            made = plan(value, location, policy, options)
        except InputError as error:
            _object_problem(work, found, location.in_object(error.path or ()), InputError(error.args[0]))
            continue
        value = apply(value, made.edits)
        plans.append(Planned(identity, made))
    return plans, value


def _put(value: Any, base: Path, patched: dict[str, Any]) -> Any:
    """Return a document's value with the object at ``base`` replaced.

    A kind that a typed List implied for the object stays out.
    """
    if not base:
        implied = {key for key in ("apiVersion", "kind") if key not in value}
        return {key: item for key, item in patched.items() if key not in implied}
    out = dict(value) if isinstance(value, dict) else list(value)
    out[base[0]] = _put(value[base[0]], base[1:], patched)
    return out


def _key(item: Planned) -> tuple[int | None, int | None, Path]:
    return item.identity.source.document, item.identity.source.item, item.identity.pod_path


def _prove_file(
    work: _Text,
    after: str,
    values: Mapping[int, Any],
    plans: Mapping[tuple[int | None, int | None, Path], Plan],
    policy: Policy,
    options: FixOptions,
) -> None:
    """Raise EditError unless the new text means what was planned, in every document.

    Every edited pod template must have the planned verdict, and a second run nothing to do.
    """
    kinds = pod_kinds(work.pod_paths)
    again = _open(work.file, after, listed=work.listed, pod_paths=work.pod_paths)
    found_values: dict[int, Any] = {}
    for found in _objects(again, _noted(documents(after, lambda body: cannot_hold_pod(body, kinds)), found_values)):
        if found.document.repeated:
            continue
        for item in _plan_object(again, found, policy, options)[0]:
            first = plans.get(_key(item))
            if first is not None and (
                item.plan.edits or item.plan.before != first.after or item.plan.remaining != first.remaining
            ):
                raise EditError(f"{_name(found.value)}: the edited text does not have the planned verdict")
    if found_values.keys() != values.keys() or not all(same(values[i], found_values[i]) for i in values):
        raise EditError("the edited text changes the meaning of another document")

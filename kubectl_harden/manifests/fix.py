"""The smallest change to manifests: read → plan → edit → prove, one file at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from kubectl_harden.errors import EditError, InputError, unexpected
from kubectl_harden.json_values import same
from kubectl_harden.manifests.discovery import directory_of
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Inputs, Item, Manifest, each_file, read, templates
from kubectl_harden.model import Checked, Identity, Other, Path, Problem, Replacement, Source, Splice, Violation
from kubectl_harden.objects import held_by
from kubectl_harden.plan_model import FileFix, Plan, Planned
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.object_plan import edits_of, planned, undone
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.verdict import judged
from kubectl_harden.yaml_text.documents import Document, Lines
from kubectl_harden.yaml_text.editor import edit_document, edited_document, merged, spliced

__all__ = ["NOT_EDITED", "fix_files", "fix_text", "proposal", "suggestion", "unchanged", "written"]


NOT_EDITED: Final = "not edited"
"""The beginning of a problem because of which a text is not changed."""


def fix_files(inputs: Inputs, policies: Policies, options: FixOptions) -> Iterator[FileFix]:
    """Yield the plan and the proved new text for each file, in the order in which they were named."""
    if options.learn.looks_around:
        options.learn.prepare(templates(inputs, policies))
    work = partial(fix_text, policies=policies, options=options)
    yield from each_file(inputs, work, _unread, parallel=not (options.learn.looks_around or options.choose))


def _unread(file: str, message: str) -> FileFix:
    return FileFix(file, "", (), (), (Problem(message, file),))


def unchanged(_document: Document) -> Mapping[Path, dict[str, Any]]:
    """Return no other changes of a document."""
    return {}


def _as_it_is(item: Item) -> Item:
    return item


def fix_text(
    manifest: Manifest,
    policies: Policies,
    options: FixOptions,
    also: Callable[[Document], Mapping[Path, dict[str, Any]]] = unchanged,
    select: Callable[[Item], Item | None] = _as_it_is,
) -> FileFix:
    """Plan for every pod template in a text, and edit the text; the result is proved.

    ``also`` returns what else is to change in a document: objects without pod templates, by their paths. ``select``
    returns the item to plan for an object that runs pods, None to leave it unchanged. A document whose edit cannot be
    proved keeps its text and becomes a problem.
    """
    file, text = manifest.file, manifest.text
    problems: list[Problem] = []
    plans: list[Planned] = []
    objects: list[tuple[Identity, object, object]] = []
    edited: dict[int, tuple[Document, dict[Path, dict[str, object]]]] = {}
    values: dict[int, object] = {}
    others: list[Other] = []
    for found in read(manifest, policies):
        if isinstance(found, Problem):
            problems.append(found)
        elif isinstance(found, Other):
            others.append(found)
        elif isinstance(found, Document):
            values[found.index] = found.value
            changes = also(found)
            if changes:
                edited[found.index] = found, dict(changes)
        elif (item := select(found)) is not None:
            made = planned(item.subject, options)
            plans.extend(made.planned)
            problems.extend(made.problems)
            if made.planned and not same(made.value, found.subject.value):
                objects.append((made.planned[0].identity, found.subject.value, made.value))
                edited.setdefault(found.document.index, (found.document, {}))[1][found.base] = made.value
    splices: list[Splice] = []
    known: dict[str, Document] = {}
    for index in list(edited):
        document, patches = edited.pop(index)
        goal = _patched(document.value, (), patches)
        try:
            made_of_it, proved = edited_document(document, goal)
        except Exception as error:  # noqa: BLE001 (one document must not end the run)
            line, column = Lines(text).place(document.start) if manifest.lined else (None, None)
            problems.append(Problem(f"{NOT_EDITED}: {unexpected(error)}", file, index, line, column))
            plans = [item for item in plans if _document(item.identity) != index]
            objects = [item for item in objects if _document(item[0]) != index]
            continue
        splices.extend(made_of_it)
        known[proved.text] = proved
        values[index] = proved.value
    if splices:
        try:
            after = manifest._replace(text=spliced(text, splices))
            _prove(after, known, values, {_key(item): item.plan for item in plans}, policies, options, select)
        except Exception as error:  # noqa: BLE001 (nothing unproven is written, and other files are)
            problems.append(Problem(f"{NOT_EDITED}: {unexpected(error)}", file))
            return FileFix(file, text, (), (), tuple(problems), (), tuple(others))
    return FileFix(file, text, tuple(splices), tuple(plans), tuple(problems), tuple(objects), tuple(others))


def written(found: FileFix, names: Collection[str]) -> FileFix:
    """Write a fixed file, and return the result: where that fails, a problem, and none of its edits.

    ``names`` are the paths that a person named, which may be links: other files must be inside these directories.
    """
    from kubectl_harden.atomic_files import write_text  # late: most fixes are only shown

    try:
        after = spliced(found.before, found.splices)
        write_text(found.file, found.before, after, inside=directory_of(found.file, names))
    except EditError as error:
        problem = Problem(str(error).removeprefix(f"{found.file}: "), found.file)
        return found._replace(splices=(), planned=(), objects=(), problems=(*found.problems, problem))
    return found


def proposal(manifest: Manifest, found: Item, checked: Checked, violation: Violation) -> tuple[Replacement, ...]:
    """Return the changes of its text that fix one violation of a pod template; none where no edit can be proposed."""
    place = Lines(manifest.text).place
    splices = _cure(found, checked, violation)
    return tuple(Replacement(*place(start), *place(end), new) for start, end, new in splices)


def suggestion(manifest: Manifest, found: Item, checked: Checked, violation: Violation) -> tuple[Replacement, ...]:
    """Return the same as at most one replacement, with columns in UTF-8 bytes."""
    splices = _cure(found, checked, violation)
    if not splices:
        return ()
    place = Lines(manifest.text).place_in_bytes
    start, end, new = merged(manifest.text, splices)
    return (Replacement(*place(start), *place(end), new),)


def _cure(found: Item, checked: Checked, violation: Violation) -> Sequence[Splice]:
    """Return the splices of a text that fix one violation of a pod template."""
    subject = found.subject
    try:
        edits = edits_of(subject, checked.identity.pod_path, FixOptions(only=frozenset((violation.check,))))
        goal = _patched(found.document.value, (), {found.base: apply(subject.value, edits)})
        return edit_document(found.document, goal) if edits else ()
    except (InputError, EditError):
        return ()


def _patched(value: Any, base: Path, patches: Mapping[Path, dict[str, object]]) -> object:
    """Return a document's value with the objects at the bases replaced.

    A kind that an object has only from its typed List is left out.
    """
    if base in patches:
        implied = {key for key in ("apiVersion", "kind") if key not in value}
        return {key: item for key, item in patches[base].items() if key not in implied}
    held = held_by(value)
    if held is None:
        return value
    key, items = held
    return {**value, key: [_patched(item, (*base, key, i), patches) for i, item in enumerate(items)]}


def _key(item: Planned) -> tuple[int | None, int | None, Path]:
    source = cast(Source, item.identity.source)
    return source.document, source.item, item.identity.pod_path


def _document(identity: Identity) -> int | None:
    return cast(Source, identity.source).document


def _prove(
    after: Manifest,
    known: Mapping[str, Document],
    values: Mapping[int, object],
    plans: Mapping[tuple[int | None, int | None, Path], Plan],
    policies: Policies,
    options: FixOptions,
    select: Callable[[Item], Item | None],
) -> None:
    """Raise EditError unless the new text means what was planned, in every document.

    Every edited pod template must have the planned verdict, and a second run must have nothing to do, except safe edits
    where baseline was reached on the way to restricted. ``known`` are the edited documents, by their texts, as read for
    their own proofs: the text must split into them, and they are not parsed again.
    """
    found_values: dict[int, Any] = {}
    for found in read(after, policies, known):
        if isinstance(found, Document):
            found_values[found.index] = found.value
        selected = select(found) if isinstance(found, Item) else None
        if selected is None:
            continue
        verdicts = {checked.identity.pod_path: checked for checked in judged(selected.subject).checked}
        for item in planned(selected.subject, options).planned:
            first = plans.get(_key(item))
            if first is None:
                continue
            checked = verdicts[item.identity.pod_path]
            verdict = [(violation.check, violation.reason, violation.detail) for violation in checked.violations]
            left = [(left.check, left.reason, left.detail) for left in first.remaining]
            if undone(first, item) or checked.level != first.after or verdict != left:
                raise EditError(
                    f"{item.identity.kind} {item.identity.name}: the edited text does not have the planned verdict"
                )
    if found_values.keys() != values.keys() or not all(same(values[i], found_values[i]) for i in values):
        raise EditError("the edited text changes the meaning of another document")

"""Inputs become objects: load → locate, a file at a time, on both cores when there is enough to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from kubectl_harden.errors import InputError, SyntaxFault
from kubectl_harden.field_path import field_path
from kubectl_harden.manifests.discovery import (
    STDIN,
    Found,
    cannot_hold_pod,
    find_files,
    is_other_json,
    read_text,
    template_line,
)
from kubectl_harden.model import Identity, Path, Problem, Source
from kubectl_harden.objects import item_kind, items_of
from kubectl_harden.pod_security.accepted import ALLOW, annotated, commented, is_about
from kubectl_harden.pod_security.pod_templates import Location, PodPaths, locate, pod_kinds
from kubectl_harden.yaml_text.documents import SKIPPED, Document, Fault, Lines, documents
from kubectl_harden.yaml_text.tree import ALIAS, MAPPING, SEQUENCE, Node, key_of

__all__ = [
    "Inputs",
    "Object",
    "Work",
    "accepted",
    "each_file",
    "offset_of",
    "pods",
    "read_objects",
    "report",
    "templates",
]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})

T = TypeVar("T")

PARALLEL_BYTES: Final = 1 << 19
"""From this much input on, a second process saves more time than it costs to start."""


def _none(_file: str) -> bool:
    return False


class Inputs(NamedTuple):
    """Which files to read, and what in them is a workload.

    ``excluded`` files are left out; ``skip_others`` passes over what is no Kubernetes object in named files too;
    ``rendered`` are texts that programs made.
    """

    names: tuple[str, ...]
    recursive: bool = False
    pod_paths: PodPaths = _EMPTY
    excluded: Callable[[str], bool] = _none
    skip_others: bool = False
    rendered: tuple[Found, ...] = ()


class Object(NamedTuple):
    """One object of a document: ``base`` leads to it from the document's root, ``item`` counts those of a List.

    A List in a List counts by its items, as kubectl takes them.
    """

    document: Document
    base: Path
    item: int | None
    value: dict[str, Any]


class Work:
    """One file while it is worked on, with the problems met so far.

    ``listed`` files were found in a directory and may hold what is no Kubernetes object; of texts that are not
    ``lined`` the places say nothing to a person.
    """

    def __init__(self, file: str, text: str, listed: bool, pod_paths: PodPaths, lined: bool) -> None:
        self.file = file
        self.text = text
        self.listed = listed
        self.pod_paths = pod_paths
        self.lined = lined
        self.lines = Lines(text)
        self.problems: list[Problem] = []
        self.is_template = False
        self.comments: dict[int, list[tuple[int, str, str]]] = {}
        self.above: dict[int, dict[str, str]] = {}

    @classmethod
    def of(cls, file: str, text: str, *, listed: bool, pod_paths: PodPaths | None, lined: bool = True) -> Work:
        """Begin with a file's text."""
        return cls(file, text, listed, pod_paths or {}, lined)

    def place(self, offset: int) -> tuple[int, int] | tuple[None, None]:
        """Return the line and column (from 1) of a character offset, where the text has places."""
        return self.lines.place(offset) if self.lined else (None, None)

    def documents(self) -> Iterator[Document | Fault]:
        """Yield the documents; those that surely hold no pod are only checked for syntax."""
        kinds = pod_kinds(self.pod_paths)
        return documents(self.text, lambda body: cannot_hold_pod(body, kinds))

    def problem(self, document: int | None, offset: int | None, message: str) -> None:
        """Note a problem, at a character offset where there is one."""
        line, column = self.place(offset) if offset is not None else (None, None)
        self.problems.append(Problem(self.file, document, line, column, message))


def each_file(
    inputs: Inputs, work: Callable[..., T], unread: Callable[[str, str], T], *, parallel: bool = True
) -> Iterator[T]:
    """Yield what ``work`` (or, with a message, ``unread``) makes of every file, in the order of the names.

    ``parallel`` False keeps to this process, where ``work`` has what cannot be shared with others.
    """
    files = [*find_files(inputs.names, recursive=inputs.recursive, excluded=inputs.excluded), *inputs.rendered]
    if inputs.skip_others:
        files = [found._replace(listed=True) for found in files]
    job = partial(_one_file, work=work, unread=unread, pod_paths=dict(inputs.pod_paths))
    if parallel and len(files) > 1 and (os.cpu_count() or 1) > 1 and _total_bytes(files) >= PARALLEL_BYTES:
        import multiprocessing
        import signal
        import sys

        # Forked workers need not import anything again; Ctrl-C is for the parent to answer.
        method = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
        with method.Pool(min(os.cpu_count() or 1, 8), signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
            yield from pool.imap(job, files, chunksize=max(1, min(32, len(files) // 16)))
    else:
        yield from map(job, files)


def _total_bytes(files: Iterable[Found]) -> int:
    total = 0
    for found in files:
        if found.problem is None and found.file != STDIN and found.text is None:
            with suppress(OSError):
                total += os.stat(found.file).st_size
    return total


def _one_file(found: Found, work: Callable[..., T], unread: Callable[[str, str], T], pod_paths: PodPaths) -> T:
    if found.problem is not None:
        return unread(found.file, found.problem)
    try:
        text = read_text(found.file) if found.text is None else found.text
    except InputError as error:
        return unread(found.file, error.args[0])
    return work(found.file, text, listed=found.listed, pod_paths=pod_paths, lined=found.text is None)


# -- objects ---------------------------------------------------------------------------------------


def read_objects(work: Work, found: Iterable[Document | Fault]) -> Iterator[Object]:
    """Yield the objects of a file; what is none becomes a problem, or nothing in a listed file."""
    above: dict[str, str] = {}
    for document in found:
        if isinstance(document, Fault):
            _fault(work, document)
            continue
        if document.value is None:
            # Nothing but comments, as above the first separator of a file: they are about what comes next.
            above.update((check, reason) for _, check, reason in _comments(work, document))
            continue
        work.above[document.index], above = above, {}
        if document.value is SKIPPED:
            continue
        for offset, key in document.repeated:
            work.problem(document.index, offset, f'the key "{key}" is repeated; kubectl takes the last one')
        yield from _below(work, document, document.value, (), count())


def _below(work: Work, document: Document, value: Any, base: Path, numbers: Iterator[int]) -> Iterator[Object]:
    items = items_of(value)
    item = next(numbers) if base and items is None else None
    missing = [name for name in ("apiVersion", "kind") if not isinstance(value, dict) or not _is_text(value.get(name))]
    if missing:
        if not work.listed:
            work.problem(
                document.index, document.start, f"this is no Kubernetes object: {' and '.join(missing)} not set"
            )
        return
    if items is None:
        yield Object(document, base, item, value)
        return
    for index, child in enumerate(items):
        yield from _below(work, document, item_kind(value, child), (*base, "items", index), numbers)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _fault(work: Work, fault: Fault) -> None:
    if work.listed and is_other_json(work.text):
        return
    line = template_line(work.text, fault)
    if line is None:
        work.problem(fault.index, fault.offset, fault.message)
    elif not work.is_template:
        # One problem for the whole template: what its pieces mean is only known when it is rendered.
        work.is_template = True
        message = "a template, not YAML yet: render it first (helm template CHART | kubectl harden check -f -)"
        work.problems.append(Problem(work.file, None, line, None, message))


def pods(work: Work, found: Object) -> Iterator[tuple[Identity, Location]]:
    """Yield the pod templates of an object; one that has none where it must have is a problem."""
    try:
        locations = locate(found.value, work.pod_paths) or []
    except InputError as error:
        report(work, found, error.path or (), error.args[0])
        return
    for location in locations:
        yield _identity(work, found, location.path), location


def templates(inputs: Inputs) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pod templates of all files, each with its namespace; not those of stdin, which is read but once."""
    named = inputs._replace(names=tuple(name for name in inputs.names if name != "-"))
    for found in each_file(named, _templates, lambda _file, _message: []):
        yield from found


def _templates(
    file: str, text: str, *, listed: bool, pod_paths: PodPaths, lined: bool
) -> list[tuple[str, dict[str, Any]]]:
    work = Work.of(file, text, listed=listed, pod_paths=pod_paths, lined=lined)
    return [
        (identity.namespace or "", location.value)
        for found in read_objects(work, work.documents())
        for identity, location in pods(work, found)
        if isinstance(location.value, dict)
    ]


def accepted(work: Work, found: Object) -> dict[str, str]:
    """Return the controls whose violations somebody has accepted for an object, with the reasons.

    A comment counts for the object of its document; among the items of a List for the one that it stands in or above.
    """
    document = found.document
    out = dict(work.above[document.index]) if not found.item else {}
    for offset, check, reason in _comments(work, document):
        if is_about(document.text, document.tree(), found.base, offset):
            out[check] = reason
    try:
        out.update(annotated(found.value))
    except InputError as error:
        report(work, found, error.path or (), error.args[0])
    return out


def _comments(work: Work, document: Document) -> list[tuple[int, str, str]]:
    """Return the offset, control and reason of each comment in a document that accepts a violation."""
    if document.index not in work.comments:
        noted = work.comments[document.index] = []
        try:
            noted.extend(commented(document.text, document.tree()) if ALLOW in document.text else ())
        except SyntaxFault as fault:
            work.problem(document.index, document.start + fault.offset, fault.args[0])
    return work.comments[document.index]


def report(work: Work, found: Object, path: Path, message: str) -> None:
    """Note what is wrong with an object, at a field or what is nearest to it."""
    name = f"{found.value.get('kind')} {_name(found.value)}"
    offset = offset_of(found.document, (*found.base, *path))
    advice = ""
    if message.startswith("required"):
        advice = " (if this is a patch, check what it is applied to)"
    work.problem(found.document.index, offset, f"{name}: {field_path(path)}: {message}{advice}")


def _name(value: dict[str, Any]) -> str:
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    name = metadata.get("name") or metadata.get("generateName")
    return name if isinstance(name, str) else ""


def _identity(work: Work, found: Object, path: Path) -> Identity:
    metadata = found.value.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    line, _ = work.place(offset_of(found.document, found.base))
    return Identity(
        Source(work.file, found.document.index, line, found.item),
        found.value["apiVersion"],
        found.value["kind"],
        namespace if isinstance(namespace, str) else None,
        _name(found.value),
        path,
    )


def offset_of(document: Document, path: Path) -> int:
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
    found = None
    if node.kind == MAPPING:
        for key, value in node.pairs():
            if not key.is_merge and key_of(key) == part:
                found = key.start, value  # The last of repeated keys counts.
    return found

"""Texts become objects: documents → objects → those that run pods, as subjects; a file at a time, on both cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from kubectl_harden.errors import InputError, SyntaxFault, unexpected
from kubectl_harden.manifests.discovery import Found, cannot_hold_pod, find_files, is_other_json, template_line
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.model import Identity, Path, Problem, Source
from kubectl_harden.objects import is_namespace, item_kind, items_of
from kubectl_harden.planning.subject import Subject
from kubectl_harden.pod_security.accepted import ALLOW, by_object, commented
from kubectl_harden.pod_security.pod_templates import PodPaths, locate, pod_kinds
from kubectl_harden.text_files import STDIN, read_text
from kubectl_harden.yaml_text.documents import SKIPPED, Document, Fault, Lines, documents

__all__ = ["Inputs", "Item", "Manifest", "each_file", "read", "templates"]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})

T = TypeVar("T")

_TEMPLATE: Final = "a template, not YAML yet: render it first (helm template CHART | kubectl harden check -f -)"

PARALLEL_BYTES: Final = 1 << 19
"""From this much input on, a second process saves more time than it costs to start."""


def _none(_file: str) -> bool:
    return False


class Inputs(NamedTuple):
    """Which files to read, and what in them is a workload.

    ``excluded`` files are left out; ``skip_others`` passes over what is not a Kubernetes object in named files too;
    ``rendered`` are texts that programs made. ``found`` are all files that these stand for, if they have been found.
    """

    names: tuple[str, ...]
    recursive: bool = False
    pod_paths: PodPaths = _EMPTY
    excluded: Callable[[str], bool] = _none
    skip_others: bool = False
    rendered: tuple[Found, ...] = ()
    found: tuple[Found, ...] | None = None

    def files(self) -> list[Found]:
        """Return the files that are found, and what programs made."""
        if self.found is not None:
            return list(self.found)
        return [*find_files(self.names, recursive=self.recursive, excluded=self.excluded), *self.rendered]


class Manifest(NamedTuple):
    """A text that may hold objects.

    ``listed`` files were found in a directory and may hold what is not a Kubernetes object; of texts that are not
    ``lined`` the places say nothing to a person.
    """

    file: str
    text: str
    listed: bool = False
    lined: bool = True
    pod_paths: PodPaths = _EMPTY


class Item(NamedTuple):
    """An object that runs pods in a document: ``base`` leads to it from the document's root."""

    document: Document
    base: Path
    subject: Subject


def each_file(
    inputs: Inputs, work: Callable[[Manifest], T], unread: Callable[[str, str], T], *, parallel: bool = True
) -> Iterator[T]:
    """Yield what ``work`` (or, with a message, ``unread``) makes of every file, in the order of the names.

    ``parallel`` False keeps to this process, where ``work`` has what cannot be shared with others.
    """
    files = inputs.files()
    if inputs.skip_others:
        files = [found._replace(listed=True) for found in files]
    job = partial(_one_file, work=work, unread=unread, pod_paths=dict(inputs.pod_paths))
    if parallel and len(files) > 1 and (os.cpu_count() or 1) > 1 and _total_bytes(files) >= PARALLEL_BYTES:
        yield from _on_all_cores(job, files, unread)
    else:
        yield from map(job, files)


def _on_all_cores(job: Callable[[Found], T], files: Sequence[Found], unread: Callable[[str, str], T]) -> Iterator[T]:
    """Yield what a job makes of each file, with a process for each core; one that is killed costs what is not done."""
    import multiprocessing
    import signal
    import sys
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Forked workers need not import anything again; Ctrl-C is for the parent to answer.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    workers = min(os.cpu_count() or 1, 8)
    pool = ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    done = 0
    try:
        for result in pool.map(job, files, chunksize=max(1, min(32, len(files) // 16))):
            yield result
            done += 1
    except BrokenProcessPool:
        for found in files[done:]:
            yield unread(
                found.file, "not read: the process that worked on it, or beside it, was killed (out of memory?)"
            )
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _total_bytes(files: Iterable[Found]) -> int:
    total = 0
    for found in files:
        if found.problem is None and found.file != STDIN and found.text is None:
            with suppress(OSError):
                total += os.stat(found.file).st_size
    return total


def _one_file(found: Found, work: Callable[[Manifest], T], unread: Callable[[str, str], T], pod_paths: PodPaths) -> T:
    if found.problem is not None:
        return unread(found.file, found.problem)
    try:
        text = found.once if found.text is None else found.text
        text = read_text(found.file, regular=found.listed) if text is None else text
    except InputError as error:
        return unread(found.file, error.args[0])
    try:
        return work(Manifest(found.file, text, found.listed, found.text is None, pod_paths))
    except Exception as error:  # noqa: BLE001 (one file must not end the run)
        return unread(found.file, unexpected(error).args[0])


def templates(inputs: Inputs, policies: Policies) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pod templates of all files, each with its namespace; the inputs have been surveyed."""
    for found in each_file(inputs, partial(_templates, policies=policies), lambda _file, _message: []):
        yield from found


def _templates(manifest: Manifest, policies: Policies) -> list[tuple[str, dict[str, Any]]]:
    return [
        (item.subject.identity.namespace or "", location.value)
        for item in read(manifest, policies)
        if isinstance(item, Item)
        for location in item.subject.templates()
        if isinstance(location.value, dict)
    ]


# -- objects ---------------------------------------------------------------------------------------


def read(manifest: Manifest, policies: Policies) -> Iterator[Document | Item | Problem]:
    """Yield each document of a text that can be read, followed by its objects that run pods, with their policies.

    What cannot be read, and what is not an object, is a problem in its place, or nothing in a listed file. Documents
    that surely hold no pod are only checked for syntax; labels of Namespaces that admission refuses are problems.
    """
    return _Reader(manifest, policies).events()


class _Reader:
    """Reads one text."""

    def __init__(self, manifest: Manifest, policies: Policies) -> None:
        self._manifest = manifest
        self._policies = policies
        self._lines = Lines(manifest.text)

    def events(self) -> Iterator[Document | Item | Problem]:
        manifest = self._manifest
        kinds = pod_kinds(manifest.pod_paths) | {"Namespace"}
        above: dict[str, str] = {}
        is_template = False
        for found in documents(manifest.text, lambda body: cannot_hold_pod(body, kinds)):
            if isinstance(found, Fault):
                if manifest.listed and is_other_json(manifest.text):
                    continue
                line = template_line(manifest.text, found)
                if line is None:
                    yield self._problem(found.index, found.offset, found.message)
                elif not is_template:
                    # One problem for the whole template: what its pieces mean is only known when it is rendered.
                    is_template = True
                    yield Problem(manifest.file, None, line, None, _TEMPLATE)
                continue
            yield found
            if found.value is SKIPPED:
                above = {}
                continue
            try:
                yield from self._objects(found, above)
            except Exception as error:  # noqa: BLE001 (one document must not end the run)
                yield self._problem(found.index, found.start, unexpected(error).args[0])
            if found.value is not None:
                above = {}

    def _objects(self, document: Document, above: dict[str, str]) -> Iterator[Item | Problem]:
        """Yield the objects of a document that run pods; ``above`` are the comments of documents of nothing else."""
        noted: list[tuple[int, str, str]] = []
        try:
            # In a loop, since what stands before a comment that is wrong counts.
            for note in commented(document.text, document.tree()) if ALLOW in document.text else ():
                noted.append(note)
        except SyntaxFault as fault:
            yield self._problem(document.index, document.start + fault.offset, fault.args[0])
        if document.value is None:
            # Nothing but comments, as above the first separator of a file: they are about what comes next.
            above.update((check, reason) for _, check, reason in noted)
            return
        for offset, key in document.repeated:
            yield self._problem(document.index, offset, f'the key "{key}" is repeated; kubectl takes the last one')
        comments = by_object(document.text, document.tree(), noted) if noted else _EMPTY
        yield from self._below(document, document.value, (), count(), comments, above)

    def _below(
        self,
        document: Document,
        value: Any,
        base: Path,
        numbers: Iterator[int],
        comments: Mapping[Path, Mapping[str, str]],
        above: Mapping[str, str],
    ) -> Iterator[Item | Problem]:
        """Yield the objects below a place of a document that run pods.

        ``numbers`` count the items of a List; a List in a List counts by its items, as kubectl takes them.
        """
        items = items_of(value)
        item = next(numbers) if base and items is None else None
        missing = [key for key in ("apiVersion", "kind") if not isinstance(value, dict) or not _is_text(value.get(key))]
        if missing:
            if not self._manifest.listed:
                message = f"this is no Kubernetes object: {' and '.join(missing)} not set"
                yield self._problem(document.index, document.start, message)
            return
        if items is not None:
            for index, child in enumerate(items):
                yield from self._below(
                    document, item_kind(value, child), (*base, "items", index), numbers, comments, above
                )
            return
        # What stands above the document is about its first object.
        reasons = {**(above if not item else _EMPTY), **comments.get(base, _EMPTY)}
        try:
            yield from self._object(document, value, base, item, reasons)
        except Exception as error:  # noqa: BLE001 (one object must not end the run)
            yield self._problem(document.index, document.start, unexpected(error).args[0])

    def _object(
        self, document: Document, value: dict[str, Any], base: Path, item: int | None, reasons: Mapping[str, str]
    ) -> Iterator[Item | Problem]:
        """Yield an object if it runs pods, and what is wrong with the labels of a Namespace."""
        identity = self._identity(document, value, base, item)
        subject = Subject(
            value,
            identity,
            self._policies.of(identity.namespace),
            self._manifest.pod_paths,
            reasons,
            place=partial(self._place_in, document, base),
            runtime_classes=self._policies.runtime_classes,
        )
        if is_namespace(value):
            yield from _refused_labels(subject)
        try:
            if locate(value, self._manifest.pod_paths) is not None:
                yield Item(document, base, subject)
        except InputError as error:
            yield subject.problem(error)

    def _identity(self, document: Document, value: dict[str, Any], base: Path, item: int | None) -> Identity:
        metadata = value.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        name, namespace = metadata.get("name") or metadata.get("generateName"), metadata.get("namespace")
        line, _ = self._place_in(document, base, ())
        return Identity(
            Source(self._manifest.file, document.index, line, item),
            value["apiVersion"],
            value["kind"],
            namespace if isinstance(namespace, str) else None,
            name if isinstance(name, str) else "",
            (),
        )

    def _place_in(self, document: Document, base: Path, path: Path) -> tuple[int, int] | tuple[None, None]:
        """Return the line and column of a field of an object, where the text has places."""
        return self._lines.place(document.offset_of((*base, *path))) if self._manifest.lined else (None, None)

    def _problem(self, document: int, offset: int, message: str) -> Problem:
        line, column = self._lines.place(offset) if self._manifest.lined else (None, None)
        return Problem(self._manifest.file, document, line, column, message)


def _refused_labels(namespace: Subject) -> Iterator[Problem]:
    # Imported late: most inputs have no Namespace.
    from kubectl_harden.pod_security.namespace_labels import label_faults

    metadata = namespace.value.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    for key, words in label_faults(labels) if isinstance(labels, dict) else ():
        yield namespace.problem(InputError(words, ("metadata", "labels", key)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""

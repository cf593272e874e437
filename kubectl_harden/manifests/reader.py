"""From texts to objects: documents → objects → those that run pods, as subjects; one file at a time, on all cores."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from kubectl_harden.errors import InputError, SyntaxFault, unexpected
from kubectl_harden.manifests.discovery import Found, Listing, find_files, is_other_json, other_kind, template_line
from kubectl_harden.manifests.others import PATCH, Remark, is_json_patch, is_patch, may_be_workload, pod_spec, remark_on
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.repository import KUSTOMIZATION
from kubectl_harden.model import Identity, Other, Path, Problem, Source
from kubectl_harden.objects import TEMPLATE, held_by, is_namespace, item_kind
from kubectl_harden.planning.subject import Subject
from kubectl_harden.pod_security.accepted import ALLOW, by_object, commented
from kubectl_harden.pod_security.pod_templates import PodPaths, locate, pod_kinds
from kubectl_harden.text_files import STDIN, read_text
from kubectl_harden.yaml_text.documents import SKIPPED, Document, Fault, Lines, documents

if TYPE_CHECKING:
    from kubectl_harden.manifests.directories import Build

__all__ = ["Inputs", "Item", "Manifest", "each_file", "read", "templates"]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})

T = TypeVar("T")

_TEMPLATE: Final = "a template, not YAML yet: render it first (helm template CHART | kubectl harden check -f -)"

_NOTHING: Final = "no objects passed: it is empty or has only comments; did the command before the pipe fail?"
_CONTENT: Final = r"(?m)^(?!(?:\ufeff|---)?[ \t\r]*(?:#.*)?$)"
"""The start of a line that is not a comment, a separator or empty."""

PARALLEL_BYTES: Final = 1 << 19
"""From this many bytes of input on, a second process saves more time than its start takes."""


def _none(_file: str) -> bool:
    return False


class Inputs(NamedTuple):
    """Which files to read, and what in them is a workload.

    ``excluded`` files are left out; ``skip_others`` skips what is not a Kubernetes object in named files, too;
    ``rendered`` are texts that programs have rendered; ``render`` renders the charts and kustomizations in directories.
    ``found`` are all the files, if they have been found already.
    """

    names: tuple[str, ...]
    recursive: bool = False
    pod_paths: PodPaths = _EMPTY
    excluded: Callable[[str], bool] = _none
    skip_others: bool = False
    rendered: tuple[Found, ...] = ()
    render: "Callable[[Build], Iterable[Found]] | None" = None
    found: tuple[Found, ...] | None = None

    def listing(self) -> Listing:
        """Return the files that are found, and rendered texts."""
        if self.found is not None:
            return Listing(self.found)
        found = find_files(
            self.names,
            recursive=self.recursive,
            excluded=self.excluded,
            as_listed=self.skip_others,
            build=self.render is not None,
        )
        rendered = [text for build in found.builds for text in self.render(build)] if self.render else ()
        return found._replace(files=(*found.files, *self.rendered, *rendered))


class Manifest(NamedTuple):
    """A text that may contain objects.

    ``listed`` files were found in a directory and may contain other things than Kubernetes objects; in texts that are
    not ``lined``, line numbers mean nothing to a person.
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
    """Yield what ``work`` (or, with a message, ``unread``) returns for every file, in the order of the names.

    ``parallel`` False stays in this process, for ``work`` that cannot be sent to others.
    """
    files: Sequence[Found] = inputs.listing().files
    if inputs.skip_others:
        files = [found._replace(listed=True) for found in files]
    job = partial(_one_file, work=work, unread=unread, pod_paths=dict(inputs.pod_paths))
    if parallel and len(files) > 1 and (os.cpu_count() or 1) > 1 and _total_bytes(files) >= PARALLEL_BYTES:
        yield from _on_all_cores(job, files, unread)
    else:
        yield from map(job, files)


def _on_all_cores(job: Callable[[Found], T], files: Sequence[Found], unread: Callable[[str, str], T]) -> Iterator[T]:
    """Yield a job's result for each file, with one process per core; if one is killed, the remaining files are lost."""
    import multiprocessing
    import signal
    import sys
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Forked workers need not import anything again; the parent handles Ctrl-C.
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
            yield unread(found.file, "not read: a process that was reading files was killed (out of memory?)")
    finally:
        # No worker may be left at the end of the interpreter, which fails on a pool that is closing.
        pool.shutdown(wait=done == len(files), cancel_futures=True)


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


def _templates(manifest: Manifest, policies: Policies) -> list[tuple[str, dict[str, object]]]:
    return [
        (item.subject.identity.namespace or "", location.value)
        for item in read(manifest, policies)
        if isinstance(item, Item)
        for location in item.subject.templates()
        if isinstance(location.value, dict)
    ]


# -- objects ---------------------------------------------------------------------------------------


def read(
    manifest: Manifest, policies: Policies, known: Mapping[str, Document] = _EMPTY
) -> Iterator[Document | Item | Other | Problem]:
    """Yield each document of a text that can be read, followed by its objects: those that run pods, with their
    policies, and others.

    What cannot be read, or is not an object, is a problem in its place; in a listed file, what is not an object is
    skipped. Documents that certainly contain no pod are only checked for syntax; labels of Namespaces that admission
    refuses are problems. ``known`` are documents that have been read, by their texts.
    """
    return _Reader(manifest, policies, known).events()


class _Reader:
    """Reads one text."""

    def __init__(self, manifest: Manifest, policies: Policies, known: Mapping[str, Document]) -> None:
        self._manifest = manifest
        self._policies = policies
        self._known = known
        self._lines = Lines(manifest.text)
        self._kinds = pod_kinds(manifest.pod_paths) | {"Namespace", TEMPLATE}
        self._skipped = ""
        self._above: dict[str, str] = {}
        """Comments of documents without content, as above the first separator of a file: they are about the next
        object.
        """

    def events(self) -> Iterator[Document | Item | Other | Problem]:
        manifest = self._manifest
        is_template = False
        if manifest.file == STDIN and not manifest.listed and re.search(_CONTENT, manifest.text) is None:
            yield Problem(_NOTHING, STDIN)
        for found in documents(manifest.text, self._skips, known=self._known):
            if isinstance(found, Fault):
                if manifest.listed and is_other_json(manifest.text):
                    continue
                line = template_line(manifest.text, found)
                if line is None:
                    yield self._problem(found.index, found.offset, found.message)
                elif not is_template:
                    # One problem for the whole template: its pieces have a meaning only when it is rendered.
                    is_template = True
                    yield Problem(_TEMPLATE, manifest.file, line=line)
                continue
            yield found
            if found.value is SKIPPED:
                yield Other(self._skipped)
                self._above = {}
                continue
            try:
                yield from self._objects(found)
            except Exception as error:  # noqa: BLE001 (one document must not end the run)
                yield self._problem(found.index, found.start, unexpected(error).args[0])
            if found.value is not None:
                self._above = {}

    def _skips(self, body: str) -> bool:
        """Whether only the kind of a document matters, which is noted."""
        kind = other_kind(body, self._kinds)
        self._skipped = kind or ""
        return kind is not None and not may_be_workload(kind, body)

    def _objects(self, document: Document) -> Iterator[Item | Other | Problem]:
        """Yield the objects of a document."""
        noted: list[tuple[int, str, str]] = []
        try:
            # In a loop, because comments before an invalid one count.
            for note in commented(document.text, document.tree()) if ALLOW in document.text else ():
                noted.append(note)
        except SyntaxFault as fault:
            yield self._problem(document.index, document.start + fault.offset, fault.args[0])
        if document.value is None:
            self._above.update((check, reason) for _, check, reason in noted)
            return
        for offset, key in document.repeated:
            yield self._problem(document.index, offset, f'the key "{key}" is repeated; kubectl takes the last one')
        comments = by_object(document.text, document.tree(), noted) if noted else _EMPTY
        yield from self._below(document, document.value, (), count(), comments)

    def _below(
        self,
        document: Document,
        value: Any,
        base: Path,
        numbers: Iterator[int],
        comments: Mapping[Path, Mapping[str, str]],
    ) -> Iterator[Item | Other | Problem]:
        """Yield the objects below a place of a document.

        ``numbers`` count the items of a List; for a List in a List, its items are counted, as kubectl reads them.
        """
        held = held_by(value)
        item = next(numbers) if base and held is None else None
        missing = [key for key in ("apiVersion", "kind") if not isinstance(value, dict) or not _is_text(value.get(key))]
        if missing:
            if not self._manifest.listed or _is_half_a_workload(value, missing):
                yield self._no_object(document, value, missing)
            return
        if held is not None:
            key, items = held
            for index, child in enumerate(items):
                yield from self._below(document, item_kind(value, child), (*base, key, index), numbers, comments)
            return
        # A comment above the document is about its first object.
        reasons = {**(self._above if not item else _EMPTY), **comments.get(base, _EMPTY)}
        try:
            yield from self._object(document, value, base, item, reasons)
        except Exception as error:  # noqa: BLE001 (one object must not end the run)
            yield self._problem(document.index, document.start, unexpected(error).args[0])

    def _object(
        self, document: Document, value: dict[str, object], base: Path, item: int | None, reasons: Mapping[str, str]
    ) -> Iterator[Item | Other | Problem]:
        """Yield an object, and the errors in the labels of a Namespace."""
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
            templates = locate(value, self._manifest.pod_paths)
        except InputError as error:
            if error.args[0].startswith("required") and is_patch(value, (), document.text):
                yield _patch(subject)
            else:
                yield subject.problem(error)
            return
        if templates is None:
            yield _other(subject)
        elif is_patch(value, templates, document.text):
            yield _patch(subject)
        else:
            yield Item(document, base, subject)
            if not templates:
                yield Other(identity.kind)

    def _no_object(self, document: Document, value: object, missing: Sequence[str]) -> Other | Problem:
        if is_json_patch(value):
            return Other("JSON Patch", self._problem(document.index, document.start, PATCH))
        message = f"this is not a Kubernetes object: {' and '.join(missing)} not set"
        if os.path.basename(self._manifest.file) in KUSTOMIZATION:
            directory = os.path.dirname(self._manifest.file) or os.curdir
            message = f"this is a kustomization: kubectl harden check -k {shlex.quote(directory)}"
        return self._problem(document.index, document.start, message)

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
        """Return the line and column of a field of an object, where the text has line numbers."""
        return self._lines.place(document.offset_of((*base, *path))) if self._manifest.lined else (None, None)

    def _problem(self, document: int, offset: int, message: str) -> Problem:
        line, column = self._lines.place(offset) if self._manifest.lined else (None, None)
        return Problem(message, self._manifest.file, document, line, column)


def _other(subject: Subject) -> Other | Problem:
    """Return an object that is not known to run pods, with the remark on it."""
    remark = remark_on(subject.value, subject.pod_paths)
    if remark is not None and remark.is_error:
        return _told(subject, remark)
    return Other(subject.identity.kind, None if remark is None else _told(subject, remark))


def _patch(subject: Subject) -> Other:
    return Other(f"patch of a {subject.identity.kind}", _told(subject, Remark(PATCH)))


def _told(subject: Subject, remark: Remark) -> Problem:
    return subject.problem(InputError(remark.words, remark.path or None))


def _refused_labels(namespace: Subject) -> Iterator[Problem]:
    # Imported late: most inputs have no Namespace.
    from kubectl_harden.pod_security.namespace_labels import label_faults

    metadata = namespace.value.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    for key, words in label_faults(labels) if isinstance(labels, dict) else ():
        yield namespace.problem(InputError(words, ("metadata", "labels", key)))


def _is_half_a_workload(value: object, missing: Sequence[str]) -> bool:
    """Whether an object that looks like a workload lacks either its apiVersion or its kind, but not both."""
    return isinstance(value, dict) and len(missing) == 1 and pod_spec(value, with_images=True) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""

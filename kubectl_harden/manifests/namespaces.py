"""The Namespace objects of the input: a first pass, which parses nothing else."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
import os
import re
import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path
from kubectl_harden.manifests.discovery import Found, cannot_hold_pod
from kubectl_harden.manifests.policies import Asking, Policies, Rules
from kubectl_harden.manifests.reader import Inputs
from kubectl_harden.model import Path, Problem
from kubectl_harden.objects import TEMPLATE, held_by, is_namespace, item_kind
from kubectl_harden.text_files import STDIN, read_text
from kubectl_harden.yaml_text.documents import Document, Lines, readable

__all__ = ["Surveyed", "kept", "objects_in", "oddities", "policies_in", "survey"]

# Quotes, tags and anchors may be in between. The word comes first, which makes the search fast.
_MENTION: Final = r"(?s)kind\b(?<=\bkind).{1,40}?\bNamespace(?:List)?\b"
_WORD: Final = b"Namespace"
_LOOK: Final = 1 << 16
"""The most bytes of a file that are searched before it is read as text; few manifests have more."""
_OPEN: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""A pipe in a directory must not block the run."""
_KINDS: Final = frozenset({"Namespace", TEMPLATE})


class Surveyed(NamedTuple):
    """Inputs whose files are found, and the policies of their workloads.

    ``notes`` are about Namespace objects and files that are left out; ``unjudged`` name what other programs render;
    ``excluded`` counts what the project file leaves out.
    """

    inputs: Inputs
    policies: Policies
    notes: tuple[Problem, ...]
    unjudged: tuple[Problem, ...] = ()
    excluded: int = 0


class _Namespace(NamedTuple):
    """A Namespace object, and where it is."""

    value: dict[str, Any]
    document: Document
    base: Path
    lines: Lines
    before: int
    """How many lines of the file are before those that ``lines`` counts."""

    def place(self, path: Path) -> tuple[int, int]:
        """Return the line and column (from 1) of a field."""
        line, column = self.lines.place(self.document.offset_of((*self.base, *path)))
        return self.before + line, column


def survey(inputs: Inputs, rules: Rules) -> Surveyed:
    """Find the files of the inputs, and the Namespace objects in them; the text of files that can be read only once is
    kept.

    Raises UsageError for an unknown level or version.
    """
    listing = inputs.listing()
    files = [kept(found) for found in listing.files]
    policies, notes = policies_in(_texts(files), rules)
    told = (*listing.left_out, *notes)
    return Surveyed(inputs._replace(found=tuple(files)), policies, told, listing.unjudged, listing.excluded)


def policies_in(texts: Iterable[tuple[str, str, bool]], rules: Rules) -> tuple[Policies, tuple[Problem, ...]]:
    """Return the policies of texts, and notes about the Namespace objects in them.

    Each text comes with its file, and whether its lines are those of the file. Raises UsageError for an unknown level
    or version.
    """
    asking: list[Asking] = []
    notes: list[Problem] = []
    for file, text, lined in texts:
        for found in _namespaces(text):
            metadata = found.value["metadata"]
            name, labels = metadata.get("name"), metadata.get("labels")
            name = name if isinstance(name, str) else ""
            labels = labels if isinstance(labels, dict) else {}
            told = {key: value for key, value in labels.items() if isinstance(value, str)}
            asking.append(Asking(name, told, "stdin" if file == STDIN else file))
            for path, words in oddities(labels, metadata.get("annotations")):
                line, column = found.place(path) if lined else (None, None)
                words = f"Namespace {name}: {field_path(path)}: {words}"
                notes.append(Problem(words, file, found.document.index, line, column))
    return rules.policies(asking), (*notes, *rules.disagreements(asking))


def kept(found: Found) -> Found:
    """Return a file with its text, if that can be read only once: standard input, or a pipe."""
    if found.problem is not None or found.text is not None or found.listed:
        return found
    try:
        if found.file != STDIN and stat.S_ISREG(os.stat(found.file).st_mode):
            return found
        return found._replace(once=read_text(found.file))
    except OSError:
        return found
    except InputError as error:
        return found._replace(problem=error.args[0])


def _texts(files: Iterable[Found]) -> Iterator[tuple[str, str, bool]]:
    for found in files:
        text = found.text if found.text is not None else found.once
        if text is None and found.problem is None and _may_mention(found.file):
            with suppress(InputError):  # It is read again later, and reported then.
                text = read_text(found.file, regular=found.listed)
        if text is not None:
            yield found.file, text, found.text is None


def _may_mention(file: str) -> bool:
    """Whether a file may have a Namespace in it. Most have none, so this test is quick."""
    try:
        handle = os.open(file, _OPEN)
    except OSError:
        return False
    try:
        start = os.read(handle, _LOOK)
    except OSError:
        return False
    finally:
        os.close(handle)
    return _WORD in start or len(start) == _LOOK or start[:2] in (BOM_UTF16_LE, BOM_UTF16_BE)


def _namespaces(text: str) -> Iterator[_Namespace]:
    for before, piece in _pieces(text):
        lines = Lines(piece)
        for document in readable(piece):
            for base, value in objects_in(document.value):
                if is_namespace(value) and isinstance(value.get("metadata"), dict):
                    yield _Namespace(value, document, base, lines, before)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yield the documents that may be Namespaces, each with the number of lines before it."""
    if text.lstrip()[:1] == "{":
        if re.search(_MENTION, text):
            yield 0, text
        return
    before = counted = end = 0
    for match in re.finditer(_MENTION, text):
        if match.start() < end:
            continue
        start = text.rfind("\n---", max(end - 1, 0), match.start()) + 1
        before, counted = before + text.count("\n", counted, start), start
        end = text.find("\n---", match.start())
        end = len(text) if end < 0 else end + 1
        piece = text[start:end]
        if not cannot_hold_pod(piece, _KINDS):
            yield before, piece


def objects_in(value: object, base: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the objects of a document's value, those of Lists one by one, each with the path that leads to it."""
    held = held_by(value)
    if held is not None:
        key, items = held
        for index, item in enumerate(items):
            yield from objects_in(item_kind(value, item), (*base, key, index))
    elif isinstance(value, dict):
        yield base, value


def oddities(labels: Mapping[str, object], annotations: object) -> Iterator[tuple[Path, str]]:
    """Yield the keys that look as if they were meant for Pod Security admission, which does not read them."""
    from kubectl_harden.pod_security.namespace_labels import PREFIX, likely_typos

    for key, words in likely_typos(labels):
        yield ("metadata", "labels", key), words
    for key in annotations if isinstance(annotations, dict) else ():
        if isinstance(key, str) and key.startswith(PREFIX):
            yield ("metadata", "annotations", key), "Pod Security admission reads labels, not annotations"

"""Manifests on disk: which files, and what text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from kubectl_harden.errors import SyntaxFault
from kubectl_harden.text_files import STDIN
from kubectl_harden.yaml_text.documents import Fault, documents
from kubectl_harden.yaml_text.tree import top_level

__all__ = ["Found", "cannot_hold_pod", "directory_of", "find_files", "is_other_json", "template_line"]

EXTENSIONS: Final = (".yaml", ".yml", ".json")

_ACTION: Final = r"\{\{(?:[^{}]++|\{[^{}]*+\})*+\}\}|\{%-?\s[^\n%{]*+%\}"
"""An action of a Go template, or a statement of Jinja; nothing is looked at twice."""


class Found(NamedTuple):
    """A file to read: whether a directory listed it, or why there is nothing to read.

    ``text`` is what a program made of the file (kustomize, helm): its lines are not the file's. ``once`` is its own
    text, where that can be read only once (standard input, pipes) and has been read.
    """

    file: str
    listed: bool
    problem: str | None = None
    text: str | None = None
    once: str | None = None


def find_files(names: Iterable[str], *, recursive: bool, excluded: Callable[[str], bool]) -> Iterator[Found]:
    """Yield the files that names (of files, directories, or "-") stand for; the rest goes on after a problem.

    Files for which ``excluded`` is true are left out, also where they are named.
    """
    for name in names:
        if name != STDIN and excluded(name):
            continue
        if name == STDIN:
            yield Found(name, listed=False)
        elif os.path.isdir(name):
            empty = True
            for found in _in_directory(name, recursive=recursive):
                empty = False
                if not excluded(found.file):
                    yield found
            if empty:
                advice = "" if recursive else " (-R looks into subdirectories)"
                yield Found(name, listed=False, problem=f"the directory has no .yaml, .yml or .json files{advice}")
        elif os.path.lexists(name):
            yield Found(name, listed=False)
        else:
            yield Found(name, listed=False, problem="no such file or directory")


def _in_directory(directory: str, *, recursive: bool) -> Iterator[Found]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        yield Found(directory, listed=False, problem=error.strerror)
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if recursive:
                yield from _in_directory(entry.path, recursive=True)
        elif entry.name.endswith(EXTENSIONS):
            yield Found(entry.path, listed=True)


def directory_of(file: str, names: Iterable[str]) -> str | None:
    """Return the directory among names that listed a file, or None where the file itself was named."""
    if file in names:
        return None
    listing = [name for name in names if file.startswith(os.path.join(name, ""))]
    return max(listing, key=len, default=os.path.dirname(file) or ".")


def is_other_json(text: str) -> bool:
    """Whether a text looks like JSON, perhaps with comments as tsconfig.json has them, and names no API version."""
    return text.lstrip("\ufeff \t\r\n").startswith(("{", "//", "/*")) and "apiVersion" not in text


def template_line(text: str, fault: Fault) -> int | None:
    """Return the line (from 1) of the template action such as ``{{ .Values.x }}`` that makes a fault, or None.

    A fault that is there without the actions too is one of the YAML around them.
    """
    start = text.rfind("\n---", 0, fault.offset) + 1
    end = text.find("\n---", fault.offset)
    body = text[start : len(text) if end < 0 else end + 1]
    actions = [match.start() for match in re.finditer(_ACTION, body)]
    if not actions:
        return None
    at = fault.offset - start
    if all(_fails_alike(body, filler, at, fault.message) for filler in ("x", " ")):
        return None
    action = max((action for action in actions if action <= at), default=actions[0])
    return text.count("\n", 0, start + action) + 1


def _fails_alike(body: str, filler: str, offset: int, message: str) -> bool:
    """Whether a document has a fault with a filler in place of its template actions too."""
    filled = re.sub(_ACTION, lambda match: re.sub(".", filler, match[0]), body)
    faults = (found for found in documents(filled) if isinstance(found, Fault))
    return any((found.offset, found.message) == (offset, message) for found in faults)


def cannot_hold_pod(body: str, kinds: frozenset[str]) -> bool:
    """Whether a YAML document is well-formed and surely of a kind that holds no pod, told without building its tree.

    True only for a mapping with one ``kind``, of none of the kinds that hold pods, no items, and no key at its top
    level that could bring another kind in.
    """
    seen = set()
    try:
        for key, value in top_level(body):
            if key in seen or key in ("items", "<<"):
                return False
            if key == "kind" and (value is None or value in kinds or value.endswith("List")):
                return False
            seen.add(key)
    except SyntaxFault:
        return False  # Read as a whole, the document says what is wrong with it.
    return "kind" in seen

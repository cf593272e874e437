"""Manifests on disk: which files, and what text."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from kubectl_harden.atomic_files import encoding_of
from kubectl_harden.errors import InputError
from kubectl_harden.yaml_text.documents import Fault, documents

__all__ = ["STDIN", "Found", "cannot_hold_pod", "find_files", "is_other_json", "read_text", "template_line"]

STDIN: Final = "-"
EXTENSIONS: Final = (".yaml", ".yml", ".json")
MAX_FILE: Final = 256 << 20
"""Bytes; a file is read as a whole."""

_KIND: Final = re.compile(r"^kind[ \t]*:[ \t]*([A-Za-z0-9]*)(.*)$", re.MULTILINE)
# Keys at the top level that are, or could hide, a kind. A line feed in front lets the search skip fast.
_KIND_KEY: Final = re.compile(r"\n(?:[\ufeff\"'?&!*{\[<]|(?:kind|items)\b)")
_MANY_BRACKETS: Final = 1000
_ACTION: Final = r"\{\{(?:[^{}]|\{[^{}]*\})*\}\}|\{%-?\s[^\n]*?%\}"


class Found(NamedTuple):
    """A file to read: whether a directory listed it, or why there is nothing to read.

    ``text`` is what a program made of the file (kustomize, helm): its lines are not the file's.
    """

    file: str
    listed: bool
    problem: str | None = None
    text: str | None = None


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


def read_text(name: str) -> str:
    """Return a file's text ("-" is stdin), line ends and byte order mark as they are.

    UTF-16 is known by its byte order mark. Raises InputError, without the file's name, for what is not text.
    """
    try:
        if name == STDIN:
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with open(name, "rb") as file:
                if not stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                    data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise InputError(error.strerror or str(error)) from None
    if len(data) > MAX_FILE:
        raise InputError(f"larger than {MAX_FILE >> 20} MiB, which is refused")
    encoding = encoding_of(data)
    if b"\0" in data and encoding == "utf-8":
        raise InputError("has NUL bytes: this is a binary file")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        found = f"not valid {encoding[:6].upper().rstrip('-')} (byte 0x{data[error.start]:02x})"
        raise InputError(f"line {line}, column {column}: {found}") from None


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
    """Whether a YAML document is surely of a kind that holds no pod, told without parsing it.

    True only for a block mapping with one plain ``kind``, no items, and no key at its top level (quoted,
    complex, merged, tagged or an alias) that could bring another kind in.
    """
    if len(_KIND_KEY.findall(body)) + (_KIND_KEY.match("\n" + body[:8]) is not None) != 1:
        return False
    match = _KIND.search(body)
    if match is None or not match[1] or match[2].split("#")[0].strip():
        return False
    return match[1] not in kinds and not match[1].endswith("List") and not _is_odd(body)


def _is_odd(body: str) -> bool:
    """Whether a document ends inside the text, or has brackets enough to be nested without bounds."""
    return "\n..." in body or body.startswith("...") or body.count("[") + body.count("{") > _MANY_BRACKETS

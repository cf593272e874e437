"""Manifests on disk: which files, and what text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from kubectl_harden.text_files import STDIN

__all__ = ["Found", "cannot_hold_pod", "directory_of", "find_files", "template_line"]

EXTENSIONS: Final = (".yaml", ".yml", ".json")

_KIND: Final = re.compile(r"^kind[ \t]*:[ \t]*([A-Za-z0-9]*)(.*)$", re.MULTILINE)
# Keys at the top level that are, or could hide, a kind. A line feed in front lets the search skip fast.
_KIND_KEY: Final = re.compile(r"\n(?:[\ufeff\"'?&!*{\[<]|(?:kind|items)\b)")
_MANY_BRACKETS: Final = 1000
_TEMPLATE: Final = r"\{\{-?\s*[^{}\n]*\}\}|\{%-?\s"


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


def directory_of(file: str, names: Iterable[str]) -> str | None:
    """Return the directory among names that listed a file, or None where the file itself was named."""
    if file in names:
        return None
    listing = [name for name in names if file.startswith(os.path.join(name, ""))]
    return max(listing, key=len, default=os.path.dirname(file) or ".")


def template_line(text: str) -> int | None:
    """Return the line (from 1) of the first template action such as ``{{ .Values.x }}``, or None."""
    match = re.search(_TEMPLATE, text)
    return None if match is None else text.count("\n", 0, match.start()) + 1


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

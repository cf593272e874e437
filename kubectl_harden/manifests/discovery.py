"""Manifests on disk: which files, and what text."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from kubectl_harden.errors import InputError, SyntaxFault
from kubectl_harden.manifests.repository import KUSTOMIZATION
from kubectl_harden.model import Problem
from kubectl_harden.text_files import STDIN
from kubectl_harden.yaml_text.documents import Fault, documents
from kubectl_harden.yaml_text.tree import top_level

if TYPE_CHECKING:
    from kubectl_harden.manifests.directories import Build
    from kubectl_harden.manifests.gitignore import Ignores

__all__ = [
    "Found",
    "Listing",
    "cannot_hold_pod",
    "directory_of",
    "expanded",
    "find_files",
    "is_other_json",
    "other_kind",
    "template_line",
]

EXTENSIONS: Final = (".yaml", ".yml", ".json")

_ACTION: Final = r"\{\{(?:[^{}]++|\{[^{}]*+\})*+\}\}|\{%-?\s[^\n%{]*+%\}"
"""An action of a Go template, or a Jinja statement; it never scans a character twice."""


class Found(NamedTuple):
    """A file to read: whether it was found in a directory, or why there is nothing to read.

    ``text`` is what a program (kustomize, helm) rendered: its lines are not the file's. ``once`` is the file's own
    text, where that can be read only once (standard input, pipes) and has been read.
    """

    file: str
    listed: bool
    problem: str | None = None
    text: str | None = None
    once: str | None = None


class Listing(NamedTuple):
    """The files that names stand for, with notes on what is not judged by itself, and on what is left out.

    ``builds`` are to be rendered. ``excluded`` counts the names and files that the caller's own test left out.
    ``charts`` are the directories of charts that render templates, ``kustomizations`` the files of kustomizations.
    """

    files: tuple[Found, ...]
    unjudged: tuple[Problem, ...] = ()
    left_out: tuple[Problem, ...] = ()
    excluded: int = 0
    builds: "tuple[Build, ...]" = ()
    charts: tuple[str, ...] = ()
    kustomizations: tuple[str, ...] = ()


def find_files(
    names: Iterable[str],
    *,
    recursive: bool,
    excluded: Callable[[str], bool],
    as_listed: bool = False,
    build: bool = False,
) -> Listing:
    """Return the files that names (of files, directories, or "-") stand for; after a problem, the others follow.

    Files for which ``excluded`` is true are left out, even if they are named. In directories, parts of charts and
    kustomizations are separated from manifests; with ``as_listed``, among named files, too. With ``build``, charts and
    kustomizations are to be rendered.
    """
    found: list[Found] = []
    left_out: list[Problem] = []
    passed = 0
    for name in names:
        if name != STDIN and excluded(name):
            passed += 1
            continue
        if name == STDIN:
            found.append(Found(name, listed=False))
        elif os.path.isdir(name):
            walk = _Walk(recursive=recursive)
            listed = list(walk.through(name, _ignores_in(name) if recursive else None))
            kept = [item for item in listed if not excluded(item.file)]
            passed += len(listed) - len(kept)
            found += kept
            left_out += walk.left_out(name)
            if not listed and not walk.ignored:
                advice = "" if recursive else " (-R looks into subdirectories)"
                words = f"the directory has no .yaml, .yml or .json files{advice}"
                found.append(Found(name, listed=False, problem=words))
        elif os.path.lexists(name):
            found.append(Found(name, listed=False))
        elif name.startswith(("http://", "https://")):
            words = f"a URL is not fetched: curl -fsSL {shlex.quote(name)} | kubectl harden check -f -"
            found.append(Found(name, listed=False, problem=words))
        else:
            found.append(Found(name, listed=False, problem="no such file or directory"))
    among = [item.file for item in found if (item.listed or as_listed) and item.problem is None and item.file != STDIN]
    if not among:
        return Listing(tuple(found), (), tuple(left_out), passed)
    # Imported late: a named file does not need it.
    from kubectl_harden.manifests.directories import kustomizations_above, parts_of

    parts = parts_of(among, excluded, kustomizations_above(among) if as_listed else (), build=build)
    files = tuple(item for item in found if item.file not in parts.files)
    return Listing(files, parts.notes, tuple(left_out), passed, parts.builds, parts.charts, parts.kustomizations)


def _ignores_in(directory: str) -> "Ignores | None":
    # Imported late: a named file does not need it.
    from kubectl_harden.manifests.gitignore import ignores_in

    return ignores_in(directory)


class _Walk:
    """A walk through a directory; ``ignored`` counts the directories and files that .gitignore leaves out."""

    def __init__(self, *, recursive: bool) -> None:
        self._recursive = recursive
        self.ignored: Counter[str] = Counter()

    def through(self, directory: str, ignores: "Ignores | None") -> Iterator[Found]:
        """Yield the files that may be manifests; ``ignores`` is in force in the directory."""
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as error:
            yield Found(directory, listed=False, problem=error.strerror)
            return
        for entry in entries:
            is_directory = entry.is_dir(follow_symlinks=False)
            if not (
                self._recursive if is_directory else entry.name.endswith(EXTENSIONS) or entry.name in KUSTOMIZATION
            ):
                continue
            if ignores is not None and ignores.leave_out(entry.path, is_directory=is_directory):
                self.ignored["directory" if is_directory else "file"] += 1
            elif not is_directory:
                yield Found(entry.path, listed=True)
            elif entry.name != ".git":
                yield from self.through(entry.path, ignores and ignores.within(entry.path))

    def left_out(self, directory: str) -> Iterator[Problem]:
        """Yield a note on what .gitignore leaves out."""
        if self.ignored:
            counts = ", ".join(
                f"{_PLURALS[what] if count > 1 else what} {count:,}" for what, count in self.ignored.items()
            )
            words = f"left out by .gitignore: {counts}; name them with -f to read them"
            yield Problem(words, directory)


_PLURALS: Final = {"directory": "directories", "file": "files"}


def expanded(name: str) -> list[str]:
    """Return the files that match a name as a pattern, like kubectl, if no file has that name.

    After cli-runtime, pkg/resource/builder.go, expandIfFilePattern. A pattern without a match is returned unchanged.
    """
    if os.path.lexists(name) or _MAGIC.isdisjoint(name):
        return [name]
    from kubectl_harden.manifests.ignore import name_test

    found = ["/" if name.startswith("/") else ""]
    for part in name.strip("/").split("/"):
        try:
            test = name_test(part)
        except InputError:
            return [name]
        found = [path for one in found for path in _inside(one, part, test)]
    return found or [name]


_MAGIC: Final = frozenset("*?[")


def _inside(directory: str, part: str, test: Callable[[str], bool]) -> Iterator[str]:
    if _MAGIC.isdisjoint(part):
        path = os.path.join(directory, part)
        if os.path.lexists(path):
            yield path
        return
    with suppress(OSError):
        yield from (os.path.join(directory, name) for name in sorted(os.listdir(directory or os.curdir)) if test(name))


def directory_of(file: str, names: Iterable[str]) -> str | None:
    """Return the one of the named directories that a file was found in, or None where the file itself was named."""
    if file in names:
        return None
    listing = [name for name in names if file.startswith(os.path.join(name, ""))]
    return max(listing, key=len, default=os.path.dirname(file) or ".")


def is_other_json(text: str) -> bool:
    """Whether a text looks like JSON, perhaps with comments like tsconfig.json, and has no apiVersion."""
    return text.lstrip("\ufeff \t\r\n").startswith(("{", "//", "/*")) and "apiVersion" not in text


def template_line(text: str, fault: Fault) -> int | None:
    """Return the line (from 1) of the template action such as ``{{ .Values.x }}`` that causes a fault, or None.

    A fault that is also there without the actions is in the YAML around them.
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
    """Whether a document also has a fault with a filler in place of its template actions."""
    filled = re.sub(_ACTION, lambda match: re.sub(".", filler, match[0]), body)
    faults = (found for found in documents(filled) if isinstance(found, Fault))
    return any((found.offset, found.message) == (offset, message) for found in faults)


def cannot_hold_pod(body: str, kinds: frozenset[str]) -> bool:
    """Whether a YAML document is well-formed and certainly of a kind without pods, found without building its tree."""
    return other_kind(body, kinds) is not None


def other_kind(body: str, kinds: frozenset[str]) -> str | None:
    """Return the kind of a YAML document that is well-formed and certainly of none of these kinds; None for any other.

    No tree is built. A kind is returned only for a mapping with one ``kind``, no items, and no top-level key that could
    add another kind.
    """
    seen: dict[str, str | None] = {}
    try:
        for key, value in top_level(body):
            if key in seen or key in ("items", "<<"):
                return None
            if key == "kind" and (value is None or value in kinds or value.endswith("List")):
                return None
            seen[key] = value
    except SyntaxFault:
        return None  # The error is reported when the whole document is parsed.
    return seen.get("kind")

"""The project file ``.kubectl-harden.yaml``: the settings of a repository, unless options say otherwise.

docs/project-file.schema.json has the same for editors; a test compares the two.
"""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError, UsageError, meant
from kubectl_harden.manifests.repository import ancestors, upwards
from kubectl_harden.pod_security.pod_templates import PodPaths, parse_pod_path
from kubectl_harden.pod_security.policy import parse_policy
from kubectl_harden.text_files import leads_out, read_text
from kubectl_harden.yaml_text.documents import Document, Lines, documents

__all__ = ["FILE", "NO_PROJECT", "Project", "find_project", "misnamed", "not_obeyed", "read_project"]

FILE: Final = ".kubectl-harden.yaml"
MOST: Final = 1 << 20
"""The most bytes of a project file."""


class Project(NamedTuple):
    """The content of a project file, and its name; ``exclude`` are patterns as in .gitignore, relative to its
    directory.
    """

    file: str = ""
    directory: str = ""
    level: str | None = None
    policy_version: str | None = None
    exclude: tuple[str, ...] = ()
    pod_paths: PodPaths = MappingProxyType({})
    known: str | None = None

    def excluded(self) -> Callable[[str], bool]:
        """Return the test whether a file is left out."""
        if not self.exclude:
            return lambda _file: False
        from pathlib import PurePath

        from kubectl_harden.manifests.ignore import ignored, parse

        patterns = [pattern for line in self.exclude if (pattern := parse(line)) is not None]

        def test(file: str) -> bool:
            relative = os.path.relpath(os.path.abspath(file), self.directory)
            return not leads_out(relative) and ignored(patterns, PurePath(relative).as_posix())

        return test


NO_PROJECT: Final = Project()


def find_project(start: str) -> str | None:
    """Return the project file of a directory: its own, or that of the next one above it in the same repository.

    One that ``not_obeyed`` reports does not count.
    """
    file = _nearest(upwards(start))
    return file if file is None or _distrust(file, start) is None else None


def not_obeyed(start: str) -> str | None:
    """Return why the nearest project file in a directory or above it is not obeyed, or "".

    Otherwise, whoever can write to a directory above could choose what is checked.
    """
    file = _nearest(ancestors(start))
    why = None if file is None else _distrust(file, start)
    return why and f"{os.path.relpath(str(file), start)} is not obeyed: {why}; --config names it"


def _nearest(directories: Iterable[str]) -> str | None:
    return next((file for file in (os.path.join(one, FILE) for one in directories) if os.path.isfile(file)), None)


def _distrust(file: str, start: str) -> str | None:
    """Return why a project file in a directory, or above it, must not be obeyed there, or ""."""
    root = list(upwards(start))[-1]
    if not _inside(file, root):
        return "it is outside of this repository"
    if not _inside(os.path.realpath(file), os.path.realpath(root)):
        return "it is a link that leads out of this repository"
    if sys.platform == "win32":
        return None
    # The owner of the working directory is accepted, too: a container may run as root on another user's files.
    trusted = {os.geteuid(), os.stat(start).st_uid}
    if not {os.lstat(file).st_uid, os.stat(file).st_uid} <= trusted:
        return "it belongs to another user"
    return None


def _inside(file: str, directory: str) -> bool:
    """Whether an absolute path is in a directory."""
    return file.startswith(os.path.join(directory, ""))


def misnamed(start: str) -> str | None:
    """Return a file in the place of a project file whose name looks like a misspelled one."""
    for directory in upwards(start):
        with contextlib.suppress(OSError):
            for file in (os.path.join(directory, name) for name in os.listdir(directory) if _is_close(name)):
                if _is_settings(file):
                    return file
        if os.path.isfile(os.path.join(directory, FILE)):
            break
    return None


_LIKE: Final = r"\.?(\w*(?:kube?c|hard)[a-z._-]*)\.(?:ya?ml|yam|json)"
_ENDINGS: Final = (".yaml", ".yml", ".yam", ".json")
_PARTS: Final = ("kubc", "kubec", "hard")
_LETTERS: Final = "kubectlharden"
_CLOSE: Final = 0.8


def _is_close(name: str) -> bool:
    """Whether a name is almost that of project files: other punctuation or ending, a letter or two."""
    # Most directories have no name with these parts, and then no pattern is compiled.
    folded = name.casefold()
    may_be = folded.endswith(_ENDINGS) and any(part in folded for part in _PARTS)
    like = re.fullmatch(_LIKE, name, re.IGNORECASE) if may_be else None
    if like is None or name == FILE:
        return False
    letters = re.sub("[^a-z]", "", like[1].lower())
    if letters == _LETTERS:
        return True
    from difflib import SequenceMatcher

    return SequenceMatcher(None, letters, _LETTERS).ratio() >= _CLOSE


def _is_settings(file: str) -> bool:
    """Whether a file is not a Kubernetes object, which may have such a name, too."""
    try:
        return os.path.isfile(file) and "apiVersion" not in read_text(file, regular=True)
    except InputError:
        return False


def read_project(file: str) -> Project:
    """Read a project file. Raises UsageError with the place of an error in it."""
    try:
        text = read_text(file, most=MOST)
    except InputError as error:
        raise UsageError(f"{os.path.relpath(file)}: {error.args[0]}") from None
    lines = Lines(text)
    found = [item for item in documents(text) if not isinstance(item, Document) or item.value is not None]
    if not found:
        return Project(os.path.relpath(file), os.path.dirname(os.path.abspath(file)))
    first = found[0]
    if not isinstance(first, Document):
        raise UsageError(f"{_place(file, lines, first.offset)}: {first.message}")
    if len(found) > 1 or not isinstance(first.value, dict):
        raise UsageError(f"{os.path.relpath(file)}: a project file is one mapping of keys")
    for offset, key in first.repeated:
        raise UsageError(f'{_place(file, lines, offset)}: the key "{key}" is repeated')
    read: dict[str, Any] = {}
    for key, value in first.value.items():
        try:
            if key not in _KEYS:
                raise UsageError(f'unknown key "{key}".{meant(key, _KEYS)} Known: {", ".join(_KEYS)}')
            name, reader = _KEYS[key]
            read[name] = reader(value)
            if key == "known":
                read[name] = _in_repository(read[name], os.path.dirname(os.path.abspath(file)))
        except UsageError as error:
            raise UsageError(f"{_place(file, lines, first.offset_of((key,)))}: {error}") from None
    return Project(os.path.relpath(file), os.path.dirname(os.path.abspath(file)), **read)


def _place(file: str, lines: Lines, offset: int) -> str:
    line, column = lines.place(offset)
    return f"{os.path.relpath(file)}:{line}:{column}"


def _level(value: object) -> str:
    if not isinstance(value, str):
        raise UsageError("level: write baseline or restricted")
    return parse_policy(value, "latest").level


def _policy_version(value: object) -> str:
    if not isinstance(value, str):
        raise UsageError("policyVersion: write latest, or a version such as v1.30")
    parse_policy("restricted", value)
    return value


def _patterns(value: object) -> tuple[str, ...]:
    # Imported late: most projects exclude nothing.
    from kubectl_harden.manifests.ignore import parse

    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise UsageError("exclude: write a list of patterns, as in .gitignore")
    for item in value:
        try:
            parse(item)
        except InputError as error:
            raise UsageError(f"exclude: {error}") from None
    return tuple(value)


def _pod_paths(value: object) -> Mapping[tuple[str, str], tuple[str, ...]]:
    if not isinstance(value, dict):
        raise UsageError("podPaths: write KIND.GROUP: /json/pointer, or a list of pointers")
    out = {}
    for kind, pointers in value.items():
        listed = pointers if isinstance(pointers, list) else [pointers]
        if not listed or not re.fullmatch(_KIND, kind) or not all(
            isinstance(item, str) and item.startswith("/") for item in listed
        ):  # fmt: skip
            raise UsageError(f'podPaths: "{kind}": write KIND.GROUP: /json/pointer, or a list of pointers')
        try:
            parsed = [parse_pod_path(f"{kind}={item}") for item in listed]
        except UsageError as error:
            raise UsageError(f"podPaths: {error}") from None
        out[parsed[0][0]] = tuple(pointer for _, pointer in parsed)
    return out


def _in_repository(name: str, directory: str) -> str:
    """Return the path of a file that a project file names. Raises UsageError for one outside of its repository."""
    path = os.path.join(directory, name)
    root = os.path.realpath(list(upwards(directory))[-1])
    if not _inside(os.path.realpath(path), root):
        raise UsageError(f'known: "{name}" is outside of this repository; --known names any file')
    return os.path.relpath(path)


def _known(value: object) -> str:
    if not isinstance(value, str) or not value or os.path.isabs(value):
        raise UsageError("known: write the name of the baseline file, relative to this file")
    return value


_KIND: Final = r"[A-Za-z][A-Za-z0-9]*(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"

_KEYS: Final[dict[str, tuple[str, Callable[[object], object]]]] = {
    "level": ("level", _level),
    "policyVersion": ("policy_version", _policy_version),
    "exclude": ("exclude", _patterns),
    "podPaths": ("pod_paths", _pod_paths),
    "known": ("known", _known),
}
"""The keys, their fields, and the functions that read them."""

"""The files that a repository's .gitignore files leave out of a walk through it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.ignore import Pattern, decision, parse
from kubectl_harden.manifests.repository import is_repository, upwards
from kubectl_harden.text_files import read_text

__all__ = ["Ignores", "ignores_in"]

_FILE: Final = ".gitignore"
_EXCLUDE: Final = os.path.join(".git", "info", "exclude")


class Ignores(NamedTuple):
    """The patterns in force in a directory, by the directory that they are relative to, the inner ones last."""

    levels: tuple[tuple[str, tuple[Pattern, ...]], ...] = ()

    def within(self, directory: str) -> Ignores:
        """Return the patterns in force in a directory below, with its own patterns last."""
        path = os.path.abspath(directory)
        patterns = tuple(_patterns(os.path.join(path, _FILE)))
        return Ignores((*self.levels, (path, patterns))) if patterns else self

    def leave_out(self, name: str, *, is_directory: bool) -> bool:
        """Whether a file or directory is left out, unless a directory around it is."""
        path = os.path.abspath(name)
        for directory, patterns in reversed(self.levels):
            relative = PurePath(os.path.relpath(path, directory)).as_posix()
            found = decision(patterns, relative, is_directory=is_directory)
            if found is not None:
                return found
        return False


def ignores_in(directory: str) -> Ignores | None:
    """Return the patterns in force where a walk begins; None outside of a repository, and in an ignored directory.

    A person who names a directory that git ignores wants to see its content.
    """
    above = list(upwards(directory))
    root = above[-1]
    if not is_repository(root):
        return None
    exclude = tuple(_patterns(os.path.join(root, _EXCLUDE)))
    found = Ignores(((root, exclude),) if exclude else ())
    for current in reversed(above):
        if current != root and (os.path.basename(current) == ".git" or found.leave_out(current, is_directory=True)):
            return None
        found = found.within(current)
    return found


def _patterns(file: str) -> Iterator[Pattern]:
    """Yield the patterns of a file in their order; what git skips is skipped."""
    try:
        lines = read_text(file, regular=True).removeprefix("\ufeff").splitlines() if os.path.isfile(file) else []
    except InputError:
        return
    for line in lines:
        try:
            pattern = parse(line)
        except InputError:
            continue
        if pattern is not None:
            yield pattern

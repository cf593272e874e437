"""Which files below a path of a repository Flux and Argo CD use.

Sources: fluxcd.io/flux/components/source/gitrepositories (ignore; excluding files), fluxcd/pkg, sourceignore, and
source-controller, SourceIgnoreFilter (without patterns of the user, the default ones count); argo-cd.readthedocs.io,
user-guide/directory, and reposerver/repository, getPotentiallyValidManifestFile (an asterisk also matches slashes).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Final

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.ignore import Pattern, last_match, name_test, parse
from kubectl_harden.origin_model import FilesTaken
from kubectl_harden.text_files import read_text

__all__ = ["takes"]

_FILE: Final = ".sourceignore"
_ALWAYS: Final = (".git/", ".gitignore", ".gitmodules", ".gitattributes")
_DEFAULT: Final = (
    "*.jpg", "*.jpeg", "*.gif", "*.png", "*.wmv", "*.flv", "*.tar.gz", "*.zip", ".github/", ".circleci/", ".travis.yml",
    ".gitlab-ci.yml", "appveyor.yml", ".drone.yml", "cloudbuild.yaml", "codeship-services.yml", "codeship-steps.yml",
    "**/.goreleaser.yml", "**/.sops.yaml", "**/.flux.yaml",
)  # fmt: skip
_MOST: Final = 1_000
"""The most alternatives of a pattern with braces."""


def takes(rules: FilesTaken, root: str, directory: str) -> Callable[[str], bool]:
    """Return the test whether a file of a checkout is used; ``directory`` is the path in the source.

    Raises InputError for patterns that cannot be read.
    """
    tests = [*_argo(rules, directory), *([_flux(rules, root)] if rules.by_flux else [])]
    return lambda path: all(test(path) for test in tests)


# -- Argo CD -----------------------------------------------------------------------------------------------


def _argo(rules: FilesTaken, directory: str) -> Iterator[Callable[[str], bool]]:
    for pattern, wanted in ((rules.exclude, False), (rules.include, True)):
        if pattern:
            tests = [name_test(one) for one in _alternatives(pattern)]
            yield lambda path, tests=tests, wanted=wanted: (  # type: ignore[misc]
                any(test(PurePath(os.path.relpath(path, directory)).as_posix()) for test in tests) is wanted
            )


def _alternatives(pattern: str) -> list[str]:
    """Return the patterns that one with braces stands for. Raises InputError for too many, or unbalanced braces."""
    done: list[str] = []
    ahead = [pattern]
    while ahead:
        one = ahead.pop()
        end = one.find("}")
        start = one.rfind("{", 0, end) if end >= 0 else -1
        if end < 0 and "{" not in one:
            done.append(one)
        elif start < 0 or len(done) + len(ahead) > _MOST:
            raise InputError(f'the pattern "{pattern}" of its directory is not judged')
        else:
            ahead += [one[:start] + part + one[end + 1 :] for part in reversed(one[start + 1 : end].split(","))]
    return done


# -- Flux --------------------------------------------------------------------------------------------------


def _flux(rules: FilesTaken, root: str) -> Callable[[str], bool]:
    levels = list(_levels(root))
    if rules.ignore is not None:
        levels.append((root, _patterns(rules.ignore.splitlines())))
    own = any(patterns for _, patterns in levels)
    levels.insert(0, (root, _patterns((*_ALWAYS, *(() if own else _DEFAULT)))))

    def test(path: str) -> bool:
        for directory, patterns in reversed(levels):
            relative = PurePath(os.path.relpath(path, directory)).as_posix()
            found = None if relative.startswith("../") else last_match(patterns, relative)
            if found is not None:
                return not found
        return True

    return test


def _levels(root: str) -> Iterator[tuple[str, list[Pattern]]]:
    """Yield the patterns in a repository's ignore files, with the directories that they are relative to."""
    for directory, below, names in os.walk(root):
        below[:] = sorted(name for name in below if name != ".git")
        if _FILE in names:
            file = os.path.join(directory, _FILE)
            try:
                yield directory, _patterns(read_text(file, regular=True).splitlines())
            except InputError as error:
                raise InputError(f"{os.path.relpath(file, root)}: {error}") from None


def _patterns(lines: tuple[str, ...] | list[str]) -> list[Pattern]:
    found = []
    for line in lines:
        try:
            pattern = parse(line)
        except InputError as error:
            raise InputError(f"what Flux leaves out is not known: {error}") from None
        if pattern is not None:
            found.append(pattern)
    return found

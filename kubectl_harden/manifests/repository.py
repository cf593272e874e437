"""The directories of a repository: its root, and the names of kustomization files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

__all__ = ["KUSTOMIZATION", "ancestors", "is_repository", "kustomizations", "upwards"]

KUSTOMIZATION: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""The names that kustomize looks for (api/konfig)."""


def upwards(directory: str) -> Iterator[str]:
    """Yield the absolute path of a directory and of those above it, up to the root of its repository.

    Outside of repositories it is only the directory: what is above may be anybody's.
    """
    above = list(ancestors(directory))
    root = next((index for index, one in enumerate(above) if is_repository(one)), 0)
    yield from above[: root + 1]


def is_repository(directory: str) -> bool:
    """Whether a directory is the root of a repository."""
    return os.path.exists(os.path.join(directory, ".git"))


def ancestors(directory: str) -> Iterator[str]:
    """Yield the absolute path of a directory and of all those above it."""
    current, below = os.path.abspath(directory), ""
    while current != below:
        yield current
        current, below = os.path.dirname(current), current


def kustomizations(directory: str) -> list[str]:
    """Return the paths of the kustomizations in a directory, the one that kustomize reads first."""
    paths = (os.path.join(directory, name) for name in KUSTOMIZATION)
    return [path for path in paths if os.path.isfile(path)]

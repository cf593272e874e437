"""Objects in files that may run pods in a namespace and are not judged: they keep a level from being enforced there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from kubectl_harden.manifests.contents import Contents, Stands
from kubectl_harden.manifests.destinations import Destinations
from kubectl_harden.manifests.discovery import EXTENSIONS
from kubectl_harden.manifests.namespace_plans import HeldBack
from kubectl_harden.manifests.repository import KUSTOMIZATION
from kubectl_harden.model import Problem, Source
from kubectl_harden.plan_model import FileFix

__all__ = ["Unseen", "held_back_by"]

_CHART: Final = "a chart: these files do not show which pods its templates make, and in which namespaces"


def held_back_by(problem: Problem, cause: str) -> HeldBack:
    """Return a problem as the reason that holds a Namespace back."""
    source = Source(problem.file, problem.document, problem.line) if problem.file is not None else None
    return HeldBack(problem.file or "", cause, problem.message, source)


def _is_read(directory: str, paths: frozenset[str]) -> bool:
    """Whether a directory and those below it have manifests, all of them among some files (absolute)."""
    found = False
    for parent, below, names in os.walk(directory):
        if any(os.path.islink(os.path.join(parent, name)) for name in below):
            return False
        for name in names:
            if name.endswith(EXTENSIONS) and name not in KUSTOMIZATION:
                found = True
                if os.path.join(os.path.abspath(parent), name) not in paths:
                    return False
    return found


class Unseen:
    """Finds what is not judged in files, by their content and the namespaces that kustomizations give their objects."""

    def __init__(self, contents: Mapping[str, Contents], destinations: Destinations, charts: Iterable[str]) -> None:
        self._contents, self._destinations = contents, destinations
        self._charts = [Problem(_CHART, chart) for chart in charts]
        self._standing = list(self._stand_for_others())

    def _stand_for_others(self) -> Iterator[tuple[str, Stands]]:
        """Yield objects that make others, or cannot be read, with their files; not those whose files are read."""
        paths = frozenset(map(os.path.abspath, self._contents))
        for file, found in self._contents.items():
            for one in found.stands:
                if not (one.directory and _is_read(one.directory, paths)):
                    yield file, one

    def named_in(self, file: str) -> frozenset[str]:
        """Return the namespaces that objects of a file go to, as far as they are known."""
        named = (name for names in self._contents[file].namespaces.values() for name in names or ())
        return self._known(file, (None, *named))

    def _known(self, file: str, names: Iterable[str | None]) -> frozenset[str]:
        return frozenset(to for name in names for to in self._destinations.of(file, name) if to is not None)

    def errors(self, file: str, fix: FileFix | None) -> Iterator[tuple[frozenset[str], Problem]]:
        """Yield the errors in a file, and in its plans if there are any, with the namespaces that they are about."""
        found = self._contents[file]
        read = {one.note: one.names for one in found.stands if one.is_error}
        for problem, names in read.items():
            yield self._known(file, names or ()), problem
        for problem in fix.problems if fix is not None else ():
            if problem not in read:
                concerned = found.concerned(problem)
                yield self.named_in(file) if concerned is None else self._known(file, concerned), problem

    def of(self, namespaces: frozenset[str], files: Iterable[str]) -> Iterator[HeldBack]:
        """Yield what may run pods in namespaces; ``files`` are those of their workloads."""
        for file, one in self._standing:
            if one.names is None:
                given = self._destinations.of(file, None)
                if None in given or given & namespaces:
                    yield held_back_by(one.note, "could not be read" if one.is_error else "not judged")
            elif not one.is_error and self._known(file, one.names) & namespaces:
                yield held_back_by(one.note, "not judged")
        paths = frozenset(map(os.path.abspath, files))
        for built in self._destinations.unrendered:
            of_names = built.files is None and (built.names is None or bool(built.names & namespaces))
            if of_names or built.changes(paths):
                yield held_back_by(built.problem, "kustomizations")
        for chart in self._charts:
            yield held_back_by(chart, "charts")

    def altered(self, files: Iterable[str]) -> Iterator[HeldBack]:
        """Yield the kustomizations that change objects of files, so that the files do not show their pods."""
        paths = frozenset(map(os.path.abspath, files))
        for built in self._destinations.unrendered:
            if built.changes(paths):
                yield held_back_by(built.problem, "kustomizations")

    def notes(self) -> Iterator[Problem]:
        """Yield everything that is not judged, except errors."""
        yield from (one.note for _, one in self._standing if not one.is_error)
        yield from (built.problem for built in self._destinations.unrendered)
        yield from self._charts

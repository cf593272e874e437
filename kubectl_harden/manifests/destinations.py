"""The namespaces that objects of files go to, by the kustomizations around the files.

Source: sigs.k8s.io/kustomize, api/types/kustomization.go; ``namespace`` replaces that of every object, and the name of
Namespace objects (api/internal/konfig/builtinpluginconsts/namespace.go). An outer kustomization overrides inner ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.directories import kustomization_in
from kubectl_harden.model import Problem
from kubectl_harden.pod_security.namespace_labels import PREFIX

__all__ = ["Destinations", "Unrendered", "destinations_in"]

Namespaces = frozenset[str | None]

_AS_IT_IS: Final[Namespaces] = frozenset((None,))
_HARMLESS: Final = frozenset(
    {"apiVersion", "kind", "metadata", "namespace", "resources", "bases", "namePrefix", "nameSuffix", "labels",
     "commonLabels", "commonAnnotations", "images", "replicas", "configMapGenerator", "secretGenerator",
     "generatorOptions", "buildMetadata", "sortOptions", "openapi", "crds"}
)  # fmt: skip
"""Fields of a kustomization that do not change whether its pods meet a level."""
_PATCHES: Final = frozenset({"patches", "patchesStrategicMerge", "patchesJson6902", "replacements", "vars"})
"""Fields that change only objects from the kustomization's own resources."""
_DECISIVE: Final = ("container.apparmor.", "container.seccomp.", "seccomp.")
"""The prefixes of the annotations that Pod Security admission reads."""
_NAMED: Final = 3


class Unrendered(NamedTuple):
    """Objects that other programs render, so that the files do not show their pods; ``problem`` says which, and why.

    They may go to the namespaces ``names``, None: to any. ``files`` are those (absolute) whose objects are changed;
    they go wherever these go, and nowhere else.
    """

    problem: Problem
    names: frozenset[str] | None = None
    files: frozenset[str] | None = None

    def changes(self, files: frozenset[str]) -> bool:
        """Whether objects of these files (absolute) are known to be changed."""
        return self.files is not None and bool(self.files & files)


class Destinations(NamedTuple):
    """The namespaces that kustomizations set for the objects of files, by absolute path; None is the object's own."""

    overrides: Mapping[str, Namespaces]
    unrendered: tuple[Unrendered, ...] = ()

    def of(self, file: str, namespace: str | None) -> Namespaces:
        """Return where an object of a file goes that names a namespace; None: it is decided when the object is applied.

        For a Namespace object, it is the name of the built object.
        """
        given = self.overrides.get(os.path.abspath(file), _AS_IT_IS)
        return frozenset(namespace if name is None else name for name in given)


def destinations_in(files: Iterable[str], kustomizations: Iterable[str], above: Iterable[str]) -> Destinations:
    """Return where the objects of files go.

    ``kustomizations`` are those that a person has named, ``above`` are others in the same repository, which count where
    they change these files.
    """
    return _Graph({os.path.abspath(file) for file in files}, kustomizations, above).destinations()


class _Kustomization(NamedTuple):
    """A kustomization: its file as a person wrote it, its value, and whether a person has named it."""

    file: str
    value: Mapping[str, Any]
    is_named: bool

    @property
    def directory(self) -> str:
        return os.path.dirname(os.path.abspath(self.file))

    @property
    def namespace(self) -> str | None:
        found = self.value.get("namespace")
        return found if isinstance(found, str) and found else None

    def resources(self) -> Iterator[tuple[str, str]]:
        """Yield its resources, as written and as an absolute path."""
        for key in ("resources", "bases", "components"):
            listed = self.value.get(key)
            for name in listed if isinstance(listed, list) else ():
                if isinstance(name, str) and name and "\0" not in name:
                    yield name, os.path.normpath(os.path.join(self.directory, name))


class _Graph:
    """Kustomizations by their directories, and which of them builds on which."""

    def __init__(self, files: set[str], named: Iterable[str], above: Iterable[str]) -> None:
        self._files = files
        self._by_directory: dict[str, _Kustomization] = {}
        self._unreadable: list[Unrendered] = []
        for names, is_named in ((named, True), (above, False)):
            for file in names:
                try:
                    value = kustomization_in(file)
                except InputError as error:
                    self._unreadable.append(Unrendered(Problem(f"a kustomization that cannot be read: {error}", file)))
                    continue
                if value is not None:
                    one = _Kustomization(file, value, is_named)
                    self._by_directory.setdefault(one.directory, one)
        self._users: dict[str, list[str]] = {}
        for directory, one in self._by_directory.items():
            for _, path in one.resources():
                self._users.setdefault(path, []).append(directory)
        self._given = self._namespaces()

    def destinations(self) -> Destinations:
        overrides = {file: self._given_by(self._users[file]) for file in self._files if file in self._users}
        unrendered = (found for one in self._by_directory.values() if (found := self._unrendered(one)) is not None)
        return Destinations(overrides, (*self._unreadable, *unrendered))

    def _given_by(self, directories: Iterable[str]) -> Namespaces:
        return frozenset(name for directory in directories for name in self._given[directory])

    def _namespaces(self) -> dict[str, set[str | None]]:
        """Return the namespace that each kustomization's objects get: the outermost kustomization with a namespace
        decides.

        None leaves them unchanged. A kustomization that others build on is not built by itself.
        """
        given: dict[str, set[str | None]] = {directory: set() for directory in self._by_directory}
        # In a circle of kustomizations, any of them may be the outermost one.
        for roots in ([one for one in given if one not in self._users], given):
            ahead = [one for one in roots if not given[one]]
            for directory in ahead:
                given[directory].add(self._by_directory[directory].namespace)
            while ahead:
                directory = ahead.pop()
                for _, path in self._by_directory[directory].resources():
                    below = self._by_directory.get(path)
                    if below is None:
                        continue
                    names = {below.namespace if name is None else name for name in given[directory]}
                    if not names <= given[path]:
                        given[path] |= names
                        ahead.append(path)
        return given

    def _reached(self, directory: str) -> frozenset[str]:
        """Return the files that a kustomization is built from, directly or not."""
        seen: set[str] = set()
        ahead = [directory]
        while ahead:
            path = ahead.pop()
            if path not in seen:
                seen.add(path)
                known = self._by_directory.get(path)
                ahead += [name for _, name in known.resources()] if known is not None else ()
        return frozenset(seen & self._files)

    def _unrendered(self, one: _Kustomization) -> Unrendered | None:
        """Return what a kustomization makes that the files do not show, or None."""
        value = one.value
        alters = [key for key in value if key not in _HARMLESS and value[key]]
        annotations = value.get("commonAnnotations")
        if isinstance(annotations, dict) and any(str(key).startswith(_DECISIVE) for key in annotations):
            alters.append("commonAnnotations")
        alters += _labels_of_namespaces(value)
        reached = self._reached(one.directory)
        here = self._files | self._by_directory.keys()
        elsewhere = [name for name, path in one.resources() if path not in here]
        if not one.is_named:
            # Its other files are not among those that a person has named.
            elsewhere = []
            if not reached:
                return None
        if not alters and not elsewhere:
            return None
        words = []
        if alters:
            words.append(f"changes what it builds ({', '.join(map(str, alters))})")
        if elsewhere:
            more = f" and {len(elsewhere) - _NAMED:,} more" if len(elsewhere) > _NAMED else ""
            words.append(f"builds on what is not among these files ({', '.join(elsewhere[:_NAMED])}{more})")
        problem = Problem(f"a kustomization that {' and '.join(words)}: these files do not show its pods", one.file)
        if not elsewhere and _PATCHES.union(("commonAnnotations",)).issuperset(alters):
            return Unrendered(problem, files=reached)
        given = self._given[one.directory]
        names = frozenset(name for name in given if name is not None)
        return Unrendered(problem, None if None in given else names)


def _labels_of_namespaces(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields with which a kustomization sets Pod Security labels on Namespace objects."""
    common, pairs = value.get("commonLabels"), value.get("labels")
    listed = [item.get("pairs") for item in pairs if isinstance(item, dict)] if isinstance(pairs, list) else []
    for key, labels in (("commonLabels", common), *(("labels", one) for one in listed)):
        if isinstance(labels, dict) and any(str(label).startswith(PREFIX) for label in labels):
            yield key

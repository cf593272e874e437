"""The content of files about namespaces: Namespace objects, and objects that may run pods that are not judged."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from kubectl_harden.field_path import field_path
from kubectl_harden.manifests.namespaces import objects_in, oddities
from kubectl_harden.manifests.others import RENDERED
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Item, Manifest, read
from kubectl_harden.manifests.repository import upwards
from kubectl_harden.model import Other, Path, Policy, Problem, Source
from kubectl_harden.objects import api_group, is_namespace
from kubectl_harden.pod_security.namespace_labels import label_faults
from kubectl_harden.pod_security.policy import NEWEST
from kubectl_harden.yaml_text.documents import SKIPPED, Document, Lines

__all__ = ["Contents", "Declared", "Stands", "contents"]

NO_POLICY: Final = Policies(Policy("privileged", NEWEST, "latest"))
"""The policy for workloads that are only read."""
_KUSTOMIZE: Final = "kustomize.config.k8s.io"
_FLUX: Final = "kustomize.toolkit.fluxcd.io"
_FLUX_HARMLESS: Final = frozenset(
    {"decryption", "deletionPolicy", "dependsOn", "force", "healthCheckExprs", "healthChecks",
     "ignoreMissingComponents", "images", "interval", "kubeConfig", "namePrefix", "nameSuffix", "path", "prune",
     "retryInterval", "serviceAccountName", "sourceRef", "suspend", "timeout", "wait"}
)  # fmt: skip
"""Fields of Flux' Kustomizations that change neither the levels that pods of their files meet nor their namespaces."""


_OWN_SOURCE: Final = ("GitRepository", "flux-system")
"""The name that flux bootstrap gives the repository of its Kustomizations; other names may be other repositories."""


class Declared(NamedTuple):
    """A Namespace object: ``base`` leads to it from the root of its document.

    ``labels`` are those with string values. ``fault`` says why its labels must not be edited, or "".
    """

    name: str
    source: Source
    base: Path
    labels: Mapping[str, str]
    fault: str = ""


class Stands(NamedTuple):
    """An object that may run pods in a namespace and is not judged: ``note`` says what it is.

    ``names`` are the namespaces that it names, None where it may be any. ``is_error``: it cannot be read. ``directory``
    (absolute) contains all manifests that it applies, unchanged: nothing is unknown where these files are read.
    """

    note: Problem
    names: frozenset[str] | None
    is_error: bool = False
    directory: str = ""


class Contents(NamedTuple):
    """The content of a file. ``namespaces`` are those that the objects of each document name, None where that is
    unknown.

    ``notes`` are about Namespace objects.
    """

    file: str
    declared: tuple[Declared, ...] = ()
    namespaces: Mapping[int, frozenset[str] | None] = {}
    runs_pods: bool = False
    stands: tuple[Stands, ...] = ()
    notes: tuple[Problem, ...] = ()

    def concerned(self, problem: Problem) -> frozenset[str] | None:
        """Return the namespaces that a problem in the file is about, None where they are not known."""
        return None if problem.document is None else self.namespaces.get(problem.document)


def contents(manifest: Manifest) -> Contents:
    """Return the content of a text."""
    declared: list[Declared] = []
    stands: list[Stands] = []
    notes: list[Problem] = []
    problems: list[Problem] = []
    namespaces: dict[int, frozenset[str] | None] = {}
    runs_pods = False
    rendered: deque[Any] = deque()
    lines = Lines(manifest.text)
    for found in read(manifest, NO_POLICY):
        if isinstance(found, Document):
            if found.value is SKIPPED or found.value is None:
                continue
            values = list(objects_in(found.value))
            namespaces[found.index] = _named([value for _, value in values])
            rendered = deque(value for _, value in values if _stands_for_others(value))
            for number, (base, value) in enumerate(values):
                if is_namespace(value):
                    one = _declared(manifest, found, lines, base, value, number if base else None)
                    if one is not None:
                        declared.append(one)
                        notes.extend(_notes(manifest, found, lines, base, value))
        elif isinstance(found, Problem):
            problems.append(found)
        elif isinstance(found, Item):
            runs_pods = True
        elif isinstance(found, Other) and found.note is not None:
            if rendered and found.kind == rendered[0].get("kind"):
                value = rendered.popleft()
                stands.append(Stands(found.note, _goes_to(value), directory=_directory(value, manifest.file)))
            else:
                names = namespaces.get(found.note.document) if found.note.document is not None else None
                # Where an object without a namespace goes is not known, as for workloads without one.
                stands.append(Stands(found.note, names or frozenset()))
    made = Contents(manifest.file, tuple(declared), namespaces, runs_pods, (), tuple(notes))
    unread = (Stands(problem, made.concerned(problem), is_error=True) for problem in problems)
    return made._replace(stands=(*stands, *unread))


def _named(values: list[dict[str, Any]]) -> frozenset[str] | None:
    """Return the namespaces that objects name, or are; None where one of them is not known to be an object."""
    names = set()
    for value in values:
        metadata = value.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        name = metadata.get("name" if is_namespace(value) else "namespace")
        if isinstance(name, str) and name:
            names.add(name)
        elif not isinstance(value.get("kind"), str) or not isinstance(value.get("apiVersion"), str):
            return None
    return frozenset(names) if values else None


def _declared(
    manifest: Manifest, document: Document, lines: Lines, base: Path, value: dict[str, Any], item: int | None
) -> Declared | None:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        return None
    line = lines.place(document.offset_of(base))[0] if manifest.lined else None
    source = Source(manifest.file, document.index, line, item)
    labels = metadata.get("labels")
    if labels is None:
        return Declared(name, source, base, {})
    if not isinstance(labels, dict):
        return Declared(name, source, base, {}, "its labels are not a mapping")
    faults = [f"{key}: {words}" for key, words in label_faults(labels)]
    texts = {key: text for key, text in labels.items() if isinstance(text, str)}
    return Declared(name, source, base, texts, "; ".join(faults))


def _notes(
    manifest: Manifest, document: Document, lines: Lines, base: Path, value: dict[str, Any]
) -> Iterator[Problem]:
    metadata = value["metadata"]
    labels = metadata.get("labels")
    for path, words in oddities(labels if isinstance(labels, dict) else {}, metadata.get("annotations")):
        place = lines.place(document.offset_of((*base, *path))) if manifest.lined else (None, None)
        words = f"Namespace {metadata['name']}: {field_path(path)}: {words}"
        yield Problem(words, manifest.file, document.index, *place)


# -- objects that stand for others ---------------------------------------------------------------------------


def _stands_for_others(value: dict[str, Any]) -> bool:
    kind, version = value.get("kind"), value.get("apiVersion")
    return isinstance(kind, str) and isinstance(version, str) and RENDERED.get(kind) == api_group(version)


def _goes_to(value: dict[str, Any]) -> frozenset[str] | None:
    """Return the namespace that an object names for the objects that it makes; None: it may be any.

    Source: the CRDs of Flux (spec.targetNamespace) and Argo CD (spec.destination.namespace), k3s' HelmChart.
    """
    group, spec = api_group(value["apiVersion"]), _mapping(value, "spec")
    if group == "argoproj.io":
        if value["kind"] == "ApplicationSet":
            spec = _mapping(_mapping(spec, "template"), "spec")
        return _one(_mapping(spec, "destination").get("namespace"))
    target = spec.get("targetNamespace")
    if group in (_FLUX, _KUSTOMIZE):
        return _one(target)
    return _one(target or _mapping(value, "metadata").get("namespace"))


def _directory(value: dict[str, Any], file: str) -> str:
    """Return the directory whose manifests a Flux Kustomization applies unchanged, or ""."""
    spec = _mapping(value, "spec")
    path = spec.get("path")
    if api_group(value["apiVersion"]) != _FLUX or not _FLUX_HARMLESS.issuperset(spec) or not isinstance(path, str):
        return ""
    source = _mapping(spec, "sourceRef")
    if (source.get("kind"), source.get("name")) != _OWN_SOURCE:
        return ""
    # It is relative to the root of the source: of this repository, where that has such a directory.
    root = list(upwards(os.path.dirname(file) or os.curdir))[-1]
    return os.path.normpath(os.path.join(root, path.lstrip("/")))


def _mapping(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _one(name: Any) -> frozenset[str] | None:
    known = isinstance(name, str) and name and "{{" not in name and "${" not in name
    return frozenset((name,)) if known else None

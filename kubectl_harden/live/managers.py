"""Who else manages a live object, and will undo a patch or quarrel with it.

Sources: Helm's labels and annotations (helm.sh/docs/chart_best_practices/labels), Argo CD's resource
tracking (argo-cd.readthedocs.io, user-guide/resource_tracking), Flux's labels
(fluxcd.io/flux/components/kustomize/kustomizations), and server-side apply's managedFields
(kubernetes.io/docs/reference/using-api/server-side-apply).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from kubectl_harden.model import Path

__all__ = ["Manager", "managers_of"]

_OURS: Final = ("kubectl", "kube-")
"""How the names of field managers begin that stand for a person at a shell, or for Kubernetes itself."""
_ARGO: Final = ("argocd-controller", "argocd-application-controller")
_HELM: Final = ("helm",)


class Manager(NamedTuple):
    """A system that manages an object: ``name`` says which, ``consequence`` what becomes of a patch."""

    name: str
    consequence: str


def managers_of(value: dict[str, Any], paths: Iterable[Path]) -> tuple[Manager, ...]:
    """Return who else manages an object, and who owns exactly the fields at the paths that are to be changed."""
    found = {manager.name: manager for manager in _labelled(value)}
    known = " ".join(found)
    for path in paths:
        for name in _owners(value, path):
            if name.startswith(_OURS) or (name in _ARGO and "Argo CD" in known) or (name in _HELM and "Helm" in known):
                continue
            field = ".".join(str(part) for part in path if isinstance(part, str))
            found.setdefault(
                name, Manager(name, f"it owns {field} (managedFields) and will set it again; change it at its source")
            )
    return tuple(found.values())


def _labelled(value: dict[str, Any]) -> Iterator[Manager]:
    metadata = value.get("metadata", {})
    labels: dict[str, str] = metadata.get("labels") or {}
    annotations: dict[str, str] = metadata.get("annotations") or {}
    release = annotations.get("meta.helm.sh/release-name")
    by = labels.get("app.kubernetes.io/managed-by", "")
    flux = False
    for kind in ("kustomize", "helm"):
        name = labels.get(f"{kind}.toolkit.fluxcd.io/name")
        if name:
            flux = True
            source = "Kustomization" if kind == "kustomize" else "HelmRelease"
            where = f"{labels.get(f'{kind}.toolkit.fluxcd.io/namespace', '')}/{name}"
            yield Manager(
                f"Flux {source} {where}",
                "its next reconciliation takes the patch back; commit the change to its source",
            )
    tracking = annotations.get("argocd.argoproj.io/tracking-id")
    entries = {entry.get("manager") for entry in metadata.get("managedFields") or ()}
    if tracking or not entries.isdisjoint(_ARGO):
        application = (tracking or labels.get("app.kubernetes.io/instance", "")).partition(":")[0]
        yield Manager(
            f"Argo CD Application {application}".rstrip(),
            "it shows the patch as out of sync, and self-heal takes it back; commit the change to its repository",
        )
    if (release or by == "Helm") and not flux:
        name = f"{annotations.get('meta.helm.sh/release-namespace', metadata.get('namespace', ''))}/{release or '?'}"
        yield Manager(
            f"Helm release {name}",
            "the next upgrade can take the patch back or conflict with it; put the change into the chart",
        )
    elif by and by != "Helm" and not by.lower().startswith(("kubectl", "kustomize")):
        yield Manager(f"{by} (app.kubernetes.io/managed-by)", "it may take the patch back; change it at its source")


def _owners(value: dict[str, Any], path: Path) -> Iterator[str]:
    """Yield the managers that own a field, or something below it."""
    for entry in value.get("metadata", {}).get("managedFields") or ():
        if not entry.get("subresource") and _holds(entry.get("fieldsV1") or {}, value, path):
            yield str(entry.get("manager", "?"))


def _holds(fields: dict[str, Any], value: Any, path: Path) -> bool:
    """Whether a fieldsV1 set has a path, in which list items are named by their keys."""
    for part in path:
        if isinstance(part, str) and isinstance(value, dict):
            key = f"f:{part}"
            if key not in fields or part not in value:
                return False
            fields, value = fields[key], value[part]
        elif isinstance(part, int) and isinstance(value, list) and part < len(value):
            value = value[part]
            if not fields:
                return True  # An atomic list is owned as a whole.
            found = next((fields[key] for key in fields if _names(key, value)), None)
            if found is None:
                return False
            fields = found
        else:
            return False
    return True


def _names(key: str, item: Any) -> bool:
    kind, _, text = key.partition(":")
    if kind == "v":
        return bool(json.loads(text) == item)
    if kind != "k" or not isinstance(item, dict):
        return False
    return all(item.get(name) == wanted for name, wanted in json.loads(text).items())

"""From an object that a controller made to the one that a person edits, by ownerReferences with ``controller: true``.

Source: kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kubectl_harden.cluster.api import Cluster, Resource
from kubectl_harden.errors import NotFound, NotPermitted
from kubectl_harden.objects import api_group, controller_of, name_of
from kubectl_harden.pod_security.pod_templates import PodPaths, holds_pods, locate

__all__ = ["OwnerReferences"]

_MADE_OF_OTHERS: Final = frozenset((("argoproj.io", "AnalysisRun"),))
"""Kinds that their owner does not make from its own pod template, but from an AnalysisTemplate."""


class OwnerReferences:
    """Follows owners as long as their pod templates are known; ``note`` gets what keeps it from following them."""

    def __init__(self, cluster: Cluster, pod_paths: PodPaths, note: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._pod_paths = pod_paths
        self._note = note
        self._unreadable: set[tuple[Resource, str]] = set()

    def trace(self, resource: Resource, value: dict[str, Any]) -> tuple[Resource, dict[str, Any], str | None]:
        """Return the object to edit for one that a controller may have made, and the owner above it that has no known
        template.

        An owner that may not be read is returned like one without a template: only what it made can be judged then. An
        Argo Rollout may name the object that has its template. Raises ClusterError where an owner cannot be read for
        other reasons.
        """
        resource, value = self._referenced(resource, value) or (resource, value)
        seen: set[str] = set()
        # Owners may name each other in a circle: the search ends where it closes.
        while (owner := controller_of(value)) is not None and value["metadata"]["uid"] not in seen:
            seen.add(value["metadata"]["uid"])
            above = None
            if holds_pods(api_group(owner["apiVersion"]), owner["kind"], self._pod_paths):
                above = self._cluster.resource_of(owner["apiVersion"], owner["kind"])
            maker = f"{owner['kind']} {owner['name']} ({owner['apiVersion']})"
            if (resource.group, resource.kind) in _MADE_OF_OTHERS:
                return resource, value, maker
            namespace = value["metadata"]["namespace"]
            if above is None or (above, namespace) in self._unreadable:
                return resource, value, maker
            try:
                found = self._cluster.get(above, namespace, owner["name"])
            except NotFound:
                return resource, value, None
            except NotPermitted as error:
                self._unreadable.add((above, namespace))
                self._note(f"pods cannot be traced to their owners: {error}")
                return resource, value, maker
            if found["metadata"]["uid"] != owner["uid"]:
                return resource, value, None
            referenced = self._referenced(above, found)
            if referenced is None and not locate(found, self._pod_paths):
                return resource, value, maker
            resource, value = referenced or (above, found)
        return resource, value, None

    def _referenced(self, resource: Resource, value: dict[str, Any]) -> tuple[Resource, dict[str, Any]] | None:
        """Return the object that an Argo Rollout's workloadRef names, which has its pod template, or None."""
        spec = value.get("spec")
        reference = spec.get("workloadRef") if isinstance(spec, dict) and not spec.get("template") else None
        if (resource.group, resource.kind) != ("argoproj.io", "Rollout") or not isinstance(reference, dict):
            return None
        api_version, kind, name = (str(reference.get(key) or "") for key in ("apiVersion", "kind", "name"))
        namespace = value["metadata"]["namespace"]
        try:
            above = self._cluster.resource_of(api_version, kind)
            return None if above is None else (above, self._cluster.get(above, namespace, name))
        except (NotFound, NotPermitted) as error:
            self._note(f"{name_of(resource.kind, value)} takes its template from {kind} {name}: {error}")
            return None

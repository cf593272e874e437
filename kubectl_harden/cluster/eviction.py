"""Evictions: the API server deletes a pod, unless a PodDisruptionBudget forbids it now.

Source: pkg/registry/core/pod/storage/eviction.go (429 and its words where a budget forbids it).
"""

from __future__ import annotations

from kubectl_harden.cluster.api import PODS, Cluster, Resource
from kubectl_harden.errors import ClusterError

__all__ = ["EVICTIONS", "evict", "is_held"]

EVICTIONS = Resource("", "v1", "pods/eviction", "Eviction")
"""The subresource, as permissions name it."""


def evict(cluster: Cluster, namespace: str, name: str, uid: str) -> None:
    """Evict exactly this pod, not another one that has taken its name. Raises ClusterError."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": uid}},
    }
    cluster.connection.request("POST", f"{PODS.path(namespace, name)}/eviction", {"fieldValidation": "Strict"}, body)


def is_held(error: ClusterError) -> bool:
    """Whether an eviction is refused because a disruption budget forbids it now."""
    return "disruption budget" in str(error)

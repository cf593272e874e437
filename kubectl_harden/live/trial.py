"""Pods of a template, as its controller would make them: the server is asked whether it admits them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kubectl_harden.cluster.api import PODS, Cluster
from kubectl_harden.cluster.connection import Answer
from kubectl_harden.errors import ClusterError, InputError, NotPermitted
from kubectl_harden.live.find import Live
from kubectl_harden.live.quota import surges
from kubectl_harden.objects import generated_from
from kubectl_harden.pod_security.messages import rejecter_of
from kubectl_harden.pod_security.pod_templates import Location

__all__ = ["admission", "dry_runs", "is_one_too_many"]


def dry_runs(cluster: Cluster, live: Live) -> Iterator[Answer | ClusterError]:
    """Have the server judge a pod of each template of an object, without creating it, and yield its answers."""
    for location in live.subject.templates():
        if location.moved or not location.pod_security_context:
            continue  # The controller makes another pod of it than what stands there.
        try:
            yield cluster.create(PODS, live.namespace, _pod_of(live, location), dry_run=True)
        except ClusterError as error:
            yield error


def admission(cluster: Cluster, live: Live) -> tuple[ClusterError | None, str]:
    """Return why the server refuses the pods of an object (None: it does not), and what could not be asked."""
    unproven = ""
    try:
        for answer in dry_runs(cluster, live):
            if isinstance(answer, NotPermitted):
                unproven = f"that its pods are admitted: {answer}"
            elif isinstance(answer, ClusterError):
                if not is_one_too_many(live.value, rejecter_of(str(answer))):
                    return answer, ""
                unproven = f"that its pods are admitted: {answer}"
    except InputError:
        pass  # Where its pods are is not known.
    return None, unproven


def is_one_too_many(value: dict[str, Any], rejecter: str) -> bool:
    """Whether a quota refused one more pod, which the rollout does not need."""
    return rejecter.startswith("the ResourceQuota") and not surges(value)


def _pod_of(live: Live, location: Location) -> dict[str, Any]:
    template = location.value
    metadata = template.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    spec = template.get("spec")
    claims = live.value["spec"].get("volumeClaimTemplates") if live.resource.kind == "StatefulSet" else None
    if claims:
        spec = {**spec, "volumes": _with_claims(spec.get("volumes") or [], claims, live.name)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**kept, "generateName": generated_from(live.name)},
        "spec": spec,
    }


def _with_claims(volumes: list[Any], claims: list[Any], name: str) -> list[Any]:
    """Return the volumes of a StatefulSet's first pod (pkg/controller/statefulset, updateStorage)."""
    own = [
        {
            "name": claim["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": f"{claim['metadata']['name']}-{name}-0"},
        }
        for claim in claims
    ]
    named = {volume["name"] for volume in own}
    return [*own, *(volume for volume in volumes if volume["name"] not in named)]

"""Pods that run now and would be refused if they were created again: enforcing a level leaves running pods alone."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from kubectl_harden.cluster.api import PODS
from kubectl_harden.errors import ClusterError, InputError
from kubectl_harden.live.find import SYSTEM, Finder
from kubectl_harden.live.workload_pods import keys_of, level_of
from kubectl_harden.model import Policy
from kubectl_harden.objects import finished, is_static

__all__ = ["Restart", "Restarts", "find_restarts"]


class Restart(NamedTuple):
    """A workload, and how many of its pods violate what is enforced now."""

    namespace: str
    kind: str
    name: str
    pods: int


class Restarts(NamedTuple):
    """The workloads whose pods would be refused; ``unknown`` says why there may be more of them."""

    workloads: tuple[Restart, ...] = ()
    unknown: str = ""


def find_restarts(finder: Finder, namespace: str | None) -> Restarts:
    """Return the workloads whose running pods violate the level in force; ``namespace`` None: in all but Kubernetes'
    own.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    enforced: dict[str, Policy | None] = {}
    unknown = ""
    try:
        if namespace is None:
            finder.cluster.read_namespaces()
        for pod in finder.cluster.each(PODS, namespace):
            where = pod["metadata"]["namespace"]
            if namespace is None and where in SYSTEM:
                continue
            if where not in enforced:
                now = finder.in_force.of(where)
                enforced[where] = now.enforced
                if now.enforced is None and now.why and "enforce" in now.unknown:
                    unknown = unknown or f"what namespace {where} enforces is not known: {now.why}"
            policy = enforced[where]
            if policy is not None and _would_be_refused(pod, policy):
                *_, (kind, name) = keys_of(pod)
                counts[where, kind, name] += 1
    except ClusterError as error:
        return Restarts((), str(error))
    return Restarts(tuple(Restart(*key, pods) for key, pods in sorted(counts.items())), unknown)


def _would_be_refused(pod: dict[str, Any], policy: Policy) -> bool:
    metadata, spec = pod["metadata"], pod["spec"]
    # A static pod is not refused: the kubelet runs it whatever admission says of its mirror.
    if finished(pod) or metadata.get("deletionTimestamp") or is_static(pod):
        return False
    # A recreated pod does not have its debug containers.
    fresh = {**pod, "spec": {key: item for key, item in spec.items() if key != "ephemeralContainers"}}
    try:
        return not level_of(fresh, policy)[1]
    except InputError:
        return False

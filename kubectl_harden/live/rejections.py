"""What is being rejected in a cluster now, by the object to edit.

Controllers tell it in two ways: the condition ReplicaFailure (ReplicaSets and ReplicationControllers,
which stays until a pod could be made) and events of reason FailedCreate (all of them, kept for an hour).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import EVENTS, Cluster, Resource, of_kind
from kubectl_harden.errors import ClusterError, InputError, NotFound
from kubectl_harden.live.find import SYSTEM, Finder, Live, left_out, problem
from kubectl_harden.model import Checked, Policy, Problem
from kubectl_harden.objects import finished, name_of
from kubectl_harden.planning.verdict import judged
from kubectl_harden.pod_security.messages import POD_SECURITY, rejecter_of

__all__ = ["Rejected", "find_rejected"]

_MAKERS: Final = ("ReplicaSet", "ReplicationController")
_PREFIX: Final = r"^(\(combined from similar events\): )?Error creating: "


class Rejected(NamedTuple):
    """Pods of a workload that admission refuses.

    ``since`` is when it began (RFC 3339), as far as it is known, ``missing`` how many pods are not there.
    ``checked`` is what the policy that the namespace enforces says of the workload now: where it forbids
    nothing, and Pod Security refused (``stale``), the object has been mended since.
    """

    live: Live
    rejecter: str
    message: str
    since: str
    missing: int
    checked: tuple[Checked, ...]

    @property
    def stale(self) -> bool:
        """Whether the message is about a state that no longer is."""
        return self.rejecter == POD_SECURITY and not any(item.violations for item in self.checked)


class _Refusal(NamedTuple):
    """What one controller could not create; ``last`` is when it said the message, ``value`` the controller."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    message: str
    since: str
    last: str
    value: dict[str, Any] | None = None


def find_rejected(finder: Finder, namespace: str | None) -> Iterator[Rejected | Problem]:
    """Yield what is rejected, the longest first; ``namespace`` None looks into all but Kubernetes' own.

    Raises ClusterError where the cluster does not tell its version.
    """
    cluster = finder.cluster
    minor = cluster.minor()
    refusals: dict[str, _Refusal] = {}
    problems: list[Problem] = []
    for found in _told(cluster, namespace):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            refusals[found.uid] = _joined(refusals.get(found.uid), found)
    yield from problems
    if namespace is None:
        system = [refusal.namespace for refusal in refusals.values() if refusal.namespace in SYSTEM]
        finder.notes += [left_out(system)] if system else []
        refusals = {uid: refusal for uid, refusal in refusals.items() if refusal.namespace not in SYSTEM}
    grouped: dict[str, Rejected] = {}
    for refusal in sorted(refusals.values(), key=lambda item: item.since):
        try:
            rejected = _rejected(finder, refusal, minor)
        except (ClusterError, InputError) as error:
            yield problem(error, f"{refusal.resource.kind} {refusal.namespace}/{refusal.name}")
            continue
        if rejected is not None:
            before = grouped.get(rejected.live.uid)
            if before is not None:
                rejected = before._replace(missing=before.missing + rejected.missing)
            grouped[rejected.live.uid] = rejected
    yield from grouped.values()


def _told(cluster: Cluster, namespace: str | None) -> Iterator[_Refusal | Problem]:
    for kind in _MAKERS:
        resource = of_kind(kind)
        try:
            for value in cluster.each(resource, namespace):
                for condition in (value.get("status") or {}).get("conditions") or ():
                    if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                        meta, since = value["metadata"], condition.get("lastTransitionTime", "")
                        message = condition.get("message", "")
                        yield _Refusal(
                            resource, meta["namespace"], meta["name"], meta["uid"], message, since, since, value
                        )
        except ClusterError as error:
            yield problem(error, f"listing {resource.name}")
    try:
        for event in cluster.each(EVENTS, namespace, fields="reason=FailedCreate"):
            about = event.get("involvedObject") or {}
            try:
                resource = of_kind(about.get("kind", ""))
            except StopIteration:
                continue
            made = event.get("eventTime") or event["metadata"]["creationTimestamp"]
            since, last = event.get("firstTimestamp") or made, event.get("lastTimestamp") or made
            message = re.sub(_PREFIX, "", str(event.get("message", "")))
            where, name = about.get("namespace", ""), about.get("name", "")
            yield _Refusal(resource, where, name, about.get("uid", ""), message, since, last)
    except ClusterError as error:
        yield problem(error, "listing events")


def _joined(first: _Refusal | None, second: _Refusal) -> _Refusal:
    """Return one refusal for two about the same object: the earlier beginning, the later words.

    A condition keeps the words with which it began, so that an event's may be the newer ones.
    """
    if first is None:
        return second
    later = max(first, second, key=lambda refusal: refusal.last)
    return later._replace(since=min(first.since, second.since), value=first.value or second.value)


def _rejected(finder: Finder, refusal: _Refusal, minor: int) -> Rejected | None:
    """Return who is to be edited for a refusal, or None where nothing is missing any more."""
    cluster, value = finder.cluster, refusal.value
    if value is None:
        try:
            value = cluster.get(refusal.resource, refusal.namespace, refusal.name)
        except NotFound:
            return None
        if value["metadata"]["uid"] != refusal.uid:
            return None
        value = {"apiVersion": refusal.resource.api_version, "kind": refusal.resource.kind, **value}
    missing = _missing(value)
    if missing <= 0:
        return None
    resource, top, owner = finder.trace(refusal.resource, value)
    if top is not value and _superseded(value, top):
        return None
    found = finder.workload(resource, top, minor, owner)
    if isinstance(found, Problem):
        raise InputError(found.message)
    finder.in_force.hear(found.namespace, [refusal.message])
    enforced = _enforced(finder, found.namespace)
    live = found if enforced is None else found.held_to(enforced)
    checked = judged(live.subject).checked if enforced is not None else ()
    rejecter = rejecter_of(refusal.message) or "the API server"
    return Rejected(live, rejecter, refusal.message, refusal.since, missing, checked)


def _enforced(finder: Finder, namespace: str) -> Policy | None:
    """Return the policy that refuses pods in a namespace now."""
    try:
        labels = finder.cluster.namespace_labels(namespace)
    except ClusterError:
        return finder.in_force.of(namespace).enforced
    # Whoever asks may be exempt, and the controller, which was refused, is not.
    return finder.in_force.settled(namespace, labels).enforced


def _superseded(maker: dict[str, Any], top: dict[str, Any]) -> bool:
    """Whether a ReplicaSet is an earlier revision of a Deployment that already has its pods."""
    status, spec = top.get("status") or {}, top.get("spec") or {}
    current = status.get("updatedReplicas", 0) >= spec.get("replicas", 1)
    return bool(top["kind"] == "Deployment" and current and maker["kind"] == "ReplicaSet")


def _missing(value: dict[str, Any]) -> int:
    """Return how many pods a controller wants and does not have."""
    spec, status = value.get("spec") or {}, value.get("status") or {}
    if value["kind"] == "DaemonSet":
        return int(status.get("desiredNumberScheduled", 0)) - int(status.get("currentNumberScheduled", 0))
    if value["kind"] == "Job":
        if finished(value):
            return 0
        wanted = min(spec.get("parallelism", 1), spec.get("completions", spec.get("parallelism", 1)))
        return int(wanted) - int(status.get("active", 0)) - int(status.get("succeeded", 0))
    return int(spec.get("replicas", 1)) - int(status.get("replicas", 0))


def named(rejected: Rejected) -> str:
    """Return ``Deployment shop/web``."""
    return name_of(rejected.live.resource.kind, rejected.live.value)

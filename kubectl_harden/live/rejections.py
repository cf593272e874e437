"""Pods that are being rejected in a cluster now, by the object to edit.

Controllers report it in two ways: the condition ReplicaFailure (ReplicaSets and ReplicationControllers, which stays
until a pod could be made) and events, which are kept for an hour. Kubernetes' own controllers call them FailedCreate;
others have reasons of their own (KubeRay FailedToCreateHeadPod, Tekton Failed, Argo WorkflowFailed): the message
counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import EVENTS, WORKLOADS, Cluster, Resource, of_kind
from kubectl_harden.errors import ClusterError, InputError, NotFound, NotPermitted
from kubectl_harden.live.find import SYSTEM, Finder, Live, left_out, problem
from kubectl_harden.live.refused_pods import Judge, Rejected, run_end
from kubectl_harden.model import Problem
from kubectl_harden.objects import conditions_of, controller_of, group_version, missing_pods, name_of
from kubectl_harden.pod_security.messages import POD_SECURITY, policies_named, rejecter_of

__all__ = ["Rejected", "find_rejected", "named"]

_MAKERS: Final = ("ReplicaSet", "ReplicationController")
_PREFIX: Final = r"^(\(combined from similar events\): )?Error creating: "
_OF_A_POD: Final = re.compile(r"\bpods?\b", re.IGNORECASE)


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


def find_rejected(finder: Finder, namespace: str | None) -> Iterator[Rejected | Problem | str]:
    """Yield what is rejected, the longest first; ``namespace`` None looks into all but Kubernetes' own.

    What cannot be seen is yielded as a sentence, or as a problem. Raises ClusterError where the cluster's version
    cannot be read.
    """
    finder.cluster.minor()
    refusals: dict[str, _Refusal] = {}
    for found in _told(finder, namespace):
        if isinstance(found, _Refusal):
            refusals[found.uid] = _joined(refusals.get(found.uid), found)
        else:
            yield found
    if namespace is None:
        system = [refusal.namespace for refusal in refusals.values() if refusal.namespace in SYSTEM]
        finder.notes += [left_out(system)] if system else []
        refusals = {uid: refusal for uid, refusal in refusals.items() if refusal.namespace not in SYSTEM}
    judge = Judge(finder)
    grouped: dict[str, Rejected] = {}
    for refusal in sorted(refusals.values(), key=lambda item: item.since):
        try:
            rejected = _rejected(finder, judge, refusal)
        except (ClusterError, InputError) as error:
            yield problem(error, f"{refusal.resource.kind} {refusal.namespace}/{refusal.name}")
            continue
        if rejected is not None:
            before = grouped.get(rejected.live.uid)
            grouped[rejected.live.uid] = rejected if before is None else before.joined(rejected)
    yield from grouped.values()


def _told(finder: Finder, namespace: str | None) -> Iterator[_Refusal | Problem | str]:
    cluster = finder.cluster
    unlisted = []
    for kind in _MAKERS:
        resource = of_kind(kind)
        try:
            for value in cluster.each(resource, namespace):
                for condition in conditions_of(value):
                    if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                        meta, since = value["metadata"], condition.get("lastTransitionTime", "")
                        message = condition.get("message", "")
                        yield _Refusal(
                            resource, meta["namespace"], meta["name"], meta["uid"], message, since, since, value
                        )
        except NotPermitted:
            unlisted.append(resource.name)
        except ClusterError as error:
            yield problem(error, f"listing {resource.name}", namespace or "")
    try:
        for event in cluster.each(EVENTS, namespace, fields="type=Warning"):
            resource_of_event = _refused(cluster, event)
            if resource_of_event is None:
                continue
            about = event["involvedObject"]
            made = event.get("eventTime") or event["metadata"]["creationTimestamp"]
            since, last = event.get("firstTimestamp") or made, event.get("lastTimestamp") or made
            message = re.sub(_PREFIX, "", str(event.get("message", "")))
            where, name = about.get("namespace", ""), about.get("name", "")
            yield _Refusal(resource_of_event, where, name, about.get("uid", ""), message, since, last)
    except ClusterError as error:
        about_lists = " and ".join(["events", *unlisted])
        what = f"{error}; refused pods that only {about_lists} tell of cannot be seen"
        yield problem(what, "listing events", namespace or "")._replace(refused=True)
        return
    if unlisted:
        names = " and ".join(unlisted)
        yield f"you may not list {names}: pods that were refused more than an hour ago, when events end, cannot be seen"


def _refused(cluster: Cluster, event: dict[str, Any]) -> Resource | None:
    """Return the kind of object whose pod an event says was refused, None for other events. Raises ClusterError."""
    message, about = str(event.get("message", "")), event["involvedObject"]
    api_version, kind = about.get("apiVersion", ""), about.get("kind", "")
    group, version = group_version(api_version)
    for resource in WORKLOADS:
        if (resource.group, resource.kind) == (group, kind) or (not api_version and resource.kind == kind):
            return resource if event.get("reason") == "FailedCreate" or _speaks_of_a_pod(message) else None
    if not _speaks_of_a_pod(message):
        return None
    known = cluster.resource_of(api_version, kind)
    return known or Resource(group, version, "", kind)


def _speaks_of_a_pod(message: str) -> bool:
    """Whether a message says that a pod is refused; a warning about what would be refused does not count."""
    rejecter = rejecter_of(message)
    if rejecter == POD_SECURITY:
        return any(not warned for _, warned in policies_named(message))
    return bool(rejecter) and _OF_A_POD.search(message) is not None


def _joined(first: _Refusal | None, second: _Refusal) -> _Refusal:
    """Return one refusal for two about the same object: the earlier beginning, the later words.

    A condition keeps the words with which it began, so that an event's may be the newer ones.
    """
    if first is None:
        return second
    later = max(first, second, key=lambda refusal: refusal.last)
    return later._replace(since=min(first.since, second.since), value=first.value or second.value)


def _rejected(finder: Finder, judge: Judge, refusal: _Refusal) -> Rejected | None:
    """Return the object to edit for a refusal, or None where no pods are missing any more."""
    value = refusal.value or _read(finder, refusal)
    if value is None:
        return None
    missing = missing_pods(value)
    if (missing is not None and missing <= 0) or (missing is None and run_end(value) == ""):
        return None
    resource, top, owner = finder.references.trace(refusal.resource, value)
    if top is not value and _superseded(value, top):
        return None
    policy = finder.policy(refusal.namespace, finder.cluster.minor())
    maker = Live.of(refusal.resource, value, policy)
    live = Live.of(resource, top, policy, owner=owner)
    return judge.judged(maker, live, refusal.message, refusal.since, missing)


def _read(finder: Finder, refusal: _Refusal) -> dict[str, Any] | None:
    """Return the object that an event is about, or None where it is gone; an unreadable one has only its name."""
    resource = refusal.resource
    try:
        if resource.plural:
            value = finder.cluster.get(resource, refusal.namespace, refusal.name)
            return {**resource.head, **value} if value["metadata"]["uid"] == refusal.uid else None
    except NotFound:
        return None
    except NotPermitted as error:
        if resource in WORKLOADS:
            raise
        finder.notes.append(f"{resource.kind} {refusal.namespace}/{refusal.name} cannot be read: {error}")
    metadata = {"namespace": refusal.namespace, "name": refusal.name, "uid": refusal.uid, "resourceVersion": ""}
    return {**resource.head, "metadata": metadata}


def _superseded(maker: dict[str, object], top: dict[str, Any]) -> bool:
    """Whether a ReplicaSet is an earlier revision of a Deployment that already has its pods."""
    status, spec = top.get("status") or {}, top.get("spec") or {}
    owner = controller_of(maker)
    if owner is None or owner["uid"] != top["metadata"]["uid"]:
        return False  # The Deployment only has the template of an Argo Rollout.
    current = status.get("updatedReplicas", 0) >= spec.get("replicas", 1)
    return bool(top["kind"] == "Deployment" and current and maker["kind"] == "ReplicaSet")


def named(rejected: Rejected) -> str:
    """Return ``Deployment shop/web``."""
    return name_of(rejected.live.resource.kind, rejected.live.value)

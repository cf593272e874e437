"""Following a change until its new pods are ready, or surely will not be."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.cluster.api import PODS, Cluster, Resource
from kubectl_harden.cluster.connection import Cancel
from kubectl_harden.errors import ClusterError, Expired, NotFound, NotPermitted
from kubectl_harden.live.rollout import (
    PodFailure,
    Progress,
    pod_failure,
    pod_obstacle,
    pod_ready,
    progress,
    selector_of,
)

__all__ = ["Followed", "Snapshot", "follow", "take_snapshot"]

_TICK: Final = 0.2
_POLL: Final = 2.0
"""Seconds between two looks where watching is not allowed."""
GRACE: Final = 10.0
"""Seconds for which a controller's complaint may still be about the state before the change."""


class Snapshot(NamedTuple):
    """The pods of a workload before it is changed, and the resourceVersion to watch them from.

    ``new`` are those, by uid, that already are as the change will make them.
    """

    uids: frozenset[str]
    version: str
    new: dict[str, dict[str, Any]]


class Followed(NamedTuple):
    """How a rollout ended: ready, failed (with the pod's or the controller's words), timeout or interrupted.

    ``unready`` are the new pods that are not ready.
    """

    state: Literal["ready", "failed", "timeout", "interrupted"]
    words: str = ""
    failure: PodFailure | None = None
    unready: tuple[dict[str, Any], ...] = ()


def take_snapshot(cluster: Cluster, value: dict[str, Any], is_new: Callable[[dict[str, Any]], bool]) -> Snapshot:
    """Note the pods of a workload, and which of them ``is_new``. Raises ClusterError."""
    found, version = cluster.snapshot(PODS, value["metadata"]["namespace"], selector_of(value) or "")
    pods = {pod["metadata"]["uid"]: pod for pod in found}
    return Snapshot(frozenset(pods), version, {uid: pod for uid, pod in pods.items() if is_new(pod)})


def follow(
    cluster: Cluster,
    resource: Resource,
    value: dict[str, Any],
    before: Snapshot,
    seconds: float,
    stop: Event,
    report: Callable[[Progress], None],
) -> Followed:
    """Watch a changed workload and its pods; ``value`` is the object as the change returned it.

    Pods that ``before`` does not have, or knows as new, are new. Raises ClusterError where the watch is
    refused or breaks for good.
    """
    namespace, name = value["metadata"]["namespace"], value["metadata"]["name"]
    events: queue.Queue[tuple[str, str, Any]] = queue.Queue()
    cancel = Cancel()
    is_pod = resource.kind == "Pod"
    watches: list[tuple[str, Resource, str, dict[str, str]]] = [
        ("object", resource, value["metadata"]["resourceVersion"], {"fields": f"metadata.name={name}"})
    ]
    if not is_pod:
        watches.append(("pod", PODS, before.version, {"selector": selector_of(value) or ""}))
    for about, of, version, filters in watches:
        Thread(
            target=_pump,
            args=(cluster, about, of, namespace, version, seconds, cancel, events, filters),
            daemon=True,
        ).start()
    deadline = time.monotonic() + seconds
    pods = dict(before.new)
    said: Progress | None = None
    complained: float | None = None
    try:
        while True:
            now = _progress(value, pods, is_pod)
            if now != said:
                said = now
                report(now)
            if now.done:
                return Followed("ready")
            failed = _failed(pods)
            if failed is not None:
                return failed
            # A complaint counts while no new pod comes: before, it may be the old pods'.
            complained = (complained or time.monotonic()) if now.failure and not pods else None
            if complained is not None and time.monotonic() - complained > GRACE:
                return Followed("failed", now.failure)
            if stop.is_set():
                return Followed("interrupted")
            if time.monotonic() > deadline:
                words = f"{now.ready} of {now.wanted} new pods ready after {seconds:.0f} s"
                said_by_pods = filter(None, map(pod_obstacle, pods.values()))
                why = next(said_by_pods, "") if pods else now.failure
                return Followed("timeout", f"{words}; {why}" if why else words, unready=_unready(pods))
            try:
                about, event, found = events.get(timeout=_TICK)
            except queue.Empty:
                continue
            if about == "error":
                raise found
            if about == "object":
                if event == "DELETED":
                    return Followed("failed", "it was deleted meanwhile")
                if found["metadata"]["uid"] != value["metadata"]["uid"]:
                    return Followed("failed", "it was replaced by another object of its name meanwhile")
                value = {"kind": resource.kind, **found}
                if is_pod:
                    pods = {found["metadata"]["uid"]: found}
            elif event == "DELETED":
                pods.pop(found["metadata"]["uid"], None)
            elif found["metadata"]["uid"] not in before.uids or found["metadata"]["uid"] in pods:
                pods[found["metadata"]["uid"]] = found
    finally:
        cancel()


def _pump(
    cluster: Cluster,
    about: str,
    resource: Resource,
    namespace: str,
    version: str,
    seconds: float,
    cancel: Cancel,
    events: queue.Queue[tuple[str, str, Any]],
    filters: dict[str, str],
) -> None:
    """Put the events of a watch into the queue; an expired one begins anew with what there is."""
    while not cancel.requested():
        try:
            for event, value in cluster.watch(resource, namespace, version, seconds, cancel, **filters):
                events.put((about, event, value))
            return
        except Expired:
            try:
                if about == "pod":
                    found, version = cluster.snapshot(resource, namespace, filters["selector"])
                    for value in found:
                        events.put((about, "ADDED", value))
                else:
                    value = cluster.get(resource, namespace, filters["fields"].partition("=")[2])
                    version = value["metadata"]["resourceVersion"]
                    events.put((about, "MODIFIED", value))
            except ClusterError as error:
                events.put(("error", "", error))
                return
        except NotPermitted:
            _poll(cluster, about, resource, namespace, cancel, events, filters)
            return
        except ClusterError as error:
            events.put(("error", "", error))
            return


def _poll(
    cluster: Cluster,
    about: str,
    resource: Resource,
    namespace: str,
    cancel: Cancel,
    events: queue.Queue[tuple[str, str, Any]],
    filters: dict[str, str],
) -> None:
    """Put what a watch would tell into the queue, for those who may read and not watch: read every few seconds."""
    known: dict[str, Any] = {}
    while not cancel.requested():
        try:
            if about == "pod":
                found, _ = cluster.snapshot(resource, namespace, filters["selector"])
            else:
                found = _if_there(cluster, resource, namespace, filters["fields"].partition("=")[2])
        except ClusterError as error:
            events.put(("error", "", error))
            return
        now = {value["metadata"]["uid"]: value for value in found}
        # An object that another one replaces is told by its uid; pods come and go.
        for uid, value in known.items():
            if uid not in now and (about == "pod" or not now):
                events.put((about, "DELETED", value))
        for value in now.values():
            events.put((about, "MODIFIED", value))
        known = now
        again = time.monotonic() + _POLL
        while time.monotonic() < again and not cancel.requested():
            time.sleep(_TICK)


def _if_there(cluster: Cluster, resource: Resource, namespace: str, name: str) -> list[dict[str, Any]]:
    try:
        return [cluster.get(resource, namespace, name)]
    except NotFound:
        return []


def _progress(value: dict[str, Any], pods: dict[str, dict[str, Any]], is_pod: bool) -> Progress:
    if is_pod:
        ready = pod_ready(value)
        return Progress(int(ready), 1, ready)
    if value.get("kind") == "Job":
        ready = any(map(pod_ready, pods.values()))
        return Progress(int(ready), 1, ready)
    return progress(value, pods.values())


def _failed(pods: dict[str, dict[str, Any]]) -> Followed | None:
    failure = next(filter(None, map(pod_failure, pods.values())), None)
    if failure is None:
        return None
    words = f"{failure.reason}: {failure.message}" if failure.message else failure.reason
    return Followed("failed", words, failure, _unready(pods))


def _unready(pods: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(pod for pod in pods.values() if not pod_ready(pod))

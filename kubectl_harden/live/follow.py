"""Following a change until its new pods are ready, or surely will not be.

Watches tell early what happens, and are not relied on: networks and proxies end them, or let nothing through, without
a word. Whatever goes against a change is judged by what the cluster answers when it is asked once more.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.cluster.api import PODS, Cluster, Resource
from kubectl_harden.cluster.connection import Cancel
from kubectl_harden.errors import ClusterError, Expired, NotFound
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
_QUIET: Final = 20.0
"""Seconds without an event, after which the cluster is asked."""
_POLL: Final = 2.0
"""Seconds between questions where nothing can be watched."""
GRACE: Final = 10.0
"""Seconds for which a controller's complaint may still be about the state before the change."""


class Snapshot(NamedTuple):
    """The pods of a workload before it is changed, and the resourceVersion to watch them from.

    ``new`` are those, by uid, that already are as the change will make them, ``unready`` the others that are not
    ready: what keeps them from it is not the change.
    """

    uids: frozenset[str]
    version: str
    new: dict[str, dict[str, Any]]
    unready: tuple[dict[str, Any], ...] = ()


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
    new = {uid: pod for uid, pod in pods.items() if is_new(pod)}
    return Snapshot(frozenset(pods), version, new, _unready({uid: pods[uid] for uid in pods.keys() - new.keys()}))


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

    Pods that ``before`` does not have, or knows as new, are new. Raises ClusterError where the cluster does not
    answer.
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
    heard = time.monotonic()
    deadline = heard + seconds
    patience = _QUIET
    pods = dict(before.new)
    said: Progress | None = None
    complained: float | None = None
    asked = False
    try:
        while True:
            now = _progress(value, pods, is_pod)
            if now != said:
                said = now
                report(now)
            if now.done:
                return Followed("ready")
            if stop.is_set():
                return Followed("interrupted")
            # A complaint counts while no new pod comes: before, it may be the old pods'.
            complained = (complained or time.monotonic()) if now.failure and not pods else None
            ended = _failed(pods)
            if ended is None and complained is not None and time.monotonic() - complained > GRACE:
                ended = Followed("failed", now.failure)
            if ended is None and time.monotonic() > deadline + _settling(value, pods):
                ended = _timed_out(now, pods, seconds)
            if ended is not None and asked:
                return ended
            if ended is not None or time.monotonic() - heard > patience:
                found = _ask(cluster, resource, value, before)
                if isinstance(found, Followed):
                    return found
                value, pods = found
                heard, asked = time.monotonic(), True
                continue
            try:
                about, event, found = events.get(timeout=_TICK)
            except queue.Empty:
                continue
            heard, asked = time.monotonic(), False
            if about == "error":
                patience = _POLL
            elif about == "object":
                if event == "DELETED" or found["metadata"]["uid"] != value["metadata"]["uid"]:
                    heard -= patience  # The cluster knows what is there now.
                    continue
                value = {"kind": resource.kind, **found}
                if is_pod:
                    pods = {found["metadata"]["uid"]: found}
            elif event == "DELETED":
                pods.pop(found["metadata"]["uid"], None)
            elif found["metadata"]["uid"] not in before.uids or found["metadata"]["uid"] in pods:
                pods[found["metadata"]["uid"]] = found
    finally:
        cancel()


def _ask(
    cluster: Cluster, resource: Resource, value: dict[str, Any], before: Snapshot
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]] | Followed:
    """Return the object and its new pods as the cluster has them now, or how it ended. Raises ClusterError."""
    metadata = value["metadata"]
    try:
        found = cluster.get(resource, metadata["namespace"], metadata["name"])
    except NotFound:
        return Followed("failed", "it was deleted meanwhile")
    if found["metadata"]["uid"] != metadata["uid"]:
        return Followed("failed", "it was replaced by another object of its name meanwhile")
    now = {"kind": resource.kind, **found}
    if resource.kind == "Pod":
        return now, {found["metadata"]["uid"]: found}
    listed, _ = cluster.snapshot(PODS, metadata["namespace"], selector_of(value) or "")
    pods = {pod["metadata"]["uid"]: pod for pod in listed}
    return now, {uid: pod for uid, pod in pods.items() if uid not in before.uids or uid in before.new}


def _settling(value: dict[str, Any], pods: dict[str, dict[str, Any]]) -> float:
    """Return how much longer pods that are all ready need to count as available, one after the other."""
    spec = value.get("spec") or {}
    if not pods or _unready(pods):
        return 0.0
    return float((spec.get("minReadySeconds") or 0) * max(spec.get("replicas") or 1, len(pods)))


def _timed_out(now: Progress, pods: dict[str, dict[str, Any]], seconds: float) -> Followed:
    words = f"{now.ready} of {now.wanted} new pods ready after {seconds:.0f} s"
    said_by_pods = filter(None, map(pod_obstacle, pods.values()))
    why = next(said_by_pods, "") if pods else now.failure
    return Followed("timeout", f"{words}; {why}" if why else words, unready=_unready(pods))


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
    """Put the events of a watch into the queue; one that has expired begins again with what there is."""
    while not cancel.requested():
        try:
            for event, value in cluster.watch(resource, namespace, version, seconds, cancel, **filters):
                events.put((about, event, value))
            return
        except Expired:
            time.sleep(_TICK)
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
        except ClusterError as error:
            events.put(("error", "", error))
            return


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

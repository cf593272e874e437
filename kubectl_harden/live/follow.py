"""Following a change until its new pods are ready, or certainly will not be.

Watches bring news early but are not relied on: networks and proxies end them, or let nothing through, silently. A
change is only judged a failure by what the cluster answers when it is asked once more.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from threading import Event
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.cluster.api import PODS, Cluster, Resource
from kubectl_harden.cluster.watches import Heard, position
from kubectl_harden.errors import NotFound
from kubectl_harden.live.rollout import (
    PodFailure,
    Progress,
    pod_failure,
    pod_obstacle,
    pod_ready,
    progress,
    selector_of,
    selects,
)

__all__ = ["Followed", "Snapshot", "follow", "take_snapshot"]

_TICK: Final = 0.2
_QUIET: Final = 20.0
"""Seconds without an event, after which the cluster is asked."""
_POLL: Final = 2.0
"""Seconds between questions where nothing can be watched."""
GRACE: Final = 10.0
"""Seconds for which a controller's failure condition may still be about the state before the change."""


_About = Literal["object", "pod"]
_Events = queue.Queue[tuple[_About, Heard, dict[str, Any]]]


class Snapshot(NamedTuple):
    """The pods of a workload before it is changed, and the resourceVersion to watch them from.

    ``new`` are those, by uid, that are already as the change will make them, ``unready`` the others that are not ready,
    which is not the change's fault.
    """

    uids: frozenset[str]
    version: str
    new: dict[str, dict[str, Any]]
    unready: tuple[dict[str, object], ...] = ()


class Followed(NamedTuple):
    """How a rollout ended: ready, failed (with the pod's or the controller's words), timeout or interrupted.

    ``unready`` are the new pods that are not ready.
    """

    state: Literal["ready", "failed", "timeout", "interrupted"]
    words: str = ""
    failure: PodFailure | None = None
    unready: tuple[dict[str, object], ...] = ()


def take_snapshot(cluster: Cluster, value: dict[str, Any], is_new: Callable[[dict[str, object]], bool]) -> Snapshot:
    """Note the pods of a workload, and which of them ``is_new``. Raises ClusterError."""
    found, version = cluster.snapshot(PODS, value["metadata"]["namespace"], selector_of(value))
    pods = {pod["metadata"]["uid"]: pod for pod in found}
    new = {uid: pod for uid, pod in pods.items() if is_new(pod)}
    return Snapshot(frozenset(pods), version, new, _unready({uid: pods[uid] for uid in pods.keys() - new.keys()}))


def follow(
    cluster: Cluster,
    resource: Resource,
    value: dict[str, object],
    before: Snapshot,
    seconds: float,
    stop: Event,
    report: Callable[[Progress], None],
) -> Followed:
    """Watch a changed workload and its pods; ``value`` is the object as the change returned it.

    Pods that ``before`` does not have, or knows as new, are new. Raises ClusterError where the cluster does not
    answer.
    """
    events: _Events = queue.Queue()
    seen = _Seen(resource.kind, value, before)
    deadline = time.monotonic() + seconds
    said: Progress | None = None
    asked = False
    with _listening(cluster, resource, value, before, events):
        while True:
            now = seen.progress()
            if now != said:
                said = now
                report(now)
            if now.done:
                return Followed("ready")
            if stop.is_set():
                return Followed("interrupted")
            ended = seen.failed(now) or seen.timed_out(now, deadline, seconds)
            if ended is not None and asked:
                return ended
            if ended is not None or seen.quiet():
                answer = _ask(cluster, resource, seen.value, before)
                if isinstance(answer, Followed):
                    return answer
                seen.answered(*answer)
                asked = True
                continue
            asked = False
            tick = time.monotonic() + _TICK
            with suppress(queue.Empty):
                # Most events of a large namespace are about other workloads.
                while (left := tick - time.monotonic()) > 0 and not seen.heard(*events.get(timeout=left)):
                    pass


class _Seen:
    """The state of a workload and its new pods, from events and from lists."""

    def __init__(self, kind: str, value: dict[str, Any], before: Snapshot) -> None:
        self.value = value
        self._kind = kind
        self._after = {
            "object": position(value["metadata"]["resourceVersion"]) or 0,
            "pod": position(before.version) or 0,
        }
        self._old = before.uids
        self._pods = dict(before.new)
        self._heard = time.monotonic()
        self._patience = _QUIET
        self._complained: float | None = None
        self._settling: float | None = None
        self._settled = 0.0

    def progress(self) -> Progress:
        """Return how many of the new pods are ready."""
        if self._kind == "Pod":
            ready = pod_ready(self.value)
            return Progress(int(ready), 1, ready)
        if self._kind == "Job":
            ready = any(map(pod_ready, self._pods.values()))
            return Progress(int(ready), 1, ready)
        return progress(self.value, self._pods.values())

    def failed(self, now: Progress) -> Followed | None:
        """Return the failure of a new pod, or a failure condition that the controller has had for some time.

        A condition counts while no new pod appears: before that, it may be about the old ones.
        """
        complains = now.failure and not self._pods
        self._complained = (self._complained or time.monotonic()) if complains else None
        failure = next(filter(None, map(pod_failure, self._pods.values())), None)
        if failure is not None:
            words = f"{failure.reason}: {failure.message}" if failure.message else failure.reason
            return Followed("failed", words, failure, _unready(self._pods))
        if self._complained is not None and time.monotonic() - self._complained > GRACE:
            return Followed("failed", now.failure)
        return None

    def timed_out(self, now: Progress, deadline: float, seconds: float) -> Followed | None:
        """Return what is missing after the deadline, which is extended by the time that ready pods only waited.

        Ready pods become available one after the other, each after minReadySeconds.
        """
        passed = time.monotonic()
        if self._settling is not None:
            self._settled += passed - self._settling
        self._settling = passed if self._pods and not _unready(self._pods) else None
        if passed <= deadline + min(self._settled, _longest_settling(self.value, self._pods)):
            return None
        words = f"{now.ready} of {now.wanted} new pods ready after {seconds:.0f} s"
        said_by_pods = filter(None, map(pod_obstacle, self._pods.values()))
        why = next(said_by_pods, "") if self._pods else now.failure
        return Followed("timeout", f"{words}; {why}" if why else words, unready=_unready(self._pods))

    def quiet(self) -> bool:
        """Whether there was no event for so long that the cluster has to be asked."""
        return time.monotonic() - self._heard > self._patience

    def answered(self, value: dict[str, Any], pods: dict[str, dict[str, object]], version: str) -> None:
        """Take the object and its new pods as the cluster has them now; ``version`` is the list's of pods."""
        self.value, self._pods = value, pods
        self._after = {
            "object": position(value["metadata"]["resourceVersion"]) or 0,
            "pod": position(version) or 0,
        }
        self._heard = time.monotonic()

    def heard(self, about: _About, event: Heard, found: dict[str, Any]) -> bool:
        """Take an event and the object in it; returns whether it says something new about this workload."""
        now = time.monotonic()
        if event == "ENDED":
            self._heard, self._patience = now, _POLL
        elif event == "MISSED":
            self._heard = now - self._patience  # The cluster knows what is there now.
        elif (position(found["metadata"]["resourceVersion"]) or 0) <= self._after[about]:
            return False
        elif about == "object":
            if found["metadata"]["name"] != self.value["metadata"]["name"]:
                return False
            self._heard = now
            self._changed(event, found)
        else:
            if found["metadata"]["uid"] not in self._pods and not selects(self.value, found):
                return False
            self._heard = now
            self._pod_changed(event, found)
        return True

    def _changed(self, event: Heard, found: dict[str, Any]) -> None:
        uid = found["metadata"]["uid"]
        if event == "DELETED" or uid != self.value["metadata"]["uid"]:
            self._heard -= self._patience
            return
        self.value = {"kind": self._kind, **found}
        if self._kind == "Pod":
            self._pods = {uid: found}

    def _pod_changed(self, event: Heard, found: dict[str, Any]) -> None:
        uid = found["metadata"]["uid"]
        if event == "DELETED" or not selects(self.value, found):
            self._pods.pop(uid, None)
        elif uid not in self._old or uid in self._pods:
            self._pods[uid] = found


def _ask(
    cluster: Cluster, resource: Resource, value: dict[str, Any], before: Snapshot
) -> tuple[dict[str, object], dict[str, dict[str, object]], str] | Followed:
    """Return the object and its new pods as the cluster has them now, and the version of the list of pods.

    Or how it ended. Raises ClusterError.
    """
    metadata = value["metadata"]
    try:
        found = cluster.get(resource, metadata["namespace"], metadata["name"])
    except NotFound:
        return Followed("failed", "it was deleted in the meantime")
    if found["metadata"]["uid"] != metadata["uid"]:
        return Followed("failed", "it was replaced by another object of the same name in the meantime")
    now = {"kind": resource.kind, **found}
    if resource.kind == "Pod":
        return now, {found["metadata"]["uid"]: found}, before.version
    listed, version = cluster.snapshot(PODS, metadata["namespace"], selector_of(value))
    pods = {pod["metadata"]["uid"]: pod for pod in listed}
    new = {uid: pod for uid, pod in pods.items() if uid not in before.uids or uid in before.new}
    return now, new, version


def _longest_settling(value: dict[str, Any], pods: dict[str, dict[str, object]]) -> float:
    """Return in how many seconds all pods become available if they do so one after the other."""
    spec = value.get("spec") or {}
    return float((spec.get("minReadySeconds") or 0) * max(spec.get("replicas") or 1, len(pods)))


def _listening(
    cluster: Cluster, resource: Resource, value: dict[str, Any], before: Snapshot, events: _Events
) -> ExitStack:
    """Return a context manager in which events of the workload's kind and of the pods of its namespace come in."""

    def comes(about: _About, event: Heard, found: dict[str, Any]) -> None:
        events.put((about, event, found))

    metadata, listening = value["metadata"], ExitStack()
    sources: list[tuple[_About, Resource, str]] = [("object", resource, metadata["resourceVersion"])]
    if resource.kind != "Pod":
        # Its pods first: when the object is done, they have been counted.
        sources.insert(0, ("pod", PODS, before.version))
    for about, of, version in sources:
        listening.callback(cluster.watches.listen(of, metadata["namespace"], version, partial(comes, about)))
    return listening


def _unready(pods: dict[str, dict[str, object]]) -> tuple[dict[str, object], ...]:
    return tuple(pod for pod in pods.values() if not pod_ready(pod))

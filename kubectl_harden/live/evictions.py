"""Old pods of a workload are evicted one by one: the next one once the last one has been recreated and is ready.

Evictions, and not deletions: they respect PodDisruptionBudgets. The workload itself is not changed, so that others who
write it have nothing to revert.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.cluster.api import PODS, Cluster
from kubectl_harden.cluster.eviction import evict, is_held
from kubectl_harden.errors import ClusterError, Conflict, InputError, NotFound
from kubectl_harden.live.find import Live
from kubectl_harden.live.rollout import pod_failure, pod_obstacle, pod_ready, selector_of
from kubectl_harden.live.workload_pods import keys_of, level_of
from kubectl_harden.objects import finished

__all__ = ["Ended", "Evictor"]

_PAUSE: Final = 0.5
_SETTLING: Final = 3.0
"""Seconds for which the pods have to stay ready before the next one is evicted."""


class Ended(NamedTuple):
    """How evictions ended, and which pods were evicted.

    ``state``: done; held (a pod could not be evicted, or does not terminate, which is not the fault of a new pod);
    failed (a new pod does not become ready, or does not meet the level); interrupted. ``words`` is a sentence.
    """

    state: Literal["done", "held", "failed", "interrupted"]
    words: str = ""
    pods: tuple[str, ...] = ()


class Evictor:
    """Evicts the pods that do not meet the policy of a workload.

    ``seconds`` is the longest wait for each pod. A set ``halt`` ends it between two pods, a set ``stop`` at once.
    """

    def __init__(
        self, cluster: Cluster, report: Callable[[str], None], *, seconds: float, halt: Event, stop: Event
    ) -> None:
        self._cluster = cluster
        self._seconds = seconds
        self._halt = halt
        self._stop = stop
        self._report = report

    def old(self, live: Live) -> list[str]:
        """Return the names of the pods that do not meet the policy. Raises ClusterError."""
        return sorted(pod["metadata"]["name"] for pod in self._pods(live).values() if not _meets(pod, live))

    def replace(self, live: Live) -> Ended:
        """Evict the pods that do not meet the policy now. Raises ClusterError where they cannot be listed."""
        evicted: list[str] = []
        old = [pod for pod in self._pods(live).values() if not _meets(pod, live)]
        # The last of a StatefulSet goes first, as in its rollouts.
        for pod in sorted(old, key=lambda pod: _ordinal(pod["metadata"]["name"]), reverse=True):
            ended = self._replace(live, pod)
            if ended.state in ("done", "failed"):
                evicted.append(pod["metadata"]["name"])
            if ended.state != "done":
                return ended._replace(pods=tuple(evicted))
        still = ", ".join(self.old(live)) if evicted else ""
        if still:
            return Ended("failed", f"even when recreated, these do not meet {live.policy}: {still}", tuple(evicted))
        return Ended("done", "", tuple(evicted))

    def remove_failing(self, live: Live) -> tuple[str, ...]:
        """Delete the new pods that are not ready, so that they are recreated, and return their names.

        Raises ClusterError.
        """
        failing = [pod["metadata"] for pod in self._pods(live).values() if _meets(pod, live) and not pod_ready(pod)]
        for metadata in failing:
            with suppress(NotFound, Conflict):
                self._cluster.delete(PODS, live.namespace, metadata["name"], metadata["uid"], dry_run=False)
        return tuple(metadata["name"] for metadata in failing)

    def _replace(self, live: Live, pod: Mapping[str, Any]) -> Ended:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        deadline = time.monotonic() + self._seconds
        ready = sum(map(pod_ready, self._pods(live).values()))
        held = self._evict(live, name, uid, deadline)
        if held is not None:
            return held
        since: float | None = None
        while True:
            pods = self._pods(live, deleted=True)
            own = [item for key, item in pods.items() if key != uid and not item["metadata"].get("deletionTimestamp")]
            new = (item for item in own if _meets(item, live))
            failure = next((found for found in map(pod_failure, new) if found is not None), None)
            if failure is not None:
                return Ended("failed", f"new pod {failure.pod} does not start: {failure.reason}: {failure.message}")
            now = time.monotonic()
            if uid not in pods and sum(map(pod_ready, own)) >= min(ready, self._replicas(live, ready)):
                since = now if since is None else since
                if now >= since + _SETTLING:
                    return Ended("done")
            else:
                since = None
            if self._stop.is_set():
                return Ended("interrupted", f"pod {name} was evicted, and its successor is not ready yet")
            if since is None and now > deadline:
                if uid in pods:
                    return Ended("held", f"pod {name} is being deleted, and still exists after {self._seconds:.0f} s")
                why = next(filter(None, (pod_obstacle(item) for item in own if not pod_ready(item))), "")
                words = f"no new pod is ready {self._seconds:.0f} s after {name} was evicted"
                return Ended("failed", f"{words}: {why}" if why else words)
            self._stop.wait(_PAUSE)

    def _replicas(self, live: Live, before: int) -> int:
        """Return how many pods are wanted now: an autoscaler may want fewer than there were. Raises ClusterError."""
        value = self._cluster.get(live.resource, live.namespace, live.name)
        return int(value["spec"].get("replicas", before))

    def _evict(self, live: Live, name: str, uid: str, deadline: float) -> Ended | None:
        """Evict a pod as soon as its disruption budget allows it; returns why it is not evicted."""
        while True:
            if self._halt.is_set() or self._stop.is_set():
                return Ended("interrupted", f"pod {name} is not evicted")
            try:
                self._report(f"evicting {name}")
                evict(self._cluster, live.namespace, name, uid)
            except (NotFound, Conflict):
                return None  # It is gone already.
            except ClusterError as error:
                if is_held(error) and time.monotonic() < deadline:
                    self._report(f"waiting until its disruption budget allows the eviction of {name}")
                    self._stop.wait(_PAUSE)
                    continue
                return Ended("held", f"pod {name} is not evicted: {error}")
            return None

    def _pods(self, live: Live, *, deleted: bool = False) -> dict[str, dict[str, Any]]:
        """Return the pods of a workload by their uids; those that are being deleted only if they are asked for."""
        key = (live.resource.kind, live.name)
        return {
            pod["metadata"]["uid"]: pod
            for pod in self._cluster.each(PODS, live.namespace, selector=selector_of(live.value))
            if key in keys_of(pod) and not finished(pod) and (deleted or not pod["metadata"].get("deletionTimestamp"))
        }


def _meets(pod: dict[str, Any], live: Live) -> bool:
    try:
        return level_of(pod, live.policy)[1]
    except InputError:
        return False


def _ordinal(name: str) -> tuple[int, str]:
    number = name.rpartition("-")[2]
    return (int(number), name) if number.isdecimal() else (0, name)

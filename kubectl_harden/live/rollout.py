"""The state of a workload's rollout and of its new pods.

Sources: how kubectl reads a rollout (k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go) and the waiting reasons
of the kubelet (pkg/kubelet/images/types.go, pkg/kubelet/container/sync_result.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from kubectl_harden.objects import api_group, conditions_of, is_true, matches

__all__ = [
    "PodFailure",
    "Progress",
    "pod_failure",
    "pod_obstacle",
    "pod_ready",
    "progress",
    "reason_of",
    "selector_of",
    "selects",
    "watched",
]

_FATAL: Final = frozenset(
    (
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ImageInspectError",
        "InvalidImageName",
        "ErrImageNeverPull",
        "PostStartHookError",
        "PreCreateHookError",
        "PreStartHookError",
    )
)
"""Waiting reasons from which a new pod does not recover by itself."""


class Progress(NamedTuple):
    """How far a rollout is: ``ready`` of ``wanted`` new pods. ``failure`` is the controller's own message."""

    ready: int
    wanted: int
    done: bool
    failure: str = ""


class PodFailure(NamedTuple):
    """Why a pod does not run, in the kubelet's words."""

    pod: str
    container: str
    reason: str
    message: str


def selector_of(value: dict[str, Any]) -> str:
    """Return the label selector of a workload's pods as a query has it, "" where it has none."""
    selector = value.get("spec", {}).get("selector")
    if not isinstance(selector, dict) or not selector:
        return ""
    if value.get("kind") == "ReplicationController":
        return ",".join(f"{key}={text}" for key, text in sorted(selector.items()))
    parts = [f"{key}={text}" for key, text in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or ():
        key, values = rule["key"], ",".join(rule.get("values") or ())
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[rule["operator"]]
        )
    return ",".join(parts)


def selects(value: dict[str, Any], pod: dict[str, Any]) -> bool:
    """Whether a workload's selector matches a pod, as the API server matches it by ``selector_of``."""
    selector = value.get("spec", {}).get("selector")
    if value.get("kind") == "ReplicationController":
        selector = {"matchLabels": selector or {}}
    return matches(selector, pod["metadata"].get("labels") or {})


def watched(value: dict[str, Any]) -> str | None:
    """Return why a change of this object starts no rollout, or None where it does."""
    kind, spec = value.get("kind"), value.get("spec") or {}
    if api_group(str(value.get("apiVersion", "v1"))) not in ("", "apps", "batch"):
        return "its controller's progress is not known: look at its pods"
    if kind == "Namespace":
        return ""
    if kind == "CronJob":
        jobs = ", ".join(item["name"] for item in (value.get("status") or {}).get("active") or ())
        if jobs and spec.get("concurrencyPolicy") == "Forbid":
            return f"no run starts until Job {jobs}, which has the old template, is gone (concurrencyPolicy Forbid)"
        return "it takes effect with the next run"
    if kind == "Job" and spec.get("suspend"):
        return "the Job is suspended: it takes effect when it is resumed"
    if kind == "Job" and spec.get("parallelism", 1) == 0:
        return "its parallelism is 0: it takes effect when it is raised"
    if kind == "PodTemplate":
        return "nothing runs from it on its own"
    if kind == "Deployment" and spec.get("paused"):
        return "the Deployment is paused: it takes effect when it is resumed"
    strategy = (spec.get("updateStrategy") or {}).get("type")
    if kind in ("StatefulSet", "DaemonSet") and strategy == "OnDelete":
        return "its update strategy is OnDelete: it takes effect as its pods are deleted"
    if kind in ("ReplicaSet", "ReplicationController") and _missing(value) <= 0:
        return "running pods stay as they are: it takes effect for new ones"
    if kind in ("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController") and spec.get("replicas", 1) == 0:
        return "it is scaled to 0: it takes effect when it is scaled up"
    if not selector_of(value):
        return "its controller's progress is not known: look at its pods"
    return None


def _missing(value: dict[str, Any]) -> int:
    wanted: int = (value.get("spec") or {}).get("replicas", 1)
    there: int = (value.get("status") or {}).get("replicas", 0)
    return wanted - there


def progress(value: dict[str, Any], new_pods: Iterable[dict[str, object]]) -> Progress:
    """Return the progress of a workload whose spec was changed, from its status and its new pods."""
    kind = value.get("kind")
    spec, status = value.get("spec") or {}, value.get("status") or {}
    wanted = spec.get("replicas", 1)
    observed = status.get("observedGeneration", 0) >= value.get("metadata", {}).get("generation", 0)
    get = status.get
    ready = sum(pod_ready(pod) for pod in new_pods)
    if not observed:
        return Progress(0, wanted, False)
    if kind == "Deployment":
        updated = get("updatedReplicas", 0)
        done = updated >= wanted and get("replicas", 0) <= updated and get("availableReplicas", 0) >= updated
        return Progress(min(ready, updated), wanted, done, _failure(value))
    if kind == "StatefulSet":
        partition = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition", 0)
        goal = max(wanted - partition, 0)
        updated = get("updatedReplicas", 0)
        settled = partition > 0 or get("updateRevision") == get("currentRevision")
        done = get("readyReplicas", 0) >= wanted and updated >= goal and settled
        return Progress(min(ready, wanted), goal, done)
    if kind == "DaemonSet":
        desired = get("desiredNumberScheduled", 0)
        done = get("updatedNumberScheduled", 0) >= desired and get("numberAvailable", 0) >= desired
        return Progress(min(ready, desired), desired, done)
    done = get("replicas", 0) >= wanted and get("readyReplicas", ready) >= wanted
    return Progress(ready, wanted, done, _failure(value))


def _failure(value: dict[str, Any]) -> str:
    for condition in conditions_of(value):
        kind, said = condition.get("type"), condition.get("message", "")
        if kind == "ReplicaFailure" and condition.get("status") == "True":
            return f"{condition.get('reason', 'FailedCreate')}: {said}"
        if kind == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return f"ProgressDeadlineExceeded: {said}"
    return ""


def pod_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod's condition Ready is true, or it has succeeded."""
    return (pod.get("status") or {}).get("phase") == "Succeeded" or is_true(pod, "Ready")


def reason_of(pod: dict[str, object]) -> str:
    """Return in one word why a pod is not ready, to compare with other pods; "" where it does not say."""
    failure = pod_failure(pod)
    return failure.reason if failure is not None else pod_obstacle(pod).partition(":")[0]


def pod_obstacle(pod: dict[str, Any]) -> str:
    """Return why a pod that may still become ready is not ready, "" where it does not say."""
    status = pod.get("status") or {}
    for condition in conditions_of(pod):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}"
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        if "waiting" in state:
            waiting = state["waiting"]
            return f"container {container['name']}: {waiting.get('reason', '')} {waiting.get('message', '')}".strip()
        if "running" in state and not container.get("ready"):
            return f"container {container['name']} runs, and is not ready"
    return ""


def pod_failure(pod: dict[str, Any]) -> PodFailure | None:
    """Return why a pod does not start and will not recover by itself, or None."""
    status, name = pod.get("status") or {}, pod.get("metadata", {}).get("name", "")
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _FATAL:
                message = waiting.get("message", "")
                last = (container.get("lastState") or {}).get("terminated") or {}
                if "exitCode" in last:
                    said = last.get("message") or last.get("reason", "")
                    message = f"exit code {last['exitCode']} ({said}); {message}".strip("; ")
                return PodFailure(name, container.get("name", ""), waiting["reason"], message)
    if status.get("phase") == "Failed":
        return PodFailure(name, "", status.get("reason") or "Failed", status.get("message", ""))
    return None

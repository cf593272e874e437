"""Pods of a template, as its controller would make them: tried by dry-run, or one is started on trial.

A trial pod has none of its template's labels, so that no Service, ReplicaSet or PodDisruptionBudget selects it, and has
empty directories instead of its claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from threading import Event
from typing import Any, Final

from kubectl_harden.cluster.api import PODS, Cluster
from kubectl_harden.cluster.connection import Answer
from kubectl_harden.errors import ClusterError, InputError, NotPermitted
from kubectl_harden.live.find import Live
from kubectl_harden.live.follow import Followed, Snapshot, follow
from kubectl_harden.live.journal import Journal, was_killed
from kubectl_harden.live.made_pods import made_pod
from kubectl_harden.live.quota import deletes_first, surges
from kubectl_harden.live.rollout import Progress, pod_failure, pod_ready, watched
from kubectl_harden.objects import finished, generated_from
from kubectl_harden.plan_model import Planned
from kubectl_harden.pod_security.messages import rejecter_of

__all__ = [
    "admission",
    "dry_runs",
    "is_one_too_many",
    "start_is_proven",
    "started",
    "takes_down",
    "why_no_trial",
]

_TRIAL: Final = "kubectl-harden/trial"
"""Label of trial pods: the run that has started them."""
_MARGIN: Final = 60
"""Seconds after which a trial pod that was not removed ends by itself."""
_SETTLING: Final = 3.0
"""Seconds for which a trial pod has to stay ready."""


def dry_runs(cluster: Cluster, live: Live) -> Iterator[Answer | ClusterError]:
    """Have the server judge a pod of each template of an object, without creating it, and yield its answers."""
    for location in live.subject.templates():
        if location.spread or not location.pod_security_context:
            continue  # The controller makes another pod of it than what stands there.
        try:
            yield cluster.create(PODS, live.namespace, made_pod(live.value, location), dry_run=True)
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


def takes_down(value: dict[str, Any]) -> bool:
    """Whether a change of a workload takes a running pod down before a new one is ready."""
    kind, spec, status = value.get("kind"), value.get("spec") or {}, value.get("status") or {}
    if kind == "Pod":
        return pod_ready(value) and not finished(value)
    if kind == "Job":
        return bool(status.get("active"))
    if watched(value) is not None or not (status.get("readyReplicas") or status.get("numberReady")):
        return False
    return kind in ("Deployment", "StatefulSet", "DaemonSet") and deletes_first(kind, spec)


def start_is_proven(proposed: Iterable[Planned]) -> bool:
    """Whether evidence says that no edit keeps the new pods from starting."""
    return all(step.risk == "safe" for item in proposed for step in item.plan.steps)


def why_no_trial(cluster: Cluster, live: Live) -> str:
    """Return why no trial pod can be started for an object in its new state, "" where one can. Raises InputError."""
    if live.resource.kind == "Job":
        return "a Job's pod would do its work twice"
    locations = live.subject.templates()
    if len(locations) != 1 or locations[0].spread or not locations[0].pod_security_context:
        return "its pods are made of more than one template"
    verb = {"namespace": live.namespace, "verb": "delete", "resource": "pods"}
    try:
        cluster.create(PODS, live.namespace, _trial_pod(live, "dry-run", 60), dry_run=True)
        if not cluster.allowed(verb):
            return "not allowed to delete pods (RBAC)"
    except ClusterError as error:
        return str(error)
    return ""


def _trial_pod(live: Live, run: str, seconds: float) -> dict[str, object]:
    """Return a pod of an object's template that nothing selects, without claims, that ends by itself."""
    location = live.subject.templates()[0]
    pod = made_pod(live.value, location)
    metadata: dict[str, Any] = {
        "generateName": generated_from(f"{live.name[:40]}-trial"),
        "labels": {_TRIAL: run},
    }
    if pod["metadata"].get("annotations"):
        metadata["annotations"] = pod["metadata"]["annotations"]
    spec = {key: item for key, item in pod["spec"].items() if key not in ("nodeName", "hostname", "subdomain")}
    volumes = [
        {"name": volume["name"], "emptyDir": {}}
        if "persistentVolumeClaim" in volume or "ephemeral" in volume
        else volume
        for volume in spec.get("volumes") or ()
    ]
    if volumes:
        spec["volumes"] = volumes
    return {**pod, "metadata": metadata, "spec": {**spec, "activeDeadlineSeconds": int(seconds) + _MARGIN}}


def started(
    cluster: Cluster,
    live: Live,
    journal: Journal,
    *,
    seconds: float,
    stop: Event,
    report: Callable[[Progress], None],
) -> Followed:
    """Start a trial pod of an object in its new state, watch it until it is ready or fails, and remove it.

    Trial pods that killed runs have left are removed first. The outcome is in the journal. Raises HardenError.
    """
    _swept(cluster, live.namespace)
    pod = _trial_pod(live, journal.run, seconds)
    journal.trial(live.name, "begun")
    made = None
    try:
        made = cluster.create(PODS, live.namespace, pod, dry_run=False).value
        before = Snapshot(frozenset(), made["metadata"]["resourceVersion"], {})
        value = {"apiVersion": "v1", "kind": "Pod", **made}
        ended = follow(cluster, PODS, value, before, seconds, stop, report)
        if ended.state == "ready":
            stop.wait(_SETTLING)
            ended = _settled(cluster, value, ended)
    finally:
        _removed(cluster, live.namespace, journal.run, made)
    journal.trial(live.name, ended.state, ended.words)
    return ended


def _settled(cluster: Cluster, value: dict[str, Any], ended: Followed) -> Followed:
    """Look once more at a pod that was ready: one that fails early may have been ready, too."""
    now = cluster.get(PODS, value["metadata"]["namespace"], value["metadata"]["name"])
    failure = pod_failure(now)
    if failure is not None:
        return Followed("failed", f"{failure.reason}: {failure.message}".rstrip(": "), failure, (now,))
    restarts = sum(one.get("restartCount", 0) for one in now.get("status", {}).get("containerStatuses") or ())
    if restarts or not pod_ready(now):
        return Followed("failed", "it was ready, but did not stay ready", unready=(now,))
    return ended


def _removed(cluster: Cluster, namespace: str, run: str, made: dict[str, Any] | None) -> None:
    """Delete a trial pod, or, where the answer to its creation was lost, the one that may exist."""
    with suppress(ClusterError):
        pods = [made] if made is not None else cluster.each(PODS, namespace, selector=f"{_TRIAL}={run}")
        for pod in pods:
            cluster.delete(PODS, namespace, pod["metadata"]["name"], pod["metadata"]["uid"], dry_run=False)


def _swept(cluster: Cluster, namespace: str) -> None:
    """Delete trial pods of runs that were killed: those of this machine, and those that have ended by themselves."""
    with suppress(ClusterError):
        for pod in list(cluster.each(PODS, namespace, selector=_TRIAL)):
            run = pod["metadata"]["labels"][_TRIAL]
            if finished(pod) or was_killed(run):
                cluster.delete(PODS, namespace, pod["metadata"]["name"], pod["metadata"]["uid"], dry_run=False)


def is_one_too_many(value: dict[str, object], rejecter: str) -> bool:
    """Whether a quota refused one more pod, which the rollout does not need."""
    return rejecter.startswith("the ResourceQuota") and not surges(value)

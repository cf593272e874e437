"""The state of rollouts, as kubectl rollout status reads it."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.live.blame import blame
from kubectl_harden.live.rollout import PodFailure, pod_failure, progress, selector_of, watched
from kubectl_harden.pod_security.risks import Judgement

READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
PENDING = {"status": {"phase": "Pending"}}


def of(kind: str, status: dict[str, Any], generation: int = 2, **spec: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"generation": generation},
        "spec": {"replicas": 2, **spec},
        "status": {"observedGeneration": 2, **status},
    }


@pytest.mark.parametrize(
    ("value", "done"),
    [
        (of("Deployment", {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}), True),
        (of("Deployment", {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, generation=3), False),
        (of("Deployment", {"replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}), False),
        (of("Deployment", {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}), False),
        (of("Deployment", {}), False),
        (of("StatefulSet", {"readyReplicas": 2, "updatedReplicas": 2, "currentRevision": "b", "updateRevision": "b"}), True),
        (of("StatefulSet", {"readyReplicas": 2, "updatedReplicas": 2, "currentRevision": "a", "updateRevision": "b"}), False),
        (of("StatefulSet", {"readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}, updateStrategy={"rollingUpdate": {"partition": 1}}), True),
        (of("DaemonSet", {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}), True),
        (of("DaemonSet", {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}), False),
        (of("DaemonSet", {"desiredNumberScheduled": 3, "updatedNumberScheduled": 1, "numberAvailable": 3}), False),
        (of("ReplicaSet", {"replicas": 2, "readyReplicas": 2}), True),
        (of("ReplicaSet", {"replicas": 2}), False),
    ],
)  # fmt: skip
def test_done(value: dict[str, Any], done: bool) -> None:
    assert progress(value, [PENDING]).done is done


def test_counts_new_ready_pods() -> None:
    now = progress(of("Deployment", {"replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}), [READY, PENDING])
    assert (now.ready, now.wanted, now.done) == (1, 2, False)


def test_the_controllers_own_words() -> None:
    conditions = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "m"}]
    assert progress(of("Deployment", {"conditions": conditions}), []).failure == "ProgressDeadlineExceeded: m"
    conditions = [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "forbidden"}]
    assert progress(of("ReplicaSet", {"conditions": conditions}), []).failure == "FailedCreate: forbidden"


def test_selectors() -> None:
    assert selector_of({"kind": "ReplicationController", "spec": {"selector": {"b": "2", "a": "1"}}}) == "a=1,b=2"
    rules = [
        {"key": "t", "operator": "In", "values": ["x", "y"]},
        {"key": "u", "operator": "NotIn", "values": ["z"]},
        {"key": "v", "operator": "Exists"},
        {"key": "w", "operator": "DoesNotExist"},
    ]
    value = {"kind": "Deployment", "spec": {"selector": {"matchLabels": {"a": "1"}, "matchExpressions": rules}}}
    assert selector_of(value) == "a=1,t in (x,y),u notin (z),v,!w"
    assert selector_of({"kind": "CronJob", "spec": {}}) == ""


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"kind": "CronJob"}, "next run"),
        ({"kind": "PodTemplate"}, "on its own"),
        ({"kind": "Deployment", "spec": {"paused": True}}, "resumed"),
        ({"kind": "DaemonSet", "spec": {"updateStrategy": {"type": "OnDelete"}}}, "OnDelete"),
        ({"kind": "Deployment", "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}}}, "scaled to 0"),
        ({"kind": "ReplicaSet", "spec": {"replicas": 1}, "status": {"replicas": 1}}, "new ones"),
        ({"kind": "Widget", "spec": {}}, "not known"),
    ],
)  # fmt: skip
def test_where_no_rollout_follows(value: dict[str, Any], word: str) -> None:
    assert word in (watched(value) or "")


def test_pod_failures() -> None:
    def pod(**state: Any) -> dict[str, Any]:
        return {"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "c", **state}]}}

    waiting = pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": "m"}})
    assert pod_failure(waiting) == PodFailure("p", "c", "CreateContainerConfigError", "m")
    last = {"terminated": {"exitCode": 1, "reason": "Error"}}
    crash = pod(state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, lastState=last)
    assert pod_failure(crash) == PodFailure("p", "c", "CrashLoopBackOff", "exit code 1 (Error); back-off")
    assert pod_failure(pod(state={"waiting": {"reason": "ContainerCreating"}})) is None
    assert pod_failure(pod(state={"running": {}})) is None
    assert pod_failure({"metadata": {"name": "p"}, "status": {"phase": "Failed", "reason": "Evicted"}}) == PodFailure(
        "p", "", "Evicted", ""
    )


@pytest.mark.parametrize(
    ("words", "failure", "checks", "sure"),
    [
        ("container has runAsNonRoot and image will run as root", "CreateContainerConfigError", ("runAsNonRoot",), True),
        ("chown: /data: Operation not permitted", "CrashLoopBackOff", ("capabilities_restricted", "runAsNonRoot"), True),
        ("can't set `spec.hostUsers: false`, runtime does not support user namespaces", None, ("runAsNonRoot",), True),
        ("mount_setattr /data (maybe no idmap): Invalid argument", "CreateContainerError", ("runAsNonRoot",), True),
        ("exit code 2", "CrashLoopBackOff", ("capabilities_restricted", "runAsNonRoot"), False),
        ("pull access denied", "ImagePullBackOff", (), True),
        ("FailedCreate: exceeded quota", None, (), True),
    ],
)  # fmt: skip
def test_which_edits_are_to_blame(words: str, failure: str | None, checks: tuple[str, ...], sure: bool) -> None:
    steps = [
        Judgement("review", "").edit("add", ("a",), 1, checks=("capabilities_restricted",)),
        Judgement("review", "").edit("add", ("b",), 1, checks=("runAsNonRoot",)),
        Judgement("safe", "").edit("add", ("c",), 1, checks=("hostPorts",)),
    ]
    found = blame(words, PodFailure("p", "c", failure, words) if failure else None, steps)
    assert (found.checks, found.sure) == (checks, sure)

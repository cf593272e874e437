"""The way back before the write, and one pod that is tried first."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from kubectl_harden.live.quota import deletes_first
from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload

ROOT_IMAGE = "example.com/runs-as-root:1"
KINDS = ("Deployment", "StatefulSet", "DaemonSet")
FIX = ("--apply", "--yes", "--timeout", "60s")


def older_than_the_label(namespace: Namespace, image: str) -> dict[str, Any]:
    """Workloads that take pods down first, whose pods are older than the label; returns their specs."""
    for kind in KINDS:
        value = workload(kind, kind.lower(), image, replicas=2)
        if kind == "Deployment":
            value["spec"]["strategy"] = {"type": "Recreate"}
        namespace.create(value)
    namespace.eventually(lambda: len(namespace.ready_pods()) == 5)
    namespace.label(enforce="restricted")
    return {kind: namespace.get(kind, kind.lower())["spec"] for kind in KINDS}


def uids(namespace: Namespace) -> set[str]:
    return {pod["metadata"]["uid"] for pod in namespace.pods()}


def trials(namespace: Namespace) -> list[Any]:
    return [pod for pod in namespace.pods() if "kubectl-harden/trial" in (pod["metadata"].get("labels") or {})]


def test_pods_that_could_not_come_back_are_not_taken_down(namespace: Namespace, harden: Harden) -> None:
    before = older_than_the_label(namespace, ROOT_IMAGE)
    pods = uids(namespace)
    result = harden("fix", "-n", namespace.name, *FIX)
    assert result.code == 1, result
    assert result.err.count(": not applied, its trial pod does not run\n") == 3
    assert "container has runAsNonRoot and image will run as root" in " ".join(result.err.split())
    assert "the cause is the edit for runAsNonRoot" in " ".join(result.err.split())
    for kind in KINDS:
        assert namespace.get(kind, kind.lower())["spec"] == before[kind]
    namespace.eventually(lambda: uids(namespace) == pods)
    assert len(namespace.ready_pods()) == 5
    states = [event["state"] for event in harden.journal() if event["event"] == "trial"]
    assert sorted(states) == ["begun"] * 3 + ["failed"] * 3


def test_without_a_trial_it_is_refused(namespace: Namespace, harden: Harden) -> None:
    older_than_the_label(namespace, ROOT_IMAGE)
    pods = uids(namespace)
    result = harden("fix", "-n", namespace.name, *FIX, "--no-trial")
    assert result.code == 1, result
    words = " ".join(result.err.split())
    assert words.count("it takes pods down that could not come back") >= 3
    assert uids(namespace) == pods


def test_after_a_good_trial_the_rollout_comes(namespace: Namespace, harden: Harden) -> None:
    older_than_the_label(namespace, "example.com/app:1")
    result = harden("fix", "-n", namespace.name, *FIX)
    assert result.code == 0, result
    assert result.err.count("trial   one new pod is started first") == 3
    assert [event["state"] for event in harden.journal() if event["event"] == "trial"].count("ready") == 3
    namespace.eventually(lambda: not trials(namespace))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 5)


@pytest.mark.pod_security(warn="restricted")
def test_a_trial_pod_is_selected_by_nothing_and_holds_no_claim(namespace: Namespace, harden: Harden) -> None:
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    value = workload("Deployment", "web", "example.com/never-ready:1", volumes=volumes, replicas=0)
    namespace.create(value)
    process = harden.start("fix", "deploy/web", *FIX, "--trial")
    pod = namespace.eventually(lambda: trials(namespace))[0]
    assert list(pod["metadata"]["labels"]) == ["kubectl-harden/trial"]
    assert pod["metadata"]["name"].startswith("web-trial-")
    assert "ownerReferences" not in pod["metadata"]
    assert {volume["name"]: volume.get("emptyDir") for volume in pod["spec"]["volumes"]}["d"] == {}
    assert pod["spec"]["activeDeadlineSeconds"] == 120
    # A signal removes it.
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "its trial pod is removed" in err
    namespace.eventually(lambda: not trials(namespace))
    assert namespace.get("Deployment", "web")["spec"]["template"]["spec"]["securityContext"] == {}


@pytest.mark.pod_security(warn="restricted")
def test_what_a_killed_run_left_is_removed_by_the_next(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web", "example.com/never-ready:1", replicas=0))
    process = harden.start("fix", "deploy/web", *FIX, "--trial")
    (pod,) = namespace.eventually(lambda: trials(namespace))
    process.kill()
    process.communicate()
    assert trials(namespace)
    harden("fix", "deploy/web", "--apply", "--yes", "--timeout", "3s", "--trial")
    namespace.eventually(lambda: pod["metadata"]["uid"] not in uids(namespace))
    namespace.eventually(lambda: not trials(namespace))


def test_a_quota_without_room_for_a_trial(namespace: Namespace, harden: Harden) -> None:
    namespace.create({"kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": {"pods": "2"}}})
    namespace.eventually(lambda: namespace.get("ResourceQuota", "tight").get("status", {}).get("hard"))
    namespace.create(workload("StatefulSet", "db", replicas=2))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    namespace.label(enforce="restricted")
    result = harden("fix", "sts/db", *FIX)
    words = " ".join(result.err.split())
    assert result.code == 1, result
    assert "it takes pods down that could not come back" in words
    assert "exceeded quota: tight" in words
    done = harden("fix", "sts/db", *FIX, "--no-rollback")
    assert done.code == 0, done


@pytest.mark.parametrize(
    ("kind", "spec", "first"),
    [
        ("StatefulSet", {}, True),
        ("DaemonSet", {}, True),
        ("DaemonSet", {"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}, False),
        ("Deployment", {"strategy": {"type": "Recreate"}}, True),
        ("Deployment", {"replicas": 3}, False),
        ("Deployment", {"replicas": 4}, True),
        ("Deployment", {"replicas": 4, "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}, False),
        ("Deployment", {"replicas": 1, "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}}, True),
        ("Deployment", {"replicas": 2, "strategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}}, True),
    ],
)  # fmt: skip
def test_which_rollouts_take_a_pod_down_first(kind: str, spec: dict[str, Any], first: bool) -> None:
    assert deletes_first(kind, spec) is first

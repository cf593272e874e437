"""What running pods and nodes show."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.evidence.live_pods import labels_of, platform_of, pod_facts, port_facts, seen


def pod(name: str = "web-1", uid: int | None = 101, **fields: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"name": "app", "state": {"running": {}}, "restartCount": 0}
    if uid is not None:
        status["user"] = {"linux": {"uid": uid, "gid": 7, "supplementalGroups": [7]}}
    return {
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "app", **fields}]},
        "status": {"containerStatuses": [status]},
    }


def told(*pods: dict[str, Any]) -> list[tuple[str, Any, str]]:
    return [(f.kind, f.value, f.text) for f in pod_facts(seen(value) for value in pods).get("app", ())]


def test_the_user_of_a_running_container() -> None:
    assert told(pod()) == [("user", 101, 'container "app" runs as uid 101, gid 7 in pod web-1')]


def test_an_older_server_reports_no_user() -> None:
    assert told(pod(uid=None)) == []


def test_replicas_that_disagree_are_each_told_once() -> None:
    assert [value for _, value, _ in told(pod("a"), pod("b"), pod("c", 0))] == [101, 0]


def test_a_user_that_the_pod_states_says_nothing_of_the_image() -> None:
    assert told(pod(uid=0, securityContext={"runAsUser": 0})) == []
    stated = pod(uid=5)
    stated["spec"]["securityContext"] = {"runAsUser": 5}
    assert told(stated) == []


def test_a_container_that_never_ran_says_nothing_but_that() -> None:
    value = pod()
    value["status"]["containerStatuses"][0].update(state={"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=7)
    assert told(value) == [
        ("unknown", None, 'container "app" already does not run in pod web-1: CrashLoopBackOff after 7 restarts')
    ]
    value["status"]["containerStatuses"][0]["lastState"] = {"terminated": {"exitCode": 1}}
    assert [kind for kind, _, _ in told(value)] == ["user", "unknown"]


def test_init_and_ephemeral_containers_are_looked_at_too() -> None:
    value = pod()
    user = {"user": {"linux": {"uid": 0}}, "state": {"terminated": {}}}
    value["status"]["initContainerStatuses"] = [{"name": "init", **user}]
    value["status"]["ephemeralContainerStatuses"] = [{"name": "debug", **user}]
    assert set(pod_facts([seen(value)])) == {"app", "init", "debug"}


@pytest.mark.parametrize(
    ("runtime", "opened"),
    [("containerd://2.1.0", True), ("containerd://v2.0.0-rc.1", True), ("containerd://1.7.20", False),
     ("cri-o://1.31.0", False), ("docker://27", False), ("", False)],
)  # fmt: skip
def test_which_runtimes_open_low_ports(runtime: str, opened: bool) -> None:
    assert bool(port_facts({"status": {"nodeInfo": {"containerRuntimeVersion": runtime}}})) is opened
    assert port_facts({}) == ()


def test_the_platform_of_a_node() -> None:
    info = {"operatingSystem": "linux", "architecture": "arm64"}
    assert platform_of({"status": {"nodeInfo": info}}) == "linux/arm64"
    assert platform_of({}) is None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"selector": {"matchLabels": {"a": "b"}}}, {"a": "b"}),
        ({"selector": {"a": "b"}}, {"t": "u"}),
        ({}, {"t": "u"}),
    ],
)
def test_by_which_labels_pods_are_found(spec: dict[str, Any], expected: dict[str, str]) -> None:
    assert labels_of({"spec": spec}, {"metadata": {"labels": {"t": "u"}}}) == expected

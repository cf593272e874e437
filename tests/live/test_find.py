"""Which live workloads a command looks at: Kubernetes' own namespaces have to be named, and owners are followed.

By the command line alone this tests ``live/owner_references.py``, too.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import pytest

from tests.support.control_plane import ApiError, ControlPlane, Namespace
from tests.support.harden import Harden, workload

DEPLOYMENTS = "/apis/apps/v1/namespaces/kube-system/deployments"
PROXY = {
    "hostNetwork": True,
    "priorityClassName": "system-node-critical",
    "tolerations": [{"operator": "Exists"}],
    "serviceAccountName": "nobody",
}


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[str]:
    """A workload of kube-system whose pods cannot be made."""
    name = f"p-{uuid.uuid4().hex[:8]}"
    control_plane.request("POST", DEPLOYMENTS, workload("Deployment", name, **PROXY))
    yield name
    with contextlib.suppress(ApiError):
        control_plane.request("DELETE", f"{DEPLOYMENTS}/{name}")


def test_kubernetes_own_namespaces_are_left_out_unless_named(proxy: str, harden: Harden) -> None:
    harden.namespace.create(workload("Deployment", proxy))
    for command in ("check", "fix"):
        everywhere = harden(command, "-A", "-l", f"app={proxy}", "-o", "json")
        assert [item["namespace"] for item in everywhere.json["workloads"]] == [harden.namespace.name]
        assert "note: 1 workload of kube-system is left out: name the namespace to include it" in everywhere.err
        typed = harden(command, "deploy", "-A", "-l", f"app={proxy}", "-o", "json")
        assert [item["namespace"] for item in typed.json["workloads"]] == [harden.namespace.name]
        # Namespaces that other tests delete meanwhile are noted, too.
        assert [line for line in typed.err.splitlines() if "being deleted" not in line] == [
            line for line in everywhere.err.splitlines() if "being deleted" not in line
        ]
        for named in (("-n", "kube-system", "-l", f"app={proxy}"), (f"deploy/{proxy}", "-n", "kube-system")):
            found = harden(command, *named, "-o", "json")
            assert [item["name"] for item in found.json["workloads"]] == [proxy]
            assert "left out" not in found.err
    # Without a workload there, nothing is left out.
    assert "left out" not in harden("check", "-A", "-l", f"app={proxy},no=thing").err
    refused = harden("fix", "-A", "-l", f"app={proxy}", "--apply", "--yes")
    assert "1 workload: 1 applied" in refused.err


def test_what_is_rejected_there_is_told_by_its_name(proxy: str, harden: Harden) -> None:
    def told() -> bool:
        return harden("rejected", "-n", "kube-system").out.startswith(f"Deployment kube-system/{proxy}: 1 pod missing")

    harden.namespace.eventually(told)
    everywhere = harden("rejected", "-A")
    assert "kube-system/" not in everywhere.out
    assert "note: kube-system is left out: name the namespace to include it (such as -n kube-system)" in everywhere.err


def test_a_migration_says_so_too(harden: Harden) -> None:
    everywhere = harden("migrate", "-A", "-o", "json")
    words = "note: kube-node-lease, kube-public and kube-system are left out: name the namespace to include it"
    assert everywhere.err.count("left out: ") == 1
    assert words in everywhere.err
    assert "left out: " not in harden("migrate", "kube-public", "-o", "json").err
    excluded = harden("migrate", "-A", "--exclude", "kube-*", "-o", "json")
    assert "left out: " not in excluded.err


def test_an_agent_of_the_node_is_not_disarmed_by_default(proxy: str, harden: Harden) -> None:
    result = harden("fix", f"deploy/{proxy}", "-n", "kube-system", "-o", "json")
    (plan,) = result.json["workloads"]
    assert (plan["edits"], plan["before"], plan["after"]) == ([], "privileged", "privileged")
    (network,) = [edit for edit in plan["heldBack"] if edit["path"] == "/spec/template/spec/hostNetwork"]
    assert network["risk"] == "breaks"
    assert "its priority class is system-node-critical, it tolerates every taint" in network["why"]


def test_owners_in_a_circle_end(namespace: Namespace, harden: Harden) -> None:
    for name in ("a", "b"):
        namespace.create(workload("ReplicaSet", name, replicas=0))
    for name, other in (("a", "b"), ("b", "a")):
        uid = namespace.get("ReplicaSet", other)["metadata"]["uid"]
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": other, "uid": uid, "controller": True}
        namespace.patch("ReplicaSet", name, {"metadata": {"ownerReferences": [owner]}})
    found = harden("check", "rs/a", "rs/b", "--level", "restricted")
    assert found.code == 1, found
    assert "ReplicaSet" in found.out

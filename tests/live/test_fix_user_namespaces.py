"""Root in a user namespace: what nodes and claims tell, what is planned, admitted, applied and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.answering import answered
from tests.support.control_plane import ControlPlane, Namespace
from tests.support.harden import COMMAND, Harden, workload
from tests.support.nodes import kubelet, nodes, placed
from tests.support.proxy import Fault, FaultProxy

ROOT = "example.com/user-none/app:1"
HOST_USERS = "/spec/template/spec/hostUsers"
FLAGS = ("--user-namespace", "auto", "--level", "restricted", "--no-trial")
MAPPING = kubelet("v1.37.0", "6.12.9", user_namespaces=True)


@pytest.fixture(scope="module")
def pools(control_plane: ControlPlane) -> Iterator[None]:
    """Nodes with user namespaces, and pools where one has none."""
    with (
        nodes(control_plane, "mapped", mapped_1=MAPPING, mapped_2=MAPPING),
        nodes(control_plane, "mixed", mapped_3=MAPPING, plain_1=kubelet("v1.37.0", "6.12.9", user_namespaces=False)),
        nodes(control_plane, "old-kubelet", plain_2=kubelet("v1.32.9", "6.12.9", user_namespaces=True)),
        nodes(control_plane, "old-kernel", plain_3=kubelet("v1.37.0", "5.15.0-91-generic", user_namespaces=True)),
    ):
        yield


def root(name: str, pool: str, **spec: Any) -> dict[str, Any]:
    return workload("Deployment", name, ROOT, **placed(pool), **spec)


def planned(harden: Harden, name: str, *more: str) -> tuple[dict[str, Any], list[str]]:
    """Return the edits of a Deployment by their pointers, and the notes."""
    (entry,) = harden("fix", f"deploy/{name}", *FLAGS, *more, "-o", "json").json["workloads"]
    return {edit["path"]: edit for edit in entry["edits"]}, entry.get("notes", [])


def test_root_stays_where_its_nodes_have_user_namespaces(namespace: Namespace, harden: Harden, pools: None) -> None:
    namespace.create(root("web", "mapped"))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 1)
    namespace.label(enforce="restricted")
    edits, _ = planned(harden, "web")
    assert edits[HOST_USERS]["risk"] == "review"
    assert 'container "app" runs as uid 0' in edits[HOST_USERS]["why"]
    assert "all 2 nodes that may run it have user namespaces" in edits[HOST_USERS]["why"]
    assert edits[HOST_USERS]["checks"] == ["runAsNonRoot"]
    done = harden("fix", "deploy/web", *FLAGS, "--apply", "--yes", "--timeout", "40s")
    assert done.code == 0, done
    spec = namespace.get("Deployment", "web")["spec"]["template"]["spec"]
    assert (spec["hostUsers"], "runAsNonRoot" in spec["securityContext"]) == (False, False)
    # The server admits such pods, and the simulated node has started one.
    assert [pod["spec"]["hostUsers"] for pod in namespace.ready_pods()] == [False]
    assert harden("check", "deploy/web").code == 0
    namespace.label(enforce="privileged")
    assert harden("undo", "--last", "--yes").code == 0
    assert "hostUsers" not in namespace.get("Deployment", "web")["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("pool", "why"),
    [
        ("mixed", "node plain-1: its runtime does not report user namespaces (status.runtimeHandlers)"),
        ("old-kubelet", "node plain-2: kubelet v1.32.9 has no user namespaces by default, v1.33 has"),
        ("old-kernel", "node plain-3: Linux 5.15.0-91-generic has no ID-mapped mounts of tmpfs, 6.3 has"),
    ],
)
def test_a_node_without_them_is_named(namespace: Namespace, harden: Harden, pools: None, pool: str, why: str) -> None:
    namespace.create(root("web", pool))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 1)
    edits, notes = planned(harden, "web")
    assert HOST_USERS not in edits
    assert f"--user-namespace is not done: {why}" in notes
    shown = harden("fix", "deploy/web", *FLAGS)
    assert why in " ".join(shown.err.split())


def test_nodes_that_may_not_be_listed_are_not_known(
    namespace: Namespace, harden: Harden, proxy: FaultProxy, pools: None
) -> None:
    namespace.create(root("web", "mixed", affinity=only("plain-1")))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 1)
    proxy.times(50, lambda request: request.path.startswith("/api/v1/nodes"), Fault(403, "Forbidden"))
    edits, _ = planned(harden, "web")
    assert "whether the nodes have user namespaces is not known" in edits[HOST_USERS]["why"]
    shown = harden("fix", "deploy/web", *FLAGS)
    assert "note: whether the nodes have user namespaces is not known: " in " ".join(shown.err.split())
    # What is only a claim is watched: the pod gets no sandbox there, and the change is taken back.
    done = harden("fix", "deploy/web", *FLAGS, "--apply", "--yes", "--timeout", "10s")
    assert done.code == 1, done
    assert "hostUsers" not in namespace.get("Deployment", "web")["spec"]["template"]["spec"]


def only(node: str) -> dict[str, Any]:
    """Return the affinity of a pod that runs on one node."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def test_affinity_leaves_nodes_out(namespace: Namespace, harden: Harden, pools: None) -> None:
    namespace.create(root("web", "mixed", affinity=only("mapped-3")))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 1)
    edits, _ = planned(harden, "web")
    assert "the node that may run it has user namespaces" in edits[HOST_USERS]["why"]


def test_storage_behind_claims(namespace: Namespace, harden: Harden, pools: None) -> None:
    sources = {"files": {"nfs": {"server": "nfs.example.com", "path": "/"}}, "disk": {"local": {"path": "/mnt/disk"}}}
    for name, source in sources.items():
        claim = {"namespace": namespace.name, "name": f"{name}-db-0", "kind": "PersistentVolumeClaim"}
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": claim, **source}
        if "local" in source:
            spec["nodeAffinity"] = {
                "required": only("mapped-1")["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            }
        volume = {"metadata": {"name": f"{namespace.name}-{name}"}, "spec": {**spec, "storageClassName": ""}}
        namespace.plane.request("POST", "/api/v1/persistentvolumes", volume)
    claims = [
        {"metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}}
        for name in sources
    ]  # fmt: skip
    value = workload("StatefulSet", "db", ROOT, **placed("mapped"))
    value["spec"]["volumeClaimTemplates"] = claims
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in sources]
    value["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts
    namespace.create(value)
    namespace.eventually(lambda: len(namespace.ready_pods()) == 1)
    (entry,) = harden("fix", "sts/db", *FLAGS, "-o", "json").json["workloads"]
    (edit,) = [edit for edit in entry["edits"] if edit["path"] == HOST_USERS]
    assert edit["risk"] == "review"
    assert "volume files is NFS, which has no ID-mapped mounts: the container does not start" in edit["why"]
    assert "disk" not in edit["why"]


def test_a_person_is_offered_it(namespace: Namespace, harden: Harden, pools: None) -> None:
    namespace.create(root("web", "mapped"))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 1)
    # Beside --run-as-user, where root stops the plan.
    (entry,) = harden("fix", "deploy/web", "--level", "restricted", "-o", "json").json["workloads"]
    (left,) = [item for item in entry["remaining"] if item["check"] == "runAsNonRoot"]
    assert left["choices"][:2] == [
        "give it its own user: --run-as-user UID", "let it stay root, in a user namespace: --user-namespace"
    ]  # fmt: skip
    arguments = ["fix", "deploy/web", "--level", "restricted", "--no-trial", "-i", "--timeout", "40s"]
    code, shown = answered([*COMMAND, *arguments], b"[y,n,a,d,q,e,?]? ", [b"a\n"], harden.environment)
    assert code == 0, shown
    assert "+      hostUsers: false" in shown
    spec = namespace.get("Deployment", "web")["spec"]["template"]["spec"]
    assert (spec["hostUsers"], "runAsNonRoot" in spec["securityContext"]) == (False, False)


def test_a_migration_takes_root_along(namespace: Namespace, harden: Harden, pools: None) -> None:
    namespace.create(root("web", "mapped"), workload("Deployment", "app", "example.com/user-1000/app:1"))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    done = harden("migrate", namespace.name, "--user-namespace", "--apply", "--yes", "--no-trial", "--timeout", "60s")
    assert done.code == 0, done
    labels = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    specs = {name: namespace.get("Deployment", name)["spec"]["template"]["spec"] for name in ("web", "app")}
    assert {name: spec.get("hostUsers") for name, spec in specs.items()} == {"web": False, "app": None}

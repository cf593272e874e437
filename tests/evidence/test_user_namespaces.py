"""Which nodes may run a pod, which of them have user namespaces, and which volumes have ID-mapped mounts."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.evidence.user_namespaces import lacks, may_run, storage


def node(name: str = "n", *, handlers: Any = ({"name": "", "features": {"userNamespaces": True}},), **info: str) -> Any:
    return {
        "metadata": {"name": name, "labels": {"disk": "ssd", "cores": "16", "kubernetes.io/os": "linux"}},
        "status": {"nodeInfo": {"kubeletVersion": "v1.36.1", "kernelVersion": "6.8.0", **info},
                   "runtimeHandlers": list(handlers)},
    }  # fmt: skip


def handler(name: str, has: bool | None) -> dict[str, Any]:
    return {"name": name, "features": {} if has is None else {"userNamespaces": has}}


REPORTS = "does not report user namespaces (status.runtimeHandlers)"


@pytest.mark.parametrize(
    ("value", "runtime_class", "why"),
    [
        (node(), "", ""),
        (node(kubeletVersion="v1.33.0", kernelVersion="6.3.0-rc1"), "", ""),
        (node(kubeletVersion="v1.32.9+k3s1"), "", "kubelet v1.32.9+k3s1 has no user namespaces by default"),
        (node(kernelVersion="5.15.0-91-generic"), "", "Linux 5.15.0-91-generic has no ID-mapped mounts of tmpfs"),
        (node(kernelVersion="6.10.1"), "", ""),
        (node(kubeletVersion="kwok-v0.7.0", kernelVersion=""), "", ""),
        (node(handlers=()), "", f"node n: its runtime {REPORTS}"),
        (node(handlers=[handler("", None)]), "", f"node n: its runtime {REPORTS}"),
        (node(handlers=[{"name": ""}]), "", f"node n: its runtime {REPORTS}"),
        # The handler of the pod's RuntimeClass counts; where none has its name, all of them.
        (node(handlers=[handler("", True), handler("gvisor", False)]), "", ""),
        (node(handlers=[handler("", True), handler("gvisor", False)]), "gvisor", f"runtime handler gvisor {REPORTS}"),
        (node(handlers=[handler("", False), handler("kata", True)]), "kata", ""),
        (node(handlers=[handler("", True), handler("runsc", False)]), "sandboxed", f"its runtime {REPORTS}"),
    ],
)
def test_what_a_node_lacks(value: Any, runtime_class: str, why: str) -> None:
    found = lacks(value, runtime_class)
    assert why in found
    assert bool(why) is bool(found)


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def field(operator: str, *values: str) -> dict[str, Any]:
    return {"matchFields": [{"key": "metadata.name", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("spec", "may"),
    [
        ({}, True),
        ({"nodeName": "n"}, True),
        ({"nodeName": "m"}, False),
        ({"nodeSelector": {"disk": "ssd"}}, True),
        ({"nodeSelector": {"disk": "hdd"}}, False),
        ({"nodeSelector": {"zone": "a"}}, False),
        (affinity(expression("disk", "In", "ssd", "hdd")), True),
        (affinity(expression("disk", "In", "hdd")), False),
        (affinity(expression("disk", "NotIn", "hdd")), True),
        (affinity(expression("zone", "NotIn", "a")), True),
        (affinity(expression("disk", "NotIn", "ssd")), False),
        (affinity(expression("disk", "Exists")), True),
        (affinity(expression("zone", "Exists")), False),
        (affinity(expression("zone", "DoesNotExist")), True),
        (affinity(expression("disk", "DoesNotExist")), False),
        (affinity(expression("cores", "Gt", "8")), True),
        (affinity(expression("cores", "Gt", "16")), False),
        (affinity(expression("cores", "Lt", "17")), True),
        (affinity(expression("disk", "Gt", "8")), False),
        (affinity(expression("disk", "In", "hdd"), expression("cores", "Exists")), True),
        (affinity({**expression("disk", "Exists"), **field("In", "m")}), False),
        (affinity(field("In", "n")), True),
        (affinity({}), False),
        ({"affinity": {"nodeAffinity": {}}}, True),
    ],
)  # fmt: skip
def test_which_nodes_may_run_a_pod(spec: dict[str, Any], may: bool) -> None:
    assert may_run(node(), spec) is may


@pytest.mark.parametrize(
    ("taint", "toleration", "may"),
    [
        ({"key": "gpu", "effect": "NoSchedule"}, None, False),
        ({"key": "gpu", "effect": "NoExecute"}, None, False),
        ({"key": "gpu", "effect": "PreferNoSchedule"}, None, True),
        ({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, None, True),
        ({"key": "gpu", "effect": "NoSchedule"}, {"operator": "Exists"}, True),
        ({"key": "gpu", "effect": "NoSchedule"}, {"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "effect": "NoSchedule"}, {"key": "tpu", "operator": "Exists"}, False),
        ({"key": "gpu", "value": "a", "effect": "NoSchedule"}, {"key": "gpu", "value": "a"}, True),
        ({"key": "gpu", "value": "a", "effect": "NoSchedule"}, {"key": "gpu", "value": "b"}, False),
        ({"key": "gpu", "effect": "NoSchedule"}, {"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)  # fmt: skip
def test_taints(taint: dict[str, str], toleration: dict[str, str] | None, may: bool) -> None:
    value = {**node(), "spec": {"taints": [taint]}}
    assert may_run(value, {"tolerations": [toleration] if toleration else []}) is may


def test_nodes_with_windows_run_no_pods_in_user_namespaces() -> None:
    assert not may_run(node(operatingSystem="windows"), {})


@pytest.mark.parametrize(
    ("spec", "is_"),
    [
        ({"nfs": {"server": "s"}}, "NFS, which has no ID-mapped mounts"),
        ({"csi": {"driver": "efs.csi.aws.com"}}, "NFS, which has no ID-mapped mounts"),
        ({"csi": {"driver": "smb.csi.k8s.io"}}, "SMB, which has no ID-mapped mounts"),
        ({"local": {"path": "/d"}}, ""),
        ({"csi": {"driver": "disk.example.com"}}, None),
        ({}, None),
    ],
)
def test_storage(spec: dict[str, Any], is_: str | None) -> None:
    assert storage(spec) == is_

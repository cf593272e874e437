"""Workloads that nobody can edit, cured at admission by a policy of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_harden.json_values import copied
from tests.support.control_plane import ApiError, ControlPlane, Namespace
from tests.support.harden import Harden, workload
from tests.support.mutating import ADMISSION

RESTRICTED = pytest.mark.pod_security(enforce="restricted")
PLURALS = {
    "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
}


def path_of(value: dict[str, Any], name: str = "") -> str:
    return f"{ADMISSION}/{PLURALS[value['kind']]}{f'/{name}' if name else ''}"


@contextmanager
def applied(namespace: Namespace, text: str) -> Iterator[list[dict[str, Any]]]:
    """Have the policies of a text in the cluster."""
    values = list(yaml.safe_load_all(text))
    for value in values:
        namespace.plane.request("POST", f"{path_of(value)}?fieldValidation=Strict", value)
    try:
        yield values
    finally:
        for value in reversed(values):
            namespace.plane.request("DELETE", path_of(value, value["metadata"]["name"]))


def operated(value: dict[str, Any]) -> dict[str, Any]:
    """Return a workload as an operator makes it, which takes back what others change."""
    owner = {"apiVersion": "db.example/v1", "kind": "Cluster", "name": "main", "uid": "1-2", "controller": True}
    value["metadata"]["ownerReferences"] = [owner]
    return value


def awkward(kind: str, name: str) -> dict[str, Any]:
    """Return a workload that violates the level in all sorts of places."""
    value = workload(kind, name)
    pod = (
        value["spec"]["template"]["spec"]
        if kind != "CronJob"
        else value["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    )
    own = {
        "runAsUser": 0,
        "allowPrivilegeEscalation": True,
        "capabilities": {"add": ["NET_ADMIN", "NET_BIND_SERVICE", "SYS_TIME"], "drop": ["NET_RAW"]},
    }
    first = pod["containers"][0]
    first |= {"ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "hostPort": 53}]}
    first["securityContext"] = own
    first["volumeMounts"] = [{"name": "cache", "mountPath": "/cache"}]
    pod["containers"].append({"name": "second", "image": "example.com/b:1"})
    sidecar = {"name": "side", "image": "example.com/c:1", "restartPolicy": "Always"}
    pod["initContainers"] = [
        {"name": "prepare", "image": "example.com/d:1", "securityContext": {"privileged": True}},
        sidecar,
    ]
    pod["securityContext"] = {
        "seccompProfile": {"type": "Unconfined"},
        "sysctls": [{"name": "kernel.msgmax", "value": "1"}],
    }
    pod["hostPID"] = True
    pod["volumes"] = [{"name": "cache", "hostPath": {"path": "/var/cache/x"}}]
    return value


MAKE_ALL = ("--max-risk", "breaks", "--partial", "--host-path", "cache=emptyDir")


@RESTRICTED
@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment", "DaemonSet"])
def test_a_printed_policy_makes_all_planned_edits_to_the_pods_of_the_workload(
    kind: str, namespace: Namespace, harden: Harden
) -> None:
    namespace.create(operated(awkward(kind, "db")), workload("Deployment", "other", replicas=0))
    shown = harden("fix", f"{kind}/db", *MAKE_ALL, "-o", "mutating-policy")
    assert (shown.code, shown.err) == (0, ""), shown
    assert namespace.pods() == []
    with applied(namespace, shown.out):
        (pod,) = namespace.eventually(namespace.ready_pods)
        spec = pod["spec"]
        first, second = spec["containers"]
        assert first["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["NET_RAW", "ALL"]},
        }
        assert [port.get("hostPort") for port in first["ports"]] == [None, None]
        assert second["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert [one["securityContext"]["capabilities"] for one in spec["initContainers"]] == [{"drop": ["ALL"]}] * 2
        assert not spec["initContainers"][0]["securityContext"].get("privileged")
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["securityContext"]["runAsNonRoot"] is True and not spec["securityContext"].get("sysctls")
        assert "hostPID" not in spec and spec["volumes"][0] == {"name": "cache", "emptyDir": {}}


def test_a_workload_that_meets_the_level_has_no_policy(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    shown = harden("fix", "deploy/web", "--level", "baseline", "-o", "mutating-policy")
    assert (shown.code, shown.out) == (0, "")


def test_what_gets_no_policy_is_said(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Pod", "alone"))
    shown = harden("fix", "pod/alone", "-o", "mutating-policy")
    assert (shown.code, shown.out) == (3, "") and "no controller recreates this pod" in shown.err
    assert harden("fix", "-f", "-", "-o", "mutating-policy", stdin="{}").code == 2
    assert "--expires" in harden("fix", "pod/alone", "-o", "mutating-policy", "--expires", "soon").err


def made_by(value: dict[str, Any], namespace: Namespace, changes: Any) -> Any:
    """Return the pod that the API server makes of one of a StatefulSet's, changed before, in a dry-run."""
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1", "controller": True}
    template = value["spec"]["template"]
    metadata = {"name": "probe", "labels": dict(template["metadata"]["labels"]), "ownerReferences": [owner]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copied(template["spec"])}
    changes(pod)
    return namespace.plane.request("POST", f"{namespace.path('Pod')}?dryRun=All", pod)["spec"]


def test_a_policy_leaves_alone_what_is_right_and_what_is_not_its_own(
    namespace: Namespace, harden: Harden, fleet: Any
) -> None:
    value = workload("StatefulSet", "db", replicas=0)
    value["spec"]["template"]["spec"]["containers"].append({"name": "last", "image": "example.com/z:1"})
    namespace.create(value, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "another"}})
    elsewhere = fleet.add("elsewhere")
    shown = harden("fix", "sts/db", "--level", "restricted", "-o", "mutating-policy")
    right = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}

    def unchanged(_pod: Any) -> None:
        pass

    def injected(pod: Any) -> None:
        pod["spec"]["containers"] = [{"name": "proxy", "image": "x"}, *pod["spec"]["containers"]]

    def of_another(pod: Any) -> None:
        pod["metadata"]["ownerReferences"][0]["name"] = "db2"

    def of_another_kind(pod: Any) -> None:
        pod["metadata"]["ownerReferences"][0]["kind"] = "DaemonSet"

    def of_nobody(pod: Any) -> None:
        del pod["metadata"]["ownerReferences"]

    def otherwise_labelled(pod: Any) -> None:
        pod["metadata"]["labels"]["app"] = "db2"

    def with_another_account(pod: Any) -> None:
        pod["spec"]["serviceAccountName"] = "another"

    def by_another_mutator(pod: Any) -> None:
        pod["spec"]["containers"][0]["securityContext"] = {"capabilities": {"drop": ["ALL", "X"]}, "runAsUser": 7}
        pod["spec"]["securityContext"] = {"runAsNonRoot": True, "fsGroup": 5}

    with applied(namespace, shown.out):
        namespace.eventually(lambda: "runAsNonRoot" in str(made_by(value, namespace, unchanged)))
        spec = made_by(value, namespace, injected)
        assert [one.get("securityContext") for one in spec["containers"]] == [None, right, right]
        spec = made_by(value, namespace, by_another_mutator)
        assert spec["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL", "X"]},
            "runAsUser": 7,
        }
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "fsGroup": 5,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for change in (of_another, of_another_kind, of_nobody, otherwise_labelled, with_another_account):
            spec = made_by(value, namespace, change)
            assert not any("securityContext" in one for one in spec["containers"]), change.__name__
        namespace.eventually(lambda: made_by(value, elsewhere, unchanged))
        assert "runAsNonRoot" not in str(made_by(value, elsewhere, unchanged))


@RESTRICTED
def test_the_pods_of_a_cron_job(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("CronJob", "night"))
    shown = harden("fix", "cj/night", "-o", "mutating-policy")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "uid": "1", "controller": True}

    def refused(job: str) -> str:
        pod = workload("Pod", "probe")
        pod["metadata"] = {"name": "probe", "labels": {"app": "night", "job-name": job}}
        pod["metadata"]["ownerReferences"] = [{**owner, "name": job}]
        pod["spec"]["restartPolicy"] = "Never"
        try:
            namespace.plane.request("POST", f"{namespace.path('Pod')}?dryRun=All", pod)
        except ApiError as error:
            return str(error)
        return ""

    with applied(namespace, shown.out):
        namespace.eventually(lambda: not refused("night-29384756"))
        assert "violates PodSecurity" in refused("night-by-hand")


_RESOURCE = "admissionregistration.k8s.io/v1/mutatingadmissionpolic"


@pytest.mark.parametrize("version", ["v1beta1", ""])
def test_the_version_is_what_the_server_has(version: str, tmp_path: Path) -> None:
    served = f"{_RESOURCE}ies=false,{_RESOURCE}ybindings=false"
    served += f",admissionregistration.k8s.io/{version}=true" if version else ""
    flags = (f"--runtime-config={served}", "--disable-admission-plugins=MutatingAdmissionPolicy")
    plane = ControlPlane(tmp_path / "plane", controllers=False, flags=flags)
    try:
        namespace = Namespace(plane, "ops", {})
        harden = Harden(namespace, tmp_path)
        namespace.create(workload("StatefulSet", "db"))
        shown = harden("fix", "sts/db", "-o", "mutating-policy")
        if not version:
            assert (shown.code, shown.out) == (4, "")
            assert "the API server does not have MutatingAdmissionPolicies" in " ".join(shown.err.split())
            applied = harden("fix", "sts/db", "--at-admission", "--apply", "--yes")
            assert applied.code == 4 and "does not have MutatingAdmissionPolicies" in " ".join(applied.err.split())
            return
        assert shown.code == 0, shown
        for value in yaml.safe_load_all(shown.out):
            path = path_of(value).replace("/v1/", f"/{version}/")
            made = plane.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", value)
            assert made["apiVersion"] == f"admissionregistration.k8s.io/{version}"
    finally:
        plane.stop()

"""Who else manages an object."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kubectl_harden.live.managers import KUBERNETES, PEOPLE, managers_of
from kubectl_harden.model import Path
from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.tools import module_directory

SPEC: Any = {
    "containers": [
        {"name": "a"},
        {"name": "b", "securityContext": {"privileged": True, "capabilities": {"add": ["X"]}}},
    ],
    "volumes": [{"name": "v", "hostPath": {}}],
}


def managed(manager: str, fields: Any, **more: Any) -> dict[str, Any]:
    entry = {"manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}, **more}
    return {"metadata": {"namespace": "shop", "name": "web", "managedFields": [entry]}, "spec": SPEC}


OWNED = {
    "f:containers": {
        'k:{"name":"b"}': {
            ".": {},
            "f:name": {},
            "f:securityContext": {"f:privileged": {}, "f:capabilities": {"f:add": {}}},
        }
    }
}


@pytest.mark.parametrize(
    ("path", "owned"),
    [
        (("spec", "containers", 1, "securityContext", "privileged"), True),
        (("spec", "containers", 1, "securityContext"), True),
        (("spec", "containers", 1, "securityContext", "capabilities", "add", 0), True),
        (("spec", "containers", 1, "securityContext", "runAsUser"), False),
        (("spec", "containers", 0, "securityContext", "privileged"), False),
        (("spec", "containers", 7), False),
        (("spec", "volumes", 0, "hostPath"), False),
        (("spec", "securityContext"), False),
    ],
)
def test_owners_of_exactly_the_field(path: Path, owned: bool) -> None:
    found = managers_of(managed("some-controller", OWNED), [path])
    assert [manager.name for manager in found] == (["some-controller"] if owned else [])


def test_people_and_kubernetes_itself_are_no_managers() -> None:
    path: Path = ("spec", "containers", 1, "securityContext", "privileged")
    for name in (*PEOPLE, *KUBERNETES, "kubectl.exe"):
        assert managers_of(managed(name, OWNED), [path]) == ()
    assert managers_of(managed("me", OWNED), [path], "me") == ()
    assert managers_of(managed("x", OWNED, subresource="status"), [path]) == ()


@pytest.mark.parametrize("name", ["kube-operator", "kubectl-operator", "kubernetes-operator", "kubelet-x", "kubectl-"])
def test_names_that_begin_as_those_of_kubernetes_are_managers(name: str) -> None:
    path: Path = ("spec", "containers", 1, "securityContext", "privileged")
    (manager,) = managers_of(managed(name, OWNED), [path])
    assert manager.name == name
    assert "it owns spec.containers[1].securityContext.privileged (managedFields)" in manager.consequence


def test_kubectl_names_its_field_managers_so() -> None:
    """Of its own source: a name that it begins to use must be known here."""
    commands = module_directory("k8s.io/kubectl", "cluster/control-plane") / "pkg" / "cmd"
    pattern = re.compile(r"(?:AddFieldManagerFlagVar\([^)\n]*|[fF]ieldManager\w* *:?= *)\"(kubectl[a-z-]*)\"")
    sources = [path.read_text() for path in commands.rglob("*.go") if not path.name.endswith("_test.go")]
    names = {name for text in sources for name in pattern.findall(text)}
    assert {"kubectl-create", "kubectl-client-side-apply", "kubectl-edit"} <= names <= PEOPLE


# What a label or an annotation makes an object's manager (None: nobody's).
MARKED: list[tuple[str, dict[str, str], str | None]] = [
    ("labels", {"olm.owner": "op.v1", "olm.managed": "true"}, "OLM op.v1"),
    ("labels", {"olm.managed": "true"}, "OLM"),
    ("labels", {"operators.coreos.com/op.ns": ""}, "OLM"),
    ("labels", {"addonmanager.kubernetes.io/mode": "Reconcile"}, "the addon manager"),
    ("labels", {"addonmanager.kubernetes.io/mode": "EnsureExists"}, None),
    ("labels", {"addonmanager.kubernetes.io/mode": "EnsureExists", "kubernetes.io/cluster-service": "true"}, None),
    ("labels", {"kubernetes.io/cluster-service": "true"}, "the addon manager"),
    ("annotations", {"configmanagement.gke.io/managed": "enabled"}, "Config Sync"),
    ("annotations", {"configmanagement.gke.io/managed": "disabled", "configsync.gke.io/resource-id": "x"}, None),
    ("annotations", {"configsync.gke.io/resource-id": "apps_deployment_a_b"}, "Config Sync"),
    ("labels", {"configsync.gke.io/declared-version": "v1"}, "Config Sync"),
    ("labels", {"kapp.k14s.io/app": "1700000000", "kapp.k14s.io/association": "v1.a"}, "kapp"),
    (
        "annotations",
        {"objectset.rio.cattle.io/id": "fleet-agent-x", "objectset.rio.cattle.io/owner-name": "shop"},
        "Rancher, Fleet or k3s shop",
    ),
    ("labels", {"objectset.rio.cattle.io/hash": "abc"}, "Rancher, Fleet or k3s"),
    ("labels", {"fleet.cattle.io/bundle-id": "b"}, "Fleet"),
    ("labels", {"helmcharts.helm.cattle.io/chart": "traefik"}, "k3s HelmChart traefik"),
    ("annotations", {"helm.sh/hook": "pre-upgrade"}, "Helm hook pre-upgrade"),
    ("labels", {"argocd.argoproj.io/instance": "shop"}, "Argo CD Application shop"),
    ("annotations", {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:a/b"}, "Argo CD Application shop"),
    ("annotations", {"argocd.argoproj.io/sync-wave": "1"}, "Argo CD"),
    ("labels", {"app.kubernetes.io/managed-by": "skaffold", "skaffold.dev/run-id": "x"}, "skaffold"),
    ("labels", {"app.kubernetes.io/managed-by": "x"}, "x (app.kubernetes.io/managed-by)"),
    ("annotations", {"pulumi.com/patchForce": "true"}, "Pulumi"),
    ("annotations", {"include.release.openshift.io/ibm-cloud-managed": "true"}, "the Cluster Version Operator"),
    ("labels", {"security.openshift.io/scc.podSecurityLabelSync": "true"}, "OpenShift's label syncer"),
    ("labels", {"security.openshift.io/scc.podSecurityLabelSync": "false"}, None),
    ("labels", {"kubernetes.io/metadata.name": "a", "app": "b"}, None),
]


@pytest.mark.parametrize(("where", "marks", "expected"), MARKED, ids=[next(iter(row[1])) for row in MARKED])
def test_managers_by_their_marks(where: str, marks: dict[str, str], expected: str | None) -> None:
    found = managers_of({"metadata": {where: marks}}, [])
    assert [manager.name for manager in found] == ([expected] if expected else [])


def test_flux_and_argo_are_not_named_twice_by_their_controllers() -> None:
    path: Path = ("spec", "containers", 1, "securityContext", "privileged")
    value = managed("kustomize-controller", OWNED)
    value["metadata"]["labels"] = {
        "kustomize.toolkit.fluxcd.io/name": "a",
        "kustomize.toolkit.fluxcd.io/namespace": "b",
    }
    assert [m.name for m in managers_of(value, [path])] == ["Flux Kustomization b/a"]
    value = managed("argocd-controller", OWNED)
    value["metadata"]["labels"] = {"my.company/app": "shop"}
    value["metadata"]["annotations"] = {"argocd.argoproj.io/sync-wave": "1"}
    assert [m.name for m in managers_of(value, [path])] == ["Argo CD Application"]


def test_what_a_manager_takes_back_is_not_written_unless_told(namespace: Namespace, harden: Harden) -> None:
    value = workload("Deployment", "web")
    value["metadata"]["labels"]["kapp.k14s.io/app"] = "1"
    namespace.create(value, workload("Deployment", "op"))
    owned = {"spec": {"template": {"spec": {"hostPID": True}}}}
    path = f"{namespace.path('Deployment', 'op')}?fieldManager=kube-operator"
    namespace.plane.request("PATCH", path, owned, kind="application/merge-patch+json")
    result = harden("fix", "-n", namespace.name, "--apply", "--yes", "-o", "json")
    assert {item["name"]: item["managedBy"] for item in result.json["workloads"]} == {
        "web": ["kapp"],
        "op": ["kube-operator"],
    }
    assert {item["outcome"]["state"] for item in result.json["workloads"]} == {"refused"}
    assert namespace.get("Deployment", "op")["spec"]["template"]["spec"]["hostPID"] is True


def flux(value: dict[str, Any]) -> None:
    value["metadata"]["labels"] |= {
        "kustomize.toolkit.fluxcd.io/name": "a",
        "kustomize.toolkit.fluxcd.io/namespace": "b",
    }


def argo_cd(value: dict[str, Any]) -> None:
    value["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "shop:/Namespace:/x"}


NAMESPACES = {
    "Flux": (flux, "kubectl-create", "Flux Kustomization b/a"),
    "Argo CD": (argo_cd, "kubectl-create", "Argo CD Application shop"),
    "OpenShift": (None, "pod-security-admission-label-synchronization-controller", "OpenShift's label syncer"),
    "another owner of a label": (None, "rancher", "rancher"),
    "a person": (None, "kubectl-label", None),
}


@pytest.mark.parametrize("name", NAMESPACES)
@pytest.mark.parametrize("level", ["restricted", "highest"])
def test_labels_of_a_namespace_that_others_manage(name: str, level: str, namespace: Namespace, harden: Harden) -> None:
    change, writer, expected = NAMESPACES[name]
    path = f"/api/v1/namespaces/{namespace.name}"
    value = namespace.plane.request("GET", path)
    value["metadata"]["labels"]["pod-security.kubernetes.io/warn"] = "baseline"
    if change is not None:
        change(value)
    before = namespace.plane.request("PUT", f"{path}?fieldManager={writer}", value)["metadata"]["labels"]
    namespace.create(workload("Deployment", "web"))
    spec = namespace.get("Deployment", "web")["spec"]
    survey = harden("migrate", namespace.name, "--level", level, "-o", "json").json["namespaces"][0]
    assert survey["labelsManagedBy"] == ([expected] if expected else [])
    migrate = ("migrate", namespace.name, "--level", level, "--apply", "--yes")
    result = harden(*migrate)
    labels = namespace.plane.request("GET", path)["metadata"]["labels"]
    if expected is None:
        assert result.code == 0, result
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        return
    assert survey["state"] == "blocked"
    assert survey["blockers"][0]["cause"] == "managed by others"
    said = " ".join(result.err.split()) + " ".join(result.out.split())
    assert (result.code, f"its labels are managed by {expected}" in said) == (1, True), result
    assert "--even-if-managed writes them anyway" in said
    assert labels == before
    assert namespace.get("Deployment", "web")["spec"] == spec
    written = harden(*migrate, "--even-if-managed")
    assert written.code == 0, written
    labels = namespace.plane.request("GET", path)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_helm_release_without_labels_of_its_own() -> None:
    value = {"metadata": {"namespace": "shop", "annotations": {"meta.helm.sh/release-name": "front"}}}
    (manager,) = managers_of(value, [])
    assert manager.name == "Helm release shop/front"


def test_flux_before_helm_and_no_manager_twice() -> None:
    labels = {
        "helm.toolkit.fluxcd.io/name": "front",
        "helm.toolkit.fluxcd.io/namespace": "flux",
        "app.kubernetes.io/managed-by": "Helm",
    }
    assert [m.name for m in managers_of({"metadata": {"labels": labels}}, [])] == ["Flux HelmRelease flux/front"]
    path: Path = ("spec", "containers", 1, "securityContext", "privileged")
    value = managed("argocd-controller", OWNED)
    assert [m.name for m in managers_of(value, [path])] == ["Argo CD Application"]


def test_nobody() -> None:
    assert managers_of({"metadata": {"labels": {"app": "web", "app.kubernetes.io/managed-by": "kubectl"}}}, []) == ()

"""Who else manages an object."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.live.managers import managers_of
from kubectl_harden.model import Path

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
    for name in ("kubectl", "kubectl-client-side-apply", "kubectl-harden", "kube-controller-manager"):
        assert managers_of(managed(name, OWNED), [path]) == ()
    assert managers_of(managed("x", OWNED, subresource="status"), [path]) == ()


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

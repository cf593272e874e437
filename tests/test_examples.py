"""The examples of roles, held to what the code knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kubectl_harden.pod_security.pod_templates import holders_of_pods

RBAC = Path(__file__).parents[1] / "examples" / "in-cluster" / "rbac.yaml"
CLUSTER_SCOPED = {("argoproj.io", "ClusterWorkflowTemplate"), ("argoproj.io", "ClusterAnalysisTemplate")}
ROLES = {
    value["metadata"]["name"]: value["rules"]
    for value in yaml.safe_load_all(RBAC.read_text())
    if value["kind"] == "ClusterRole"
}


@pytest.mark.parametrize(
    ("role", "verbs"), [("kubectl-harden-survey", {"get", "list"}), ("kubectl-harden-apply", {"patch"})]
)
def test_the_roles_name_every_kind_whose_pod_templates_are_known(role: str, verbs: set[str]) -> None:
    granted = {
        (group, resource)
        for rule in ROLES[role]
        if verbs <= set(rule["verbs"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    # A finished or running Job takes no patch, and a pod is recreated.
    unpatched = {("", "Pod"), ("batch", "Job")} if verbs == {"patch"} else set()
    # OpenShift's own group has it now.
    old = {("", "DeploymentConfig")}
    for group, kind in sorted({*holders_of_pods({})} - CLUSTER_SCOPED - unpatched - old):
        assert (group, f"{kind.lower()}s") in granted, (group, kind)

"""Custom resources: found by discovery, traced to, fixed where a pod path is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane import ApiError, ControlPlane, Namespace
from tests.support.harden import Harden, pod_spec, workload

PRESERVED = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@pytest.fixture(scope="module")
def kinds(control_plane: ControlPlane) -> None:
    """Kinds that are known (of Argo Rollouts), and one that is not (Widget); they stay as long as the control plane."""
    base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for group, kind, plural, short in (
        ("argoproj.io", "Rollout", "rollouts", "ro"),
        ("argoproj.io", "AnalysisRun", "analysisruns", "ar"),
        ("example.com", "Widget", "widgets", "wi"),
    ):
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": PRESERVED, "status": PRESERVED}}}
        version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
        names = {"kind": kind, "plural": plural, "singular": kind.lower(), "shortNames": [short]}
        spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
        try:
            control_plane.request("POST", base, {"metadata": {"name": f"{plural}.{group}"}, "spec": spec})
        except ApiError as error:
            if error.status != 409:  # Another process of the test run has made it.
                raise


def create(namespace: Namespace, group: str, plural: str, value: dict[str, Any]) -> Any:
    path = f"/apis/{group}/v1alpha1/namespaces/{namespace.name}/{plural}"

    def done() -> Any:
        try:
            return namespace.plane.request("POST", f"{path}?fieldManager=kubectl-create", value)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    return namespace.eventually(done)


def rollout(name: str) -> dict[str, Any]:
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec()},
    }
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": spec}


@pytest.mark.pod_security(enforce="restricted")
def test_a_known_custom_resource(kinds: None, namespace: Namespace, harden: Harden) -> None:
    made = create(namespace, "argoproj.io", "rollouts", rollout("web"))
    owned = workload("ReplicaSet", "web-1")
    owned["metadata"]["ownerReferences"] = [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "name": "web",
            "uid": made["metadata"]["uid"],
            "controller": True,
        }
    ]
    namespace.create(owned)
    for words in (["ro/web"], ["rollouts.argoproj.io", "web"], ["rs/web-1"], ["-n", namespace.name]):
        report = harden("check", *words, "-o", "json").json
        assert [(item["kind"], item["name"]) for item in report["workloads"]] == [("Rollout", "web")], words
    told = namespace.eventually(lambda: harden("rejected", "-o", "json").json["rejections"])
    assert [(item["kind"], item["name"]) for item in told] == [("Rollout", "web")]
    result = harden("fix", "ro/web", "--apply", "--yes")
    assert result.code == 0, result
    assert "its controller's progress is not known" in " ".join(result.err.split())
    assert harden("check", "ro/web").code == 0
    assert "--even-if-refused" in harden("undo", "--last", "--yes").err
    assert "web: applied" in harden("undo", "--last", "--yes", "--even-if-refused").err
    assert harden("check", "ro/web").code == 1


def test_an_analysis_run_is_not_followed_to_what_made_it(kinds: None, namespace: Namespace, harden: Harden) -> None:
    def owner(made: Any) -> list[dict[str, Any]]:
        about = {"apiVersion": made["apiVersion"], "kind": made["kind"], "controller": True}
        return [{**about, "name": made["metadata"]["name"], "uid": made["metadata"]["uid"]}]

    above = create(namespace, "argoproj.io", "rollouts", rollout("shop"))
    provider = {"job": {"spec": {"template": {"spec": {**pod_spec(), "restartPolicy": "Never"}}}}}
    run = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": {"name": "run", "ownerReferences": owner(above)},
        "spec": {"metrics": [{"name": "m", "provider": provider}]},
    }
    made = create(namespace, "argoproj.io", "analysisruns", run)
    job = workload("Job", "run-m-1")
    job["metadata"]["ownerReferences"] = owner(made)
    namespace.create(job)
    for words in (["ar/run"], ["job/run-m-1"]):
        found = harden("check", *words, "-o", "json").json["workloads"]
        assert [(item["kind"], item["podPath"]) for item in found] == [
            ("AnalysisRun", "/spec/metrics/0/provider/job/spec/template")
        ], words


def test_a_pod_path_makes_a_kind_known(kinds: None, namespace: Namespace, harden: Harden) -> None:
    value = {
        "apiVersion": "example.com/v1alpha1",
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"pods": {"template": {"spec": pod_spec()}}},
    }
    create(namespace, "example.com", "widgets", value)
    unknown = harden("check", "widget/w")
    assert (unknown.code, "widgets.example.com have no known pod templates" in unknown.err) == (3, True)
    option = ("--pod-path", "Widget.example.com=/spec/pods/template")
    found = harden("check", "-n", namespace.name, "-o", "json", *option).json["workloads"]
    assert [(item["kind"], item["podPath"]) for item in found] == [("Widget", "/spec/pods/template")]
    assert harden("fix", "wi/w", "--apply", "--yes", *option).code == 0
    assert harden("check", "wi/w", *option).code == 0


def test_a_project_makes_a_kind_known_too(
    kinds: None, namespace: Namespace, harden: Harden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {"pods": {"template": {"spec": pod_spec()}}}
    create(namespace, "example.com", "widgets",
           {"apiVersion": "example.com/v1alpha1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})  # fmt: skip
    without = harden("migrate", namespace.name, "-o", "json").json
    (tmp_path / ".kubectl-harden.yaml").write_text(
        "level: baseline\npodPaths: {Widget.example.com: /spec/pods/template}\n"
    )
    monkeypatch.chdir(tmp_path)
    surveyed = harden("migrate", namespace.name, "-o", "json").json
    assert (without["summary"]["workloads"], surveyed["summary"]["workloads"]) == (0, 1)
    found = harden("check", "wi/w", "-o", "json").json
    # The level of what is live is that of its namespace.
    assert [item["policy"]["level"] for item in found["workloads"]] == ["restricted"]


def test_migrate_asks_for_custom_workloads_too(namespace: Namespace, harden: Harden, kinds: None) -> None:
    """Templates that may not be listed may violate: a plan names them, and without the permission nothing is begun."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec()}
    create(
        namespace,
        "argoproj.io",
        "rollouts",
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "web"},
            "spec": {"template": template},
        },
    )
    rules = [
        {"apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["get"]},
        {"apiGroups": ["argoproj.io"], "resources": ["analysisruns"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
    ]
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace.name}"
    namespace.plane.request("POST", f"{rbac}/roles", {"metadata": {"name": "team"}, "rules": rules})
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"team-{namespace.name}"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "team"}
    namespace.plane.request(
        "POST", f"{rbac}/rolebindings", {"metadata": {"name": "team"}, "roleRef": role, "subjects": [subject]}
    )
    planned = harden("migrate", namespace.name, "--as", subject["name"])
    assert planned.code == 1
    assert f"not checked in {namespace.name}, since you may not list them: rollouts.argoproj.io" in planned.err
    refused = harden("migrate", namespace.name, "--as", subject["name"], "--apply", "--yes")
    assert refused.code == 4
    assert "not allowed to list rollouts.argoproj.io in" in refused.err
    assert "nothing was started" in refused.err
    result = harden("migrate", namespace.name, "-o", "json")
    (found,) = result.json["namespaces"]
    assert [(item["kind"], item["after"]) for item in found["workloads"]] == [("Rollout", "restricted")]
    done = harden("migrate", namespace.name, "-o", "json", "--apply", "--yes", "--timeout", "20s")
    assert done.json["namespaces"][0]["outcome"]["state"] == "enforced", done

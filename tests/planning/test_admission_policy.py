"""Plans as MutatingAdmissionPolicies: what they match, and that what cannot be found by names is said.

That the API server makes the edits of them is shown by ``tests/live/test_at_admission.py``.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.model import Edit, Op, Path
from kubectl_harden.planning.admission_policy import mutation, policy_name, policy_objects
from tests.support.harden import workload


def edit(op: Op, path: Path, value: object = None) -> Edit:
    return Edit(op, path, value, ("x",), "safe", "")


NON_ROOT = edit("add", ("spec", "securityContext", "runAsNonRoot"), True)


def objects(value: dict[str, Any], *steps: Edit) -> Any:
    value["metadata"]["namespace"] = "ops"
    spec = value["spec"]
    template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template") or value
    return policy_objects(value, template, steps or [NON_ROOT], version="v1", reason="r", expires="2027-01-01")


@pytest.mark.parametrize(
    ("kind", "selector", "owner"),
    [
        ("StatefulSet", {"matchLabels": {"app": "db"}}, 'o.kind == "StatefulSet" && o.name == "db"'),
        ("DaemonSet", {"matchLabels": {"app": "db"}}, 'o.kind == "DaemonSet" && o.name == "db"'),
        ("ReplicationController", {"matchLabels": {"app": "db"}}, 'o.name == "db"'),
        (
            "Deployment",
            {"matchLabels": {"app": "db"}},
            'o.kind == "ReplicaSet" && o.name == "db-" + object.metadata.labels["pod-template-hash"]',
        ),
        ("Job", {"matchLabels": {"app": "db", "job-name": "db"}}, 'o.kind == "Job" && o.name == "db"'),
        (
            "CronJob",
            {"matchLabels": {"app": "db"}, "matchExpressions": [{"key": "job-name", "operator": "Exists"}]},
            'o.name.matches("^db-[0-9]+$")',
        ),
    ],
)
def test_pods_are_told_by_labels_owner_namespace_and_service_account(
    kind: str, selector: dict[str, Any], owner: str
) -> None:
    made = objects(workload(kind, "db", serviceAccountName="keeper"))
    spec, binding = made.policy["spec"], made.binding["spec"]
    own_namespace = {"matchLabels": {"kubernetes.io/metadata.name": "ops"}}
    assert spec["matchConstraints"]["objectSelector"] == selector
    assert spec["matchConstraints"]["namespaceSelector"] == own_namespace
    assert binding["matchResources"] == {"namespaceSelector": own_namespace}
    assert owner in spec["matchConditions"][0]["expression"]
    assert spec["matchConditions"][1]["expression"].endswith('== "keeper"')
    assert (spec["failurePolicy"], spec["reinvocationPolicy"]) == ("Ignore", "IfNeeded")
    assert binding["policyName"] == made.policy["metadata"]["name"] == f"kubectl-harden.{kind.lower()}.ops.db"
    marks = made.policy["metadata"]["annotations"]
    assert marks["kubectl-harden/workload"] == f"{kind} ops/db"
    assert (marks["kubectl-harden/reason"], marks["kubectl-harden/expires"]) == ("r", "2027-01-01")
    assert marks["kubectl-harden/failure-policy"].startswith("Ignore: ")


def test_pods_of_an_operator_are_told_by_it_and_those_that_nobody_makes_again_are_refused() -> None:
    pod = workload("Pod", "db-1")
    with pytest.raises(InputError, match="no controller recreates this pod"):
        objects(pod)
    owner = {"apiVersion": "db.example/v1", "kind": "Cluster", "name": "db", "uid": "u", "controller": True}
    pod["metadata"]["ownerReferences"] = [owner]
    condition = objects(pod).policy["spec"]["matchConditions"][0]["expression"]
    assert 'startsWith("db.example/")' in condition and 'o.kind == "Cluster" && o.name == "db"' in condition
    strange = {**workload("Deployment", "x"), "apiVersion": "example.com/v1", "kind": "Strange"}
    with pytest.raises(InputError, match="the new pods of a Strange"):
        objects(strange)


def test_names_are_different_and_short_enough() -> None:
    assert policy_name("a", "Deployment", "b") != policy_name("a", "StatefulSet", "b")
    names = {policy_name("n" * 63, "StatefulSet", "x" * 250 + end) for end in "ab"}
    assert len(names) == 2 and all(len(name) <= 253 for name in names)


def test_an_item_that_nothing_names_is_left_out_and_said() -> None:
    value = workload("Deployment", "web")
    value["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    strange = edit("remove", ("spec", "tolerations", 0))
    made = objects(value, NON_ROOT, strange)
    assert made.left_out == ("spec.tolerations[0]",)
    assert len(made.policy["spec"]["mutations"]) == 1


def test_text_of_a_workload_is_never_read_as_cel() -> None:
    template = {"spec": {"containers": [{"name": 'a" || true || "'}]}}
    text = mutation(template, edit("add", ("spec", "containers", 0, "securityContext", "runAsNonRoot"), True))
    assert '"a\\" || true || \\""' in text
    with pytest.raises(InputError):
        mutation(template, edit("add", ("spec", "x) || true || has(y"), 1))

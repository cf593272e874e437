"""Merge patches make of an object what was planned, by kubectl's merge and by kustomize's."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from kubectl_harden.model import Identity, Source
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.merge_patch import merge_patch
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.policy import NEWEST, Policy
from tests.support.oracle import Oracle
from tests.support.plans import made, workload
from tests.support.pods import valid_templates
from tests.support.profile import fewer

NAMED = Identity(Source("f.yaml", 0, 1), "apps/v1", "Deployment", None, "d", ())
PORTS = st.lists(
    st.fixed_dictionaries(
        {"containerPort": st.sampled_from([53, 80, 443])},
        optional={"hostPort": st.sampled_from([53, 80]), "protocol": st.sampled_from(["TCP", "UDP"]),
                  "name": st.sampled_from(["a", "b"])},
    ),
    min_size=1, max_size=3, unique_by=lambda port: (port["containerPort"], port.get("protocol", "TCP")),
)  # fmt: skip


@st.composite
def templates_with_ports(draw: Any) -> dict[str, Any]:
    template = draw(valid_templates())
    containers = [*template["spec"]["containers"], *template["spec"].get("initContainers", ())]
    for container in containers:
        container["ports"] = draw(PORTS)
        # kustomize cannot tell one that names no protocol from another of the same number.
        numbers = [port["containerPort"] for port in container["ports"]]
        for port in container["ports"]:
            if numbers.count(port["containerPort"]) > 1:
                port.setdefault("protocol", "TCP")
    return dict(template)


def by_port(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object with its ports in the order that kubectl's merge gives them where it replaces a list."""
    copy: dict[str, Any] = json.loads(json.dumps(value))
    spec = copy["spec"]["template"]["spec"]
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        container["ports"].sort(key=lambda port: port["containerPort"])
    return copy


@fewer(4)
@given(template=templates_with_ports())
def test_what_was_planned_is_what_is_merged(oracle: Oracle, template: dict[str, Any]) -> None:
    value = workload(template, "Deployment")
    found = made(value, Policy("restricted", NEWEST), FixOptions("breaks", partial=True))
    assume(found.edits)
    goal = apply(value, found.edits)
    patch = merge_patch(NAMED, value, goal)
    merged = oracle.ask(op="strategic", object=value, patch=patch)
    assert by_port(merged["documents"][0]["json"]) == by_port(goal)
    files = {
        "d.yaml": json.dumps(value),
        "patch.yaml": json.dumps(patch),
        "kustomization.yaml": "resources: [d.yaml]\npatches: [{path: patch.yaml}]\n",
    }
    assert oracle.ask(op="kustomize", files=files)["documents"][0]["json"] == goal


def test_an_object_is_named_as_it_names_itself() -> None:
    old = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "once-"}, "spec": {"a": 1}}
    new = {**old, "spec": {"a": 2}}
    patch = merge_patch(NAMED._replace(api_version="batch/v1", kind="Job", name="once-"), old, new)
    assert patch["metadata"] == {"generateName": "once-"}
    both = {**old, "metadata": {"generateName": "once-", "name": "once-x"}}
    named = merge_patch(NAMED._replace(api_version="batch/v1", kind="Job", name="once-x"), both, {**both, "spec": {}})
    assert named["metadata"] == {"name": "once-x"}

"""A policy of a workload is invoked again where another mutator changes the pod after it, and is right then, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from kubectl_harden.json_values import copied
from tests.live.test_at_admission import applied
from tests.support.control_plane import ApiError, Namespace
from tests.support.harden import Harden, workload
from tests.support.mutating import ADMISSION, NEW_PODS

MARK = "tests/later"
MARKED = f'has(object.metadata.annotations) && "{MARK}" in object.metadata.annotations'
SET_MARK = (
    "(has(object.metadata.annotations) ? [] : "
    '[JSONPatch{op: "add", path: "/metadata/annotations", value: {"tests/first": "yes"}}]) + '
    '[JSONPatch{op: "add", path: "/metadata/annotations/tests~1later", value: "yes"}]'
)


def once(patch: str) -> str:
    """Return what makes a patch once, marks the pod, and does nothing when it is invoked again."""
    return f"{MARKED} ? [] : {SET_MARK} + [{patch}]"


SIDECAR_FIRST = once(
    'JSONPatch{op: "add", path: "/spec/containers/0", value: {"name": "proxy", "image": "example.com/proxy:1"}}'
)
WITHOUT_USER = once('JSONPatch{op: "remove", path: "/spec/securityContext/runAsNonRoot"}')
OTHER_PROFILE = once(
    'JSONPatch{op: "replace", path: "/spec/securityContext/seccompProfile", '
    'value: {"type": "Localhost", "localhostProfile": "own.json"}}'
)


@contextmanager
def later(namespace: Namespace, expression: str) -> Iterator[None]:
    """Have a second policy change the namespace's new pods after that of the workload: its name comes later."""
    name, plane = f"zz-{namespace.name}", namespace.plane
    spec = {
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
            "resourceRules": [NEW_PODS],
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    policies, bindings = (f"{ADMISSION}/mutatingadmission{kind}" for kind in ("policies", "policybindings"))
    plane.request("POST", policies, {"metadata": {"name": name}, "spec": spec})
    plane.request("POST", bindings, {"metadata": {"name": name}, "spec": {"policyName": name}})
    try:
        yield
    finally:
        plane.request("DELETE", f"{bindings}/{name}")
        plane.request("DELETE", f"{policies}/{name}")


def made(namespace: Namespace, value: dict[str, Any]) -> dict[str, Any]:
    """Return the pod that the API server makes of a StatefulSet's template, in a dry-run; empty where it refuses."""
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1", "controller": True}
    template = value["spec"]["template"]
    metadata = {"name": "probe", "labels": dict(template["metadata"]["labels"]), "ownerReferences": [owner]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copied(template["spec"])}
    try:
        answer: dict[str, Any] = namespace.plane.request("POST", f"{namespace.path('Pod')}?dryRun=All", pod)
    except ApiError:
        return {}
    return answer


RIGHT = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("expression", [SIDECAR_FIRST, WITHOUT_USER, OTHER_PROFILE])
def test_a_later_mutator(namespace: Namespace, harden: Harden, expression: str) -> None:
    value = workload("StatefulSet", "db", replicas=0)
    namespace.create(value)
    shown = harden("fix", "sts/db", "--level", "restricted", "-o", "mutating-policy")

    def both() -> dict[str, Any]:
        pod = made(namespace, value)
        annotated = MARK in (pod.get("metadata", {}).get("annotations") or {})
        return pod if annotated and "ALL" in str(pod) else {}

    with applied(namespace, shown.out), later(namespace, expression):
        spec = namespace.eventually(both)["spec"]
        own = {item["name"]: item.get("securityContext") for item in spec["containers"]}
        assert own["app"] == RIGHT
        assert spec["securityContext"]["runAsNonRoot"] is True
        if expression is SIDECAR_FIRST:
            # What another has injected is its own business, and ours is not made twice.
            assert list(own.items()) == [("proxy", None), ("app", RIGHT)]
        profile = spec["securityContext"]["seccompProfile"]
        own_profile = {"type": "Localhost", "localhostProfile": "own.json"}
        assert profile == (own_profile if expression is OTHER_PROFILE else {"type": "RuntimeDefault"})


def test_without_reinvocation_a_later_mutator_would_win(namespace: Namespace, harden: Harden) -> None:
    """What IfNeeded is for: the same policy with Never leaves the pod as the later mutator made it."""
    value = workload("StatefulSet", "db", replicas=0)
    namespace.create(value)
    shown = harden("fix", "sts/db", "--level", "restricted", "-o", "mutating-policy")
    policy, binding = yaml.safe_load_all(shown.out)
    assert policy["spec"]["reinvocationPolicy"] == "IfNeeded"
    policy["spec"]["reinvocationPolicy"] = "Never"

    def both() -> dict[str, Any]:
        pod = made(namespace, value)
        annotated = MARK in (pod.get("metadata", {}).get("annotations") or {})
        return pod if annotated and "ALL" in str(pod) else {}

    with applied(namespace, yaml.safe_dump_all([policy, binding])), later(namespace, WITHOUT_USER):
        assert "runAsNonRoot" not in namespace.eventually(both)["spec"]["securityContext"]

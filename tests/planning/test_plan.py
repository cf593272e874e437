"""Plans are minimal, sufficient, and never refused by the API server, by the official code's word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonpatch
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.model import Edit, Level, Plan
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.plan import plan
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.reports.patches import operations
from tests.support.oracle import Oracle
from tests.support.pods import valid_templates
from tests.support.profile import fewer

POLICIES = st.builds(
    Policy, st.sampled_from(["baseline", "restricted"]), st.sampled_from([0, 8, 18, 19, 22, 23, 24, 25, 31, 34, NEWEST])
)


def workload(template: dict[str, Any], kind: str) -> dict[str, Any]:
    if kind == "Pod":
        metadata = {"name": "p", **template["metadata"]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }


def admitted(
    oracle: Oracle, value: dict[str, Any]
) -> tuple[dict[tuple[str, int], list[tuple[str, str]]], Counter[str]]:
    """Return the verdicts of all policies, and the API's own objections, without list indexes."""
    answer = oracle.ask(op="admit", object=value)
    assert "error" not in answer, answer["error"]
    verdicts = {
        (run["level"], minor): list(zip(run["reasons"] or (), run["details"] or (), strict=True))
        for run in answer["verdicts"]
        for minor in range(run["first"], run["last"] + 1)
    }
    objections = Counter(re.sub(r"\[\d+\]|: Invalid value: .*", "", text) for text in answer.get("invalid") or ())
    return verdicts, objections


def made(value: dict[str, Any], policy: Policy, options: FixOptions) -> Plan:
    locations = locate(value, {})
    assert locations is not None
    return plan(value, locations[0], policy, options)


def without_one_field(edit: Edit) -> Iterator[Edit]:
    """Yield the edit without each field (or list item) that its value sets."""

    def smaller(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            for key in value:
                yield {k: v for k, v in value.items() if k != key}
                for item in smaller(value[key]):
                    yield {**value, key: item}
        elif isinstance(value, list):
            for index in range(len(value)):
                yield value[:index] + value[index + 1 :]

    for value in smaller(edit.value):
        # A volume without a source is an emptyDir, but "this implied behavior is deprecated" (core/v1 types.go).
        if edit.path[-2:-1] != ("volumes",) or set(value) - {"name"}:
            yield edit._replace(value=value)


@given(
    template=valid_templates(),
    kind=st.sampled_from(["Pod", "Deployment"]),
    policy=POLICIES,
    max_risk=st.sampled_from(["safe", "review", "breaks"]),
)
def test_plans_are_sufficient_minimal_and_valid(
    oracle: Oracle, template: dict[str, Any], kind: str, policy: Policy, max_risk: Any
) -> None:
    value = workload(template, kind)
    at = (policy.level, policy.minor)
    before, objections = admitted(oracle, value)
    found = made(value, policy, FixOptions(max_risk))
    fixed = apply(value, found.edits)
    assert fixed == jsonpatch.apply_patch(value, operations(found.edits))
    after, new_objections = admitted(oracle, fixed)
    assert after[at] == [(left.reason, left.detail) for left in found.remaining]
    assert not new_objections - objections
    assert bool(found.edits) or before[at] == after[at]
    for index, edit in enumerate(found.edits):
        for lesser in (
            found.edits[:index] + found.edits[index + 1 :],
            *((*found.edits[:index], smaller, *found.edits[index + 1 :]) for smaller in without_one_field(edit)),
        ):
            verdicts, still = admitted(oracle, apply(value, lesser))
            assert verdicts[at] != after[at] or still - objections, (edit, lesser)
    again = made(fixed, policy, FixOptions(max_risk))
    assert not again.edits
    assert again.remaining == found.remaining


@fewer(4)
@given(template=valid_templates(), policy=POLICIES)
def test_nothing_outside_the_standard_is_touched(template: dict[str, Any], policy: Policy) -> None:
    value = workload(template, "Deployment")
    fixed = apply(value, made(value, policy, FixOptions("breaks")).edits)

    def untouched(value: dict[str, Any]) -> Any:
        spec = value["spec"]["template"]["spec"]
        return [
            {k: v for k, v in spec.items() if k not in READ_BY_CONTROLS},
            [
                [{k: v for k, v in c.items() if k not in READ_OF_CONTAINERS} for c in spec.get(key, [])]
                for key in ("containers", "initContainers")
            ],
            [[p["containerPort"] for p in c.get("ports", [])] for c in spec["containers"]],
        ]

    assert untouched(fixed) == untouched(value)


READ_BY_CONTROLS = {"securityContext", "hostNetwork", "hostPID", "hostIPC", "volumes", "containers", "initContainers"}
READ_OF_CONTAINERS = {"securityContext", "ports", "volumeMounts", "livenessProbe", "readinessProbe", "startupProbe",
                      "lifecycle"}  # fmt: skip


def pod(**spec: Any) -> dict[str, Any]:
    containers = spec.pop("containers", [{"name": "c", "image": "i"}])
    return workload({"metadata": {}, "spec": {**spec, "containers": containers}}, "Deployment")


def restricted(value: dict[str, Any], **options: Any) -> Plan:
    level: Level = "restricted"
    return made(value, Policy(level, NEWEST), FixOptions(**options))


def test_only_and_skip_leave_the_rest_as_remaining() -> None:
    found = restricted(pod(), only=frozenset(("runAsNonRoot",)))
    assert [edit.checks for edit in found.edits] == [("runAsNonRoot",)]
    assert {left.check for left in found.remaining} == {
        "allowPrivilegeEscalation", "capabilities_restricted", "seccompProfile_restricted"
    }  # fmt: skip
    skipped = restricted(pod(), skip=frozenset(("runAsNonRoot",)))
    assert [left.check for left in skipped.remaining] == ["runAsNonRoot"]


def test_an_edit_above_the_risk_is_held_back_and_says_what_it_would_cost() -> None:
    root = {"name": "c", "image": "i", "command": ["chown", "1:1", "/data"], "securityContext": {"runAsUser": 0}}
    found = restricted(pod(containers=[root]))
    held = {edit.checks[0] for edit in found.held_back}
    assert {"runAsUser", "runAsNonRoot", "capabilities_restricted"} == held
    left = {item.check: item for item in found.remaining}
    assert 'container "c" runs chown (command)' in left["runAsUser"].why
    assert left["runAsUser"].choices[-1] == "accept it: --max-risk breaks"
    assert any("--run-as-user" in choice for choice in left["runAsUser"].choices)
    assert restricted(pod(containers=[root]), max_risk="breaks").after == "restricted"


def test_privileged_stays_where_bidirectional_mounts_need_it() -> None:
    mount = {"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}
    container = {"name": "c", "image": "i", "securityContext": {"privileged": True}, "volumeMounts": [mount]}
    found = restricted(pod(containers=[container], volumes=[{"name": "v", "emptyDir": {}}]), max_risk="breaks")
    why = {left.check: left.why for left in found.remaining}
    assert "Bidirectional mount propagation needs privileged: true" in why["privileged"]
    assert "allowPrivilegeEscalation cannot be false while privileged is true" in why["allowPrivilegeEscalation"]


def test_a_port_that_the_api_server_would_fill_in_twice_is_left() -> None:
    one = {"name": "a", "image": "i", "ports": [{"containerPort": 8080, "hostPort": 80}], "command": ["iptables"]}
    two = {"name": "b", "image": "i", "ports": [{"containerPort": 8080}]}
    value = workload({"metadata": {}, "spec": {"hostNetwork": True, "containers": [one, two]}}, "Pod")
    found = made(value, Policy("baseline", NEWEST), FixOptions())
    why = {left.check: left.why for left in found.remaining}
    assert why["hostPorts"] == "the API server would refuse the change: port 8080 of the node would be taken twice"
    assert 'container "a" runs iptables (command)' in why["hostNamespaces"]


def test_the_same_input_gives_the_same_plan() -> None:
    value = pod(hostNetwork=True, volumes=[{"name": "t", "hostPath": {"path": "/tmp/x"}}])
    assert restricted(value) == restricted(value)

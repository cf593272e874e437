"""Plans are minimal, sufficient, and never refused by the API server, by the official code's word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import jsonpatch
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubectl_harden.model import Edit, Fact, HostPathChoice, Learned
from kubectl_harden.plan_model import Plan
from kubectl_harden.planning.companions import Asked
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.policy import NEWEST, Policy, controls_of
from kubectl_harden.reports.patches import operations
from tests.support.oracle import Oracle
from tests.support.plans import made, pod, restricted, workload
from tests.support.pods import valid_templates
from tests.support.profile import fewer

POLICIES = st.builds(
    Policy,
    st.sampled_from(["baseline", "restricted"]),
    st.sampled_from([0, 8, 18, 19, 22, 23, 24, 25, 31, 34, 35, NEWEST]),
)


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


def learned_of(template: dict[str, Any], user: int | None) -> Learned:
    """Return that every container's image runs as a user."""
    if user is None:
        return {}
    containers = (item for key in ("containers", "initContainers") for item in template["spec"].get(key, ()))
    return {item["name"]: (Fact("user", "user", "known", "image", user),) for item in containers}


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


def mounting(path: str, spec: dict[str, Any], security: dict[str, Any], **mount: Any) -> dict[str, Any]:
    mounts = [{"name": "v0", "mountPath": "/mnt/v0", **mount}]
    container = {"name": "web", "image": "i", "securityContext": security, "volumeMounts": mounts}
    volumes = [{"name": "v0", "hostPath": {"path": path}}]
    return {"metadata": {}, "spec": {**spec, "containers": [container], "volumes": volumes}}


# Evidence for an edit that another edit takes away.
AGENT: Final = mounting("/", {"hostNetwork": True}, {"privileged": True})
CNI: Final = mounting("/etc/cni/net.d", {"hostNetwork": True}, {})
# Root, and what only a user namespace may unmask.
ROOT: Final = {"metadata": {}, "spec": {"containers": [{"name": "web", "image": "i"}], "hostIPC": True}}
_NESTED: Final = {"name": "web", "image": "i", "securityContext": {"procMount": "Unmasked"}}
UNMASKED: Final = {"metadata": {}, "spec": {"containers": [_NESTED]}}
NAMESPACES: Final = st.tuples(st.sampled_from([None, "auto", "stopped"]), st.sampled_from([None, 0, 1000]))
WINDOWS: Final = {"metadata": {}, "spec": {"containers": [{"name": "web", "image": "i"}],
                                           "nodeSelector": {"kubernetes.io/os": "windows"}}}  # fmt: skip
BOTH_WAYS: Final = mounting("/etc/localtime", {}, {"privileged": True}, mountPropagation="Bidirectional")


@given(
    template=valid_templates(),
    kind=st.sampled_from(["Pod", "Deployment"]),
    policy=POLICIES,
    max_risk=st.sampled_from(["safe", "review", "breaks"]),
    removed=st.sets(st.sampled_from(["v0", "v1"])),
    inside=NAMESPACES,
)
@example(AGENT, "Pod", Policy("baseline", NEWEST), "breaks", set(), (None, None))
@example(CNI, "Pod", Policy("baseline", NEWEST), "review", {"v0"}, (None, None))
@example(BOTH_WAYS, "Pod", Policy("baseline", NEWEST), "review", set(), (None, None))
@example(ROOT, "Pod", Policy("restricted", 35), "review", set(), ("auto", 0))
@example(UNMASKED, "Pod", Policy("baseline", 35), "safe", set(), ("stopped", None))
@example(WINDOWS, "Pod", Policy("restricted", 25), "safe", set(), (None, None))
def test_plans_are_sufficient_minimal_and_valid(
    oracle: Oracle,
    template: dict[str, Any],
    kind: str,
    policy: Policy,
    max_risk: Any,
    removed: set[str],
    inside: tuple[Any, int | None],
) -> None:
    namespaced, user = inside
    asked = Asked(user_namespace=namespaced)
    options = FixOptions(max_risk, partial=True, host_paths={name: REMOVED[name] for name in removed}, asked=asked)
    value = workload(template, kind)
    learned = learned_of(template, user)
    at = (policy.level, policy.minor)
    before, objections = admitted(oracle, value)
    found = made(value, policy, options, learned)
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
    again = made(fixed, policy, options, learned)
    assert not again.edits
    assert again.remaining == found.remaining


LEVELS = ("privileged", "baseline", "restricted")
CHECKS = [control.id for control in CONTROLS]


def met(verdicts: dict[tuple[str, int], list[tuple[str, str]]], minor: int) -> str:
    return max((level for level in LEVELS if not verdicts.get((level, minor))), key=LEVELS.index)


def words(found: Plan) -> list[tuple[str, str]]:
    return [(left.reason, left.detail) for left in found.remaining]


@fewer(4)
@given(
    template=valid_templates(),
    kind=st.sampled_from(["Pod", "Deployment"]),
    policy=POLICIES,
    max_risk=st.sampled_from(["safe", "review", "breaks"]),
    users=st.sampled_from([None, 0, 1000]),
)
def test_a_plan_reaches_the_level_or_baseline_or_is_safe(
    oracle: Oracle, template: dict[str, Any], kind: str, policy: Policy, max_risk: Any, users: int | None
) -> None:
    value = workload(template, kind)
    at = (policy.level, policy.minor)
    learned = learned_of(template, users)
    before, objections = admitted(oracle, value)
    found = made(value, policy, FixOptions(max_risk), learned)
    fixed = apply(value, found.edits)
    after, new_objections = admitted(oracle, fixed)
    # What is told is true, whatever was decided.
    assert after[at] == words(found)
    assert (found.before, found.after) == (met(before, policy.minor), met(after, policy.minor))
    assert not new_objections - objections
    partial = made(value, policy, FixOptions(max_risk, partial=True), learned)
    told = [note for note in found.notes if note.startswith("nothing")]
    if not partial.remaining:
        assert found == partial
        assert found.reaches == policy.level
    if found.reaches is None:
        assert {step.risk for step in found.steps} <= {"safe"}
        assert LEVELS.index(partial.after) < LEVELS.index(policy.level)
        if found.before == "privileged":
            # Baseline is out of reach, too.
            baseline = made(value, policy._replace(level="baseline"), FixOptions(max_risk, partial=True), learned)
            assert baseline.remaining or not baseline.edits or found.steps == partial.steps
    elif found.reaches != policy.level:
        assert (found.before, found.after, found.reaches) == ("privileged", "baseline", "baseline")
        # Exactly the plan for baseline.
        at = ("baseline", policy.minor)
        assert found.edits == made(value, policy._replace(level="baseline"), FixOptions(max_risk), learned).edits
    for edit in found.edits:
        verdicts, still = admitted(oracle, apply(value, [other for other in found.edits if other is not edit]))
        assert verdicts[at] != after[at] or still - objections, edit
    # A line says that something is not done, and what is the reason; --partial does it.
    done = [step[:3] for step in found.steps]
    undone = [step for step in partial.steps if step[:3] not in done]
    assert len(told) == bool(undone)
    assert len(found.held_back) == len(partial.held_back) + len(undone)
    for step in undone:
        assert {left.check for left in found.remaining} & {*step.checks}
    if told:
        assert told[0].startswith("nothing more is changed: it stays below" if found.edits else "nothing is changed: ")
        assert any(left.why.endswith("is out of reach (--partial)") for left in found.remaining)
    # A second run has nothing to do but what is safe, a third one nothing.
    again = made(fixed, policy, FixOptions(max_risk), learned)
    assert not again.edits or (found.reaches == "baseline" and {step.risk for step in again.steps} == {"safe"})
    assert not made(apply(fixed, again.edits), policy, FixOptions(max_risk), learned).edits


@fewer(2)
@given(template=valid_templates(), policy=POLICIES, data=st.data())
def test_mounts_of_claims_stay_behind_whatever_goes(template: dict[str, Any], policy: Policy, data: Any) -> None:
    # A StatefulSet's claims are no volumes of its pod template.
    for key in ("initContainers", "containers"):
        for index, container in enumerate(template["spec"].get(key, ())):
            mounts = container.setdefault("volumeMounts", [])
            at = data.draw(st.integers(0, len(mounts)))
            mounts.insert(at, {"name": "claim", "mountPath": f"/claim/{index}"})
    value = {**workload(template, "Deployment"), "kind": "StatefulSet"}
    asked = Asked(fs_group=data.draw(st.booleans()), run_as_user=1000)
    options = FixOptions("breaks", partial=True, asked=asked, host_paths=REMOVED)
    fixed = apply(value, made(value, policy, options).edits)["spec"]["template"]["spec"]
    for key in ("initContainers", "containers"):
        for container in fixed.get(key, ()):
            assert [mount["name"] for mount in container["volumeMounts"]].count("claim") == 1
            left = {volume["name"] for volume in fixed.get("volumes", ())} | {"claim"}
            before = {volume["name"] for volume in template["spec"].get("volumes", ())}
            assert {mount["name"] for mount in container["volumeMounts"]} & before <= left


REMOVED = {f"v{index}": HostPathChoice("remove") for index in range(3)}


@fewer(2)
@given(
    template=valid_templates(),
    policy=POLICIES,
    only=st.sets(st.sampled_from(CHECKS), max_size=3),
    skip=st.sets(st.sampled_from(CHECKS), max_size=3),
    accepted=st.sets(st.sampled_from(CHECKS), max_size=3),
)
def test_what_a_person_has_said_counts_as_reached(
    template: dict[str, Any], policy: Policy, only: set[str], skip: set[str], accepted: set[str]
) -> None:
    value = workload(template, "Deployment")
    said = dict.fromkeys(accepted, "because")
    options = FixOptions(only=frozenset(only), skip=frozenset(skip))
    partial = made(value, policy, options._replace(partial=True), accepted=said)
    found = made(value, policy, options, accepted=said)
    counted = [left for left in partial.remaining if not (left.accepted or options.leaves(left.check))]
    assert (partial.reaches == policy.level) is (not counted)
    if not counted:
        assert found == partial
    elif found.reaches is None:
        assert {step.risk for step in found.steps} <= {"safe"}
    touched = {check for step in found.steps for check in step.checks}
    assert not touched & (skip | accepted)
    overridden = {
        check for control, revision in controls_of(policy) if control.id in only for check in revision.overrides
    }
    assert not only or touched <= only | overridden


@fewer(4)
@given(template=valid_templates(), policy=POLICIES)
@example(
    template={
        "metadata": {},
        "spec": {"containers": [{"name": "a", "image": "i"}], "nodeSelector": {"kubernetes.io/os": "windows"}},
    },
    policy=Policy("restricted", 25),
)
def test_nothing_outside_the_standard_is_touched(template: dict[str, Any], policy: Policy) -> None:
    value = workload(template, "Deployment")
    fixed = apply(value, made(value, policy, FixOptions("breaks", partial=True)).edits)

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

    spec = fixed["spec"]["template"]["spec"]
    stated = (spec.get("nodeSelector") or {}).get("kubernetes.io/os") == "windows" and "os" not in template["spec"]
    if stated and "os" in spec:
        # What its nodes say, and nothing else, since policies read it there from v1.25 on.
        assert spec.pop("os") == {"name": "windows"}
        assert policy.minor >= 25
    assert untouched(fixed) == untouched(value)


READ_BY_CONTROLS = {"securityContext", "hostNetwork", "hostPID", "hostIPC", "volumes", "containers", "initContainers"}
READ_OF_CONTAINERS = {"securityContext", "ports", "volumeMounts", "livenessProbe", "readinessProbe", "startupProbe",
                      "lifecycle"}  # fmt: skip
TZ, CLAIM = ({"name": name, "mountPath": f"/{name}"} for name in ("tz", "claim"))


@pytest.mark.parametrize("mounts", [[TZ, CLAIM], [CLAIM, TZ], [CLAIM, TZ, {**CLAIM, "mountPath": "/b"}]])
@pytest.mark.parametrize("fs_group", [False, True])
@pytest.mark.parametrize("chown", [["chown", "999", "/claim"], ["true"]])
def test_claims_of_a_stateful_set_beside_a_volume_that_goes(
    mounts: list[dict[str, Any]], fs_group: bool, chown: list[str]
) -> None:
    init = [{"name": name, "image": "i", "command": chown, "volumeMounts": mounts} for name in ("first", "second")]
    main = {"name": "c", "image": "i", "volumeMounts": mounts, "securityContext": {"runAsUser": 999}}
    spec = {"initContainers": init, "containers": [main], "volumes": [{"name": "tz", "hostPath": {"path": LOCAL}}]}
    value = {**workload({"metadata": {}, "spec": spec}, "Deployment"), "kind": "StatefulSet"}
    found = restricted(value, max_risk="breaks", asked=Asked(fs_group=fs_group))
    fixed = apply(value, found.edits)["spec"]["template"]["spec"]
    assert found.after == "restricted"
    assert "volumes" not in fixed
    assert ("initContainers" in fixed) is not (fs_group and chown[0] == "chown")
    for container in (*fixed.get("initContainers", ()), *fixed["containers"]):
        assert container["volumeMounts"] == [mount for mount in mounts if mount["name"] == "claim"]


LOCAL = "/etc/localtime"


def test_the_same_input_gives_the_same_plan() -> None:
    value = pod(hostNetwork=True, volumes=[{"name": "t", "hostPath": {"path": "/tmp/x"}}])
    assert restricted(value) == restricted(value)

"""Companion edits: the cases are files, before and after as bytes; the laws hold for any pod."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.cli import cli
from kubectl_harden.model import Fact, Learned
from kubectl_harden.planning.companions import Asked
from kubectl_harden.planning.json_patch import apply, inverse_of
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.plan import plan
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.yaml_text.tree import parse, value_of
from tests.planning.test_plan import admitted, learned_of
from tests.support.oracle import Oracle
from tests.support.plans import workload
from tests.support.pods import valid_templates
from tests.support.profile import fewer

CASES = Path(__file__).parent / "companions"
BEFORE = sorted(CASES.glob("*.before.yaml"))


def fix(path: Path, *more: str) -> Any:
    flags = re.match(r"# options: (.*)\n", path.read_text())
    assert flags is not None
    arguments = ["fix", "-f", str(path), *flags[1].split(), *more]
    return CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False)


def unordered(value: Any) -> Any:
    """Sort the lists that the API merges by a key: what a strategic patch adds comes first."""
    if isinstance(value, dict):
        return {key: unordered(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted(map(unordered, value), key=lambda item: item.get("name", "") if isinstance(item, dict) else "")
    return value


def json_merged(value: Any, patch: Any) -> Any:
    """Apply a JSON merge patch, which is all that custom resources take (RFC 7386, section 2)."""
    if not isinstance(patch, dict):
        return patch
    out = dict(value) if isinstance(value, dict) else {}
    for key, item in patch.items():
        out[key] = json_merged(out.get(key), item)
    return {key: item for key, item in out.items() if item is not None}


@pytest.mark.parametrize("path", BEFORE, ids=lambda path: path.name.removesuffix(".before.yaml"))
def test_case(path: Path, oracle: Oracle) -> None:
    after = path.with_name(path.name.replace(".before.", ".after."))
    assert fix(path, "-o", "yaml").stdout_bytes == after.read_bytes()
    # What was asked for is done, or the note says why it is not.
    told = fix(path, "-o", "json").stdout.replace('\\"', '"')
    for words in re.findall(r"^# told: (.*)$", path.read_text(), re.MULTILINE):
        assert words in told
    # As others would apply it: kubectl patch, and RFC 6902.
    value = value_of(parse(path.read_text()))[0]
    goal = value_of(parse(after.read_text()))[0]
    patch = value_of(parse(fix(path, "-o", "strategic-patch").stdout))[0]
    if value["apiVersion"] in ("v1", "apps/v1"):
        merged = oracle.ask(op="strategic", object=value, patch=patch)["documents"][0]["json"]
    else:
        merged = json_merged(value, patch)
    assert unordered(merged) == unordered(goal)
    (patches,) = json.loads(fix(path, "-o", "json-patch").stdout)
    assert jsonpatch.apply_patch(value, patches["patch"]) == goal
    back = inverse_of(value, goal, patches["patch"])
    assert jsonpatch.apply_patch(goal, back) == value
    # And once more there is nothing to do.
    assert fix(after, "-o", "yaml").stdout_bytes == after.read_bytes()


def made(value: dict[str, Any], policy: Policy, asked: Asked, learned: Learned, *, partial: bool = True) -> Any:
    locations = locate(value, {})
    assert locations is not None
    return plan(value, locations[0], policy, FixOptions("breaks", asked=asked, partial=partial), learned)


ASKED = st.builds(
    Asked,
    st.sampled_from([None, 1000, "auto"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(), (("", "/var/cache"),), (("", "/a/b"), ("", "/a"))]),
    user_namespace=st.sampled_from([None, "auto", "stopped"]),
)
FACTS = st.sampled_from([0, 1000, "nginx"]).map(lambda user: (Fact("user", "user", "known", "image", user),))


@given(
    template=valid_templates(), kind=st.sampled_from(["Pod", "Deployment"]),
    level=st.sampled_from(["baseline", "restricted"]), asked=ASKED, facts=FACTS,
)  # fmt: skip
@fewer(4)
def test_companions_lift_no_less_are_accepted_and_leave_nothing_for_a_second_run(
    oracle: Oracle, template: dict[str, Any], kind: str, level: Any, asked: Asked, facts: tuple[Fact, ...]
) -> None:
    value = workload(template, kind)
    _before, objections = admitted(oracle, value)
    names = [c.get("name", "") for key in ("initContainers", "containers") for c in template["spec"].get(key) or ()]
    learned = dict.fromkeys(names, facts)
    policy = Policy(level, NEWEST)
    plain = made(value, policy, Asked(), learned)
    found = made(value, policy, asked, learned)
    fixed = apply(value, found.edits)
    _, after = admitted(oracle, fixed)
    assert not after - objections, "the API server would refuse a companion"
    assert ("privileged", "baseline", "restricted").index(found.after) >= (
        "privileged", "baseline", "restricted").index(plain.after)  # fmt: skip
    again = made(fixed, policy, asked, learned)
    assert not again.edits, again.edits
    # Nothing but what the level demands, and what was asked for.
    for step in found.steps:
        assert step.checks or step.companion
    if asked == Asked():
        assert found == plain
    # Where not every edit is made, companions accompany others.
    reaching = made(value, policy, asked, learned, partial=False)
    _, after = admitted(oracle, apply(value, reaching.edits))
    assert not after - objections
    if reaching != found:
        assert not reaching.steps or any(not step.companion for step in reaching.steps)


@given(template=valid_templates(), asked=ASKED, facts=st.none() | FACTS)
@fewer(4)
def test_knative_gets_no_companion_of_the_pod_and_no_offer_of_one(
    template: dict[str, Any], asked: Asked, facts: tuple[Fact, ...] | None
) -> None:
    value = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": {"template": template}}
    names = [c.get("name", "") for key in ("initContainers", "containers") for c in template["spec"].get(key) or ()]
    found = made(value, Policy("restricted", NEWEST), asked, {} if facts is None else dict.fromkeys(names, facts))
    companions = [step for step in found.steps if step.companion]
    assert not [step for step in companions if step.path[:2] == ("spec", "securityContext") or step.op == "remove"]
    offers = {offer for step in (*found.steps, *found.held_back) for offer in step.offers}
    offers |= {choice for left in found.remaining for choice in left.choices}
    assert not [offer for offer in offers if "--fs-group" in offer or "--low-ports" in offer or "--user-n" in offer]
    assert not [step for step in found.steps if step.path[:2] in (("spec", "os"), ("spec", "hostUsers"))]
    # Elsewhere the same pod gets what Knative has no field for, and the note says what that is.
    elsewhere = made(workload(template, "Deployment"), Policy("restricted", NEWEST), asked, {})
    of_pod = {step.companion for step in elsewhere.steps if step.path[1:2] == ("securityContext",)}
    if facts is None:
        told = {note.partition(":")[0] for note in found.notes if "Knative" in note}
        assert of_pod - {"--run-as-user", ""} <= told


def test_who_refuses_a_user_namespace_is_asked_for_users_other_than_root() -> None:
    containers = [{"name": "c", "image": "i", "securityContext": {"runAsUser": 0}}]
    value = workload({"metadata": {}, "spec": {"containers": containers}}, "Deployment")
    locations = locate(value, {})
    assert locations is not None

    def steps(refused: str) -> list[str]:
        asked: list[str] = []

        def choose(edits: list[Any]) -> list[Any]:
            asked.extend(edit.path[-1] for edit in edits if edit.path[-1] not in asked)
            return [edit for edit in edits if edit.path[-1] != refused]

        made = plan(value, locations[0], Policy("restricted", NEWEST), FixOptions("breaks"), {}, choose)
        assert [edit for edit in asked if edit == refused] == [refused]
        return [str(step.path[-1]) for step in made.steps]

    assert {"runAsNonRoot", "runAsUser"} <= {*steps("hostUsers")}
    inside = steps("seccompProfile")
    assert "hostUsers" in inside
    assert not {"runAsNonRoot", "runAsUser"} & {*inside}


@given(
    template=valid_templates(), minor=st.sampled_from([25, 34, 35, NEWEST]), user=st.sampled_from([None, 0, 1000]),
    namespaced=st.sampled_from(["auto", "stopped"]),
)  # fmt: skip
@fewer(2)
def test_root_gets_a_user_namespace_or_a_note_says_why_not(
    oracle: Oracle, template: dict[str, Any], minor: int, user: int | None, namespaced: Any
) -> None:
    value = workload(template, "Deployment")
    policy = Policy("restricted", minor)
    learned = learned_of(template, user)
    before, _ = admitted(oracle, value)
    found = made(value, policy, Asked(user_namespace=namespaced), learned)
    after, _ = admitted(oracle, apply(value, found.edits))
    entered = [step for step in found.steps if step.path == ("spec", "hostUsers")]
    of_root = {"runAsNonRoot != true", "runAsUser=0"}
    spec = template["spec"]
    of_pod = spec.get("securityContext", {}).get("runAsUser", user)
    containers = [*spec.get("initContainers", ()), *spec["containers"]]
    users = {container.get("securityContext", {}).get("runAsUser", of_pod) for container in containers}
    if entered:
        assert minor >= 35
        assert not of_root & {reason for reason, _ in after["restricted", minor]}
        assert not {"runAsNonRoot", "runAsUser"} & {step.path[-1] for step in found.steps}
        assert 0 in users or namespaced == "stopped"
    elif 0 in users and of_root & {reason for reason, _ in before["restricted", minor]}:
        assert [note for note in found.notes if note.startswith("--user-namespace is not done: ")]


@pytest.mark.parametrize("port", [80, 8080, None])
def test_low_ports_are_opened_where_they_are_used_or_in_any_case(port: int | None) -> None:
    ports = [] if port is None else [{"containerPort": port}]
    value = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
             "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]}}  # fmt: skip
    asked = made(value, Policy("restricted", NEWEST), Asked(low_ports=True), {})
    opened = [edit for edit in asked.steps if edit.companion == "--low-ports"]
    said = "--low-ports opens no ports below 1024 here: nothing says that the app uses one; --always-low-ports does in any case"
    assert bool(opened) == (port == 80)
    assert (said in asked.notes) == (port != 80)
    always = made(value, Policy("restricted", NEWEST), Asked(always_low_ports=True), {})
    (edit,) = (edit for edit in always.steps if edit.companion == "--low-ports")
    assert edit.value == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    assert said not in always.notes

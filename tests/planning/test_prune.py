"""What the API server refuses is not part of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_harden.model import Edit
from kubectl_harden.planning.api_rules import refusals
from kubectl_harden.planning.case import Case
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.plan import plan
from kubectl_harden.planning.prune import prune
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.pod_security.policy import NEWEST, Policy, evaluate
from kubectl_harden.yaml_text.documents import readable
from tests.support.plans import made, pod, restricted, workload

LOCAL = "/etc/localtime"
CASES = Path(__file__).parents[1] / "pod_security" / "controls" / "cases"
TZ, CLAIM = ({"name": name, "mountPath": f"/{name}"} for name in ("tz", "claim"))


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


def test_a_volume_that_a_person_keeps_mounted_stays() -> None:
    containers = [{"name": name, "image": "i", "volumeMounts": [CLAIM, TZ]} for name in ("a", "b")]
    value = pod(containers=containers, volumes=[{"name": "tz", "hostPath": {"path": LOCAL}}])
    (location,) = locate(value, {}) or ()

    def without_mounts(edits: list[Edit]) -> list[Edit]:
        return [edit for edit in edits if "volumeMounts" not in edit.path]

    found = plan(value, location, Policy("restricted", NEWEST), FixOptions(), choose=without_mounts)
    fixed = apply(value, found.edits)["spec"]["template"]["spec"]
    assert fixed["volumes"] == [{"name": "tz", "hostPath": {"path": LOCAL}}]
    assert [container["volumeMounts"] for container in fixed["containers"]] == [[CLAIM, TZ]] * 2
    why = next(left.why for left in found.remaining if left.check == "restrictedVolumes")
    assert "the API server would refuse the change: mounts a volume that is not there: tz" in why


@pytest.mark.parametrize("check", sorted(path.name for path in CASES.iterdir()))
def test_no_edits_leave_what_is_violated(check: str) -> None:
    """What is not patched is what patching with nothing makes of it."""
    values = [
        document.value for file in sorted((CASES / check).glob("*.*.yaml")) for document in readable(file.read_text())
    ]
    seen = 0
    for value in values:
        for location in locate(value, {}) or () if isinstance(value, dict) else ():
            pod, policy = location.pod(), Policy("restricted", NEWEST)
            violations = evaluate(pod, policy)
            case = Case(pod, location, policy, violations, FixOptions(), {}, None, {}, lambda _: "")
            patched, found = case.patched([]), prune(case, [])
            assert (found.edits, found.left, found.obstacles, found.notes) == ([], evaluate(patched, policy), [], [])
            assert found.after.written == patched.written
            assert (found.after.spec, found.after.annotations) == (patched.spec, patched.annotations)
            assert refusals(patched) == refusals(pod)
            seen += 1
    assert seen

"""What the API server refuses is not part of a plan."""

from __future__ import annotations

from kubectl_harden.model import Edit
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.plan import plan
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.pod_security.policy import NEWEST, Policy
from tests.support.plans import made, pod, restricted, workload

LOCAL = "/etc/localtime"
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

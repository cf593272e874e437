"""Of the edits that controls propose, those stay that may be made and are wanted."""

from __future__ import annotations

from kubectl_harden.model import Edit
from kubectl_harden.planning.companions import Asked
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.plan import plan
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.pod_security.policy import NEWEST, Policy
from tests.support.plans import pod, restricted


def test_an_edit_above_the_risk_is_held_back_and_says_what_it_would_cost() -> None:
    root = {"name": "c", "image": "i", "command": ["chown", "1:1", "/data"], "securityContext": {"runAsUser": 0}}
    found = restricted(pod(containers=[root]), partial=True)
    held = {edit.checks[0] for edit in found.held_back}
    assert {"runAsUser", "runAsNonRoot", "capabilities_restricted"} == held
    # What would not reach the level is held back beside it.
    assert {edit.checks[0] for edit in restricted(pod(containers=[root])).held_back} == {
        *held, "allowPrivilegeEscalation", "seccompProfile_restricted"
    }  # fmt: skip
    left = {item.check: item for item in found.remaining}
    assert 'container "c" runs chown (command)' in left["runAsUser"].why
    assert left["runAsUser"].choices[-1] == "accept it: --max-risk breaks"
    assert any("--run-as-user" in choice for choice in left["runAsUser"].choices)
    assert restricted(pod(containers=[root]), max_risk="breaks").after == "restricted"


def test_a_person_may_refuse_one_of_several_items_that_are_added() -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    value = pod(
        containers=[{"name": "c", "image": "i", "volumeMounts": mounts}], volumes=[{"name": "v", "emptyDir": {}}]
    )
    (location,) = locate(value, {}) or ()

    def without_first(edits: list[Edit]) -> list[Edit]:
        return [edit for edit in edits if "/a" not in str(edit.value) and "writable-a" not in str(edit.value)]

    options = FixOptions(asked=Asked(writable=(("", "/a"), ("", "/b"))))
    found = plan(value, location, Policy("restricted", NEWEST), options, choose=without_first)
    fixed = apply(value, found.edits)["spec"]["template"]["spec"]
    assert [volume["name"] for volume in fixed["volumes"]] == ["v", "writable-b"]
    assert [mount["name"] for mount in fixed["containers"][0]["volumeMounts"]] == ["v", "writable-b"]


def test_what_a_person_chooses_is_made_whatever_it_reaches() -> None:
    volumes = [{"name": "n", "nfs": {"server": "s", "path": "/"}}]
    mounting = [{"name": "c", "image": "i", "volumeMounts": [{"name": "n", "mountPath": "/n"}]}]
    value = pod(hostIPC=True, volumes=volumes, hostNetwork=True, containers=mounting)
    (location,) = locate(value, {}) or ()
    policy = Policy("restricted", NEWEST)
    partial = restricted(value, partial=True)
    assert plan(value, location, policy, FixOptions(), choose=list) == partial
    assert len(partial.steps) > len(restricted(value).steps) == 2
    one = plan(value, location, policy, FixOptions(), choose=lambda edits: edits[:1])
    assert [step.path for step in one.steps] == [("spec", "hostNetwork")]
    assert not plan(value, location, policy, FixOptions(), choose=lambda _edits: []).edits

"""Whatever the pods are: what is worse is new to a baseline file, and what is better is not."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.model import Level
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.policy import NEWEST
from tests.manifests.test_baseline_file import GOOD, entries_of, new_in
from tests.support.oracle import Oracle
from tests.support.pods import container_security, pod_security, valid_templates

_LISTS = ("initContainers", "containers")


def as_pod(template: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "p"}}


def violating(oracle: Oracle, template: dict[str, Any], level: str, minor: int) -> dict[tuple[str, str], set[str]]:
    """What the official evaluator says of each container, alone in the pod: none can be hidden by another."""
    out = {}
    for key in _LISTS:
        for container in template["spec"].get(key, ()):
            spec = {name: value for name, value in template["spec"].items() if name not in _LISTS}
            alone = {"metadata": template["metadata"], "spec": {**spec, "containers": [container]}}
            reasons = oracle.verdicts(op="evaluate", **alone)[level, minor]
            # Plural and singular are the same control.
            out[key, container["name"]] = {reason.rstrip("s") for reason, _ in reasons}
    return out


@given(
    before=valid_templates(),
    level=st.sampled_from(["baseline", "restricted"]),
    minor=st.integers(0, NEWEST),
    data=st.data(),
)
def test_what_a_container_did_not_violate_before_is_new(
    oracle: Oracle, before: dict[str, Any], level: Level, minor: int, data: st.DataObject
) -> None:
    after = copy.deepcopy(before)
    for key in _LISTS:
        for container in after["spec"].get(key, ()):
            change = data.draw(st.sampled_from(["keep", "silent", "other"]))
            if change != "keep":
                container.pop("securityContext", None)
            if change == "other":
                container["securityContext"] = data.draw(container_security())
    if data.draw(st.booleans()):
        after["spec"]["securityContext"] = data.draw(pod_security())
    entries = entries_of(as_pod(before), minor)
    assert not new_in(entries, as_pod(before), minor=minor)
    theirs = violating(oracle, before, level, minor)
    ours = {
        reason.rstrip("s")
        for check in new_in(entries, as_pod(after), level, minor)
        for control in CONTROLS
        if control.id == check
        for reason in control.reasons
    }
    for container, reasons in violating(oracle, after, level, minor).items():
        assert reasons - theirs[container] <= ours


def better(security: dict[str, Any], data: st.DataObject) -> None:
    """Cure some of what a security context says that is wrong, by removal or by the right value."""
    wrong = [
        field
        for field, value in security.items()
        if (field == "runAsNonRoot" and value is False)
        or (field == "seccompProfile" and value.get("type") not in ("RuntimeDefault", "Localhost"))
        # A type that there is not would give way to what an annotation says.
        or (field == "appArmorProfile" and value.get("type") == "Unconfined")
        or field in ("privileged", "procMount", "seLinuxOptions", "windowsOptions", "sysctls")
        or (field == "runAsUser" and value == 0)
    ]
    for field in data.draw(st.sets(st.sampled_from(wrong)) if wrong else st.just(set())):
        if field in GOOD and data.draw(st.booleans()):
            security[field] = copy.deepcopy(GOOD[field])
        else:
            del security[field]
    added = security.get("capabilities", {}).get("add")
    if added:
        security["capabilities"]["add"] = [name for name in added if data.draw(st.booleans())]


@given(before=valid_templates(), minor=st.integers(0, NEWEST), data=st.data())
def test_what_is_better_is_never_new(before: dict[str, Any], minor: int, data: st.DataObject) -> None:
    # Restricted does not look at all that baseline forbids in a Windows pod.
    before["spec"].pop("os", None)
    after = copy.deepcopy(before)
    better(after["spec"].get("securityContext", {}), data)
    for key in _LISTS:
        containers = [one for one in after["spec"].get(key, ()) if data.draw(st.integers(0, 4))]
        after["spec"][key] = data.draw(st.permutations(containers))
        for container in containers:
            better(container.get("securityContext", {}), data)
            if data.draw(st.booleans()):
                container["ports"] = [port for port in container.get("ports", ()) if data.draw(st.booleans())]
    after["spec"]["containers"] = after["spec"]["containers"] or copy.deepcopy(before["spec"]["containers"])
    for field in ("hostNetwork", "hostPID", "hostIPC", "volumes"):
        if data.draw(st.booleans()):
            after["spec"].pop(field, None)
    entries = entries_of(as_pod(before), minor)
    for level in ("restricted", "baseline"):
        assert not new_in(entries, as_pod(after), level, minor)

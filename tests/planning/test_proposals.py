"""What controls propose together: one edit for several, and evidence that another edit takes away."""

from __future__ import annotations

import pytest

from kubectl_harden.model import HostPathChoice
from tests.planning.test_plan import BOTH_WAYS, CNI
from tests.support.plans import pod, restricted

WINDOWS_NODES = {"nodeSelector": {"kubernetes.io/os": "windows"}}


def test_a_pod_for_windows_says_so_in_one_edit() -> None:
    windows = pod(nodeSelector={"kubernetes.io/os": "windows"}, hostPID=True)
    found = restricted(windows)
    assert found.after == "restricted"
    made_of = {edit.path[3:]: edit for edit in found.edits}
    assert made_of.keys() == {("hostPID",), ("os",), ("securityContext",)}
    assert made_of["os",].value == {"name": "windows"}
    assert made_of["os",].checks == (
        "allowPrivilegeEscalation", "capabilities_restricted", "seccompProfile_restricted"
    )  # fmt: skip
    assert made_of["os",].risk == "safe"
    # Beside what only Linux has, the API server takes no such os.name; and what is not to be changed stays in its way.
    for field in ({"hostUsers": False}, {"shareProcessNamespace": False}, {"securityContext": {"runAsGroup": 1}}):
        assert ("os",) not in {edit.path[3:4] for edit in restricted(pod(**field, **WINDOWS_NODES)).edits}
    kept = restricted(windows, skip=frozenset(("hostNamespaces",)), partial=True)
    assert {edit.path[3:4] for edit in kept.edits} == {("securityContext",), ("containers",)}


@pytest.mark.parametrize("risk", ["review", "breaks"])
def test_what_goes_by_one_edit_is_no_evidence_for_another(risk: str) -> None:
    # The time zone goes, and with it the only mount that needs privileged.
    both_ways = restricted(pod(**BOTH_WAYS["spec"]), max_risk=risk)
    (edit,) = [step for step in both_ways.steps if step.checks == ("privileged",)]
    assert edit.risk == "review" and "Bidirectional" not in edit.why
    removed = {"v0": HostPathChoice("remove")}
    chosen = restricted(pod(**CNI["spec"]), max_risk=risk, host_paths=removed)
    (edit,) = [step for step in chosen.steps if step.checks == ("hostNamespaces",)]
    assert edit.risk == "review" and "works on its node" not in edit.why
    # Where the volume stays, so does what it shows.
    kept = restricted(pod(**CNI["spec"]), max_risk=risk, partial=True)
    assert {step.risk for step in (*kept.steps, *kept.held_back) if step.checks == ("hostNamespaces",)} == {"breaks"}
    careful = restricted(pod(**BOTH_WAYS["spec"]), max_risk="safe", partial=True)
    assert {step.risk for step in careful.held_back if step.checks == ("privileged",)} == {"breaks"}


def test_only_and_skip_leave_the_rest_as_remaining() -> None:
    found = restricted(pod(), only=frozenset(("runAsNonRoot",)))
    assert [edit.checks for edit in found.edits] == [("runAsNonRoot",)]
    assert {left.check for left in found.remaining} == {
        "allowPrivilegeEscalation", "capabilities_restricted", "seccompProfile_restricted"
    }  # fmt: skip
    skipped = restricted(pod(), skip=frozenset(("runAsNonRoot",)))
    assert [left.check for left in skipped.remaining] == ["runAsNonRoot"]

"""``fix --at-admission --apply`` killed, or interrupted, between any two of its writes: undo and the next run know."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.live.test_at_admission_apply import APPLY, RESTRICTED, policies, words
from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request

STEPS = ("before the policy", "between policy and binding", "while they are proved")


def cut_short(harden: Harden, proxy: FaultProxy, step: int, number: signal.Signals) -> tuple[int, str]:
    """Send a signal at the step-th write, or at the first dry-run after both; returns the exit code and the words."""
    process: list[Any] = []
    writes = [0]

    def cut() -> None:
        process[0].send_signal(number)
        if number == signal.SIGKILL:
            process[0].wait()

    def rule(request: Request) -> Fault | None:
        if request.is_write or (writes[0] == 2 and request.dry_run):
            writes[0] += 1
            return Fault(before=cut) if writes[0] == step + 1 else None
        return None

    proxy.rules.append(rule)
    process.append(harden.start("fix", "sts/db", *APPLY))
    _, told = process[0].communicate(timeout=120)
    proxy.rules.clear()
    proxy.wait_until_idle()
    return process[0].returncode, words(told)


def created(namespace: Namespace) -> list[str]:
    return ["policy" if "mutations" in value["spec"] else "binding" for value in policies(namespace)]


@RESTRICTED
@pytest.mark.parametrize("step", range(3), ids=STEPS)
def test_killed_undo_removes_what_is_there(namespace: Namespace, harden: Harden, proxy: FaultProxy, step: int) -> None:
    namespace.create(workload("StatefulSet", "db", replicas=0))
    code, _ = cut_short(harden, proxy, step, signal.SIGKILL)
    assert code == -signal.SIGKILL
    # What was on its way when the run was killed has arrived.
    assert created(namespace) == ["policy", "binding"][: step + 1]
    begun = [event for event in harden.journal() if event["event"] == "begin"]
    assert {event["object"]["name"] for event in begun} == {value["metadata"]["name"] for value in policies(namespace)}
    assert harden("undo", "--last", "--yes", "--even-if-refused").code == 0
    assert policies(namespace) == []


@RESTRICTED
@pytest.mark.parametrize("step", range(3), ids=STEPS)
def test_killed_the_next_run_goes_on(namespace: Namespace, harden: Harden, proxy: FaultProxy, step: int) -> None:
    namespace.create(workload("StatefulSet", "db"))
    cut_short(harden, proxy, step, signal.SIGKILL)
    again = harden("fix", "sts/db", *APPLY)
    assert again.code == 0, again
    assert "was creating when it was cut off" in words(again.err)
    assert "its new pods meet restricted:latest by MutatingAdmissionPolicy" in words(again.err)
    assert namespace.eventually(namespace.ready_pods)[0]["spec"]["securityContext"]["runAsNonRoot"] is True
    # One run has made all of it: the run that was cut off has nothing left.
    assert harden("undo", "--last", "--yes", "--even-if-refused").code == 0
    assert policies(namespace) == []
    assert harden("undo", "--last", "--yes").code == 2


@RESTRICTED
@pytest.mark.parametrize("step", range(3), ids=STEPS)
def test_ctrl_c_leaves_a_proved_pair_or_nothing(
    namespace: Namespace, harden: Harden, proxy: FaultProxy, step: int
) -> None:
    namespace.create(workload("StatefulSet", "db", replicas=0))
    code, told = cut_short(harden, proxy, step, signal.SIGINT)
    assert code == 130, told
    if policies(namespace):
        assert created(namespace) == ["policy", "binding"] and "its new pods meet" in told
        assert harden("undo", "--last", "--yes", "--even-if-refused").code == 0
    else:
        assert "interrupted before the policy was proved" in told
    assert policies(namespace) == []


@RESTRICTED
def test_what_somebody_has_changed_since_is_not_deleted(
    namespace: Namespace, harden: Harden, proxy: FaultProxy
) -> None:
    namespace.create(workload("StatefulSet", "db", replicas=0))
    cut_short(harden, proxy, 1, signal.SIGKILL)
    (policy,) = [value for value in policies(namespace) if "mutations" in value["spec"]]
    name = policy["metadata"]["name"]
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/{name}"
    namespace.plane.request("PATCH", path, {"spec": {"failurePolicy": "Fail"}}, kind="application/merge-patch+json")
    again = harden("fix", "sts/db", *APPLY)
    assert again.code != 0 and "someone has changed it since" in words(again.err), again
    assert created(namespace)[0] == "policy"
    namespace.plane.request("DELETE", path)
    for value in policies(namespace):
        namespace.plane.request(
            "DELETE", path.replace("policies/", "policybindings/").replace(name, value["metadata"]["name"])
        )

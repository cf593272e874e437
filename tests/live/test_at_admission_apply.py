"""``fix --at-admission --apply``: policies are proved before they stay, told by check, and deleted by undo."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.test_at_admission import PLURALS, operated
from tests.support.control_plane import Namespace
from tests.support.fleet import safe
from tests.support.harden import Harden, workload
from tests.support.mutating import ADMISSION, injects, mutating

RESTRICTED = pytest.mark.pod_security(enforce="restricted")


def policies(namespace: Namespace) -> list[Any]:
    """Return the policies and bindings for workloads of the namespace."""
    found = []
    for plural in PLURALS.values():
        items = namespace.plane.request("GET", f"{ADMISSION}/{plural}")["items"]
        found += [item for item in items if f".{namespace.name}." in item["metadata"]["name"]]
    return found


def words(text: str) -> str:
    return " ".join(text.split())


APPLY = ("--at-admission", "--apply", "--yes")


@RESTRICTED
@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment"])
def test_a_refused_workload_of_an_operator_runs_by_a_proved_policy_and_undo_deletes_it(
    kind: str, namespace: Namespace, harden: Harden
) -> None:
    before = namespace.create(operated(workload(kind, "db")))["spec"]
    name = f"kubectl-harden.{kind.lower()}.{namespace.name}.db"
    done = harden("fix", f"{kind}/db", *APPLY)
    told = words(done.err)
    assert done.code == 0, done
    assert "kind: MutatingAdmissionPolicy\n" in done.out
    assert f"its new pods meet restricted:latest by MutatingAdmissionPolicy {name}, which leaves alone" in told
    assert "To undo it: kubectl harden undo" in told
    (pod,) = namespace.eventually(namespace.ready_pods)
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert namespace.get(kind, "db")["spec"] == before
    assert len(policies(namespace)) == 2
    for value in policies(namespace):
        assert value["metadata"]["managedFields"][0]["manager"] == "kubectl-harden"
        marks = value["metadata"]["annotations"]
        assert marks["kubectl-harden/run"] in told and marks["kubectl-harden/workload"].endswith(f"{namespace.name}/db")
    # Its template still violates the level, and check says that its pods do not, and by what.
    checked = harden("check", f"{kind}/db", "-o", "json")
    (found,) = checked.json["workloads"]
    assert found["pods"]["completedBy"] == [f"MutatingAdmissionPolicy {name}"]
    assert (found["pods"]["level"], found["pods"]["proved"], found["pods"]["running"]) == ("restricted", True, 1)
    again = harden("fix", f"{kind}/db", *APPLY)
    assert again.code == 1 and f"{name} already exists" in words(again.err)
    kept = harden("undo", "--last", "--yes")
    assert kept.code == 1 and "would be refused by restricted:latest without it: " in words(kept.err), kept
    assert "--even-if-refused deletes it anyway" in words(kept.err)
    tried = harden("undo", "--last", "--dry-run", "--even-if-refused")
    assert tried.code == 1 and tried.err.count("would be deleted") == 2 and len(policies(namespace)) == 2
    undone = harden("undo", "--last", "--yes", "--even-if-refused")
    assert undone.code == 0 and policies(namespace) == [], undone
    assert harden("undo", "--last", "--yes").code == 2


def test_pods_that_are_older_are_named_with_the_command_that_makes_them_again(
    namespace: Namespace, harden: Harden
) -> None:
    namespace.create(workload("StatefulSet", "db", replicas=2))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    done = harden("fix", "sts/db", "--level", "restricted", *APPLY)
    assert done.code == 0, done
    told = words(done.err)
    assert "db-0, db-1 are older and will stay below it until recreated: kubectl rollout restart" in told
    check = ("check", "sts/db", "--level", "restricted")
    checked = words(harden(*check).out)
    assert "its new pods do: MutatingAdmissionPolicy" in checked
    assert "db-0, db-1 are older" in checked and "kubectl rollout restart statefulset/db" in checked
    (found,) = harden(*check, "-o", "json").json["workloads"]
    assert (found["pods"]["older"], found["pods"]["running"]) == (["db-0", "db-1"], 0)
    assert harden("undo", "--last", "--yes").code == 0


@RESTRICTED
def test_a_policy_whose_proof_fails_is_taken_back(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db"))
    with mutating(namespace, injects("mesh-init"), "mesh-init"):
        done = harden("fix", "sts/db", *APPLY)
    assert done.code == 1, done
    assert "ROLLED BACK" in done.err and "no policy remains: with the policy," in words(done.err)
    assert policies(namespace) == []
    assert [line["event"] for line in harden.journal() if line["event"] == "undone"] == ["undone"] * 2


@RESTRICTED
def test_what_is_completed_already_or_changed_since_is_left_alone(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db"), safe(workload("Deployment", "fine", replicas=0)))
    assert harden("fix", "deploy/fine", *APPLY).code == 0 and policies(namespace) == []
    assert harden("fix", "sts/db", *APPLY).code == 0
    name = policies(namespace)[0]["metadata"]["name"]
    path = f"{ADMISSION}/mutatingadmissionpolicies/{name}"
    patch = {"spec": {"failurePolicy": "Fail"}}
    namespace.plane.request("PATCH", path, patch, kind="application/merge-patch+json")
    undone = harden("undo", "--last", "--yes", "--even-if-refused")
    assert undone.code == 1 and "left alone: someone has changed it since" in words(undone.err)
    assert ["matchConstraints" in value["spec"] for value in policies(namespace)] == [True]
    namespace.plane.request("DELETE", path)


def test_usage(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db", replicas=0))
    assert harden("fix", "sts/db", "--at-admission").code == 2
    assert harden("fix", "sts/db", *APPLY, "-o", "json").code == 2
    assert harden("fix", "-f", "-", "--at-admission", stdin="{}").code == 2

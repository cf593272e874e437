"""``migrate --at-admission``: what others write is taken to the level by policies, and its old pods are evicted.

This tests ``migration/by_policy.py``, ``live/evictions.py`` and ``cluster/eviction.py``, too.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_at_admission import operated
from tests.live.test_at_admission_apply import policies, words
from tests.live.test_migrate_in_cluster import role
from tests.support.answering import answered
from tests.support.control_plane import Namespace
from tests.support.fleet import helm, safe
from tests.support.harden import COMMAND, Harden, Result, workload
from tests.support.nodes import kubelet, nodes, placed
from tests.support.proxy import Fault, FaultProxy, Request

APPLY = ("--at-admission", "--apply", "--yes", "--timeout", "60s")
ENFORCE = "pod-security.kubernetes.io/enforce"


def enforced(namespace: Namespace) -> str:
    value = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")
    return str(value["metadata"]["labels"].get(ENFORCE, ""))


def running(namespace: Namespace, *values: dict[str, Any]) -> list[dict[str, Any]]:
    """Create workloads and wait until their pods run."""
    namespace.create(*values)
    wanted = sum(value["spec"].get("replicas", 0) for value in values)
    found: list[dict[str, Any]] = namespace.eventually(
        lambda: pods if len(pods := namespace.ready_pods()) == wanted else []
    )
    return found


def migrate(harden: Harden, *options: str) -> Result:
    return harden("migrate", harden.namespace.name, "--level", "restricted", *options)


def only(result: Result) -> dict[str, Any]:
    (found,) = result.json["namespaces"]
    return dict(found)


def test_it_is_offered_planned_made_and_undone(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    values = operated(workload("StatefulSet", "db", replicas=2)), helm(workload("Deployment", "web"))
    before = {pod["metadata"]["uid"] for pod in running(namespace, *values)}
    name = f"kubectl-harden.statefulset.{namespace.name}.db"
    offered = words(migrate(harden).out)
    assert offered.count("--at-admission gets it there: a policy makes the same edits to its new pods") == 2
    assert only(migrate(harden, "-o", "json"))["state"] == "blocked"
    plan = tmp_path / "plan.json"
    shown = migrate(harden, "--at-admission", "--plan-out", str(plan), "-o", "json")
    found = only(shown)
    assert (found["state"], found["blockers"]) == ("fixable", []), shown
    assert sorted(found["toEvict"])[:2] == ["db-0", "db-1"] and len(found["toEvict"]) == 3
    assert {item["name"]: item.get("atAdmission") for item in found["workloads"]}["db"] == name
    told = words(shown.err)
    assert "a MutatingAdmissionPolicy is created for each of these, because others write them: " in told
    assert "2 policies to create" in told and "to patch" not in told and "the next helm upgrade" not in told
    assert "pods older than their policy are evicted, one by one, within disruption budgets: " in told
    (planned,) = json.loads(plan.read_text())["namespaces"]
    assert {item["name"]: item.get("atAdmission") for item in planned["workloads"]}["db"] == name
    assert policies(namespace) == []
    page = tmp_path / "report.html"
    done = harden("migrate", "--plan", str(plan), "--apply", "--yes", "--timeout", "60s", "--report", str(page))
    assert done.code == 0, done
    assert "2 workloads by an admission policy" in done.err and "patched" not in done.err
    assert f"its new pods meet restricted:latest by MutatingAdmissionPolicy {name}, which leaves alone" in words(
        done.err
    )
    assert "each of its 4 mutations is needed" in words(done.err)
    assert "evicted and recreated: db-1, db-0" in words(done.err)
    assert f"MutatingAdmissionPolicy {name}" in page.read_text()
    assert enforced(namespace) == "restricted"
    pods = namespace.ready_pods()
    assert len(pods) == 3 and before.isdisjoint(pod["metadata"]["uid"] for pod in pods)
    assert all(pod["spec"]["securityContext"]["runAsNonRoot"] is True for pod in pods)
    assert "securityContext" not in str(namespace.get("StatefulSet", "db")["spec"]["template"]["spec"]["containers"])
    # It counts as done, and a second run changes nothing.
    again = migrate(harden, *APPLY, "-o", "json")
    assert (again.code, only(again)["state"]) == (0, "done"), again
    assert migrate(harden).code == 0
    tried = harden("undo", "--last", "--dry-run")
    assert (tried.code, tried.err.count("would be deleted")) == (1, 4), tried
    assert len(policies(namespace)) == 4
    undone = harden("undo", "--last", "--yes", "--timeout", "60s")
    assert undone.code == 0, undone
    assert policies(namespace) == [] and enforced(namespace) != "restricted"
    assert len(namespace.eventually(namespace.ready_pods)) == 3
    # What it has deleted is not created by undo, so that it does not offer to enforce the level again.
    assert "To undo it" not in undone.err
    (run,) = {file.stem for file in (harden.state / "kubectl-harden" / "journal").glob("*.jsonl")} - {
        word for word in words(done.err).split() if word.startswith("202")
    }
    redone = harden("undo", run, "--yes")
    assert redone.code == 2 and "has deleted admission policies" in words(redone.err), redone


def test_a_person_is_asked_with_what_is_made_and_evicted(namespace: Namespace, harden: Harden) -> None:
    running(namespace, operated(workload("StatefulSet", "db", replicas=2)), workload("Deployment", "web"))
    arguments = ["migrate", namespace.name, "--level", "restricted", "--at-admission", "--apply"]
    code, shown = answered([*COMMAND, *arguments], b"[y/N]", [b"n\n"], harden.environment)
    assert code == 1
    assert "after patching 1 workload and creating 1 policy and evicting 2 pods" in words(shown)
    assert policies(namespace) == []


def test_a_policy_that_is_not_needed_any_more_is_named(namespace: Namespace, harden: Harden) -> None:
    running(namespace, workload("StatefulSet", "db"))
    assert harden("fix", "sts/db", "--level", "restricted", "--at-admission", "--apply", "--yes").code == 0
    assert "is no longer needed" not in words(migrate(harden).err)
    good = safe(workload("StatefulSet", "db"))["spec"]["template"]["spec"]
    namespace.patch("StatefulSet", "db", {"spec": {"template": {"spec": good}}})
    told = words(migrate(harden).err)
    name = f"kubectl-harden.statefulset.{namespace.name}.db"
    assert f"{name} of StatefulSet {namespace.name}/db is no longer needed" in told
    assert f"kubectl delete mutatingadmissionpolicybinding/{name} mutatingadmissionpolicy/{name}" in told
    assert harden("undo", "--last", "--yes").code == 0


def test_it_counts_only_while_the_policy_is_there(namespace: Namespace, harden: Harden) -> None:
    running(namespace, operated(workload("StatefulSet", "db")))
    assert harden("fix", "sts/db", "--level", "restricted", "--at-admission", "--apply", "--yes").code == 0
    # Its old pod is in the way, and the command that evicts it is told.
    held = migrate(harden)
    assert held.code == 1
    told = words(held.out)
    assert "pod db-0 is not replaced, and violates it" in told
    assert f"kubectl harden migrate {namespace.name} --level restricted --at-admission --apply" in told
    namespace.delete("Pod", "db-0")
    namespace.eventually(lambda: "runAsNonRoot" in str(namespace.ready_pods()))
    assert only(migrate(harden, "-o", "json"))["state"] == "ready"
    assert harden("undo", "--last", "--yes").code == 0
    namespace.eventually(lambda: only(migrate(harden, "-o", "json"))["state"] == "blocked")


def test_a_new_pod_that_fails_takes_its_policy_back(namespace: Namespace, harden: Harden) -> None:
    running(namespace, operated(workload("StatefulSet", "db", "example.com/needs-chown:1", replicas=2)))
    done = migrate(harden, *APPLY, "--no-trial")
    assert done.code == 1, done
    told = words(done.err)
    assert "rolled back: no policy remains: new pod db-1 does not start" in told
    assert "deleted, to be recreated as before: db-1" in told
    assert policies(namespace) == [] and enforced(namespace) != "restricted"
    pods = namespace.eventually(lambda: pods if len(pods := namespace.ready_pods()) == 2 else [])
    assert "runAsNonRoot" not in str(pods)
    # With a trial pod first, nothing that runs is taken down.
    uids = {pod["metadata"]["uid"] for pod in pods}
    tried = migrate(harden, *APPLY)
    assert tried.code == 1 and "one new pod was tried first and fails" in words(tried.err), tried
    assert policies(namespace) == [] and {pod["metadata"]["uid"] for pod in namespace.ready_pods()} == uids


def test_running_jobs_are_not_evicted(namespace: Namespace, harden: Harden) -> None:
    """Their work would start over: they hold the namespace back, with the command that deletes them."""
    cron = workload("CronJob", "night", nodeSelector={"tests.kubectl-harden/no-node": "has-it"})
    made = namespace.create(operated(cron))
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "night", "uid": made["metadata"]["uid"]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": cron["spec"]["jobTemplate"]["spec"]}
    namespace.create({**job, "metadata": {"name": "night-1", "ownerReferences": [{**owner, "controller": True}]}})
    (pod,) = namespace.eventually(namespace.pods)
    held = migrate(harden, *APPLY)
    assert held.code == 1, held
    assert "kubectl delete jobs night-1" in words(held.err)
    assert [item["metadata"]["uid"] for item in namespace.pods()] == [pod["metadata"]["uid"]]
    namespace.plane.request("DELETE", f"{namespace.path('Job', 'night-1')}?propagationPolicy=Background")
    namespace.eventually(lambda: not namespace.pods())
    assert migrate(harden, *APPLY).code == 0 and enforced(namespace) == "restricted"
    assert harden("undo", "--last", "--yes", "--timeout", "60s").code == 0


def test_root_stays_in_a_user_namespace_by_a_policy(namespace: Namespace, harden: Harden) -> None:
    mapping = kubelet("v1.37.0", "6.12.9", user_namespaces=True)
    with nodes(namespace.plane, "by-policy", mapped_by_policy=mapping):
        running(
            namespace, operated(workload("StatefulSet", "db", "example.com/user-none/app:1", **placed("by-policy")))
        )
        done = migrate(harden, *APPLY, "--user-namespace")
        assert done.code == 0, done
        (pod,) = namespace.ready_pods()
        assert pod["spec"]["hostUsers"] is False and "runAsNonRoot" not in pod["spec"]["securityContext"]
        assert enforced(namespace) == "restricted"
        assert harden("undo", "--last", "--yes", "--timeout", "60s").code == 0


def test_a_disruption_budget_is_respected(namespace: Namespace, harden: Harden) -> None:
    running(namespace, operated(workload("StatefulSet", "db")))
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "db"}}
    path = f"/apis/policy/v1/namespaces/{namespace.name}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}}
    namespace.plane.request("POST", path, {**budget, "spec": spec})
    namespace.eventually(lambda: namespace.plane.request("GET", f"{path}/db").get("status", {}).get("currentHealthy"))
    uid = namespace.ready_pods()[0]["metadata"]["uid"]
    done = migrate(harden, "--at-admission", "--apply", "--yes", "--timeout", "8s")
    assert done.code == 1, done
    assert "pod db-0 is not evicted: " in words(done.err) and "disruption budget" in words(done.err)
    assert namespace.ready_pods()[0]["metadata"]["uid"] == uid and len(policies(namespace)) == 2
    namespace.plane.request("DELETE", f"{path}/db")
    # The same command goes on.
    assert migrate(harden, *APPLY).code == 0
    assert enforced(namespace) == "restricted"
    for run in (2, 1):
        assert harden("undo", "--last", "--yes", "--timeout", "60s").code == 0, run
    assert policies(namespace) == []


@pytest.mark.parametrize("step", range(5), ids=("policy", "binding", "proof", "first eviction", "second eviction"))
def test_killed_the_same_command_goes_on(namespace: Namespace, harden: Harden, proxy: FaultProxy, step: int) -> None:
    """Killed before a write of a migration, or while a policy is proved, undo of both runs leaves nothing."""
    running(namespace, operated(workload("StatefulSet", "db", replicas=2)))
    process: list[Any] = []
    seen: list[str] = []

    def kill() -> None:
        process[0].kill()
        process[0].wait()

    def rule(request: Request) -> Fault | None:
        made = [what for what in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "eviction")
                if request.path.endswith(f"/{what}") and request.is_write]  # fmt: skip
        proof = len(seen) == 2 and request.dry_run
        if not (made or proof):
            return None
        seen.append(made[0] if made else "proof")
        return Fault(before=kill) if len(seen) == step + 1 else None

    proxy.rules.append(rule)
    process.append(harden.start("migrate", namespace.name, "--level", "restricted", *APPLY, "--no-trial"))
    process[0].communicate(timeout=120)
    assert process[0].returncode == -signal.SIGKILL
    proxy.rules.clear()
    proxy.wait_until_idle()
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    again = migrate(harden, *APPLY, "--no-trial")
    assert again.code == 0, again
    assert enforced(namespace) == "restricted" and len(policies(namespace)) == 2
    assert "runAsNonRoot" in str(namespace.ready_pods()[0]) and "runAsNonRoot" in str(namespace.ready_pods()[1])
    while (undone := harden("undo", "--last", "--yes", "--timeout", "60s")).code != 2:
        assert undone.code == 0, undone
    assert policies(namespace) == [] and enforced(namespace) != "restricted"


@contextmanager
def bound(namespace: Namespace, *roles: str) -> Iterator[str]:
    """Have a user with roles of the examples."""
    plane, user = namespace.plane, f"u-{namespace.name}"
    rules = [rule for name in roles for rule in role(name)["rules"]]
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    name = {"metadata": {"name": user}}
    plane.request("POST", f"{rbac}/clusterroles", {**name, "rules": rules})
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user}
    plane.request("POST", f"{rbac}/clusterrolebindings", {**name, "roleRef": reference, "subjects": [subject]})
    try:
        yield user
    finally:
        plane.request("DELETE", f"{rbac}/clusterrolebindings/{user}")
        plane.request("DELETE", f"{rbac}/clusterroles/{user}")


def test_the_rights_of_the_examples_are_enough_and_needed(namespace: Namespace, harden: Harden) -> None:
    running(namespace, operated(workload("StatefulSet", "db")))
    own = ("kubectl-harden-survey", "kubectl-harden-apply")
    with bound(namespace, *own) as user:
        refused = migrate(harden, *APPLY, "--as", user)
        assert refused.code == 4, refused
        told = words(refused.err)
        assert "not allowed to create pods/eviction in" in told
        assert "not allowed to delete mutatingadmissionpolicybindings.admissionregistration.k8s.io in" in told
        assert "nothing was started" in told and policies(namespace) == []
    with bound(namespace, *own, "kubectl-harden-admission") as user:
        done = migrate(harden, *APPLY, "--as", user)
        assert done.code == 0, done
        assert harden("undo", "--last", "--yes", "--as", user, "--timeout", "60s").code == 0
    assert policies(namespace) == []


def test_usage(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    assert migrate(harden, "--at-admission", "--expires", "soon").code == 2
    assert harden("migrate", "-f", str(tmp_path), "--at-admission").code == 2

"""Pods that admission completes: their template does not meet the level, and they do.

By the command line alone this tests ``live/workload_pods.py``, too.
"""

from __future__ import annotations

import pytest

from tests.live.test_people import Person
from tests.support.control_plane import Namespace
from tests.support.fleet import safe
from tests.support.harden import Harden, workload
from tests.support.mutating import COMPLETES, injects, mutating

pytestmark = pytest.mark.pod_security(enforce="restricted")


def test_check_says_that_pods_meet_what_their_template_does_not(namespace: Namespace, harden: Harden) -> None:
    with mutating(namespace, COMPLETES, "'runAsUser': 1000") as policy:
        namespace.create(workload("Deployment", "web", replicas=2), workload("CronJob", "night"))
        namespace.create(
            workload("Deployment", "bad", hostNetwork=True, replicas=0), safe(workload("Deployment", "ok"))
        )
        namespace.eventually(lambda: len(namespace.ready_pods()) == 3)
        for words in (("-n", namespace.name), ("deploy/web", "deploy/bad", "deploy/ok", "cj/night")):
            result = harden("check", *words, "-o", "json")
            found = {item["name"]: item for item in result.json["workloads"]}
            assert result.code == 1
            by = [f"MutatingAdmissionPolicy {policy}"]
            whole = {"level": "restricted", "violations": [], "proved": True, "completedBy": by}
            assert found["web"]["pods"] == {**whole, "running": 2}
            assert found["night"]["pods"] == {**whole, "running": 0}
            assert found["web"]["allowed"] is False and len(found["web"]["violations"]) == 4
            assert "pods" not in found["bad"] and "pods" not in found["ok"]
        for output in ("text", "wide"):
            words = " ".join(harden("check", "deploy/web", "-o", output).out.split())
            told = "its template does not meet restricted:latest, its pods do (2 pods running): "
            assert f"{told}MutatingAdmissionPolicy {policy} mutates them, so none is refused" in words
        assert "pods do" not in harden("check", "deploy/bad").out
        anna = Person(namespace, harden).holds("view")
        code, out, _ = anna("check", "deploy/web")
        assert code == 1 and "its pods do (2 pods running): admission may have mutated them" in " ".join(out.split())


def test_pods_that_are_older_than_their_template_are_not_completed(namespace: Namespace, harden: Harden) -> None:
    namespace.label(enforce="privileged")
    namespace.create(safe(workload("Deployment", "web")))
    namespace.eventually(lambda: namespace.ready_pods())
    namespace.label(enforce="restricted")
    namespace.patch("Deployment", "web", {"spec": {"template": {"spec": {"securityContext": None}}}})
    for options in ((), ("--level", "restricted")):
        assert "its pods do" not in harden("check", "deploy/web", *options).out


@pytest.mark.pod_security
def test_a_namespace_whose_pods_admission_completes_needs_only_the_label(namespace: Namespace, harden: Harden) -> None:
    with mutating(namespace, COMPLETES, "'runAsUser': 1000"):
        namespace.create(workload("Deployment", "web", replicas=2))
        namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
        before = namespace.get("Deployment", "web")["spec"]
        plan = harden("migrate", namespace.name, "-o", "json")
        assert plan.json["namespaces"][0]["state"] == "ready", plan.json["namespaces"][0]["blockers"]
        result = harden("migrate", namespace.name, "--apply", "--yes", "-o", "json")
        (found,) = result.json["namespaces"]
        assert (result.code, found["outcome"]["state"]) == (0, "enforced"), found
        assert namespace.get("Deployment", "web")["spec"] == before
        labels = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    # What admission does not complete any more is fixed as ever.
    assert harden("undo", "--last", "--yes").code == 0
    for pod in namespace.pods():
        namespace.delete("Pod", pod["metadata"]["name"])

    def not_completed() -> bool:
        return ["runAsUser" in str(pod["spec"]) for pod in namespace.ready_pods()] == [False, False]

    namespace.eventually(not_completed)
    assert harden("migrate", namespace.name, "-o", "json").json["namespaces"][0]["state"] == "fixable"


def test_check_tells_of_refused_pods_whose_template_is_well(namespace: Namespace, harden: Harden) -> None:
    with mutating(namespace, injects("mesh-init"), "mesh-init"):
        namespace.create(
            safe(workload("Deployment", "good", replicas=2)), safe(workload("Deployment", "none", replicas=0))
        )
        namespace.eventually(lambda: "mesh-init" in str(namespace.get("Deployment", "good")["status"]))
        everything = ("check", "-n", namespace.name)
        shown = harden(*everything)
        words = " ".join(shown.err.split())
        assert shown.code == 1
        assert f"note: Deployment {namespace.name}/good: its template meets restricted:latest" in words
        assert 'container "mesh-init" must set securityContext.allowPrivilegeEscalation=false' in words
        assert f"kubectl harden rejected -n {namespace.name}" in words
        assert "all meet restricted:latest; 1 with refused pods, regardless of their templates" in words
        for output in ("json", "name", "sarif"):
            assert harden(*everything, "-o", output).code == 1
        found = {item["name"]: item for item in harden(*everything, "-o", "json").json["workloads"]}
        assert found["good"]["allowed"] is True and "mesh-init" in found["good"]["podsRefused"]
        assert "podsRefused" not in found["none"]
        # What is refused by a level that was not asked for is no matter of that one.
        lower = harden("check", "deploy/good", "--level", "baseline")
        assert (lower.code, "refused" in lower.err) == (0, False)
    settled = harden("check", "deploy/none")
    assert (settled.code, "refused" in settled.err) == (0, False)


def test_only_pods_that_something_may_change_are_looked_at(namespace: Namespace, harden: Harden) -> None:
    marked = {"complete": "yes"}
    with mutating(namespace, COMPLETES, "'runAsUser': 1000", marked):
        web = workload("Deployment", "web")
        web["spec"]["template"]["metadata"]["labels"].update(marked)
        namespace.create(web, workload("Deployment", "plain", replicas=0), workload("CronJob", "night"))
        namespace.eventually(lambda: len(namespace.ready_pods()) == 1)
        result = harden("check", "-n", namespace.name, "-o", "json", "-v=6")
        found = {item["name"]: item for item in result.json["workloads"]}
        assert found["web"]["pods"]["running"] == 1 and found["web"]["pods"]["proved"] is True
        assert [name for name in found if "pods" in found[name]] == ["web"]
        assert result.err.count("POST ") == 1 and "dryRun=All" in result.err
        # Neither a dry-run nor the pods: nothing changes these.
        result = harden("check", "deploy/plain", "cj/night", "-v=6")
        assert (result.code, "/pods" in result.err) == (1, False)
        # Whoever may not see what changes pods looks at the pods.
        anna = Person(namespace, harden).holds("view")
        code, _, err = anna("check", "deploy/plain", "cj/night", "-v=6")
        assert (code, f"/{namespace.name}/pods" in err) == (1, True)


def test_pods_are_listed_by_namespace_where_few_are_concerned(namespace: Namespace, harden: Harden) -> None:
    # Other tests have namespaces, and policies for them, at the same time.
    others = [f"/api/v1/namespaces/{namespace.name}-{number}" for number in range(16)]
    for path in others:
        namespace.plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": path.rpartition("/")[2]}})
    with mutating(namespace, COMPLETES, "'runAsUser': 1000"):
        namespace.create(workload("Deployment", "web"))
        namespace.eventually(lambda: len(namespace.ready_pods()) == 1)
        result = harden("check", "-A", "-o", "json", "-v=6")
    for path in others:
        namespace.plane.request("DELETE", path)
    web = next(item for item in result.json["workloads"] if item["namespace"] == namespace.name)
    assert web["pods"]["running"] == 1
    assert f"/namespaces/{namespace.name}/pods?limit=500 " in result.err

"""``rejected``: what admission refuses now, in a cluster and in pasted text.

By the command line alone this tests ``live/rejections.py``, ``live/restarts.py``, too.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.live.test_people import Person
from tests.support.control_plane import ApiError, Namespace
from tests.support.fleet import safe
from tests.support.harden import Harden, workload

pytestmark = pytest.mark.pod_security(enforce="restricted")

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job")


def rejected(namespace: Namespace, harden: Harden, count: int) -> list[dict[str, object]]:
    def told() -> list[dict[str, object]]:
        found: list[dict[str, object]] = harden("rejected", "-o", "json").json["rejections"]
        return found if len(found) == count else []

    found: list[dict[str, object]] = namespace.eventually(told)
    return found


def test_nothing(namespace: Namespace, harden: Harden) -> None:
    result = harden("rejected")
    assert (result.code, result.out, result.err) == (
        0,
        "",
        f"nothing is being rejected in namespace {namespace.name}\n",
    )


def test_pods_that_run_and_would_be_refused(namespace: Namespace, harden: Harden) -> None:
    """Enforcing a level leaves running pods alone: what a restart would bring is said before it."""
    namespace.label(enforce="privileged")
    namespace.create(workload("Deployment", "web", replicas=2), workload("StatefulSet", "db"))
    namespace.create(safe(workload("Deployment", "good")))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 4)
    assert harden("rejected", "-o", "json").json["wouldBeRefused"] == []
    namespace.label(enforce="restricted")
    result = harden("rejected")
    words = " ".join(result.err.split())
    assert result.code == 0
    assert f"nothing is being rejected in namespace {namespace.name}" in words
    told = "2 workloads run pods that violate what their namespace enforces, and that would be refused if they were"
    assert f"{told} recreated: kubectl harden check -n {namespace.name}" in words
    found = harden("rejected", "-o", "json").json["wouldBeRefused"]
    assert [(item["kind"], item["name"], item["pods"]) for item in found] == [
        ("Deployment", "web", 2),
        ("StatefulSet", "db", 1),
    ]
    listed = harden("check", "-n", namespace.name, "-o", "json").json["workloads"]
    violating = {(item["kind"], item["name"]) for item in listed if not item["allowed"]}
    assert violating == {(item["kind"], item["name"]) for item in found}


def test_what_could_not_be_looked_at_is_not_called_nothing(namespace: Namespace, harden: Harden) -> None:
    anna = Person(namespace, harden).may(("core", "events", "list"), ("core", "namespaces", "get"))
    code, out, words = anna("rejected")
    assert (code, out) == (0, "")
    assert f"nothing that can be seen is being rejected in namespace {namespace.name}" in words
    assert "you may not list replicasets.apps and replicationcontrollers: pods that were refused more than" in words
    assert "would be refused if they were recreated is not known: not allowed to list pods" in words


def test_refusals_without_events_are_an_error(namespace: Namespace, harden: Harden) -> None:
    anna = Person(namespace, harden).may(("apps", "replicasets", "list"), ("core", "pods", "list"))
    code, out, words = anna("rejected")
    assert (code, out) == (4, "")
    assert "nothing that can be seen is being rejected" in words
    assert "refused pods that only events and replicationcontrollers tell of cannot be seen" in words


def test_every_kind_by_the_object_to_edit(namespace: Namespace, harden: Harden) -> None:
    namespace.create(*(workload(kind, f"w-{kind.lower()}") for kind in KINDS))
    found = rejected(namespace, harden, len(KINDS))
    assert sorted(str(item["kind"]) for item in found) == sorted(KINDS)
    for item in found:
        assert item["rejectedBy"] == "Pod Security admission"
        assert item["missingPods"] == 1
        assert item["stale"] is False
        assert len(item["violations"]) == 4  # type: ignore[arg-type]
        assert item["plans"][0]["after"] == "restricted"  # type: ignore[index]
    result = harden("rejected")
    assert result.code == 1
    for kind in KINDS:
        assert f"{kind} {namespace.name}/w-{kind.lower()}: 1 pod missing since 20" in result.out
    assert f"kubectl harden fix deployment/w-deployment -n {namespace.name} --apply" in result.out
    assert "+        runAsNonRoot: true" in result.out
    assert "a Job cannot be changed in place: --recreate" in " ".join(result.out.split())


def test_the_words_are_the_message(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web", hostPID=True))
    (found,) = rejected(namespace, harden, 1)
    said = ", ".join(f"{v['reason']} ({v['detail']})" for v in found["violations"])  # type: ignore[attr-defined]
    assert str(found["message"]).endswith(f'violates PodSecurity "restricted:latest": {said}')


def test_two_replica_sets_of_one_deployment_are_one(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web", replicas=2))
    rejected(namespace, harden, 1)
    namespace.patch("Deployment", "web", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})
    namespace.eventually(lambda: len(namespace.get("ReplicaSet")["items"]) == 2)
    time.sleep(1)
    assert len(harden("rejected", "-o", "json").json["rejections"]) == 1


def test_mended_since(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db"))
    rejected(namespace, harden, 1)
    # The controller waits longer after each refusal; its message outlives its cause.
    namespace.label(enforce="baseline")
    result = harden("rejected")
    if "db" in result.out:
        assert "has been fixed since" in result.out
        assert result.code == 0
    namespace.eventually(lambda: harden("rejected").err.startswith("nothing is being rejected"))


def test_others_who_refuse_are_named(namespace: Namespace, harden: Harden) -> None:
    namespace.label(enforce="privileged")
    namespace.create({"kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": {"pods": "0"}}})
    namespace.eventually(lambda: namespace.get("ResourceQuota", "tight").get("status", {}).get("hard"))
    namespace.create(workload("Deployment", "web"))
    (found,) = rejected(namespace, harden, 1)
    assert found["rejectedBy"] == "the ResourceQuota tight"
    shown = harden("rejected")
    assert "refused by the ResourceQuota tight, not by Pod Security admission" in shown.out
    assert shown.code == 1


def test_who_refuses_now_and_not_who_did_first(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("ReplicaSet", "web"))
    rejected(namespace, harden, 1)
    namespace.create({"kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": {"pods": "0"}}})
    namespace.eventually(lambda: namespace.get("ResourceQuota", "tight").get("status", {}).get("hard"))
    namespace.label(enforce="privileged")
    # A controller tries again at once when its object changes; event times count in seconds.
    time.sleep(1.1)
    namespace.patch("ReplicaSet", "web", {"spec": {"minReadySeconds": 1}})
    found = namespace.eventually(
        lambda: [r for r in harden("rejected", "-o", "json").json["rejections"] if "quota" in r["message"]]
    )
    assert found[0]["rejectedBy"] == "the ResourceQuota tight"
    (condition,) = namespace.get("ReplicaSet", "web")["status"]["conditions"]
    assert "violates PodSecurity" in condition["message"]


def test_a_validating_admission_policy_is_named(namespace: Namespace, harden: Harden) -> None:
    namespace.label(enforce="privileged")
    name = f"no-pods-{namespace.name}"
    base = "/apis/admissionregistration.k8s.io/v1/"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    plane = namespace.plane
    policy = {
        "validations": [{"expression": "false", "message": "no pods here"}],
        "matchConstraints": {"resourceRules": [rule]},
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selector}}
    plane.request("POST", f"{base}validatingadmissionpolicies", {"metadata": {"name": name}, "spec": policy})
    plane.request("POST", f"{base}validatingadmissionpolicybindings", {"metadata": {"name": name}, "spec": binding})
    try:
        trial = {"metadata": {"generateName": "x-"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}

        def refuses() -> bool:
            try:
                plane.request("POST", f"{namespace.path('Pod')}?dryRun=All", trial)
            except ApiError as error:
                return "ValidatingAdmissionPolicy" in str(error)
            return False

        namespace.eventually(refuses)
        namespace.create(workload("Deployment", "web"))
        (found,) = rejected(namespace, harden, 1)
        assert found["rejectedBy"] == f"the ValidatingAdmissionPolicy {name}"
        # It speaks before a patch, too.
        namespace.label(enforce="restricted")
        applied = harden("fix", "deploy/web", "--apply", "--yes")
        assert applied.code == 4
        assert "no pods here" in applied.err
    finally:
        plane.request("DELETE", f"{base}validatingadmissionpolicybindings/{name}")
        plane.request("DELETE", f"{base}validatingadmissionpolicies/{name}")


def test_pasted_text_of_the_real_server(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("ReplicaSet", "web"))
    with pytest.raises(ApiError) as refused:
        namespace.create(workload("Pod", "solo"))
    events = namespace.eventually(lambda: [e for e in namespace.get("Event")["items"] if e["reason"] == "FailedCreate"])
    for text, subject in (
        (f"Error from server (Forbidden): {refused.value}", "pod solo"),
        (json.dumps(events[0]), None),
        (f"Warning  FailedCreate  1s  replicaset-controller  {events[0]['message']}", None),
    ):
        result = harden("rejected", "-", "-o", "json", stdin=text)
        assert result.code == 1
        (message,) = result.json["messages"]
        assert [violation["check"] for violation in message["violations"]] == [
            "allowPrivilegeEscalation", "capabilities_restricted", "runAsNonRoot", "seccompProfile_restricted"
        ]  # fmt: skip
        assert message["policy"] == "restricted:latest"
        if subject:
            assert message["subject"] == subject
    shown = harden("rejected", "-", stdin=str(refused.value)).out
    assert "→ set securityContext.allowPrivilegeEscalation: false in each container named" in " ".join(shown.split())
    none = harden("rejected", "-", stdin="all is well")
    assert (none.code, none.err) == (0, "this text has no known rejection message\n")

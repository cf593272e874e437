"""Who is refused is a pod: what makes it, what admission makes of it, and what is to do where no edit helps.

By the command line alone this tests ``live/made_pods.py``, ``live/refused_pods.py``, too.
"""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_custom_resources import PRESERVED, create
from tests.live.test_people import Person
from tests.support.admission import admission_configuration
from tests.support.control_plane import ApiError, ControlPlane, Namespace
from tests.support.fleet import safe
from tests.support.harden import Harden, pod_spec, workload
from tests.support.mutating import COMPLETES, injects, mutating

pytestmark = pytest.mark.pod_security(enforce="restricted")


def rejections(harden: Harden, *options: str) -> list[Any]:
    found: list[Any] = harden("rejected", "-o", "json", *options).json["rejections"]
    return found


def only(namespace: Namespace, harden: Harden, **has: Any) -> Any:
    """Return the one rejection, once it is there and has these values."""
    (found,) = namespace.eventually(
        lambda: [r for r in rejections(harden) if all(r[key] == value for key, value in has.items())]
    )
    return found


def run(harden: Harden, namespace: Namespace, command: str) -> None:
    """Do what a printed command of kubectl does, which the API server of the tests is told itself."""
    words = shlex.split(command)
    assert words[0] == "kubectl" and words[words.index("-n") + 1] == namespace.name
    if words[1] == "delete":
        for name in words[3 : words.index("-n")]:
            path = f"{namespace.path('Job', name)}?propagationPolicy=Background"
            namespace.plane.request("DELETE", path)
    else:
        assert words[1:3] == ["rollout", "resume"]
        namespace.patch("Deployment", words[3].partition("/")[2], {"spec": {"paused": None}})


def command_in(found: Any, begin: str) -> str:
    """Return the command that an advice ends with."""
    (words,) = [words for words in found["advice"] if begin in words]
    return begin + words.partition(begin)[2]


# -- containers that nobody wrote --------------------------------------------------------------------------


def test_an_injected_container_is_refused_and_named(namespace: Namespace, harden: Harden) -> None:
    with mutating(namespace, injects("mesh-init"), "mesh-init") as policy:
        namespace.create(safe(workload("Deployment", "good", replicas=2)))
        found = only(namespace, harden)
        assert found["admittedNow"] is False and found["stale"] is False
        assert found["injected"] == {"containers": ["mesh-init"], "by": [f"MutatingAdmissionPolicy {policy}"]}
        assert found["plans"] == []
        shown = harden("rejected")
        words = " ".join(shown.out.split())
        assert shown.code == 1
        assert "fixed since" not in words and "to make this change" not in words
        assert f'container "mesh-init" is injected by MutatingAdmissionPolicy {policy}' in words
        assert "allowPrivilegeEscalation != false" in words


def test_no_workload_is_called_well_whose_pods_are_refused(namespace: Namespace, harden: Harden) -> None:
    with mutating(namespace, injects("mesh-init"), "mesh-init"):
        namespace.create(safe(workload("Deployment", "good", replicas=2)))
        only(namespace, harden, admittedNow=False)
        shown = harden("fix", "deploy/good")
        words = " ".join((shown.out + shown.err).split())
        assert shown.code == 1
        assert "nothing to do" not in words
        assert "it lacks pods, and its pods would be refused" in words
        assert "1 with pods below it, regardless of their templates" in words
        result = harden("fix", "deploy/good", "-o", "json")
        assert result.code == 1
        assert "allowPrivilegeEscalation" in result.json["workloads"][0]["podsRefused"]


def test_a_template_at_fault_and_an_injected_container_are_both_told(namespace: Namespace, harden: Harden) -> None:
    with mutating(namespace, injects("istio-init"), "istio-init"):
        namespace.create(workload("Deployment", "web"))
        found = only(namespace, harden)
        assert found["injected"]["containers"] == ["istio-init"]
        assert found["plans"][0]["after"] == "restricted"
        assert any("CNI" in words for words in found["advice"])


def test_a_pod_that_admission_completes_is_admitted_now(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db"))
    only(namespace, harden, admittedNow=False)
    with mutating(namespace, COMPLETES, "'runAsUser': 1000"):
        # The template is as it was: only a dry-run of the pod can tell.
        result = harden("rejected")
        assert result.code == 0
        if "db" in result.out:  # The controller tries again by itself.
            assert "has been fixed since: the API server admits it now" in " ".join(result.out.split())
        namespace.eventually(lambda: namespace.pods())


# -- what keeps another template -----------------------------------------------------------------------------


def a_job_of(namespace: Namespace, cron: dict[str, Any], name: str) -> None:
    reference = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "backup", "uid": cron["metadata"]["uid"]}
    job = workload("Job", name)
    job["metadata"]["ownerReferences"] = [{**reference, "controller": True}]
    namespace.create(job)


@pytest.mark.parametrize(
    ("concurrency", "says"),
    [("Forbid", "no other starts before it is gone"), ("Allow", "the next run makes a new one")],
)
def test_the_job_of_a_cron_job_that_has_been_fixed(
    namespace: Namespace, harden: Harden, concurrency: str, says: str
) -> None:
    value = workload("CronJob", "backup")
    value["spec"] |= {"concurrencyPolicy": concurrency, "suspend": True}
    cron = namespace.create(value)
    a_job_of(namespace, cron, "backup-1")
    found = only(namespace, harden, kind="CronJob")
    assert "when the template is fixed: Job backup-1 keeps" in found["advice"][0]
    assert found["plans"][0]["edits"]
    template = {"template": {"spec": safe(workload("Pod", "p"))["spec"] | {"restartPolicy": "Never"}}}
    namespace.patch("CronJob", "backup", {"spec": {"jobTemplate": {"spec": template}}})
    found = only(namespace, harden, kind="CronJob")
    assert found["stale"] is False and found["plans"] == []
    (told,) = found["advice"]
    assert "has been fixed since" in told and says in told
    shown = harden("rejected")
    assert shown.code == 1 and f"kubectl delete job backup-1 -n {namespace.name}" in " ".join(shown.out.split())
    run(harden, namespace, command_in(found, "kubectl delete job"))
    namespace.eventually(lambda: harden("rejected").code == 0)


def test_many_jobs_of_one_cron_job_are_deleted_by_one_command(namespace: Namespace, harden: Harden) -> None:
    cron = namespace.create({**workload("CronJob", "backup")})
    for number in range(3):
        a_job_of(namespace, cron, f"backup-{number}")
    found = namespace.eventually(
        lambda: [r for r in rejections(harden) if r["kind"] == "CronJob" and r["missingPods"] == 3]
    )
    (words,) = found[0]["advice"]
    assert sorted(shlex.split(command_in(found[0], "kubectl delete job"))[3:6]) == [f"backup-{n}" for n in range(3)]
    assert "3 Jobs keep" in words


def test_a_paused_deployment_that_has_been_fixed(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    only(namespace, harden)
    namespace.patch("Deployment", "web", {"spec": {"paused": True}})
    found = only(namespace, harden)
    assert "when the template is fixed, resume it" in found["advice"][0]
    namespace.patch("Deployment", "web", {"spec": {"template": {"spec": safe(workload("Pod", "p"))["spec"]}}})
    found = only(namespace, harden)
    assert found["stale"] is False and found["plans"] == []
    assert "has been fixed since, but Deployment" in found["advice"][0]
    assert harden("rejected").code == 1
    run(harden, namespace, command_in(found, "kubectl rollout resume"))
    namespace.eventually(lambda: namespace.ready_pods())
    assert harden("rejected").code == 0


def test_a_partition_keeps_the_older_revision(namespace: Namespace, harden: Harden) -> None:
    namespace.label(enforce="privileged")
    value = workload("StatefulSet", "db", replicas=2)
    value["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    namespace.create(value)
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    template = {"template": {"spec": safe(workload("Pod", "p"))["spec"]}}
    namespace.patch("StatefulSet", "db", {"spec": template})
    namespace.eventually(lambda: namespace.get("StatefulSet", "db")["status"].get("updatedReplicas") == 1)
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    namespace.label(enforce="restricted")
    namespace.delete("Pod", "db-0")
    found = only(namespace, harden)
    assert found["admittedNow"] is False and found["plans"] == []
    (told,) = found["advice"]
    assert "the template has been fixed since, but the partition" in told
    assert "kubectl patch statefulset db" in told
    assert harden("rejected").code == 1


# -- objects without a template of their own --------------------------------------------------------------


CONFIGURATION = admission_configuration('exemptions: {usernames: [exempt, "system:serviceaccount:robots:robot"]}')

CUSTOM = (
    ("argoproj.io", "Rollout", "rollouts"),
    ("argoproj.io", "Workflow", "workflows"),
    ("apps.kruise.io", "CloneSet", "clonesets"),
    ("ray.io", "RayCluster", "rayclusters"),
    ("tekton.dev", "TaskRun", "taskruns"),
)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of these tests' own: it has custom kinds, which other tests do not expect, and exempts people."""
    directory = tmp_path_factory.mktemp("apart")
    (directory / "admission.yaml").write_text(CONFIGURATION)
    flag = f"--admission-control-config-file={directory / 'admission.yaml'}"
    running = ControlPlane(directory / "plane", flags=(flag,))
    for group, kind, plural in CUSTOM:
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": PRESERVED, "status": PRESERVED}}}
        version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
        names = {"kind": kind, "plural": plural, "singular": kind.lower()}
        spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
        body = {"metadata": {"name": f"{plural}.{group}"}, "spec": spec}
        running.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    yield running
    running.stop()


@pytest.fixture
def apart(plane: ControlPlane, tmp_path: Path) -> tuple[Namespace, Harden]:
    """A namespace of that control plane, and the command in it."""
    namespace = Namespace(plane, f"t-{uuid.uuid4().hex[:10]}", {"enforce": "restricted"})
    (tmp_path / "apart").mkdir()
    return namespace, Harden(namespace, tmp_path / "apart")


def made(namespace: Namespace, kind: str, name: str, spec: Any, **status: Any) -> Any:
    group, _, plural = next(entry for entry in CUSTOM if entry[1] == kind)
    value = {"apiVersion": f"{group}/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return create(namespace, group, plural, {**value, **({"status": status} if status else {})})


def owned(value: dict[str, Any], owner: dict[str, Any]) -> dict[str, Any]:
    metadata = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"]}
    value["metadata"]["ownerReferences"] = [{**reference, "uid": metadata["uid"], "controller": True}]
    return value


def test_a_rollout_takes_its_template_from_a_deployment(apart: tuple[Namespace, Harden]) -> None:
    namespace, harden = apart
    namespace.create(workload("Deployment", "shop", replicas=0))
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    owner = made(namespace, "Rollout", "shop", {"replicas": 2, "workloadRef": reference})
    namespace.create(owned(workload("ReplicaSet", "shop-1", replicas=2), owner))
    found = only(namespace, harden)
    assert (found["kind"], found["name"], found["missingPods"]) == ("Deployment", "shop", 2)
    assert harden("rejected").code == 1
    assert found["plans"][0]["after"] == "restricted"
    for target in ("rollout.argoproj.io/shop", "rs/shop-1"):
        (checked,) = harden("check", target, "-o", "json").json["workloads"]
        assert (checked["kind"], checked["name"]) == ("Deployment", "shop")
    namespace.patch("Deployment", "shop", {"spec": {"template": {"spec": safe(workload("Pod", "p"))["spec"]}}})
    # The Rollout makes a new ReplicaSet of it.
    assert only(namespace, harden)["stale"] is True


def test_a_replica_set_whose_owner_has_no_template(apart: tuple[Namespace, Harden]) -> None:
    namespace, harden = apart
    owner = made(namespace, "Rollout", "shop", {"replicas": 2})
    namespace.create(owned(workload("ReplicaSet", "shop-1"), owner))
    found = only(namespace, harden)
    assert (found["kind"], found["name"], found["stale"]) == ("ReplicaSet", "shop-1", False)
    shown = harden("rejected")
    assert shown.code == 1 and "made by Rollout shop" in shown.out


def tell(namespace: Namespace, value: dict[str, Any], reason: str, message: str) -> None:
    """Write the event that a controller writes which these tests do not have."""
    metadata, now = value["metadata"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    about = {"apiVersion": value["apiVersion"], "kind": value["kind"], "namespace": namespace.name}
    namespace.create(
        {
            "kind": "Event",
            "metadata": {"generateName": "told-"},
            "involvedObject": {**about, "name": metadata["name"], "uid": metadata["uid"]},
            "type": "Warning",
            "reason": reason,
            "message": message[:1024],
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
    )


def refusal(namespace: Namespace, name: str, spec: dict[str, Any]) -> str:
    """Return the API server's words for a pod."""
    with pytest.raises(ApiError) as refused:
        namespace.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    return str(refused.value).partition(": ")[2]


FOUR = ["allowPrivilegeEscalation", "capabilities_restricted", "runAsNonRoot", "seccompProfile_restricted"]


def test_kinds_with_event_reasons_of_their_own(apart: tuple[Namespace, Harden]) -> None:
    namespace, harden = apart
    labels = {"app": "shop"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec()}
    words = refusal(namespace, "shop-x", pod_spec())
    cloned = made(namespace, "CloneSet", "shop", {"replicas": 2, "template": template})
    tell(namespace, cloned, "FailedCreate", f'failed to create pod: {words}, pod: {{"metadata":{{"a":"(b)"}}}}')
    task = made(namespace, "TaskRun", "build", {"taskSpec": {}})
    tell(namespace, task, "Failed", f'failed to create task run pod "build": {words}. Maybe invalid TaskSpec')
    flow_spec = {"templates": [{"name": "main", "container": {"image": "example.com/app:1"}}]}
    flow = made(namespace, "Workflow", "nightly", flow_spec, phase="Error")
    tell(namespace, flow, "WorkflowFailed", f"error in entry template execution: {words}")
    ray = made(namespace, "RayCluster", "ray", {"headGroupSpec": {"template": template}})
    tell(namespace, ray, "FailedToCreateHeadPod", f"Failed to create head Pod {namespace.name}/ray, {words}")
    report = {item["kind"]: item for item in rejections(harden)}
    assert report.keys() == {"CloneSet", "TaskRun", "Workflow", "RayCluster"}
    for item in report.values():
        assert item["rejectedBy"] == "Pod Security admission" and item["stale"] is False
        assert [violation["check"] for violation in item["violations"]] == FOUR
    admitted = {kind: item["admittedNow"] for kind, item in report.items()}
    assert admitted == {"CloneSet": False, "RayCluster": False, "TaskRun": None, "Workflow": None}
    assert report["CloneSet"]["plans"][0]["after"] == report["RayCluster"]["plans"][0]["after"] == "restricted"
    assert any("its run has ended (Error)" in words for words in report["Workflow"]["advice"])
    shown = harden("rejected")
    text = " ".join(shown.out.split())
    assert shown.code == 1
    assert "where a TaskRun has the template of its pods is not known" in text
    assert "→ set securityContext.allowPrivilegeEscalation: false in each container named" in text
    # The same events when they are pasted, as a table, described, and as YAML.
    events = [event for event in namespace.get("Event")["items"] if event["metadata"]["name"].startswith("told-")]
    assert len(events) == 4
    for event in events:
        about = f"{event['involvedObject']['kind'].lower()}/{event['involvedObject']['name']}"
        for pasted in (
            f"3s   Warning   {event['reason']}   {about}   {event['message']}\n4s  Normal  Fine  pod/x  all (is) well",
            f"  Warning  {event['reason']}  3s  a-controller  {event['message']}",
        ):
            done = harden("rejected", "-", "-o", "json", stdin=pasted)
            (message,) = done.json["messages"]
            assert [violation["check"] for violation in message["violations"]] == FOUR, pasted
            assert (done.code, message["truncated"]) == (1, False)
            assert "what this version does not know" not in harden("rejected", "-", stdin=pasted).out


def test_mended_is_said_after_a_dry_run_and_never_without(apart: tuple[Namespace, Harden]) -> None:
    """No controller of this kind runs here, so that what it has said stays."""
    namespace, harden = apart
    words = refusal(namespace, "shop-x", pod_spec())
    template = {"metadata": {"labels": {"app": "shop"}}, "spec": safe(workload("Pod", "p"))["spec"]}
    fixed = made(namespace, "CloneSet", "shop", {"replicas": 2, "template": template})
    tell(namespace, fixed, "FailedCreate", f"failed to create pod: {words}")
    found = only(namespace, harden)
    assert (found["admittedNow"], found["stale"], found["violations"], found["advice"]) == (True, True, [], [])
    result = harden("rejected")
    assert result.code == 0
    told = (
        "was refused by Pod Security admission, and has been fixed since: the API server admits it now (by a dry-run)"
    )
    assert told in " ".join(result.out.split())
    anna = Person(namespace, harden).may(
        ("core", "events pods", "list"), ("apps.kruise.io", "clonesets", "get"), ("core", "namespaces", "get")
    )
    code, out, _ = anna("rejected")
    assert code == 1 and "fixed since" not in out
    assert "whether it would be admitted now is not known: you may not create pods" in " ".join(out.split())
    assert "its template meets restricted:latest now" in out
    # Somebody else refuses it now: its own words count.
    quota = {"kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": {"pods": "0"}}}
    namespace.create(quota)
    namespace.eventually(lambda: namespace.get("ResourceQuota", "tight").get("status", {}).get("hard"))
    found = only(namespace, harden, admittedNow=False)
    assert found["rejectedBy"] == "the ResourceQuota tight"
    assert harden("rejected").code == 1


def test_a_run_that_has_succeeded_since_and_other_warnings_are_nothing(apart: tuple[Namespace, Harden]) -> None:
    namespace, harden = apart
    words = refusal(namespace, "x", pod_spec())
    flow = made(namespace, "Workflow", "nightly", {"templates": []}, phase="Succeeded")
    tell(namespace, flow, "WorkflowFailed", words)
    other = made(namespace, "TaskRun", "other", {})
    tell(namespace, other, "Failed", 'admission webhook "a.b" denied the request: the Ingress has no host')
    tell(namespace, other, "Failed", words.replace("is forbidden: violates", "would violate"))
    result = harden("rejected")
    assert (result.code, result.out) == (0, "")


def test_a_cron_job_that_may_make_no_job_is_not_said_to_be_mended(namespace: Namespace, harden: Harden) -> None:
    cron = namespace.create(workload("CronJob", "backup"))
    cron = {"apiVersion": "batch/v1", "kind": "CronJob", **cron}
    tell(
        namespace, cron, "FailedCreate", 'Error creating job: jobs.batch "x" is forbidden: exceeded quota: tight, used'
    )
    found = only(namespace, harden)
    assert (found["admittedNow"], found["stale"]) == (None, False)
    assert "what is refused is the Job" in found["notKnown"]
    assert harden("rejected").code == 1


# -- who asks ------------------------------------------------------------------------------------------------


def test_who_may_not_create_pods_is_not_told_that_it_is_mended(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db"))
    only(namespace, harden)
    namespace.patch("StatefulSet", "db", {"spec": {"template": {"spec": safe(workload("Pod", "p"))["spec"]}}})
    namespace.plane.request("PATCH", f"/api/v1/namespaces/{namespace.name}", {}, kind="application/merge-patch+json")
    anna = Person(namespace, harden).holds("view")
    code, out, _ = anna("rejected")
    words = " ".join(out.split())
    if "db" in words:  # The controller tries again by itself.
        assert code == 1
        assert "whether it would be admitted now is not known: you may not create pods" in words
        assert "fixed since" not in words


def test_who_is_exempt_asks_in_the_controllers_name(apart: tuple[Namespace, Harden]) -> None:
    namespace, harden = apart
    namespace.create(workload("Deployment", "web"), workload("ReplicaSet", "bare"))
    namespace.eventually(lambda: len(rejections(harden)) == 2)
    exempt = Person(namespace, harden)
    exempt.name = "exempt"
    exempt.holds("admin")
    # The API server admits the pod from whoever asks, and refuses it from the controller.
    code, out, _ = exempt("rejected", "-o", "json")
    assert [(item["admittedNow"], item["stale"]) for item in json.loads(out)["rejections"]] == [(False, False)] * 2
    assert code == 1


def test_who_is_exempt_and_may_not_ask_otherwise_is_told_that_it_is_not_known(
    apart: tuple[Namespace, Harden],
) -> None:
    namespace, harden = apart
    namespace.create(workload("ReplicaSet", "bare"))
    only(namespace, harden)
    plane = namespace.plane
    robots = Namespace(plane, "robots", {})
    robots.create({"kind": "ServiceAccount", "metadata": {"name": "robot"}})
    namespace.create(
        {
            "kind": "RoleBinding",
            "metadata": {"name": "robot"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": robots.name}],
        }
    )
    token = plane.request("POST", robots.path("ServiceAccount", "robot/token"), {"spec": {}})["status"]["token"]
    harden.use(plane.configuration(token))
    found = namespace.eventually(lambda: rejections(harden))
    assert [(item["admittedNow"], item["stale"]) for item in found] == [(None, False)]
    assert "you are exempt" in found[0]["notKnown"]
    assert harden("rejected").code == 1


def test_names_of_containers() -> None:
    from kubectl_harden.live.refused_pods import named_containers

    for detail, names in (
        ('container "a" must set securityContext.allowPrivilegeEscalation=false', ["a"]),
        ('containers "a", "b" must set securityContext.capabilities.drop=["ALL"]', ["a", "b"]),
        ('pod or containers "a", "b" must set securityContext.runAsNonRoot=true', ["a", "b"]),
        ("pod must not set securityContext.runAsUser=0", []),
        ('pod and container "c" must not set runAsUser=0', ["c"]),
        ('container "mesh" must not include "NET_ADMIN" in securityContext.capabilities.add', ["mesh"]),
    ):
        assert named_containers(detail) == names

"""``check`` on live workloads: targets, tracing, levels of namespaces, words."""

from __future__ import annotations

import pytest

from tests.support.control_plane import Namespace
from tests.support.fleet import safe
from tests.support.harden import SAFE, SAFE_CONTAINER, Harden, workload

KINDS = (
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
    "Pod",
    "PodTemplate",
)


def names(report: object) -> list[str]:
    return sorted(f"{item['kind']}/{item['name']}" for item in report["workloads"])  # type: ignore[index]


def test_all_workloads_of_a_namespace_each_once(namespace: Namespace, harden: Harden) -> None:
    namespace.create(*(workload(kind, f"w-{kind.lower()}") for kind in KINDS))
    namespace.eventually(lambda: len(namespace.pods()) >= 7)
    result = harden("check", "-n", namespace.name, "-o", "json", "--chunk-size", "1")
    assert names(result.json) == sorted(f"{kind}/w-{kind.lower()}" for kind in KINDS)
    assert result.code == 1
    assert result.json["summary"]["errors"] == 0
    source = next(item["source"] for item in result.json["workloads"] if item["kind"] == "CronJob")
    assert source.keys() == {"uid", "resourceVersion"}


@pytest.mark.parametrize(
    "words",
    [["deploy/web"], ["deploy", "web"], ["deployments.apps", "web"], ["Deployment/web"], ["deployments.v1.apps/web"]],
)
def test_names_as_kubectl_takes_them(namespace: Namespace, harden: Harden, words: list[str]) -> None:
    namespace.create(workload("Deployment", "web"))
    assert names(harden("check", *words, "-o", "json").json) == ["Deployment/web"]


def test_pods_are_traced_to_what_a_person_edits(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web", replicas=2), workload("StatefulSet", "db"))
    pods = namespace.eventually(lambda: (p := namespace.pods()) and len(p) == 3 and p)
    by_name = harden("check", *(f"pod/{pod['metadata']['name']}" for pod in pods), "-o", "json")
    itself = [f"Pod/{pod['metadata']['name']}" for pod in pods]
    assert names(by_name.json) == sorted(["Deployment/web", "StatefulSet/db", *itself])
    fixed = harden("fix", *(f"pod/{pod['metadata']['name']}" for pod in pods), "-o", "json")
    assert names(fixed.json) == ["Deployment/web", "StatefulSet/db"]
    assert names(harden("check", "po,rs", "-n", namespace.name, "-o", "json").json) == [
        "Deployment/web",
        "StatefulSet/db",
    ]


@pytest.mark.pod_security(enforce="privileged")
def test_a_pod_that_is_named_is_judged_itself(namespace: Namespace, harden: Harden) -> None:
    """A debug container counts in the pod, as it does for the API server, and no edit takes it away."""
    namespace.create(safe(workload("Deployment", "web")), safe(workload("Pod", "solo")))
    pods = namespace.eventually(lambda: len(p := namespace.ready_pods()) == 2 and p)
    debug = {"name": "debugger", "image": "example.com/tools:1", "securityContext": {"privileged": True}}
    for pod in pods:
        path = namespace.path("Pod", pod["metadata"]["name"]) + "/ephemeralcontainers"
        patch = {"spec": {"ephemeralContainers": [debug]}}
        namespace.plane.request("PATCH", path, patch, kind="application/strategic-merge-patch+json")
    owned = next(p["metadata"]["name"] for p in pods if p["metadata"]["name"] != "solo")
    result = harden("check", f"pod/{owned}", "-o", "json", "--level", "restricted")
    found = {item["kind"]: item for item in result.json["workloads"]}
    assert result.code == 1
    assert found["Deployment"]["allowed"] is True
    assert found["Pod"]["violations"][0]["paths"] == ["/spec/ephemeralContainers/0/securityContext/privileged"]
    assert found["Pod"]["advice"] == (
        "debug container debugger can neither be changed nor removed: delete the pod with kubectl delete pod "
        f"{owned} -n {namespace.name}, and its ReplicaSet makes a new one without it"
    )
    shown = " ".join(harden("check", "pod/solo", "--level", "restricted").out.split())
    assert f"kubectl delete pod solo -n {namespace.name}, and create it again" in shown
    fixed = harden("fix", "pod/solo", "--level", "restricted")
    assert "a debug container can be neither changed nor removed: --recreate" in " ".join(fixed.err.split())
    done = harden("fix", "pod/solo", "--level", "restricted", "--recreate", "--apply", "--yes")
    assert done.code == 0, done
    assert "ephemeralContainers" not in namespace.get("Pod", "solo")["spec"]


@pytest.mark.pod_security(enforce="privileged")
def test_a_pod_that_has_run_to_its_end_is_deleted(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Pod", "once"))
    namespace.eventually(lambda: namespace.ready_pods())
    path = namespace.path("Pod", "once") + "/status"
    patch = {"status": {"phase": "Succeeded"}}
    namespace.plane.request("PATCH", path, patch, kind="application/merge-patch+json")
    namespace.eventually(lambda: namespace.get("Pod", "once")["status"]["phase"] == "Succeeded")
    command = f"delete it: kubectl delete pod once -n {namespace.name}"
    assert command in " ".join(harden("check", "pod/once", "--level", "restricted").out.split())
    assert command in " ".join(harden("fix", "pod/once", "--level", "restricted").err.split())


def test_jobs_of_a_cronjob_are_traced(namespace: Namespace, harden: Harden) -> None:
    cron = namespace.create(workload("CronJob", "report"))
    job = workload("Job", "report-1")
    job["metadata"]["ownerReferences"] = [
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": "report",
            "uid": cron["metadata"]["uid"],
            "controller": True,
        }
    ]
    namespace.create(job)
    assert names(harden("check", "job/report-1", "-o", "json").json) == ["CronJob/report"]
    assert names(harden("check", "-n", namespace.name, "-o", "json").json) == ["CronJob/report"]


def test_what_an_operator_owns_is_named_with_its_owner(namespace: Namespace, harden: Harden) -> None:
    owned = workload("StatefulSet", "prometheus")
    owned["metadata"]["ownerReferences"] = [
        {
            "apiVersion": "monitoring.example.com/v1",
            "kind": "Prometheus",
            "name": "main",
            "uid": "u",
            "controller": True,
        }
    ]
    # The garbage collector removes what names an owner that the server does not know; hold it off.
    owned["metadata"]["finalizers"] = ["example.com/hold"]
    namespace.create(owned)
    result = harden("check", "sts/prometheus")
    assert "made by Prometheus main (monitoring.example.com/v1)" in result.out
    fixed = harden("fix", "sts/prometheus")
    assert "cannot" in fixed.err
    assert "made by Prometheus main" in fixed.err
    namespace.patch("StatefulSet", "prometheus", {"metadata": {"finalizers": None}})


def test_selector_and_types(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"), workload("Deployment", "api"), workload("StatefulSet", "db"))
    assert names(harden("check", "-l", "app in (web,db)", "-o", "json").json) == ["Deployment/web", "StatefulSet/db"]
    assert names(harden("check", "deploy", "-o", "json").json) == ["Deployment/api", "Deployment/web"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, "restricted:latest"),
        ({"enforce": "privileged"}, "restricted:latest"),
        ({"enforce": "baseline"}, "baseline:latest"),
        ({"enforce": "baseline", "enforce-version": "v1.30"}, "baseline:v1.30"),
        ({"enforce": "privileged", "warn": "baseline", "warn-version": "v1.28"}, "baseline:v1.28"),
        ({"audit": "baseline"}, "baseline:latest"),
        ({"enforce": "baseline", "enforce-version": "v1.99"}, "baseline:v1.99"),
    ],
)  # fmt: skip
def test_the_level_is_the_namespaces(
    namespace: Namespace, harden: Harden, labels: dict[str, str], expected: str
) -> None:
    namespace.create(workload("Deployment", "web", hostPID=True))
    namespace.label(**{key.replace("-", "_"): value for key, value in labels.items()})
    assert f", not {expected}" in harden("check", "deploy/web").out


def test_the_words_are_the_api_servers(namespace: Namespace, harden: Harden) -> None:
    namespace.create(
        workload("Deployment", "web", hostNetwork=True, volumes=[{"name": "h", "hostPath": {"path": "/"}}])
    )
    namespace.label(enforce="restricted")
    told = namespace.plane.request("GET", namespace.path("Deployment", "web"))
    trial = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "x-"},
        "spec": told["spec"]["template"]["spec"],
    }
    with pytest.raises(Exception, match="violates PodSecurity") as refused:
        namespace.plane.request("POST", namespace.path("Pod") + "?dryRun=All", trial)
    words = str(refused.value).partition("violates ")[2]
    shown = " ".join(harden("check", "deploy/web", "-o", "wide").out.split())
    # A Pod's own hostPorts are filled in by its defaulting; this template has no ports.
    assert words in shown


def test_meeting_the_level_is_0(namespace: Namespace, harden: Harden) -> None:
    good = workload("Deployment", "web", **SAFE)
    good["spec"]["template"]["spec"]["containers"][0]["securityContext"] = SAFE_CONTAINER
    namespace.create(good)
    result = harden("check", "deploy/web")
    assert (result.code, result.out) == (0, "")
    assert "all meet restricted:latest" in result.err


def test_mistakes(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    for arguments, code, words in (
        (("check", "deploy/nope", "deploy/web"), 4, 'deployments.apps "nope" not found'),
        (("check", "gizmo/web"), 2, 'no resource type "gizmo"'),
        (("check", "svc"), 2, "services have no known pod templates"),
        (("check", "deploy/web", "sts"), 2, "TYPE/NAME for every target"),
        (("check", "deploy/web", "-l", "a=b"), 2, "not both"),
        (("check", "deploy/web", "-A"), 2, "use -n instead of -A"),
        (("check",), 2, "specify manifests with"),
        (("check", "deploy/web", "--context", "nope"), 4, 'no context "nope"; it has: tests'),
        (("check", "deploy/web", "--request-timeout", "soon"), 2, "write a time such as 30s"),
        (("check", "deploy/web", "--as-group", "x"), 2, "--as-group needs --as"),
        (("fix", "deploy/web", "--apply"), 2, "use --yes"),
        (("fix", "deploy/web", "--write"), 2, "--write edits files"),
    ):
        result = harden(*arguments)
        assert result.code == code, (arguments, result)
        assert words in result.err, (arguments, result)
    assert "Deployment" in harden("check", "deploy/nope", "deploy/web").out


def test_the_calls_of_the_api_server_are_shown_as_kubectl_shows_them(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    result = harden("check", "deploy/web", "-v=6")
    path = f"/apis/apps/v1/namespaces/{namespace.name}/deployments/web"
    assert f"{path} 200 OK in " in result.err
    assert '"kind"' not in result.err
    told = harden("-v", "8", "check", "deploy/web", "-o", "name")
    assert '"kind":"Deployment"' in told.err and "more characters]" in told.err
    assert namespace.plane.token not in told.err
    assert told.out == "deployment.apps/web\n"

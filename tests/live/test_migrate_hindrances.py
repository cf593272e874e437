"""Old pods that no patch replaces: told by the survey, nothing is patched, and the printed commands lead on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.live.test_custom_resources import create, rollout
from tests.live.test_custom_resources import kinds as kinds
from tests.live.test_migrate import APPLY, pinned, report
from tests.support.control_plane import ApiError, ControlPlane, Namespace, executable, is_ready
from tests.support.fleet import Fleet, safe
from tests.support.harden import Harden, Result, workload

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "CronJob", "Job", "Pod")
WAITS = {"tests.kubectl-harden/jobs": "run"}
"""A label of the node that pods of Jobs wait for: else they run to their end at once."""


def changed(value: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**value, "spec": {**value["spec"], **spec}}


def partitioned(partition: int, value: dict[str, Any] | None = None) -> dict[str, Any]:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    return changed(value or workload("StatefulSet", "db", replicas=2), updateStrategy=strategy)


def on_delete(value: dict[str, Any]) -> dict[str, Any]:
    return changed(value, updateStrategy={"type": "OnDelete"})


def owned(value: dict[str, Any], owner: dict[str, Any]) -> dict[str, Any]:
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference.update({key: owner["metadata"][key] for key in ("name", "uid")}, controller=True)
    return {**value, "metadata": {**value["metadata"], "ownerReferences": [reference]}}


def a_running_job_of_a_cron_job(namespace: Namespace) -> None:
    made = namespace.create(workload("CronJob", "backup"))
    namespace.create(owned(workload("Job", "backup-1", nodeSelector=WAITS), made))


def a_custom_kind(namespace: Namespace) -> None:
    """Make a custom workload and its pod; no controller of it is there to make another."""
    made = create(namespace, "argoproj.io", "rollouts", rollout("web"))
    namespace.create(owned(workload("Pod", "web-1"), made))


class Case(NamedTuple):
    """What is in a namespace, how the survey counts what holds it back, and what it prints to be run.

    ``pods`` are the beginnings of the names of the pods that stay. When the pods run the workload is ``paused``, and
    then its template is changed to that of ``template``.
    """

    objects: tuple[dict[str, Any], ...]
    cause: str
    pods: tuple[str, ...]
    commands: tuple[str, ...]
    made: Callable[[Namespace], None] | None = None
    template: dict[str, Any] | None = None
    paused: bool = False


FIX = "kubectl harden fix {} -n NS --level restricted --apply"
PATCH = """kubectl patch statefulset/db -n NS --type=json -p '[{{"op":"replace","path":"{}","value":0}}]'""".format(
    "/spec/updateStrategy/rollingUpdate/partition"
)
DB = workload("StatefulSet", "db", replicas=2)
WEB = workload("Deployment", "web")
HELD: dict[str, Case] = {
    "partition": Case((partitioned(1), WEB), "partition", ("db-0",), (PATCH,)),
    "fixed-partition": Case((partitioned(2),), "partition", ("db-0", "db-1"), (PATCH,), template=safe(DB)),
    "sts-on-delete": Case(
        (on_delete(DB),),
        "OnDelete",
        ("db-0", "db-1"),
        (FIX.format("statefulset/db"), "kubectl delete pods db-0 db-1 -n NS"),
    ),
    "fixed-on-delete": Case(
        (on_delete(DB),), "OnDelete", ("db-0", "db-1"), ("kubectl delete pods db-0 db-1 -n NS",), template=safe(DB)
    ),
    "ds-on-delete": Case(
        (on_delete(workload("DaemonSet", "agent")),),
        "OnDelete",
        ("agent-",),
        (FIX.format("daemonset/agent"), "kubectl delete pods agent-"),
    ),
    "rs": Case(
        (workload("ReplicaSet", "bare"), WEB),
        "bare ReplicaSet",
        ("bare-",),
        (FIX.format("replicaset/bare"), "kubectl delete pods bare-"),
    ),
    "rc": Case(
        (workload("ReplicationController", "bare"),),
        "bare ReplicationController",
        ("bare-",),
        (FIX.format("replicationcontroller/bare"), "kubectl delete pods bare-"),
    ),
    "paused": Case(
        (workload("Deployment", "web", replicas=2),),
        "paused",
        ("web-", "web-"),
        ("kubectl rollout resume deployment/web -n NS",),
        paused=True,
    ),
    "fixed-paused": Case(
        (WEB,), "paused", ("web-",), ("kubectl rollout resume deployment/web -n NS",), template=safe(WEB), paused=True
    ),
    "cron": Case(
        (),
        "running Job",
        ("backup-1-",),
        (FIX.format("cronjob/backup"), "kubectl delete jobs backup-1 -n NS --ignore-not-found"),
        made=a_running_job_of_a_cron_job,
    ),
    "custom": Case(
        (),
        "custom controller",
        ("web-1",),
        (FIX.format("rollout.argoproj.io/web"), "kubectl delete pods web-1 -n NS --ignore-not-found"),
        made=a_custom_kind,
    ),
    "job": Case(
        (workload("Job", "once", nodeSelector=WAITS),),
        "cannot be patched in place",
        (),
        ("kubectl harden fix job/once -n NS --level restricted --recreate --apply",),
    ),
    "pod": Case(
        (workload("Pod", "shell"),),
        "cannot be patched in place",
        (),
        ("kubectl harden fix pod/shell -n NS --level restricted --recreate --apply",),
    ),
}
FREE: dict[str, Case] = {
    "safe-on-delete": Case((on_delete(safe(DB)),), "", (), (), template=DB),
    "above-partition": Case((partitioned(1, safe(DB)),), "", (), (), template=DB),
    "no-pods": Case((partitioned(1, workload("StatefulSet", "db", replicas=0)),), "", (), ()),
}


class Told(NamedTuple):
    """The namespaces in the reports of the survey, the first and the last ``migrate --apply``, and what was printed."""

    fleet: Fleet
    survey: dict[str, dict[str, Any]]
    text: Result
    first: dict[str, dict[str, Any]]
    last: dict[str, dict[str, Any]]
    before: dict[str, dict[str, int]]
    between: dict[str, dict[str, int]]
    labels: dict[str, dict[str, str]]
    runs: dict[str, list[tuple[str, Result]]]


def generations(namespace: Namespace) -> dict[str, int]:
    return {
        f"{kind}/{item['metadata']['name']}/{item['metadata']['uid']}": item["metadata"].get("generation", 0)
        for kind in KINDS
        for item in namespace.get(kind)["items"]
    }


def commands_of(item: dict[str, Any]) -> list[str]:
    return [command for blocker in item["blockers"] for command in blocker["commands"]]


def pods_of(namespace: Namespace, count: int) -> bool:
    """Whether so many pods are there, ready but for those of Jobs."""
    pods = [pod for pod in namespace.pods() if not pod["metadata"].get("deletionTimestamp")]
    kinds_of = [(pod["metadata"].get("ownerReferences") or [{"kind": ""}])[0]["kind"] for pod in pods]
    return len(pods) == count and all(kind == "Job" or is_ready(pod) for pod, kind in zip(pods, kinds_of, strict=True))


COUNTS = {"partition": 3, "fixed-partition": 2, "sts-on-delete": 2, "fixed-on-delete": 2, "rs": 2, "paused": 2,
          "safe-on-delete": 2, "above-partition": 2, "no-pods": 0}  # fmt: skip


def with_template(namespace: Namespace, value: dict[str, Any]) -> None:
    """Change the template of a workload, and wait until its controller has done what it does of itself."""
    kind, name = value["kind"], value["metadata"]["name"]
    patch = [{"op": "replace", "path": "/spec/template", "value": value["spec"]["template"]}]
    path = f"{namespace.path(kind, name)}?fieldManager=kubectl-patch"
    namespace.plane.request("PATCH", path, patch, kind="application/json-patch+json")

    def is_known() -> bool:
        found = namespace.get(kind, name)
        spec, status = found["spec"], found["status"]
        partition = (spec.get("updateStrategy") or {}).get("rollingUpdate", {}).get("partition")
        above = spec["replicas"] - partition if partition is not None else 0
        new = status.get("updatedReplicas", 0) >= above and status.get("readyReplicas") == spec["replicas"]
        return bool(status["observedGeneration"] == found["metadata"]["generation"] and new)

    namespace.eventually(is_known)


def run(harden: Harden, programs: Path, item: dict[str, Any]) -> list[tuple[str, Result]]:
    """Run the commands of a namespace as a person does, who says yes to what is asked."""
    environment = {**harden.environment, "PATH": f"{programs}:{os.environ['PATH']}"}
    out = []
    for command in commands_of(item):
        said = f"{command} --yes --timeout 60s" if command.startswith("kubectl harden") else command
        done = subprocess.run(said, shell=True, capture_output=True, text=True, env=environment, timeout=120)
        out.append((command, Result(done.returncode, done.stdout, done.stderr)))
    return out


def let_jobs_run(namespace: Namespace) -> None:
    """Have the node take the pods of Jobs as soon as the Job is another one."""
    old = namespace.get("Job", "once")["metadata"]["uid"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        jobs = namespace.get("Job")["items"]
        if jobs and all(job["metadata"]["uid"] != old for job in jobs):
            break
        time.sleep(0.2)
    patch = {"metadata": {"labels": WAITS}}
    namespace.plane.request("PATCH", "/api/v1/nodes/node-0", patch, kind="application/merge-patch+json")


@pytest.fixture(scope="module")
def told(control_plane: ControlPlane, kinds: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """All cases, each in a namespace of its own, taken through it together."""
    fleet = Fleet(control_plane)
    try:
        for word, case in {**HELD, **FREE}.items():
            namespace = fleet.add(word, *case.objects)
            if case.made is not None:
                case.made(namespace)
        directory = tmp_path_factory.mktemp("hindrances")
        harden = Harden(next(iter(fleet.namespaces.values())), directory)
        programs = directory / "bin"
        programs.mkdir()
        (programs / "kubectl").symlink_to(executable("kubectl"))
        (programs / "kubectl-harden").symlink_to(Path(sys.executable).with_name("kubectl-harden"))
        for word, namespace in fleet.namespaces.items():
            namespace.eventually(lambda namespace=namespace, word=word: pods_of(namespace, COUNTS.get(word, 1)))
        for word, case in {**HELD, **FREE}.items():
            if case.paused:
                fleet.namespaces[word].patch("Deployment", "web", {"spec": {"paused": True}})
            if case.template is not None:
                with_template(fleet.namespaces[word], case.template)
        text = harden("migrate", "-l", fleet.selector, "-o", "wide")
        survey = report(harden("migrate", "-l", fleet.selector, "-o", "json"))
        before = {word: generations(namespace) for word, namespace in fleet.namespaces.items()}
        first = report(harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY))
        between = {word: generations(namespace) for word, namespace in fleet.namespaces.items()}
        labels = {word: fleet.levels(word) for word in fleet.namespaces}
        with ThreadPoolExecutor(4) as pool:
            waiting = pool.submit(let_jobs_run, fleet.namespaces["job"])
            running = {word: pool.submit(run, harden, programs, survey[word]) for word in ("job", *HELD)}
            runs = {word: one.result() for word, one in running.items()}
            waiting.result()
        last = report(harden("migrate", "-l", fleet.selector, "-o", "json", *APPLY))
        yield Told(fleet, survey, text, first, last, before, between, labels, runs)
    finally:
        fleet.close()


@pytest.mark.parametrize("word", HELD)
def test_the_survey_says_which_pods_stay_why_and_the_commands(told: Told, word: str) -> None:
    case, item = HELD[word], told.survey[word]
    assert item["state"] == "blocked", item
    (blocker,) = [blocker for blocker in item["blockers"] if blocker["commands"]]
    assert blocker["cause"] == case.cause
    assert blocker["why"]
    said = blocker["what"].partition(":")[0]
    for name in case.pods:
        assert f" {name}" in said, said
    assert said.count(",") + 1 == max(len(case.pods), 1) + (1 if case.pods else 0), said
    name = told.fleet.namespaces[word].name
    wanted = [command.replace("NS", name) for command in case.commands]
    assert len(blocker["commands"]) == len(wanted)
    for command, begins in zip(blocker["commands"], wanted, strict=True):
        assert command.startswith(begins), command
        assert name in command
        assert f"        {command}\n" in told.text.out


@pytest.mark.parametrize("word", HELD)
def test_nothing_is_patched_where_the_level_cannot_follow(told: Told, word: str) -> None:
    assert told.first[word]["outcome"]["state"] == "blocked", told.first[word]["outcome"]
    assert told.first[word]["outcome"]["workloads"] == []
    assert told.between[word] == told.before[word]
    assert told.labels[word] == {"warn": "restricted", "audit": "restricted"}


@pytest.mark.parametrize("word", HELD)
def test_the_printed_commands_lead_to_the_level(told: Told, word: str) -> None:
    assert len(told.runs[word]) == len(HELD[word].commands)
    assert [(command, result) for command, result in told.runs[word] if result.code != 0] == []
    assert told.last[word]["outcome"]["state"] == "enforced", told.last[word]["outcome"]
    assert told.fleet.levels(word) == pinned("restricted")


@pytest.mark.parametrize("word", FREE)
def test_where_old_pods_meet_the_level_nothing_is_in_the_way(told: Told, word: str) -> None:
    assert told.survey[word]["state"] == "fixable", told.survey[word]["blockers"]
    assert told.survey[word]["blockers"] == []
    assert told.first[word]["outcome"]["state"] == "enforced", told.first[word]["outcome"]


def test_what_keeps_pods_below_restricted_does_not_keep_them_from_baseline(
    fleet: Fleet, harden: Harden, tmp_path: Path
) -> None:
    namespace = fleet.add("shop", on_delete(workload("StatefulSet", "db")))
    fleet.running()
    before = generations(namespace)
    plan = tmp_path / "plan.json"
    assert harden("migrate", namespace.name, "--plan-out", str(plan)).code == 1
    (planned,) = json.loads(plan.read_text())["namespaces"]
    assert [len(blocker["commands"]) for blocker in planned["heldBackBy"]] == [2]
    result = harden("migrate", namespace.name, "--level", "highest", "-o", "json", *APPLY)
    (found,) = result.json["namespaces"]
    assert (result.code, found["outcome"]["state"]) == (1, "enforced"), found
    assert [blocker["cause"] for blocker in found["outcome"]["blockers"]] == ["OnDelete"]
    assert fleet.levels("shop") == {"enforce": "baseline", "warn": "restricted", "audit": "restricted"}
    assert generations(namespace) == before


@pytest.fixture
def no_enforce(fleet: Fleet) -> Iterator[None]:
    """Have a ValidatingAdmissionPolicy refuse the enforce label in the namespaces of a fleet."""
    base = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["namespaces"]}
    match = {
        "resourceRules": [rule],
        "objectSelector": {"matchLabels": {"fleet": fleet.id}},
    }
    label = "pod-security.kubernetes.io/enforce"
    check = {"expression": f"!('{label}' in object.metadata.labels)", "message": "the security team sets it"}
    policy = {"metadata": {"name": fleet.id}, "spec": {"matchConstraints": match, "validations": [check]}}
    binding = {"metadata": {"name": fleet.id}, "spec": {"policyName": fleet.id, "validationActions": ["Deny"]}}
    fleet.plane.request("POST", f"{base}ies", policy)
    fleet.plane.request("POST", f"{base}ybindings", binding)
    yield
    fleet.plane.request("DELETE", f"{base}ybindings/{fleet.id}")
    fleet.plane.request("DELETE", f"{base}ies/{fleet.id}")


def test_nothing_is_patched_where_the_label_itself_is_refused(fleet: Fleet, harden: Harden, no_enforce: None) -> None:
    namespace = fleet.add("shop", workload("Deployment", "web"))
    fleet.running()
    before = generations(namespace)

    def is_refused() -> bool:
        body = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
        path = f"/api/v1/namespaces/{namespace.name}?dryRun=All"
        try:
            fleet.plane.request("PATCH", path, body, kind="application/merge-patch+json")
        except ApiError as error:
            return "the security team sets it" in str(error)
        return False

    namespace.eventually(is_refused)
    result = harden("migrate", namespace.name, "-o", "json", *APPLY)
    (found,) = result.json["namespaces"]
    assert found["outcome"]["state"] == "failed", found
    assert "nothing is patched" in found["outcome"]["message"]
    assert "the security team sets it" in found["outcome"]["message"]
    assert generations(namespace) == before

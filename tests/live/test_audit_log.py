"""``--audit-log`` and ``--soak``: what came and went, from the log that a real API server writes.

By the command line alone this tests ``cli/audit_log.py``, ``live/audited.py``, ``live/evaluations.py``, ``migration/soak.py`` and
``reports/audit_log.py``, too.
"""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_custom_resources import create, kinds, rollout
from tests.live.test_people import Person
from tests.support.control_plane import ApiError, Namespace
from tests.support.fleet import safe
from tests.support.harden import Harden, workload

__all__ = ["kinds"]
audited = pytest.mark.pod_security(audit="restricted")


def log_of(namespace: Namespace, times: int = 1) -> Path:
    """Return the log of the API server once it has so many pods of a namespace."""
    log = namespace.plane.audit_log
    namespace.eventually(lambda: len(pods_in(log, namespace.name)) >= times)
    return log


def pods_in(log: Path, namespace: str) -> list[Any]:
    events = (json.loads(line) for line in log.read_text().splitlines() if f'"{namespace}"' in line)
    return [
        event for event in events if event["objectRef"]["resource"] == "pods" and "dryRun" not in event["requestURI"]
    ]


def created(harden: Harden, log: Path, command: str = "check") -> list[dict[str, Any]]:
    result = harden(command, "-n", harden.namespace.name, "--audit-log", str(log), "-o", "json")
    assert result.out, result.err
    found: list[dict[str, Any]] = result.json["auditLog"]["created"]
    return found


@audited
def test_what_controllers_made_is_of_the_workload_to_edit(namespace: Namespace, harden: Harden) -> None:
    """At the level Metadata no event names a pod that was made with generateName, nor what made it."""
    namespace.create(workload("Deployment", "web", replicas=2), workload("StatefulSet", "db"))
    namespace.create(workload("DaemonSet", "agent"), workload("Job", "once"))
    log = log_of(namespace, 5)
    found = {item["workload"]: item for item in created(harden, log)}
    assert set(found) == {"deployment/web", "statefulset/db", "daemonset/agent", "job/once"}
    assert found["deployment/web"]["count"] == 2
    assert {item["state"] for item in found.values()} == {"violates"}
    assert {item["policy"] for item in found.values()} == {"restricted:latest"}
    assert len(found["statefulset/db"]["violations"]) == 4
    result = harden("check", "-n", namespace.name, "--audit-log", str(log))
    assert result.code == 1
    assert "Pods that were created or refused, from the audit log from 20" in result.out
    assert "deployment/web: 2 pods created since" in " ".join(result.out.split())
    assert f"kubectl harden fix deployment/web -n {namespace.name}" in result.out


@pytest.mark.pod_security(enforce="baseline", audit="restricted")
def test_the_command_that_is_printed_is_for_what_is_audited(namespace: Namespace, harden: Harden) -> None:
    """Without a level it is for what is enforced, which the workload meets."""
    namespace.create(workload("Deployment", "web"))
    result = harden("check", "-n", namespace.name, "--audit-log", str(log_of(namespace)))
    assert result.code == 1
    (command,) = re.findall("kubectl harden (fix deployment/web .*)", result.out)
    assert "runAsNonRoot: true" in harden(*command.split()).out


@audited
def test_what_meets_the_level_that_is_asked_for_does_not_count(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    log = str(log_of(namespace))
    arguments = ("check", "-n", namespace.name, "--level", "baseline", "--audit-log", log)
    assert harden(*arguments).code == 0
    namespace.create(workload("Pod", "host", hostNetwork=True))
    namespace.eventually(lambda: len(pods_in(Path(log), namespace.name)) >= 2)
    namespace.delete("Pod", "host")
    namespace.eventually(lambda: len(namespace.pods()) == 1)
    result = harden(*arguments)
    assert result.code == 1 and "by admin (host): 1 pod created" in " ".join(result.out.split())


@audited
def test_what_a_log_cannot_show_is_told(namespace: Namespace, harden: Harden) -> None:
    """Of a level that is neither audited nor enforced nothing is in it, and that is not said to be well."""
    namespace.create(safe(workload("Deployment", "web")))
    arguments = ("check", "-n", namespace.name, "--audit-log", str(log_of(namespace)))
    result = harden(*arguments, "--level", "restricted")
    words = " ".join(result.err.split())
    assert (result.code, "shows nothing else that violates what is audited or enforced from 20" in words) == (0, True)
    assert "does not show every violation" not in words
    told = harden(*arguments, "--level", "restricted", "-o", "json").json["auditLog"]
    assert told["unaudited"] == []
    # The log of the tests began before the namespace.
    assert list(told["auditedSince"]) in ([namespace.name], [])
    namespace.label(audit="baseline")
    result = harden(*arguments, "--level", "restricted")
    assert f"the audit log does not show every violation in {namespace.name}: the level is neither" in " ".join(
        result.err.split()
    )
    assert harden(*arguments, "--level", "restricted", "-o", "json").json["auditLog"]["unaudited"] == [namespace.name]
    assert harden(*arguments, "-o", "json").json["auditLog"]["unaudited"] == []
    # An older version has fewer controls.
    namespace.label(audit="restricted", audit_version="v1.24")
    assert harden(*arguments, "--level", "restricted", "-o", "json").json["auditLog"]["unaudited"] == [namespace.name]
    everywhere = ("check", "-A", "--level", "restricted", *arguments[3:])
    assert namespace.name in harden(*everywhere, "-o", "json").json["auditLog"]["unaudited"]


@audited
def test_what_came_before_the_level_was_audited_is_not_known(
    namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    namespace.create(safe(workload("Pod", "one")))
    (event,) = pods_in(log_of(namespace), namespace.name)
    older = event | {"stageTimestamp": (datetime.now(UTC) - timedelta(days=7)).isoformat()}
    log = tmp_path / "audit.log"
    log.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in (older, event)))
    result = harden("check", "-n", namespace.name, "--audit-log", str(log))
    words = f"before the level was audited or enforced, as far as is known: {namespace.name} since 20"
    assert (result.code, words in " ".join(result.err.split())) == (0, True), result
    log.write_text(json.dumps(event, separators=(",", ":")) + "\n")
    result = harden("check", "-n", namespace.name, "--audit-log", str(log))
    assert (result.code, "before the level" in result.err) == (0, False), result


@audited
def test_what_may_not_be_listed_is_not_gone(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("StatefulSet", "db"))
    log = log_of(namespace)
    anna = Person(namespace, harden).may(("core", "namespaces", "get"), ("core", "pods", "list"))
    _, out, _ = anna("check", "-n", namespace.name, "--audit-log", str(log), "-o", "json")
    assert [item["state"] for item in json.loads(out)["auditLog"]["created"]] == ["unknown"]
    namespace.delete("StatefulSet", "db")
    namespace.eventually(lambda: not namespace.get("StatefulSet")["items"])
    assert [item["state"] for item in created(harden, log)] == ["gone"]


@audited
def test_the_namespaces_are_listed_once(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    result = harden("check", "-A", "--audit-log", str(log_of(namespace)), "-v=6")
    assert len(re.findall(r"/api/v1/namespaces\?\S* 200 OK", result.err)) == 1


@audited
def test_what_a_custom_resource_made_is_of_it(
    kinds: None, namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    """Argo's Rollout makes ReplicaSets as a Deployment does."""
    made = create(namespace, "argoproj.io", "rollouts", rollout("web"))
    owner = {key: made[key] for key in ("apiVersion", "kind")} | {key: made["metadata"][key] for key in ("name", "uid")}
    replicas = workload("Deployment", "web-5bc67d89f")
    replicas["kind"] = "ReplicaSet"
    replicas["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    namespace.create(replicas)
    log = log_of(namespace)
    (found,) = created(harden, log)
    assert (found["workload"], found["state"]) == ("rollout.argoproj.io/web", "violates")
    # At the level Request the owner is in the event.
    (event,) = pods_in(log, namespace.name)
    event["requestObject"] = {"metadata": {"ownerReferences": [{**owner, "controller": True}]}}
    (tmp_path / "audit.log").write_text(json.dumps(event, separators=(",", ":")) + "\n")
    (found,) = created(harden, tmp_path / "audit.log")
    assert (found["workload"], found["state"]) == ("rollout.argoproj.io/web", "violates")


@audited
def test_a_pod_that_gets_another_image_is_not_created_twice(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Pod", "runner-4"))
    image = {"spec": {"containers": [{"name": "app", "image": "example.com/app:2"}]}}
    path = namespace.path("Pod", "runner-4")
    namespace.plane.request("PATCH", path, image, kind="application/strategic-merge-patch+json")
    found = [(item["count"], item["changed"]) for item in created(harden, log_of(namespace, 2))]
    assert sorted(found) == [(1, False), (1, True)]
    result = harden("check", "-n", namespace.name, "--audit-log", str(namespace.plane.audit_log))
    words = " ".join(result.out.split())
    assert "by admin (runner-4): 1 pod created last at" in words and "by admin (runner-4): 1 pod changed last" in words


@audited
def test_what_is_gone_is_told_by_whom_it_came(namespace: Namespace, harden: Harden) -> None:
    """A pod that lives for a moment is in no list; who created it is all that can be changed."""
    namespace.create(workload("Pod", "runner-1"))
    namespace.delete("Pod", "runner-1")
    namespace.create(workload("Job", "build"))
    log = log_of(namespace, 2)
    namespace.delete("Job", "build")
    namespace.eventually(lambda: not namespace.get("Job")["items"])
    found = {str(item["owner"] or item["names"]): item for item in created(harden, log)}
    job = found["{'kind': 'Job', 'name': 'build'}"]
    assert (job["state"], job["workload"]) == ("gone", None)
    runner = found["['runner-1']"]
    assert (runner["state"], runner["user"], runner["agent"]) == ("unknown", "admin", "python-urllib3")
    result = harden("check", "-n", namespace.name, "--audit-log", str(log))
    assert result.code == 1
    words = " ".join(result.out.split())
    assert "Job build: 1 pod created last at 20" in words
    assert "it is gone; change what creates it (admin, job-controller)" in words
    assert "by admin (runner-1): 1 pod created" in words
    assert "; the audit log has 2 pods that did not meet their level" in " ".join(result.err.split())


@audited
def test_what_is_fixed_since_counts_no_more(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    log = log_of(namespace)
    namespace.settled("web")
    assert harden("fix", "deploy/web", "--level", "restricted", "--apply", "--yes").code == 0
    result = harden("check", "-n", namespace.name, "--audit-log", str(log))
    assert "its template meets restricted:latest now" in " ".join(result.out.split())
    assert (result.code, "the audit log has" in result.err) == (0, False), result
    assert created(harden, log)[0]["state"] == "fixed"


def said_of_a_pod(namespace: Namespace, violations: str) -> dict[str, Any]:
    """Create a StatefulSet that meets restricted; return its pod's event, as if admission had found violations."""
    namespace.create(safe(workload("StatefulSet", "db")))
    namespace.eventually(lambda: pods_in(namespace.plane.audit_log, namespace.name))
    (event,) = pods_in(namespace.plane.audit_log, namespace.name)
    words = f'would violate PodSecurity "restricted:latest": {violations}'
    event["annotations"]["pod-security.kubernetes.io/audit-violations"] = words
    return event


@audited
def test_what_is_put_into_pods_at_admission_is_not_fixed(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    """As a sidecar is: the template has been well all the time, and the next pod has it again."""
    violations = 'runAsNonRoot != true (pod or container "proxy" must set securityContext.runAsNonRoot=true)'
    event = said_of_a_pod(namespace, violations)
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    log = tmp_path / "audit.log"
    log.write_text(json.dumps(event | {"stageTimestamp": later}, separators=(",", ":")) + "\n")
    result = harden("check", "-n", namespace.name, "--audit-log", str(log))
    assert result.code == 1, result
    assert "statefulset/db: 1 pod created" in " ".join(result.out.split())
    assert "something changes its pods at admission" in " ".join(result.out.split())
    arguments = ("migrate", namespace.name, "--level", "restricted", "--audit-log", str(log), "-o", "json")
    assert harden(*arguments).json["namespaces"][0]["state"] == "blocked"
    # What was created or changed after the pod may be what has cured it.
    before = datetime.fromtimestamp(0, UTC).isoformat()
    log.write_text(json.dumps(event | {"stageTimestamp": before}, separators=(",", ":")) + "\n")
    assert harden("check", "-n", namespace.name, "--audit-log", str(log)).code == 0
    log.write_text(json.dumps(event | {"stageTimestamp": later}, separators=(",", ":")) + "\n")
    made = datetime.now(UTC)
    namespace.eventually(lambda: datetime.now(UTC) > made + timedelta(seconds=2))  # Times of the API are whole seconds.
    path = f"{namespace.path('StatefulSet', 'db')}?fieldManager=kubectl-edit"
    change = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 3}}}}
    namespace.plane.request("PATCH", path, change, kind="application/merge-patch+json")
    assert harden("check", "-n", namespace.name, "--audit-log", str(log)).code == 0


@audited
def test_words_of_a_newer_control_are_not_fixed(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    """What is forbidden is not known, so neither is that the template is without it."""
    violations = 'a control of tomorrow (container "app" does it)'
    event = said_of_a_pod(namespace, violations)
    log = tmp_path / "audit.log"
    log.write_text(json.dumps(event, separators=(",", ":")) + "\n")
    assert harden("check", "-n", namespace.name).code == 0
    result = harden("check", "-n", namespace.name, "--audit-log", str(log))
    assert result.code == 1 and "a control of tomorrow" in result.out
    (found,) = created(harden, log)
    assert (found["state"], found["workload"]) == ("unknown", "statefulset/db")
    assert (found["violations"], found["unread"]) == ([], 'a control of tomorrow (container "app" does it)')


@audited
def test_our_own_dry_runs_are_nobodys_pods(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "idle", replicas=0))
    harden("fix", "deploy/idle", "--level", "restricted")
    harden("migrate", namespace.name)
    namespace.create(safe(workload("Pod", "good")))
    log = log_of(namespace)
    assert any(f'"{namespace.name}"' in line and "dryRun=All" in line for line in log.read_text().splitlines())
    assert created(harden, log) == []


@pytest.mark.pod_security(enforce="restricted")
def test_refusals_of_pods_of_which_nothing_is_left(namespace: Namespace, harden: Harden) -> None:
    with pytest.raises(ApiError, match="violates PodSecurity"):
        namespace.create(workload("Pod", "runner-2"))
    namespace.create(workload("Deployment", "web"))
    log = log_of(namespace, 2)
    found = {item["workload"]: item for item in created(harden, log, "rejected")}
    assert set(found) == {None, "deployment/web"}
    assert found[None]["names"] == ["runner-2"]
    assert all(item["refused"] for item in found.values())
    namespace.delete("Deployment", "web")
    namespace.eventually(lambda: not namespace.get("ReplicaSet")["items"])
    result = harden("rejected", "--audit-log", str(log))
    assert result.code == 1
    assert "by admin (runner-2): 1 pod refused last at 20" in " ".join(result.out.split())


@pytest.mark.pod_security(enforce="restricted")
def test_refusals_of_what_is_fixed_since_count_no_more(namespace: Namespace, harden: Harden) -> None:
    """The log has no words of the template, which nobody audits, and the old ReplicaSet tries for a while."""
    namespace.create(workload("Deployment", "web"))
    log = log_of(namespace)
    assert created(harden, log, "rejected")[0]["state"] == "violates"
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    assert [item["state"] for item in created(harden, log, "rejected")] == ["fixed"]
    assert harden("rejected", "--audit-log", str(log)).code == 0


@audited
def test_rotated_and_packed_files_and_stdin(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    namespace.create(workload("Pod", "one"), workload("Pod", "two"))
    lines = log_of(namespace, 2).read_text().splitlines(keepends=True)
    logs = tmp_path / "logs"
    logs.mkdir()
    half = next(number for number, line in enumerate(lines) if '"two"' in line and namespace.name in line)
    (logs / "audit-2026-11-20T10-00-00.000.log.gz").write_bytes(gzip.compress("".join(lines[:half]).encode()))
    (logs / "audit.log").write_text("".join(lines[half:]))
    (logs / "README").write_text("not a log\n")
    (item,) = created(harden, logs)
    assert item["count"] == 2
    result = harden("check", "-n", namespace.name, "--audit-log", "-", "-o", "json", stdin="".join(lines))
    assert result.json["auditLog"]["created"][0]["count"] == 2


@pytest.mark.parametrize("wrapped", [True, False])
@audited
def test_what_of_a_log_cannot_be_read_is_not_well(
    namespace: Namespace, harden: Harden, tmp_path: Path, wrapped: bool
) -> None:
    """As what a log shipper put into an envelope, beside events that are as the API server wrote them."""
    namespace.create(safe(workload("Pod", "good")), workload("Pod", "runner-5"))
    lines = log_of(namespace, 2).read_text().splitlines()
    namespace.delete("Pod", "runner-5")
    namespace.eventually(lambda: len(namespace.pods()) == 1)
    log = tmp_path / "audit.log"
    changed = [
        line if '"runner-5"' not in line else json.dumps({"log": line}) if wrapped else line[:-200] for line in lines
    ]
    log.write_text("\n".join(changed) + "\n")
    words = "is not an audit event" if wrapped else "cannot be read"
    for command in ("check", "rejected"):
        result = harden(command, "-n", namespace.name, "--audit-log", str(log))
        assert (result.code, words in result.err) == (3, True), result
        assert "shows nothing else" not in result.err and "nothing is being rejected" not in result.err
    result = harden("migrate", namespace.name, "--level", "restricted", "--audit-log", str(log))
    assert result.code == 1 and words in result.out
    log.write_text("\n".join(line for line in lines if '"runner-5"' not in line) + "\n")
    assert harden("check", "-n", namespace.name, "--audit-log", str(log)).code == 0


@audited
def test_enforcing_waits_until_nothing_new_came_for_so_long(namespace: Namespace, harden: Harden) -> None:
    """The fix is made at once; the level is enforced when the log has been without violations for long enough."""
    namespace.create(workload("Deployment", "web"))
    log = log_of(namespace)
    namespace.settled("web")
    arguments = ("migrate", namespace.name, "--audit-log", str(log), "--soak")
    survey = harden(*arguments, "1h", "-o", "json")
    (found,) = survey.json["namespaces"]
    assert found["state"] == "fixable"
    causes = {blocker["cause"] for blocker in found["blockers"]}
    assert causes == {"came and went", "audit log"}, found["blockers"]
    result = harden(*arguments, "1h", "--apply", "--yes")
    assert result.code == 1
    assert "has been audited there only since" in " ".join((result.out + result.err).split())
    labels = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")["metadata"]["labels"]
    assert "pod-security.kubernetes.io/enforce" not in labels
    spec = namespace.get("Deployment", "web")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    # A time of no length has passed at once.
    assert harden(*arguments, "0s", "--apply", "--yes").code == 0
    labels = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@audited
def test_a_log_that_does_not_show_the_pods_that_run_is_not_the_one(
    namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    """As that of another cluster does not, or of one of several API servers."""
    now = datetime.now(UTC)
    path = f"/api/v1/namespaces/{namespace.name}"
    fields = namespace.plane.request("GET", path)["metadata"]["managedFields"]
    # The level has been audited for two hours, as far as the API tells; a change of times alone is not taken.
    long_ago = [{**entry, "time": (now - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")} for entry in fields]
    change = {"metadata": {"managedFields": long_ago, "annotations": {"example.com/changed": "yes"}}}
    namespace.plane.request("PATCH", path, change, kind="application/merge-patch+json")
    namespace.create(safe(workload("Deployment", "web", replicas=2)))
    text = log_of(namespace, 2).read_text()
    # What comes just before the end of a log may be on its way to it.
    later = json.loads(text.splitlines()[-1]) | {"stageTimestamp": (now + timedelta(minutes=8)).isoformat()}
    log = tmp_path / "audit.log"
    arguments = (
        "migrate",
        namespace.name,
        "--level",
        "restricted",
        "--audit-log",
        str(log),
        "--soak",
        "1h",
        "-o",
        "json",
    )
    log.write_text(text + json.dumps(later) + "\n")
    (found,) = harden(*arguments).json["namespaces"]
    assert (found["state"], found["blockers"]) == ("ready", [])
    log.write_text(text.replace(f'"{namespace.name}"', '"elsewhere"') + json.dumps(later) + "\n")
    (found,) = harden(*arguments).json["namespaces"]
    (blocker,) = found["blockers"]
    assert (found["state"], blocker["cause"]) == ("blocked", "audit log")
    assert "does not show the creation of 2 pods that run, the last created at 20" in blocker["what"]
    assert harden(*arguments[:-2], "--apply", "--yes").code == 1
    assert "pod-security.kubernetes.io/enforce" not in namespace.plane.request("GET", path)["metadata"]["labels"]


@audited
def test_without_a_time_only_what_nothing_explains_holds_back(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Pod", "runner-3"))
    namespace.delete("Pod", "runner-3")
    log = log_of(namespace)
    namespace.eventually(lambda: not namespace.pods())
    assert harden("migrate", namespace.name, "-o", "json").json["namespaces"][0]["state"] == "ready"
    (found,) = harden("migrate", namespace.name, "--audit-log", str(log), "-o", "json").json["namespaces"]
    assert found["state"] == "blocked"
    (blocker,) = found["blockers"]
    assert "one created that violates it, the last at 20" in blocker["what"]


def test_what_is_not_audited_is_told_before_it_is_enforced(namespace: Namespace, harden: Harden) -> None:
    """Nothing can be in the log then, which is not to say that all is well."""
    arguments = ("migrate", namespace.name, "--audit-log", str(namespace.plane.audit_log))
    namespace.create(workload("Deployment", "web"))
    words = f"does not show every violation in {namespace.name}: the level is neither audited nor enforced"
    assert words in " ".join(harden(*arguments).err.split())
    namespace.label(audit="restricted")
    assert words not in " ".join(harden(*arguments).err.split())


def test_refused_options(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text('{"kind": "Other"}\n')
    pod = tmp_path / "pod.yaml"
    pod.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n")
    table = {
        ("check", "-f", str(pod), "--audit-log", str(log)): "is for a cluster",
        ("check", "deploy/web", "--audit-log", str(log)): "is for whole namespaces",
        ("check", "deploy", "-n", namespace.name, "--audit-log", str(log)): "is for whole namespaces",
        ("check", "-A", "-l", "app=web", "--audit-log", str(log)): "is for whole namespaces",
        ("check", "-A", "--only", "hostPorts", "--audit-log", str(log)): "leave out --only and --skip",
        ("check", "-n", namespace.name, "--audit-log", str(log), "-o", "sarif"): "is for -o text, wide, json and yaml",
        ("check", "-n", namespace.name, "--audit-log", str(log)): "no audit event of an API server",
        ("check", "-n", namespace.name, "--audit-log", str(tmp_path / "none.log")): "No such file",
        ("migrate", namespace.name, "--soak", "7d"): "give it with --audit-log",
        ("migrate", namespace.name, "--audit-log", str(log), "--soak", "7"): "write a unit, such as 7d for days",
        ("rejected", "-", "--audit-log", str(log)): "use one of them",
    }
    for arguments, words in table.items():
        result = harden(*arguments)
        assert words in " ".join(result.err.split()), (arguments, result)
        assert result.code in (2, 3), (arguments, result)


@pytest.mark.pod_security(enforce="restricted", audit="restricted")
def test_the_survey_tells_what_the_server_counts(namespace: Namespace, harden: Harden) -> None:
    with pytest.raises(ApiError, match="violates PodSecurity"):
        namespace.create(workload("Pod", "refused"))
    words = " ".join(harden("migrate", namespace.name).err.split())
    assert re.search(r"the API server that answered has refused [0-9,]+ pods? and noted [0-9,]+ for audit since", words)
    anna = Person(namespace, harden).may(("core", "namespaces", "get"), ("core", "pods", "list"))
    assert "has refused" not in anna("migrate", namespace.name)[2]

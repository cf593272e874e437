"""``fix --apply``: proof, patch, rollout, rollback.

By the command line alone this tests ``live/blame.py``, ``live/follow.py``, ``reports/live.py``,
``reports/progress.py``, ``cli/apply.py``, ``cli/parallel.py``, too.
"""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from tests.live.test_questions import at_a_terminal, context_of
from tests.support.control_plane import ControlPlane, Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import FaultProxy

pytestmark = pytest.mark.pod_security(enforce="restricted")

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController")


def spec_of(namespace: Namespace, kind: str, name: str) -> Any:
    return namespace.get(kind, name)["spec"]


def test_rejected_workloads_of_every_kind_come_up(namespace: Namespace, harden: Harden) -> None:
    namespace.create(*(workload(kind, f"w-{kind.lower()}") for kind in KINDS))
    before = {kind: spec_of(namespace, kind, f"w-{kind.lower()}") for kind in KINDS}
    result = harden("fix", "-n", namespace.name, "--apply", "--yes", "--timeout", "60s")
    assert result.code == 0, result
    assert result.err.count(": applied\n") == len(KINDS)
    assert len(namespace.ready_pods()) == len(KINDS)
    assert harden("check", "-n", namespace.name).code == 0
    assert harden("fix", "-n", namespace.name, "--apply", "--yes").err.endswith("nothing to do\n")
    refused = harden("undo", "--last", "--yes", "--timeout", "20s")
    assert refused.code == 1
    assert refused.err.count("--even-if-refused undoes it anyway") == len(KINDS)
    assert len(namespace.ready_pods()) == len(KINDS)
    undone = harden("undo", "--last", "--yes", "--timeout", "20s", "--even-if-refused")
    assert undone.code == 1, undone
    assert undone.err.count(": applied, its pods do not run\n") == len(KINDS)
    for kind in KINDS:
        assert spec_of(namespace, kind, f"w-{kind.lower()}") == before[kind]


def test_nothing_changes_without_apply(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    version = namespace.get("Deployment", "web")["spec"]
    result = harden("fix", "deploy/web")
    assert result.code == 1
    assert "+        runAsNonRoot: true" in result.out
    assert not proxy.count(lambda request: request.is_write)
    assert namespace.get("Deployment", "web")["spec"] == version
    assert harden.journal() == [] if harden.state.exists() else True


def test_the_diff_is_of_the_servers_dry_run(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    shown = harden("fix", "deploy/web").out
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    live = namespace.get("Deployment", "web")
    added = [line[1:].strip() for line in shown.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert added == [
        "securityContext:", "capabilities:", "drop:", "- ALL", "allowPrivilegeEscalation: false",
        "securityContext:", "runAsNonRoot: true", "seccompProfile:", "type: RuntimeDefault",
    ]  # fmt: skip
    managers = {entry["manager"] for entry in live["metadata"]["managedFields"]}
    assert "kubectl-harden" in managers


def test_no_call_that_is_not_needed(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    namespace.settled("web")
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    base = f"/apis/apps/v1/namespaces/{namespace.name}/deployments"
    pods = f"/api/v1/namespaces/{namespace.name}/pods"
    calls = [(request.method, request.path, request.dry_run, request.query.get("watch")) for request in proxy.requests]
    assert calls[:8] == [
        ("GET", "/version", False, None),
        ("GET", f"{base}/web", False, None),
        ("GET", f"/api/v1/namespaces/{namespace.name}", False, None),
        ("GET", pods, False, None),  # what its running pods show
        ("PATCH", f"{base}/web", True, None),
        ("POST", pods, True, None),
        ("GET", pods, False, None),
        ("PATCH", f"{base}/web", False, None),
    ]
    assert sorted(calls[8:]) == [("GET", pods, False, "1"), ("GET", base, False, "1")]


@pytest.mark.parametrize(
    ("image", "words", "blamed"),
    [
        (
            "example.com/runs-as-root:1",
            "container has runAsNonRoot and image will run as root",
            "the cause is the edit for runAsNonRoot",
        ),
        ("example.com/needs-chown:1", "CrashLoopBackOff", "the cause may be the edit for"),
        ("example.com/never-ready:1", "0 of 2 new pods ready after 4 s", "the cause may be the edit for"),
    ],
)
@pytest.mark.pod_security(warn="restricted")
def test_a_failing_rollout_is_taken_back(
    namespace: Namespace, harden: Harden, image: str, words: str, blamed: str
) -> None:
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        name = f"w-{kind.lower()}"
        namespace.create(workload(kind, name, image, replicas=2))
        wanted = 1 if kind == "DaemonSet" else 2
        namespace.eventually(lambda wanted=wanted: len(namespace.ready_pods()) == wanted)  # type: ignore[misc]
        before = spec_of(namespace, kind, name)
        limit = "4s" if "never" in image else "60s"
        result = harden("fix", f"{kind}/{name}", "--apply", "--yes", "--timeout", limit, "--no-trial")
        assert result.code == 1, result
        assert "ROLLED BACK" in result.err
        shown = " ".join(result.err.split())
        assert words.replace("0 of 2", "0 of") in shown.replace("0 of 1", "0 of").replace("0 of 2", "0 of")
        assert blamed in shown
        after = namespace.get(kind, name)
        assert after["spec"] == before
        namespace.eventually(lambda wanted=wanted: len(namespace.ready_pods()) == wanted)  # type: ignore[misc]
        assert harden.journal()[-1]["event"] == "undone"
        namespace.delete(kind, name)
        namespace.eventually(lambda: not namespace.pods())


@pytest.mark.pod_security(warn="restricted")
def test_no_rollback_leaves_it(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web", "example.com/runs-as-root:1"))
    result = harden("fix", "deploy/web", "--apply", "--yes", "--no-rollback")
    assert (result.code, "FAILED, left in place" in result.err) == (1, True)
    assert spec_of(namespace, "Deployment", "web")["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert harden("undo", "--last", "--yes").code == 0
    assert spec_of(namespace, "Deployment", "web")["template"]["spec"]["securityContext"] == {}


def test_one_failure_does_not_stop_the_others(namespace: Namespace, harden: Harden) -> None:
    namespace.create(
        workload("Deployment", "a-bad", "example.com/runs-as-root:1"),
        *(workload("Deployment", f"b-good-{index}") for index in range(3)),
    )
    result = harden("fix", "-n", namespace.name, "--apply", "--yes", "--parallel", "2", "-o", "json")
    states = {item["name"]: item["outcome"]["state"] for item in result.json["workloads"]}
    assert states == {"a-bad": "rolled back", "b-good-0": "applied", "b-good-1": "applied", "b-good-2": "applied"}
    assert result.code == 1


def test_fail_fast_begins_nothing_more(namespace: Namespace, harden: Harden) -> None:
    namespace.create(
        workload("Deployment", "a-bad", "example.com/runs-as-root:1"),
        *(workload("Deployment", f"b-good-{index}") for index in range(3)),
    )
    result = harden("fix", "-n", namespace.name, "--apply", "--yes", "--parallel", "1", "--fail-fast", "-o", "json")
    states = [item["outcome"]["state"] for item in result.json["workloads"]]
    assert states == ["rolled back", "skipped", "skipped", "skipped"]


def test_pods_are_recreated_only_when_asked(namespace: Namespace, harden: Harden) -> None:
    namespace.label(enforce="privileged", warn="restricted")
    before = namespace.create(workload("Pod", "solo"))
    namespace.eventually(namespace.ready_pods)
    refused = harden("fix", "pod/solo", "--apply", "--yes")
    assert refused.code == 1
    assert "--recreate deletes and recreates it" in " ".join(refused.err.split())
    assert namespace.get("Pod", "solo")["metadata"]["uid"] == before["metadata"]["uid"]
    done = harden("fix", "pod/solo", "--apply", "--yes", "--recreate")
    assert done.code == 0, done
    after = namespace.get("Pod", "solo")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"]["securityContext"]["runAsNonRoot"] is True
    assert [v["name"].startswith("kube-api-access") for v in after["spec"]["volumes"]] == [True]
    assert harden("undo", "--last", "--yes").code == 0
    assert namespace.get("Pod", "solo")["spec"]["securityContext"] == {}


def test_jobs_are_recreated(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Job", "import"))
    result = harden("fix", "job/import", "--apply", "--yes", "--recreate")
    assert result.code == 0, result
    namespace.eventually(lambda: namespace.get("Job", "import")["status"].get("succeeded") == 1)
    assert "has finished" not in result.err
    namespace.label(enforce="privileged", warn="restricted")
    namespace.create(workload("Job", "done"))
    namespace.eventually(lambda: namespace.get("Job", "done")["status"].get("completionTime"))
    finished = harden("fix", "job/done", "--apply", "--yes", "--recreate")
    assert "this Job has finished" in " ".join(finished.err.split())


def test_a_cronjob_is_changed_without_a_rollout(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("CronJob", "report"))
    result = harden("fix", "cj/report", "--apply", "--yes")
    assert result.code == 0
    assert "takes effect with the next run" in result.err
    assert harden("check", "cj/report").code == 0


def test_what_cannot_be_cured_is_not_applied(namespace: Namespace, harden: Harden) -> None:
    volume = {"name": "sock", "hostPath": {"path": "/run/containerd/containerd.sock"}}
    agent = workload("Deployment", "agent", volumes=[volume])
    mount = {"name": "sock", "mountPath": "/run/containerd/containerd.sock"}
    agent["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [mount]
    namespace.create(agent)
    before = spec_of(namespace, "Deployment", "agent")
    unasked = harden("fix", "deploy/agent", "--apply", "--yes")
    assert unasked.code == 1
    assert 'nothing is changed: it stays below baseline because of hostPath volumes (volume "sock")' in " ".join(
        unasked.err.split()
    )
    assert spec_of(namespace, "Deployment", "agent") == before
    result = harden("fix", "deploy/agent", "--partial", "--apply", "--yes")
    assert result.code == 1
    assert "its pods would still be refused" in " ".join(result.err.split())
    assert spec_of(namespace, "Deployment", "agent") == before


def test_a_quota_speaks_before_the_patch(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    namespace.create({"kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": {"pods": "0"}}})
    namespace.eventually(lambda: namespace.get("ResourceQuota", "tight").get("status", {}).get("hard"))
    before = spec_of(namespace, "Deployment", "web")
    result = harden("fix", "deploy/web", "--apply", "--yes")
    assert result.code == 4
    assert "exceeded quota: tight" in " ".join(result.err.split())
    assert spec_of(namespace, "Deployment", "web") == before


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "prod"}}, "Helm release prod/shop"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "storefront:apps/Deployment:x/web"}}, "Argo CD Application storefront"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}, "Flux Kustomization flux-system/apps"),
        ({"labels": {"app.kubernetes.io/managed-by": "widget-operator"}}, "widget-operator"),
    ],
)  # fmt: skip
def test_who_manages_it_is_told_and_asked_for(
    namespace: Namespace, harden: Harden, metadata: dict[str, Any], words: str
) -> None:
    value = workload("Deployment", "web")
    value["metadata"] = {"name": "web", **metadata}
    namespace.create(value)
    refused = harden("fix", "deploy/web", "--apply", "--yes")
    assert refused.code == 1
    assert words in refused.err
    assert "securityContext" in refused.out
    assert spec_of(namespace, "Deployment", "web")["template"]["spec"]["securityContext"] == {}
    assert harden("fix", "deploy/web", "--apply", "--yes", "--even-if-managed").code == 0


def test_another_field_manager_of_the_very_field(namespace: Namespace, harden: Harden) -> None:
    value = workload("Deployment", "web")
    value["spec"]["template"]["spec"]["securityContext"] = {"runAsNonRoot": False}
    path = namespace.path("Deployment", "web")
    namespace.plane.request(
        "PATCH", f"{path}?fieldManager=settings-controller&force=true", value, kind="application/apply-patch+yaml"
    )
    refused = harden("fix", "deploy/web", "--apply", "--yes")
    assert refused.code == 1
    assert "settings-controller: it owns" in " ".join(refused.err.split())
    namespace.delete("Deployment", "web")
    namespace.eventually(lambda: not namespace.get("Deployment")["items"])
    # A manager of other fields only is nobody's business.
    namespace.plane.request(
        "PATCH",
        f"{path}?fieldManager=settings-controller",
        workload("Deployment", "web"),
        kind="application/apply-patch+yaml",
    )
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0


@pytest.mark.parametrize("numbers", [("SIGINT",), ("SIGTERM",), ("SIGHUP",), ("SIGINT", "SIGINT"), ("SIGTERM",) * 3])
@pytest.mark.pod_security(warn="restricted")
def test_a_signal_says_what_was_done(namespace: Namespace, harden: Harden, numbers: tuple[str, ...]) -> None:
    namespace.create(
        workload("Deployment", "web", "example.com/never-ready:1"),
        workload("Deployment", "zzz", "example.com/never-ready:1"),
    )
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    process = harden.start("fix", "deploy/web", "deploy/zzz", "--apply", "--yes", "--parallel", "1")
    namespace.eventually(
        lambda: any(event["event"] == "applied" for event in harden.journal()) if harden.state.exists() else False
    )
    time.sleep(0.5)
    for number in numbers:
        process.send_signal(signal.Signals[number])
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.Signals[numbers[-1]]
    assert "web: applied, rollout not watched to the end" in err
    assert "zzz: not started" in err
    assert "kubectl harden undo 2" in err
    assert harden("undo", "--last", "--yes").code == 0
    assert spec_of(namespace, "Deployment", "web")["template"]["spec"]["securityContext"] == {}


def test_json_patch_for_others(namespace: Namespace, harden: Harden, control_plane: ControlPlane) -> None:
    namespace.create(workload("Deployment", "web"))
    (entry,) = harden("fix", "deploy/web", "-o", "json-patch").json
    control_plane.request(
        "PATCH", namespace.path("Deployment", "web"), entry["patch"], kind="application/json-patch+json"
    )
    assert harden("check", "deploy/web").code == 0


def test_strategic_patch_and_yaml_for_others(namespace: Namespace, harden: Harden, control_plane: ControlPlane) -> None:
    namespace.create(workload("Deployment", "web"), workload("Deployment", "api"))
    patch = harden("fix", "deploy/web", "-o", "strategic-patch").out
    control_plane.request(
        "PATCH", namespace.path("Deployment", "web"), patch, kind="application/strategic-merge-patch+json"
    ) if patch.startswith("{") else None
    text = harden("fix", "deploy/api", "-o", "yaml").out
    assert harden("check", "-f", "-", stdin=text).code == 0
    assert json.dumps(text).count("managedFields") == 0


def test_leaving_the_host_network_drops_the_ports_that_the_server_filled_in(
    namespace: Namespace, harden: Harden
) -> None:
    namespace.label(enforce="privileged", warn="restricted")
    pod = workload("Pod", "solo", hostNetwork=True)
    pod["spec"]["containers"][0]["ports"] = [{"containerPort": 8080}]
    made = namespace.create(pod)
    assert made["spec"]["containers"][0]["ports"][0]["hostPort"] == 8080
    result = harden("fix", "pod/solo", "--apply", "--yes", "--recreate")
    assert result.code == 0, result
    spec = namespace.get("Pod", "solo")["spec"]
    assert "hostNetwork" not in spec
    assert spec["containers"][0]["ports"] == [{"containerPort": 8080, "protocol": "TCP"}]


def test_a_statefulset_with_claims_is_proved(namespace: Namespace, harden: Harden) -> None:
    value = workload("StatefulSet", "db")
    value["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    value["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
    namespace.create(value)
    result = harden("fix", "sts/db", "--apply", "--yes", "--timeout", "3s", "--no-rollback")
    # No node has such storage here: the pod is made, and waits for it.
    assert "unbound immediate PersistentVolumeClaims" in " ".join(result.err.split())
    assert "no node takes its pods" in " ".join(result.err.split())


def test_what_the_server_counts_of_a_daemon_set_is_not_told(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("DaemonSet", "agent"))
    shown = harden("fix", "ds/agent", "--level", "restricted")
    assert shown.code == 1 and "server  also" not in shown.err


@pytest.mark.pod_security(warn="restricted")
def test_what_reaches_no_level_is_not_applied_unless_asked(namespace: Namespace, harden: Harden) -> None:
    agent = {"volumes": [{"name": "cni", "hostPath": {"path": "/etc/cni"}}], "hostPID": True}
    created = namespace.create(workload("Deployment", "agent", replicas=0, **agent), workload("Deployment", "web"))
    container = {"name": "app", "volumeMounts": [{"name": "cni", "mountPath": "/cni"}]}
    assert created["metadata"]["name"] == "web"
    kind = "application/strategic-merge-patch+json"
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    namespace.plane.request("PATCH", namespace.path("Deployment", "agent"), patch, kind=kind)
    done = harden("fix", "-n", namespace.name, "--apply", "--yes")
    words = " ".join(done.err.split())
    assert "nothing is changed: it stays below baseline because of host namespaces (hostPID=true), hostPath" in words
    assert "it mounts /etc/cni of the node" in words
    assert done.code == 1
    assert "1 workload: 1 applied" in words
    assert namespace.get("Deployment", "agent")["spec"]["template"]["spec"]["hostPID"] is True
    assert namespace.get("Deployment", "web")["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    partly = harden("fix", "deploy/agent", "--partial", "--max-risk", "breaks", "--apply", "--yes")
    assert partly.code == 1
    spec = namespace.get("Deployment", "agent")["spec"]["template"]["spec"]
    assert not spec.get("hostPID")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["volumes"][0]["hostPath"] == {"path": "/etc/cni", "type": ""}


# -- what is no failure of the change -------------------------------------------------------------------------


def broken_set(namespace: Namespace) -> None:
    """A StatefulSet whose pod does not start, for which its controller waits for ever."""
    value = workload("StatefulSet", "db", "example.com/runs-as-root:1", replicas=2)
    value["spec"]["template"]["spec"]["securityContext"] = {"runAsNonRoot": True}
    namespace.create(value)
    namespace.eventually(lambda: [pod for pod in namespace.pods() if pod["status"].get("containerStatuses")])
    assert not namespace.ready_pods()


@pytest.mark.pod_security(warn="restricted")
def test_a_broken_pod_does_not_block_its_own_fix(namespace: Namespace, harden: Harden) -> None:
    broken_set(namespace)
    result = harden("fix", "sts/db", "--apply", "--yes", "--timeout", "60s", "--run-as-user", "1000")
    assert result.code == 0, result
    assert len(namespace.ready_pods()) == 2


@pytest.mark.pod_security(warn="restricted")
def test_what_failed_before_is_not_taken_back(namespace: Namespace, harden: Harden) -> None:
    broken_set(namespace)
    result = harden("fix", "sts/db", "--apply", "--yes", "--timeout", "60s")
    assert result.code == 1, result
    assert "applied, its pods do not run" in result.err
    spec = spec_of(namespace, "StatefulSet", "db")["template"]["spec"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.pod_security(warn="restricted")
def test_pods_that_no_node_took_before(namespace: Namespace, harden: Harden) -> None:
    value = workload("Deployment", "web", nodeSelector={"disk": "none"})
    namespace.create(value)
    namespace.eventually(lambda: [pod for pod in namespace.pods() if pod["status"].get("conditions")])
    result = harden("fix", "deploy/web", "--apply", "--yes", "--timeout", "3s")
    assert (result.code, "applied, its pods do not run" in result.err) == (1, True), result
    assert context_of(namespace)["runAsNonRoot"] is True


def test_jobs_that_have_no_pods(namespace: Namespace, harden: Harden) -> None:
    suspended, none = workload("Job", "susp"), workload("Job", "par0")
    suspended["spec"]["suspend"], none["spec"]["parallelism"] = True, 0
    namespace.create(suspended, none)
    result = harden("fix", "-n", namespace.name, "--apply", "--yes", "--recreate", "--timeout", "20s")
    assert result.code == 0, result
    words = " ".join(result.err.split())
    assert "the Job is suspended: it takes effect when it is resumed" in words
    assert "its parallelism is 0" in words
    assert "lost with the Job: the Job's progress (0 of 1 completions)" in words


@pytest.mark.pod_security(warn="restricted")
def test_pods_that_are_ready_may_take_their_time_to_count(namespace: Namespace, harden: Harden) -> None:
    value = workload("Deployment", "web", replicas=2)
    value["spec"]["minReadySeconds"] = 8
    value["spec"]["template"]["metadata"]["annotations"] = {"example.com/ready-after": "2s"}
    namespace.create(value)
    namespace.eventually(lambda: namespace.get("Deployment", "web")["status"].get("availableReplicas") == 2)
    result = harden("fix", "deploy/web", "--apply", "--yes", "--timeout", "11s")
    assert result.code == 0, result
    assert "its pods are ready" in result.err


@pytest.mark.pod_security(warn="restricted")
def test_what_is_lost_is_said_and_asked_for_by_kind(namespace: Namespace, harden: Harden) -> None:
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    volumes = [{"name": "s", "emptyDir": {}}, {"name": "g", "ephemeral": {"volumeClaimTemplate": claim}}]
    namespace.create(workload("Pod", "one", volumes=volumes), workload("Pod", "two"), workload("Deployment", "web"))
    code, shown = at_a_terminal(harden, [b"n\n"], "fix", "-n", namespace.name, "--apply", "--recreate")
    words = " ".join(shown.split())
    assert "with the Pod: what is in the emptyDir volume s" in words
    assert "the claim of the ephemeral volume g (one-g) with its data" in words
    assert "Delete and create 2 Pods, patch 1 Deployment in context tests" in words
    assert code == 1

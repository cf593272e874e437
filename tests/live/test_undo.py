"""``undo``: what a run did is taken back, guarded, and can be done again."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request

# What the hard case has shows an agent of the node.
CURE = ("--host-path", "gone=remove", "--max-risk", "breaks")


def spec_of(namespace: Namespace, name: str = "web") -> Any:
    return namespace.get("Deployment", name)["spec"]


def applied(namespace: Namespace, harden: Harden, value: dict[str, Any] | None = None) -> Any:
    """Apply a fix; returns the spec before."""
    namespace.create(value or workload("Deployment", "web"))
    before = spec_of(namespace)
    assert harden("fix", "deploy/web", "--apply", "--yes", *CURE).code == 0
    return before


def hard_case() -> dict[str, Any]:
    """Fields added, replaced and removed, in maps and in lists."""
    value = workload(
        "Deployment",
        "web",
        hostNetwork=True,
        hostPID=True,
        securityContext={"runAsNonRoot": False, "sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "kernel.shm_rmid_forced", "value": "1"}]},
        volumes=[
            {"name": "gone", "hostPath": {"path": "/a"}},
            {"name": "kept", "emptyDir": {}},
            {"name": "cache", "hostPath": {"path": "/var/cache/x"}},
        ],
    )  # fmt: skip
    container = value["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"containerPort": 8080, "hostPort": 8080}]
    container["volumeMounts"] = [{"name": "gone", "mountPath": "/a"}, {"name": "kept", "mountPath": "/b"}]
    container["securityContext"] = {
        "privileged": True,
        "runAsUser": 0,
        "capabilities": {"add": ["SYS_ADMIN", "NET_BIND_SERVICE"], "drop": ["KILL"]},
    }
    return value


def test_a_security_context_of_which_nothing_is_left_comes_back(namespace: Namespace, harden: Harden) -> None:
    """The API server puts an empty one where it was."""
    sysctls = [{"name": "kernel.msgmax", "value": "1"}]
    namespace.create(workload("Deployment", "web", securityContext={"sysctls": sysctls}))
    before = spec_of(namespace)
    assert harden("fix", "deploy/web", "--level", "baseline", "--apply", "--yes").code == 0
    assert spec_of(namespace)["template"]["spec"]["securityContext"] == {}
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 0, undone
    assert json.dumps(spec_of(namespace)) == json.dumps(before)


def test_everything_comes_back_byte_for_byte(namespace: Namespace, harden: Harden) -> None:
    before = applied(namespace, harden, hard_case())
    after = spec_of(namespace)
    assert after != before
    begun = next(event for event in harden.journal() if event["event"] == "begin")
    assert begun["object"]["uid"] == namespace.get("Deployment", "web")["metadata"]["uid"]
    assert begun["before"]["/spec/template/spec/hostPID"] is True
    assert begun["before"]["/spec/template/spec/securityContext/runAsNonRoot"] is False
    assert begun["after"]["/spec/template/spec/securityContext/runAsNonRoot"] is True
    preview = harden("undo", "--last", "--dry-run")
    assert preview.code == 1
    assert "-        runAsNonRoot: true" in preview.out
    assert spec_of(namespace) == after
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 0, undone
    assert json.dumps(spec_of(namespace)) == json.dumps(before)
    # The undo is a run of its own, which can be undone.
    listed = harden("undo").out.splitlines()
    assert [line.split()[1] for line in listed] == ["undo", "fix"]
    again = harden("undo", listed[0].split()[0], "--yes")
    assert again.code == 0, again
    assert json.dumps(spec_of(namespace)) == json.dumps(after)


def test_last_walks_back_run_by_run(namespace: Namespace, harden: Harden) -> None:
    first = applied(namespace, harden)
    namespace.create(workload("Deployment", "api"))
    second = spec_of(namespace, "api")
    assert harden("fix", "deploy/api", "--apply", "--yes").code == 0
    assert harden("undo", "--last", "--yes").code == 0
    assert spec_of(namespace, "api") == second
    assert spec_of(namespace) != first
    assert harden("undo", "--last", "--yes").code == 0
    assert spec_of(namespace) == first
    nothing = harden("undo", "--last", "--yes")
    assert (nothing.code, nothing.err) == (2, "error: there is nothing to undo\n")


def test_what_others_changed_elsewhere_stays(namespace: Namespace, harden: Harden) -> None:
    applied(namespace, harden)
    namespace.patch(
        "Deployment", "web", {"spec": {"replicas": 2, "template": {"metadata": {"labels": {"new": "label"}}}}}
    )
    assert harden("undo", "--last", "--yes").code == 0
    spec = spec_of(namespace)
    assert spec["replicas"] == 2
    assert spec["template"]["metadata"]["labels"]["new"] == "label"
    assert spec["template"]["spec"]["securityContext"] == {}


def test_refused_where_someone_has_changed_the_same_fields(namespace: Namespace, harden: Harden) -> None:
    applied(namespace, harden)
    change = {
        "spec": {
            "template": {
                "spec": {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}}
            }
        }
    }
    namespace.patch("Deployment", "web", change)
    before = spec_of(namespace)
    result = harden("undo", "--last", "--yes")
    assert result.code == 1
    assert "someone has changed /spec/template/spec/securityContext/seccompProfile since" in " ".join(
        result.err.split()
    )
    assert spec_of(namespace) == before


def test_refused_for_another_object_of_the_same_name(namespace: Namespace, harden: Harden) -> None:
    applied(namespace, harden)
    namespace.delete("Deployment", "web")
    namespace.eventually(lambda: not namespace.get("Deployment")["items"])
    gone = harden("undo", "--last", "--yes")
    assert (gone.code, "it does not exist: deleted since" in gone.err) == (1, True)
    namespace.create(workload("Deployment", "web", image="example.com/other:2"))
    before = spec_of(namespace)
    other = harden("undo", "--last", "--yes")
    assert (other.code, "another object has its name now" in other.err) == (1, True)
    assert spec_of(namespace) == before


def test_runs_and_mistakes(namespace: Namespace, harden: Harden) -> None:
    empty = harden("undo")
    assert (empty.code, empty.out, empty.err) == (0, "", "no runs yet: fix --apply and migrate --apply record them\n")
    unknown = harden("undo", "20200101T000000Z-0000")
    assert (unknown.code, "there is no run" in unknown.err) == (2, True)
    applied(namespace, harden)
    (line,) = harden("undo").out.splitlines()
    assert f"1 applied: Deployment {namespace.name}/web" in line
    silent = harden("undo", "--last")
    assert (silent.code, "use --yes" in silent.err) == (2, True)
    modes = {path.stat().st_mode & 0o777 for path in (harden.state / "kubectl-harden" / "journal").iterdir()}
    assert modes == {0o600}


def test_taken_back_by_hand_already(namespace: Namespace, harden: Harden) -> None:
    before = applied(namespace, harden)
    live = namespace.get("Deployment", "web")
    live["spec"] = before
    namespace.plane.request("PUT", namespace.path("Deployment", "web"), live)
    result = harden("undo", "--last", "--yes")
    assert result.code == 0, result
    assert "nothing is left of the change" in result.err


def test_a_statefulset_that_was_left_failing_runs_again(namespace: Namespace, harden: Harden) -> None:
    """Its controller waits for the failing pod for ever, unless somebody deletes it."""
    namespace.create(workload("StatefulSet", "db", "example.com/runs-as-root:1", replicas=2))
    namespace.eventually(lambda: namespace.get("StatefulSet", "db")["status"].get("readyReplicas") == 2)
    left = harden("fix", "sts/db", "--apply", "--yes", "--no-rollback", "--no-trial")
    assert "left in place" in left.err
    assert len(namespace.ready_pods()) < 2
    result = harden("undo", "--last", "--yes", "--timeout", "60s")
    assert result.code == 0, result
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)


def test_another_address_of_the_cluster_is_told(namespace: Namespace, harden: Harden) -> None:
    applied(namespace, harden)
    other = namespace.plane.server.replace("127.0.0.1", "localhost")
    result = harden("undo", "--last", "--dry-run", "--server", other)
    assert f"note: the run was made on {namespace.plane.server} (context tests), and this is {other}" in result.err
    assert result.code == 1


# -- what the namespace refuses today -------------------------------------------------------------------------


KINDS = ("Deployment", "StatefulSet", "DaemonSet")


def _enforced_after_a_fix(namespace: Namespace, harden: Harden) -> dict[str, Any]:
    """Workloads that were fixed, and whose old pods the namespace refuses by now; returns their specs before."""
    for kind in KINDS:
        value = workload(kind, kind.lower(), replicas=2)
        if kind == "Deployment":
            value["spec"]["strategy"] = {"type": "Recreate"}
        namespace.create(value)
    namespace.eventually(lambda: len(namespace.ready_pods()) == 5)
    before = {kind: namespace.get(kind, kind.lower())["spec"] for kind in KINDS}
    fixed = harden("fix", "-n", namespace.name, "--apply", "--yes", "--timeout", "60s")
    assert fixed.code == 0, fixed
    assert harden("migrate", namespace.name, "--apply", "--yes").code == 0
    return before


def test_what_would_be_refused_today_is_not_brought_back(namespace: Namespace, harden: Harden) -> None:
    before = _enforced_after_a_fix(namespace, harden)
    run = next(line.split()[0] for line in harden("undo").out.splitlines() if line.split()[1] == "fix")
    preview = harden("undo", run, "--dry-run")
    assert preview.code == 1
    assert " ".join(preview.err.split()).count("its pods as they were before would be refused now") == 3
    refused = harden("undo", run, "--yes")
    assert refused.code == 1, refused
    assert len(namespace.ready_pods()) == 5
    for kind in KINDS:
        assert namespace.get(kind, kind.lower())["spec"] != before[kind]
    told = harden("undo", run, "--yes", "--even-if-refused", "--timeout", "20s")
    assert told.code == 1, told
    assert told.err.count(": applied, its pods do not run\n") == 3
    for kind in KINDS:
        assert namespace.get(kind, kind.lower())["spec"] == before[kind]


def test_a_label_of_the_same_run_is_lowered_first(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"), workload("Pod", "solo"))
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    before = {kind: namespace.get(kind, name)["spec"] for kind, name in (("Deployment", "web"), ("Pod", "solo"))}
    done = harden("migrate", namespace.name, "--apply", "--yes", "--recreate")
    assert done.code == 0, done
    preview = harden("undo", "--last", "--dry-run")
    assert (preview.code, "refused" in preview.err) == (1, False)
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 0, undone
    assert namespace.get("Deployment", "web")["spec"] == before["Deployment"]
    assert namespace.get("Pod", "solo")["spec"]["securityContext"] == before["Pod"]["securityContext"] == {}
    labels = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")["metadata"]["labels"]
    assert not [key for key in labels if "pod-security" in key]
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    # Undone once more, the workloads are changed before the label is raised.
    again = harden("undo", harden("undo").out.split()[0], "--yes")
    assert again.code == 0, again
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_phases_says_what_was_done(
    namespace: Namespace, harden: Harden, proxy: FaultProxy, number: signal.Signals
) -> None:
    namespace.create(workload("Deployment", "web"))
    before = spec_of(namespace)
    assert harden("migrate", namespace.name, "--apply", "--yes").code == 0
    processes = []
    lowered = []

    def after_the_label(request: Request) -> bool:
        of_namespace = request.path.endswith(f"/namespaces/{namespace.name}")
        lowered.extend([request] if request.is_write and of_namespace else [])
        return bool(lowered) and request.path.endswith("/deployments/web")

    proxy.times(1, after_the_label, Fault(before=lambda: processes[0].send_signal(number), delay=1))
    processes.append(harden.start("undo", "--last", "--yes"))
    _, err = processes[0].communicate(timeout=60)
    assert processes[0].returncode == 128 + number, err
    assert f"Deployment {namespace.name}/web: not started" in " ".join(err.split())
    assert "kubectl harden undo 2" in err
    assert spec_of(namespace) != before
    rest = harden("undo", "--last", "--yes")
    assert rest.code == 0, rest
    assert spec_of(namespace) == before
    assert harden("undo", "--last", "--yes").err == "error: there is nothing to undo\n"


def test_a_run_that_cannot_be_read_is_told(namespace: Namespace, harden: Harden) -> None:
    applied(namespace, harden)
    journal = next((harden.state / "kubectl-harden" / "journal").glob("*.jsonl"))
    head, *rest = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join((head, "{]\n", *rest)))
    for command in (("fix", "deploy/web"), ("migrate", namespace.name, "--apply", "--yes")):
        result = harden(*command)
        assert result.code == 0, result
        assert f"{journal.name}:2: this line of the journal is damaged" in "".join(result.err.split("\n")), result
        assert result.err.count("is damaged") == 1

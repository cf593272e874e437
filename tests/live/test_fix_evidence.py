"""Evidence from the cluster: running pods, pull secrets, recorded profiles; and what migrate makes of it.

By the command line alone this tests ``cli/evidence.py``, ``cli/choosing.py``, ``reports/choosing.py``, too.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane import ApiError, ControlPlane, Namespace
from tests.support.fleet import Fleet
from tests.support.harden import COMMAND, Harden, workload
from tests.support.proxy import Fault, FaultProxy
from tests.support.registry import Images, fronted

PRESERVED = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
GROUP = "security-profiles-operator.x-k8s.io"


def steps(harden: Harden, *arguments: str) -> dict[str, tuple[str, str]]:
    """Return risk and reason of each edit of one workload, by its pointer."""
    (entry,) = harden("fix", *arguments, "-o", "json").json["workloads"]
    return {edit["path"]: (edit["risk"], edit["why"]) for edit in (*entry["edits"], *entry["heldBack"])}


def with_context(value: dict[str, Any]) -> dict[str, Any]:
    """Give the pod a security context, so that edits of it stay apart."""
    value["spec"]["template"]["spec"]["securityContext"] = {"fsGroupChangePolicy": "Always"}
    return value


NON_ROOT = "/spec/template/spec/securityContext/runAsNonRoot"


def test_the_uid_of_running_pods(namespace: Namespace, harden: Harden) -> None:
    namespace.create(
        with_context(workload("Deployment", "root", "example.com/user-none/app:1")),
        with_context(workload("Deployment", "named", "example.com/user-nginx/app:1")),
    )
    namespace.eventually(lambda: len(namespace.ready_pods()) == 2)
    risk, why = steps(harden, "deploy/root")[NON_ROOT]
    assert risk == "breaks"
    assert 'container "app" runs as uid 0, gid 0 in pod root-' in why
    risk, why = steps(harden, "deploy/named")[NON_ROOT]
    assert (risk, "runs as uid 101" in why) == ("review", True)
    # The image sets its user by name, and the kubelet would refuse it; the pod knows the number.
    done = harden("fix", "deploy/named", "--run-as-user", "auto", "--apply", "--yes", "--timeout", "40s")
    assert done.code == 0, done
    spec = namespace.get("Deployment", "named")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsUser"] == 101
    assert harden("undo", "--last", "--yes").code == 0


def test_what_may_not_be_read_is_a_note(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    proxy.times(50, lambda request: request.method == "GET" and request.path.endswith("/pods"), Fault(403, "Forbidden"))
    shown = harden("fix", "deploy/web")
    assert shown.code == 1
    assert "note: what running pods show is not known" in shown.err
    assert "+        runAsNonRoot: true" in shown.out


def test_pull_secrets_of_the_pod_and_of_its_service_account(
    namespace: Namespace, harden: Harden, images: Images, tmp_path: Path
) -> None:
    images.make("private:1", "1000")
    with fronted(images, tls=True, logins={"ann": "secret-7"}) as front:
        auths = {front.host: {"username": "ann", "password": "secret-7"}}
        data = {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}
        namespace.plane.request(
            "POST", f"/api/v1/namespaces/{namespace.name}/secrets",
            {"metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson", "data": data},
        )  # fmt: skip
        namespace.create(
            with_context(workload("Deployment", "own", f"{front.host}/private:1", imagePullSecrets=[{"name": "pull"}])),
            with_context(workload("Deployment", "others", f"{front.host}/private:1")),
        )
        flags = ("--inspect-images", "--registry-ca", front.certificates(tmp_path))
        assert steps(harden, "deploy/own", *flags)[NON_ROOT][0] == "safe"
        assert steps(harden, "deploy/others", *flags)[NON_ROOT][0] == "review"
        (entry,) = harden("fix", "deploy/others", *flags, "-o", "json").json["workloads"]
        assert any("refuses to tell without a login" in note for note in entry["notes"])
        namespace.plane.request(
            "PATCH", f"/api/v1/namespaces/{namespace.name}/serviceaccounts/default",
            {"imagePullSecrets": [{"name": "pull"}]}, kind="application/merge-patch+json",
        )  # fmt: skip
        assert steps(harden, "deploy/others", *flags)[NON_ROOT][0] == "safe"
        assert "secret-7" not in harden("fix", "deploy/own", *flags, "-o", "json").out


@pytest.fixture(scope="module")
def profiles(control_plane: ControlPlane) -> None:
    """The operator's kinds, with schemas that take anything."""
    base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for kind in ("ProfileRecording", "SeccompProfile", "AppArmorProfile"):
        plural = f"{kind.lower()}s"
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": PRESERVED, "status": PRESERVED}}}
        version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema}
        names = {"kind": kind, "plural": plural, "singular": kind.lower()}
        spec = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]}
        try:
            control_plane.request("POST", base, {"metadata": {"name": f"{plural}.{GROUP}"}, "spec": spec})
        except ApiError as error:
            if error.status != 409:
                raise


def put(namespace: Namespace, kind: str, value: dict[str, Any]) -> None:
    path = f"/apis/{GROUP}/v1beta1/namespaces/{namespace.name}/{kind.lower()}s"

    def done() -> bool:
        try:
            namespace.plane.request("POST", path, {"apiVersion": f"{GROUP}/v1beta1", "kind": kind, **value})
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    namespace.eventually(done)


def test_recorded_profiles(profiles: None, namespace: Namespace, harden: Harden) -> None:
    namespace.create(with_context(workload("Deployment", "web")))
    put(namespace, "ProfileRecording", {
        "metadata": {"name": "rec"},
        "spec": {"kind": "SeccompProfile", "recorder": "bpf", "podSelector": {"matchLabels": {"app": "web"}}},
    })  # fmt: skip
    put(namespace, "SeccompProfile", {
        "metadata": {"name": "rec-app", "labels": {"spo.x-k8s.io/recording-id": "rec", "spo.x-k8s.io/container-id": "app"}},
        "spec": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": ["read"]}]},
        "status": {"localhostProfile": "operator/ns/rec-app.json"},
    })  # fmt: skip
    seccomp = "/spec/template/spec/securityContext/seccompProfile"
    risk, why = steps(harden, "-n", namespace.name)[seccomp]
    assert (risk, why) == (
        "safe",
        'container "app" called nothing that the runtime\'s filter blocks (recorded in rec-app)',
    )
    (entry,) = harden("fix", "deploy/web", "--recorded-seccomp", "-o", "json").json["workloads"]
    (edit,) = [edit for edit in entry["edits"] if "--recorded-seccomp" in edit.get("companion", "")]
    assert edit["value"]["seccompProfile"] == {"type": "Localhost", "localhostProfile": "operator/ns/rec-app.json"}
    assert entry["after"] == "restricted"


def test_the_survey_counts_what_would_not_run_and_companions_carry_it_through(
    fleet: Fleet, harden: Harden, tmp_path: Path
) -> None:
    fleet.add("a", with_context(workload("Deployment", "root", "example.com/user-none/app:1")))
    fleet.add("b", with_context(workload("Deployment", "fine", "example.com/user-1000/app:1")))
    fleet.running()
    flags = ("migrate", "-l", fleet.selector, "--level", "restricted")
    told = harden(*flags, "-o", "json").json
    assert told["summary"]["wouldBreak"] == 1
    assert {item["name"].rpartition("-")[2]: item["state"] for item in told["namespaces"]} == {
        "a": "blocked",
        "b": "fixable",
    }
    assert "1 workload would not run, according to the evidence" in " ".join(harden(*flags).err.split())
    plan = tmp_path / "plan.json"
    harden(*flags, "--run-as-user", "1000", "--plan-out", str(plan))
    assert json.loads(plan.read_text())["options"]["companions"]["run_as_user"] == 1000
    done = harden("migrate", "--plan", str(plan), "--apply", "--yes", "--timeout", "60s", "-o", "json")
    assert done.code == 0, done
    assert done.json["summary"]["outcomes"] == {"enforced": 2}


def test_companions_are_taken_back_like_every_edit(namespace: Namespace, harden: Harden) -> None:
    made = workload(
        "Deployment", "web", "example.com/user-none/binds-80-writes-cache:1", volumes=[{"name": "data", "emptyDir": {}}]
    )
    spec = made["spec"]["template"]["spec"]
    mount = {"name": "data", "mountPath": "/data"}
    spec["containers"][0].update(ports=[{"containerPort": 80}], volumeMounts=[mount])
    spec["initContainers"] = [
        {
            "name": "own",
            "image": "example.com/user-none/x:1",
            "command": ["chown", "-R", "5:6", "/data"],
            "volumeMounts": [mount],
        },
        {"name": "wait", "image": "example.com/user-1000/x:1"},
    ]
    namespace.create(made)
    namespace.eventually(namespace.ready_pods)
    before = namespace.get("Deployment", "web")["spec"]
    flags = (
        "--run-as-user",
        "1000",
        "--fs-group",
        "auto",
        "--low-ports",
        "--writable",
        "app=/var/cache/app",
        "--writable",
        "/b",
    )
    done = harden("fix", "deploy/web", *flags, "--level", "restricted", "--apply", "--yes", "--timeout", "40s")
    assert done.code == 0, done
    after = namespace.get("Deployment", "web")["spec"]["template"]["spec"]
    assert [c["name"] for c in after["initContainers"]] == ["wait"]
    assert after["securityContext"]["fsGroup"] == 6
    assert harden("fix", "deploy/web", *flags, "--level", "restricted").code == 0
    assert harden("undo", "--last", "--yes").code == 0
    assert json.dumps(namespace.get("Deployment", "web")["spec"]) == json.dumps(before)


def test_every_edit_is_asked_for_and_what_is_wanted_is_applied(namespace: Namespace, harden: Harden) -> None:
    namespace.create(with_context(workload("Deployment", "web")))
    main, other = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "fix", "deploy/web", "--level", "restricted", "-i"],
        stdin=other, stdout=subprocess.DEVNULL, stderr=other, env=harden.environment,
    )  # fmt: skip
    os.close(other)
    answers, shown = [b"n\n", b"a\n"], b""
    with contextlib.suppress(OSError):
        while piece := os.read(main, 4096):
            shown += piece
            if answers and shown.count(b"[y,n,a,d,q,e,?]? ") > 2 - len(answers):
                os.write(main, answers.pop(0))
    os.close(main)
    assert process.wait(timeout=60) == 1, shown.decode()
    spec = namespace.get("Deployment", "web")["spec"]["template"]["spec"]
    # The first question was about privilege escalation.
    assert spec["containers"][0]["securityContext"] == {"capabilities": {"drop": ["ALL"]}}
    assert spec["securityContext"]["runAsNonRoot"] is True

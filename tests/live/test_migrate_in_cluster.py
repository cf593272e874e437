"""``migrate`` as it runs inside clusters: the roles of examples/in-cluster, shares, reports.

By the command line alone this tests ``reports/policy_report.py``, too.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_migrate import APPLY, pinned
from tests.support.admission import admission_configuration
from tests.support.control_plane import ControlPlane, executable
from tests.support.fleet import Fleet, safe, socket_agent
from tests.support.harden import ROOT, Harden, workload
from tests.support.tools import downloaded

EXAMPLES = ROOT / "examples" / "in-cluster"
CRDS = {
    "wgpolicyk8s.io/v1alpha2": (
        "github.com/kyverno/kyverno@v1.19.1",
        "config/crds/policyreport/wgpolicyk8s.io_policyreports.yaml",
        "policyreports.wgpolicyk8s.io",
    ),
    "openreports.io/v1alpha1": (
        "github.com/openreports/reports-api@v0.2.1",
        "config/crd/openreports.io_reports.yaml",
        "reports.openreports.io",
    ),
}


def kubectl(plane: ControlPlane, *arguments: str, stdin: str = "") -> str:
    command = [str(executable("kubectl")), f"--kubeconfig={plane.kubeconfig}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def roles(control_plane: ControlPlane) -> None:
    """The roles and service accounts of the examples; other processes of the test run use them too."""
    kubectl(control_plane, "apply", "--server-side", "-f", str(EXAMPLES / "rbac.yaml"))


def logged_in(harden: Harden, plane: ControlPlane, account: str) -> None:
    """Log in with a token of a service account."""
    harden.use(plane.configuration(kubectl(plane, "create", "token", account, "-n", "kubectl-harden").strip()))


def test_the_examples_are_valid_and_meet_restricted(roles: None, control_plane: ControlPlane, harden: Harden) -> None:
    for name in ("cronjob.yaml", "job.yaml"):
        kubectl(control_plane, "apply", "--dry-run=server", "-f", str(EXAMPLES / name))
    assert harden("check", "-f", str(EXAMPLES), "-R").code == 0


def test_the_surveyor_reads_and_cannot_write(
    roles: None, control_plane: ControlPlane, fleet: Fleet, harden: Harden
) -> None:
    fleet.add("shop", workload("Deployment", "web"))
    fleet.running()
    before = fleet.state()
    logged_in(harden, control_plane, "surveyor")
    result = harden("migrate", "-l", fleet.selector, "-o", "json")
    assert result.code == 1, result
    (shop,) = result.json["namespaces"]
    assert shop["state"] == "fixable"
    assert shop["server"]["asked"] is False
    assert "not allowed to patch namespaces" in shop["server"]["why"]
    refused = harden("migrate", "-l", fleet.selector, *APPLY)
    assert refused.code == 4
    for line in ("patch namespaces", "patch deployments.apps", "watch pods", "create pods", "delete pods"):
        assert f"error: not allowed to {line} in " in refused.err
    assert "nothing was started" in refused.err
    assert fleet.state() == before
    assert harden.journal() == []


def test_the_migrator_may_do_all_that_is_needed(
    roles: None, control_plane: ControlPlane, fleet: Fleet, harden: Harden
) -> None:
    fleet.add(
        "shop",
        workload("Deployment", "web"),
        workload("StatefulSet", "db"),
        workload("DaemonSet", "agent"),
        workload("CronJob", "report"),
    )
    fleet.add("root", workload("StatefulSet", "old", "example.com/runs-as-root:1"))
    fleet.running()
    logged_in(harden, control_plane, "migrator")
    result = harden("migrate", "-l", fleet.selector, *APPLY)
    assert result.code == 1, result
    assert fleet.levels("shop") == pinned("restricted")
    assert "old tried: not changed, because one new pod" in " ".join(result.err.split())
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 0, undone
    assert fleet.levels("shop") == {}


@pytest.mark.parametrize(
    ("verb", "resource"), [("patch", "deployments"), ("watch", "pods"), ("list", "cronjobs"), ("patch", "namespaces")]
)
def test_each_missing_permission_is_named_before_anything_begins(
    control_plane: ControlPlane, fleet: Fleet, harden: Harden, verb: str, resource: str
) -> None:
    shop = fleet.add("shop", workload("Deployment", "web"))
    user = f"{fleet.id}-{verb}-{resource}"
    rules = [
        {**rule, "verbs": [v for v in rule["verbs"] if not (r == resource and v == verb)], "resources": [r]}
        for document in ("kubectl-harden-survey", "kubectl-harden-apply")
        for rule in role(document)["rules"]
        for r in rule["resources"]
    ]
    rules = [rule for rule in rules if rule["verbs"]]
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    name = {"metadata": {"name": user}}
    control_plane.request("POST", f"{rbac}/clusterroles", {**name, "rules": rules})
    binding = {
        **name,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    control_plane.request("POST", f"{rbac}/clusterrolebindings", binding)
    try:
        result = harden("migrate", shop.name, *APPLY, "--as", user)
        assert result.code == 4, result
        lines = [line for line in result.err.splitlines() if "not allowed to" in line]
        assert len(lines) == 1
        assert lines[0].startswith(f"error: not allowed to {verb} {resource}")
        assert fleet.levels("shop") == {}
    finally:
        control_plane.request("DELETE", f"{rbac}/clusterrolebindings/{user}")
        control_plane.request("DELETE", f"{rbac}/clusterroles/{user}")


def role(name: str) -> dict[str, Any]:
    import yaml

    documents = yaml.safe_load_all((EXAMPLES / "rbac.yaml").read_text())
    return next(d for d in documents if d["kind"] == "ClusterRole" and d["metadata"]["name"] == name)


def test_the_shares_do_every_namespace_exactly_once(
    roles: None, control_plane: ControlPlane, fleet: Fleet, harden: Harden, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(12):
        fleet.add(f"n{index:02}", workload("Deployment", "web"))
    fleet.running()
    logged_in(harden, control_plane, "migrator")
    processes = []
    for index in range(3):
        # As an Indexed Job tells each of its pods.
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        processes.append(harden.start("migrate", "-l", fleet.selector, "--shard", "3", "-o", "json", *APPLY))
    reports = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    done = [item["name"] for report in reports for item in report["namespaces"]]
    assert sorted(done) == sorted(namespace.name for namespace in fleet.namespaces.values())
    assert all(fleet.levels(word) == pinned("restricted") for word in fleet.namespaces)
    for namespace in fleet.namespaces.values():
        assert namespace.get("Deployment", "web")["metadata"]["generation"] == 2
    monkeypatch.delenv("JOB_COMPLETION_INDEX")
    # A pod that is tried again finds nothing to do.
    again = harden("migrate", "-l", fleet.selector, "--shard", "1/3", *APPLY)
    assert again.code == 0, again
    assert "undo" not in again.err


# -- reports for dashboards ----------------------------------------------------------------------------------


@pytest.mark.parametrize("api", list(CRDS))
def test_policy_reports_are_taken_by_the_api_that_the_cluster_has(
    roles: None, control_plane: ControlPlane, fleet: Fleet, harden: Harden, api: str
) -> None:
    fleet.add("shop", workload("Deployment", "web"), safe(workload("Deployment", "good")), labels={"team": "payments"})
    fleet.add("node", socket_agent())
    fleet.running()
    module, path, name = CRDS[api]
    kubectl(control_plane, "create", "-f", str(downloaded(module) / path))
    try:
        kubectl(control_plane, "wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
        # Discovery names a group for a while that was deleted before.
        others = {other.partition("/")[0] for other in CRDS if other != api}
        groups = lambda: {group["name"] for group in control_plane.request("GET", "/apis")["groups"]}  # noqa: E731
        fleet.namespaces["shop"].eventually(lambda: not groups() & others)
        logged_in(harden, control_plane, "surveyor")
        result = harden("migrate", "-l", fleet.selector, "-o", "policyreport")
        assert result.code == 1, result
        assert {item["apiVersion"] for item in result.json["items"]} == {api}
        token = kubectl(control_plane, "create", "token", "surveyor", "-n", "kubectl-harden").strip()
        for _ in range(2):
            applied = kubectl(
                control_plane,
                "--token",
                token,
                "--user",
                "",
                "apply",
                "--server-side",
                "--field-manager=kubectl-harden",
                "--validate=strict",
                "-f",
                "-",
                stdin=result.out,
            )
            assert applied.count("serverside-applied") == 2
        found = json.loads(kubectl(control_plane, "get", name, "-n", fleet.namespaces["shop"].name, "-o", "json"))
        (report,) = found["items"]
        assert report["summary"] == {"pass": 1, "fail": 4, "warn": 0, "error": 0, "skip": 0}
        failed = {item["rule"]: item for item in report["results"] if item["result"] == "fail"}
        assert set(failed) == {
            "allowPrivilegeEscalation",
            "capabilities_restricted",
            "runAsNonRoot",
            "seccompProfile_restricted",
        }
        assert failed["runAsNonRoot"]["resources"][0]["name"] == "web"
        assert failed["runAsNonRoot"]["properties"]["team"] == "payments"
    finally:
        kubectl(control_plane, "delete", "crd", name)


def test_a_patch_fixes_only_what_can_be_patched(fleet: Fleet, harden: Harden) -> None:
    fleet.add("shop", workload("Deployment", "web"), workload("Pod", "one"))
    fleet.running()
    (report,) = harden("migrate", "-l", fleet.selector, "-o", "policyreport").json["items"]
    fixes = {(one["resources"][0]["name"], one["properties"]["fix"], one["message"][:28]) for one in report["results"]}
    assert fixes == {
        ("web", "automatic", "a patch fixes it"),
        ("one", "by hand", "a Pod cannot be changed in p"),
    }


def test_a_cluster_without_the_api_is_told_so(fleet: Fleet, harden: Harden) -> None:
    fleet.add("shop")
    result = harden("migrate", "-l", fleet.selector, "-o", "policyreport")
    if "neither openreports.io nor wgpolicyk8s.io" not in result.err:
        # Another test has installed one of them for a moment.
        assert result.json["items"][0]["apiVersion"] in CRDS
    assert result.json["kind"] == "List"


# -- an API server that exempts ------------------------------------------------------------------------------

CONFIGURATION = admission_configuration(
    "defaults: {enforce: privileged, enforce-version: latest, warn: privileged, warn-version: latest, "
    "audit: privileged, audit-version: latest}",
    "exemptions: {usernames: [], runtimeClasses: [sandbox], namespaces: [exempted]}",
)


def test_what_the_api_server_exempts_is_shown(tmp_path: Path) -> None:
    configuration = tmp_path / "admission.yaml"
    configuration.write_text(CONFIGURATION)
    plane = ControlPlane(
        tmp_path / "plane", controllers=False, flags=(f"--admission-control-config-file={configuration}",)
    )
    fleet = Fleet(plane)
    try:
        runtime = {"metadata": {"name": "sandbox"}, "handler": "sandbox"}
        plane.request("POST", "/apis/node.k8s.io/v1/runtimeclasses", runtime)
        boxed = fleet.add("boxed", workload("Pod", "boxed", runtimeClassName="sandbox"))
        plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": "exempted"}})
        harden = Harden(boxed, tmp_path)
        result = harden("migrate", boxed.name, "exempted", "-o", "json")
        found = {item["name"]: item for item in result.json["namespaces"]}
        server = found[boxed.name]["server"]
        assert server["agrees"] is False
        assert (len(server["warnings"]), len(server["expected"])) == (0, 2)
        assert found["exempted"]["state"] == "blocked"
        assert found["exempted"]["blockers"][0]["cause"] == "exempt"
        told = harden("migrate", boxed.name, "exempted")
        assert "the API server says otherwise" in told.out
        assert "the runtime class sandbox may be exempt" in told.out
    finally:
        plane.stop()

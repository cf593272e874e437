"""``check --upgrade-to`` on live workloads: the policies in force, at another version."""

from __future__ import annotations

from tests.support.control_plane import Namespace
from tests.support.fleet import safe
from tests.support.harden import Harden, workload


def test_what_a_newer_version_makes_new(namespace: Namespace, harden: Harden) -> None:
    namespace.label(enforce="restricted", enforce_version="v1.30")
    probed = safe(workload("Deployment", "probed"))
    container = probed["spec"]["template"]["spec"]["containers"][0]
    container["livenessProbe"] = {"httpGet": {"host": "10.0.0.1", "port": 80}}
    namespace.create(probed, safe(workload("Deployment", "well")), workload("Deployment", "below"))
    assert harden("check", "deploy/probed").code == 0
    result = harden("check", "-n", namespace.name, "--upgrade-to", "v1.34")
    assert result.code == 1
    assert f"Deployment {namespace.name}/probed: meets restricted:v1.30, and at v1.34 it is privileged" in result.out
    assert "well" not in result.out and "below" not in result.out
    told = " ".join(result.err.split())
    assert "3 workloads: 1 fails newly at v1.34 (hostProbesAndHostLifecycle 1); 1 meets its level as before" in told
    assert "1 of them is pinned to a version" in told
    assert f"harden fix -n {namespace.name} --policy-version v1.34" in told
    # The command that is printed cures it.
    fixed = harden("fix", "deploy/probed", "--policy-version", "v1.34", "-o", "json").json["workloads"][0]
    assert [edit["path"].rpartition("/")[2] for edit in fixed["edits"]] == ["host"]
    report = harden("check", "-n", namespace.name, "--upgrade-to", "-o", "json").json
    (listed,) = report["workloads"]
    assert (listed["name"], listed["before"]["allowed"], listed["policy"]["version"]) == ("probed", True, "v1.37")
    assert harden("check", "deploy/well", "--upgrade-to").code == 0
    assert f"Deployment {namespace.name}/probed: meets" in harden("check", "-A", "--upgrade-to", "v1.34").out
    asked = harden(
        "check", "deploy/well", "--level", "restricted", "--policy-version", "v1.33", "--upgrade-to", "v1.34"
    )
    assert asked.code == 0 and "1 workload: nothing new fails at v1.34; 1 meet" in asked.err


def test_latest_of_the_newest_server_has_no_next(namespace: Namespace, harden: Harden) -> None:
    namespace.label(enforce="restricted", enforce_version="latest")
    namespace.create(safe(workload("Deployment", "web")))
    result = harden("check", "deploy/web", "--upgrade-to")
    assert result.code == 2 and "nothing to compare" in result.err


def test_the_survey_tells_what_the_next_version_makes_new(namespace: Namespace, harden: Harden) -> None:
    namespace.label(enforce="restricted", enforce_version="v1.30")
    probed = safe(workload("Deployment", "probed"))
    container = probed["spec"]["template"]["spec"]["containers"][0]
    container["livenessProbe"] = {"httpGet": {"host": "10.0.0.1", "port": 80}}
    namespace.create(probed, safe(workload("Deployment", "well")))
    arguments = ("migrate", namespace.name, "--level", "restricted", "--upgrade-to")
    result = harden(*arguments, "v1.34")
    assert result.code == 0, result
    told = "At policy version v1.34 1 workload in 1 namespace fails newly: hostProbesAndHostLifecycle 1"
    assert told in result.out
    assert f"  Deployment {namespace.name}/probed: hostProbesAndHostLifecycle\n" in result.out
    failing = {"namespace": namespace.name, "workload": f"Deployment {namespace.name}/probed"}
    report = harden(*arguments, "v1.34", "-o", "json").json["upgrade"]
    assert report["failing"] == [{**failing, "controls": ["hostProbesAndHostLifecycle"]}]
    assert "At policy version v1.33 nothing fails that does not fail today" in harden(*arguments, "v1.33").out
    assert "nothing to compare" in harden(*arguments, "v1.29").out
    unknown = harden(*arguments, "v1.99")
    assert unknown.code == 2 and "policy version v1.99 is not known" in unknown.err

"""An old API server: ``latest`` is its own minor version, and its discovery and lists are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control_plane import ApiError, ControlPlane, Namespace
from tests.support.harden import SAFE, SAFE_CONTAINER, Harden, workload

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    running = ControlPlane(tmp_path_factory.mktemp("old"), controllers=False, minor=30)
    yield running
    running.stop()


def test_latest_is_its_own_minor_version(old: ControlPlane, tmp_path: Path) -> None:
    namespace = Namespace(old, "old", {"enforce": "restricted"})
    harden = Harden(namespace, tmp_path)
    assert old.request("GET", "/version")["minor"] == "30"
    value = workload("Deployment", "web", **SAFE)
    container = value["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"] = SAFE_CONTAINER
    # v1.34 forbids it, v1.30 does not.
    container["livenessProbe"] = {"httpGet": {"host": "10.0.0.1", "port": 80}}
    namespace.create(value)
    pod = {"kind": "Pod", "metadata": {"generateName": "x-"}, "spec": value["spec"]["template"]["spec"]}
    old.request("POST", f"{namespace.path('Pod')}?dryRun=All", pod)
    result = harden("check", "deploy/web")
    assert result.code == 0
    assert "all meet restricted:latest" in result.err
    report = harden("check", "-n", "old", "-o", "json").json
    policy = {"level": "restricted", "version": "v1.30", "origin": "enforce label"}
    assert report["workloads"][0]["policy"] == policy
    newer = harden("check", "deploy/web", "--level", "restricted", "--policy-version", "v1.34")
    assert (newer.code, "probe or lifecycle host" in newer.out) == (1, True)
    upgrade = harden("check", "-n", "old", "--upgrade-to")
    assert upgrade.code == 1 and "meets restricted:latest, and at v1.37 it is privileged" in upgrade.out
    assert "hostProbesAndHostLifecycle 1" in upgrade.err and "pinned to a version" not in upgrade.err


def test_its_words(old: ControlPlane, tmp_path: Path) -> None:
    namespace = Namespace(old, "words", {"enforce": "restricted"})
    harden = Harden(namespace, tmp_path)
    value = workload("Deployment", "web", hostPID=True)
    namespace.create(value)
    pod = {"kind": "Pod", "metadata": {"generateName": "x-"}, "spec": value["spec"]["template"]["spec"]}
    with pytest.raises(ApiError) as refused:
        old.request("POST", f"{namespace.path('Pod')}?dryRun=All", pod)
    shown = " ".join(harden("check", "deploy/web", "-o", "wide").out.split())
    assert str(refused.value).partition("violates ")[2] in shown
    applied = harden("fix", "deploy/web", "--apply", "--yes", "--timeout", "1s", "--no-rollback")
    assert "left in place" in applied.err  # There are no controllers here to make its pods.
    assert harden("check", "deploy/web").code == 0


def test_its_warnings_for_a_namespace(old: ControlPlane, tmp_path: Path) -> None:
    """What it says to the enforce label is what the survey expects, and empty namespaces are taken there."""
    namespace = Namespace(old, "shop", {})
    namespace.create(workload("Pod", "a", hostPID=True), workload("Pod", "b"), workload("Pod", "c"))
    Namespace(old, "bare", {})
    harden = Harden(namespace, tmp_path)
    result = harden("migrate", "shop", "bare", "-o", "json", "--apply", "--yes")
    found = {item["name"]: item for item in result.json["namespaces"]}
    assert result.code == 1
    assert found["shop"]["server"]["agrees"] is True
    assert len(found["shop"]["server"]["warnings"]) == 3
    assert {name: item["outcome"]["state"] for name, item in found.items()} == {"shop": "blocked", "bare": "enforced"}

"""Every command of the README, from the built archive alone: in an empty system, linked as krew links it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive import EmptySystem, built
from tests.support.control_plane import ControlPlane, Namespace, executable
from tests.support.harden import ROOT, workload
from tests.support.programs import HELM_4
from tests.support.tools import build

BLOCKS = re.findall(r"(?ms)^```sh\n(.*?)^```$", (ROOT / "README.md").read_text())
COMMANDS = [
    line.split("  #")[0].strip()
    for block in BLOCKS
    for line in block.splitlines()
    if "kubectl harden" in line
]  # fmt: skip


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own, since the README takes all namespaces of a cluster to a level."""
    running = ControlPlane(tmp_path_factory.mktemp("plane") / "own")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def system(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> EmptySystem:
    """The empty system, with kubectl and helm, the examples that the README names, and a cluster with a rejected pod."""
    made = EmptySystem(tmp_path_factory.mktemp("readme") / "root", built())
    made.add_program(executable("kubectl"), "kubectl")
    made.add_program(build(HELM_4), "helm")
    # All that kubectl wants of /proc.
    (made.root / "proc" / "self").mkdir()
    (made.root / "proc" / "self" / "exe").symlink_to("/bin/kubectl")
    shutil.copytree(ROOT / "examples", made.root / "work" / "examples")
    (made.root / "root" / ".kube").mkdir()
    configuration = plane.configuration(plane.token)
    configuration["clusters"][0]["cluster"] = {
        "server": plane.server,
        "certificate-authority-data": base64.b64encode(plane.certificate.read_bytes()).decode(),
    }
    (made.root / "root" / ".kube" / "config").write_text(json.dumps(configuration))
    shop = Namespace(plane, "shop", {"enforce": "restricted"})
    shop.create(workload("Deployment", "web"))
    # What rejected shows is what controllers have said by now.
    end = time.monotonic() + 120
    while b"Deployment shop/web" not in (done := made.run("kubectl", "harden", "rejected", "-n", "shop")).stdout:
        assert time.monotonic() < end, done.stdout + done.stderr
        time.sleep(0.5)
    return made


def test_the_readme_names_commands() -> None:
    assert len(COMMANDS) >= 17
    used = {re.sub(r".*kubectl harden ", "", command).split()[0] for command in COMMANDS}
    assert used == {"completion", "rejected", "fix", "undo", "check", "explain", "migrate"}


def test_every_command_of_the_readme_works_from_the_archive(system: EmptySystem) -> None:
    """In the README's order, as one sitting: none is misunderstood, none fails."""
    assert not list(system.root.rglob("python3*"))
    for command in COMMANDS:
        # There is no terminal to ask on.
        asked = f"{command} --yes" if re.search(r"--apply|undo", command) else command
        done = system.run("sh", "-c", asked)
        said = f"$ {asked}\n{done.stdout.decode()}{done.stderr.decode()}"
        # 1: violations were found, a diff was shown, or something is left.
        assert done.returncode in (0, 1), said
        assert b"error:" not in done.stderr and b"Traceback" not in done.stderr, said
    work = system.root / "work"
    examples = work / "examples"
    assert "runAsNonRoot: true" in (examples / "root-by-default" / "shop.yaml").read_text()
    assert (examples / "kustomize" / "overlays" / "prod" / "harden-deployment-web.yaml").exists()
    assert "runAsNonRoot: true" in (examples / "helm-chart" / "values.yaml").read_text()
    assert json.loads((work / "harden.sarif").read_text())["version"] == "2.1.0"
    assert json.loads((work / "known.json").read_text())["kind"] == "KnownViolations"


def test_the_way_back_and_the_way_on_have_been_gone(system: EmptySystem, plane: ControlPlane) -> None:
    web = plane.request("GET", "/apis/apps/v1/namespaces/shop/deployments/web")
    assert web["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    labels = plane.request("GET", "/api/v1/namespaces/shop")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert Path(system.root / "root" / ".local" / "state" / "kubectl-harden" / "journal").exists()

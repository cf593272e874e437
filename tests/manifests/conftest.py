"""Programs that make manifests, and a kustomization for them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import REJECTED, run
from tests.support.control_plane import executable
from tests.support.programs import HELM_3, HELM_4
from tests.support.tools import build

VENV = Path(sys.executable).parent
BASE = REJECTED.replace("  namespace: shop\n", "")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with kubectl, helm (3), helm4 and kubectl-harden."""
    directory = tmp_path_factory.mktemp("programs")
    for name, target in (("kubectl", executable("kubectl")), ("helm", build(HELM_3)), ("helm4", build(HELM_4))):
        (directory / name).symlink_to(target)
    return f"{directory}:{VENV}:{os.environ['PATH']}"


@pytest.fixture
def harden(programs: str, tmp_path: Path) -> Any:
    """The command, in the test's directory, with those programs."""
    home = {name: str(tmp_path / ".helm" / name) for name in ("HELM_DATA_HOME", "HELM_CONFIG_HOME", "HELM_CACHE_HOME")}

    def call(*arguments: str, **more: Any) -> Any:
        return run(*arguments, cwd=more.pop("cwd", tmp_path), PATH=programs, **home, **more)

    return call


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """An overlay, over a base, over another base."""
    (tmp_path / "bases" / "web").mkdir(parents=True)
    (tmp_path / "bases" / "web" / "deployment.yaml").write_text(BASE)
    (tmp_path / "bases" / "web" / "kustomization.yaml").write_text("resources: [deployment.yaml]\nnamePrefix: b-\n")
    directory = tmp_path / "overlays" / "prod"
    directory.mkdir(parents=True)
    (directory / "kustomization.yaml").write_text(
        "# production\r\nresources:\r\n- ../../bases/web   # the app\r\nnamePrefix: 'p-'\r\nnameSuffix: -x\r\n"
        "namespace: prod\r\nimages: [{name: web, newTag: '1'}]\r\n# the end\r\n"
    )
    return directory

"""What runs in other repositories: the pre-commit hooks and the GitHub Action."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.yaml_text.tree import parse, value_of
from tests.cli.test_main import GOOD, REJECTED, ROOT

BIN = Path(sys.executable).parent
PATH = f"{BIN}:{os.environ['PATH']}"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with manifests, and with YAML that is none."""
    (tmp_path / "web.yaml").write_text(REJECTED)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "other.yaml").write_text("on: [push]\n")
    (tmp_path / "data.json").write_text("[1, 2]\n")
    subprocess.run("git init -q && git add .", shell=True, cwd=tmp_path, check=True)
    return tmp_path


def try_hook(directory: Path, hook: str) -> subprocess.CompletedProcess[str]:
    """Run a hook on all files, as pre-commit installs it from this repository's working tree."""
    command = [BIN / "pre-commit", "try-repo", ROOT, hook, "--all-files", "--verbose"]
    environment = {**os.environ, "PRE_COMMIT_HOME": str(directory / ".git" / "pre-commit")}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_pre_commit_runs_the_hooks(repository: Path) -> None:
    done = try_hook(repository, "kubectl-harden-check")
    assert done.returncode == 1, done.stderr
    assert "web.yaml:15  host namespaces (hostNetwork=true)" in done.stdout
    assert "error:" not in done.stdout
    done = try_hook(repository, "kubectl-harden-fix")
    assert "files were modified by this hook" in done.stdout
    assert (repository / "good.yaml").read_text() == GOOD
    assert "runAsNonRoot: true" in (repository / "web.yaml").read_text()


def test_the_hooks_take_options_before_the_files(repository: Path) -> None:
    hooks, _ = value_of(parse((ROOT / ".pre-commit-hooks.yaml").read_text()))
    files = sorted(path.name for path in repository.glob("[a-z]*.*"))
    for hook in hooks:
        command = [*hook["entry"].split(), "--level", "baseline", *files]
        done = subprocess.run(command, cwd=repository, env={**os.environ, "PATH": PATH}, capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode in (0, 1) and "2 workloads: 1 " in done.stderr, done.stderr


def action(directory: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run the action's own script with inputs, as GitHub's runner does."""
    value, _ = value_of(parse((ROOT / "action.yml").read_text()))
    inputs = {name: item["default"] for name, item in value["inputs"].items()} | {
        name.replace("_", "-"): text for name, text in given.items()
    }
    step = value["runs"]["steps"][-1]
    environment = {
        name: inputs[text.removeprefix("${{ inputs.").removesuffix(" }}")] for name, text in step["env"].items()
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, cwd=directory, env={**os.environ, "PATH": PATH, **environment},
                          capture_output=True, text=True, check=False)  # fmt: skip


def test_the_action_annotates_and_writes_a_log(repository: Path) -> None:
    done = action(repository, files="web.yaml\ngood.yaml\n", sarif="log.sarif", args="--skip-others")
    assert done.returncode == 1
    assert done.stdout.startswith("::error file=web.yaml,line=15,title=hostNamespaces::Deployment shop/web:")
    log: Any = json.loads((repository / "log.sarif").read_text())
    assert len(log["runs"][0]["results"]) == 6
    assert action(repository, files="good.yaml", level="baseline").returncode == 0
    assert action(repository).returncode == 1
    assert action(repository, kustomize="nowhere").returncode == 3


def test_workflows_and_the_action_meet_githubs_schemas() -> None:
    for schema, files in (
        ("vendor.github-actions", [ROOT / "action.yml"]),
        ("vendor.github-workflows", sorted((ROOT / ".github" / "workflows").glob("*.yml"))),
    ):
        assert files
        subprocess.run([BIN / "check-jsonschema", "--builtin-schema", schema, *files], check=True)

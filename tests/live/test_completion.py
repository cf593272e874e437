"""TAB, in real shells, in a terminal, with kubectl's own completion and names of a real cluster.

By the command line alone this tests ``cli/completing.py`` and ``cli/shells.py``, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control_plane import executable
from tests.support.harden import Harden, workload
from tests.support.terminal import Terminal


@pytest.fixture
def path(harden: Harden, tmp_path: Path) -> Path:
    """A PATH with kubectl, kubectl-harden and what completion --install puts beside it, and a cluster with names."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "kubectl").symlink_to(executable("kubectl"))
    (directory / "kubectl-harden").symlink_to(Path(sys.executable).with_name("kubectl-harden"))
    for name in ("web", "worker"):
        harden.namespace.create(workload("Deployment", name))
    done = subprocess.run(
        ["kubectl-harden", "completion", "--install"],
        env=environment(harden, directory), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert os.access(directory / "kubectl_complete-harden", os.X_OK)
    return directory


def environment(harden: Harden, directory: Path) -> dict[str, str]:
    kept = {key: value for key, value in harden.environment.items() if key not in ("PYTHONPATH", "PYTHONWARNINGS")}
    return {**kept, "PATH": f"{directory}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


def asked(harden: Harden, directory: Path, *words: str) -> list[str]:
    """Return what kubectl proposes for the last word."""
    done = subprocess.run(
        ["kubectl", "__complete", "harden", *words],
        env=environment(harden, directory), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *proposals, directive = done.stdout.splitlines()
    assert directive.startswith(":")
    return [proposal.split("\t")[0] for proposal in proposals]


def test_what_kubectl_proposes(harden: Harden, path: Path) -> None:
    assert {"check", "fix", "rejected", "migrate", "undo", "explain"} <= set(asked(harden, path, ""))
    assert "__complete" not in asked(harden, path, "")
    assert asked(harden, path, "che") == ["check"]
    assert asked(harden, path, "check", "deplo") == ["deployments"]
    assert asked(harden, path, "check", "deploy/w") == ["deploy/web", "deploy/worker"]
    assert asked(harden, path, "fix", "deploy", "") == ["web", "worker"]
    assert asked(harden, path, "fix", "deploy", "web", "") == ["worker"]
    assert asked(harden, path, "check", "-n", harden.namespace.name[:-2]) == [harden.namespace.name]
    assert harden.namespace.name in asked(harden, path, "migrate", "t-")
    assert asked(harden, path, "check", "--level", "b") == ["baseline"]
    assert asked(harden, path, "check", "-o", "js") == ["json"]
    assert asked(harden, path, "fix", "--only", "privileged,runAsN") == ["privileged,runAsNonRoot"]
    assert asked(harden, path, "explain", "runt") == ["runtime"]
    assert len(asked(harden, path, "check", "--context", "")) == 1


def test_silence_where_no_cluster_answers(harden: Harden, path: Path) -> None:
    assert asked(harden, path, "check", "--server", "http://127.0.0.1:1", "deploy/w") == []
    assert asked(harden, path, "check", "--kubeconfig", "/nowhere", "deploy/w") == []
    assert asked(harden, path, "check", "nothing/w") == []


SHELLS = {
    "bash": ("bash", "--norc", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i"),
}
SOURCE = {
    "bash": "source <({})",
    "zsh": "autoload -Uz compinit && compinit -u -D && source <({})",
    "fish": "{} | source",
}


@pytest.fixture
def terminal(request: pytest.FixtureRequest, harden: Harden, path: Path) -> Iterator[Terminal]:
    shell = request.param
    command = SHELLS[shell]
    assert shutil.which(command[0]) is not None
    running = Terminal(*command, environment=environment(harden, path), columns=140)
    prompt = {"fish": "function fish_prompt; echo '$ '; end"}.get(shell, "PS1='$ '")
    running.type(prompt)
    running.press("Enter")
    running.type(SOURCE[shell].format(f"kubectl-harden completion {shell}") + "; echo ready")
    running.press("Enter")
    running.wait(lambda screen: "\nready" in screen)
    yield running
    running.close()


@pytest.mark.parametrize("terminal", SHELLS, indirect=True)
def test_the_bare_name_in_a_shell(terminal: Terminal) -> None:
    terminal.type("kubectl-harden expl")
    terminal.press("Tab")
    terminal.wait("kubectl-harden explain")
    terminal.press("C-u")
    terminal.type("kubectl-harden check deploy/wo")
    terminal.press("Tab")
    terminal.wait("kubectl-harden check deploy/worker")
    terminal.press("C-u")
    terminal.type("kubectl-harden fix --max-risk=r")
    terminal.press("Tab")
    terminal.wait("kubectl-harden fix --max-risk=review")


def test_kubectl_in_fish(harden: Harden, path: Path) -> None:
    running = Terminal(*SHELLS["fish"], environment=environment(harden, path), columns=140)
    try:
        running.type("kubectl completion fish | source; echo ready")
        running.press("Enter")
        running.wait(lambda screen: "\nready" in screen)
        running.type("kubectl harden check deploy/wo")
        running.press("Tab")
        running.wait("kubectl harden check deploy/worker")
    finally:
        running.close()

"""What a run on files loads: every module costs each start its time (``cli/commands.py``, ``cli/options.py``)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kubectl_harden.cli.check import check
from kubectl_harden.cli.fix import fix
from kubectl_harden.cli.options import CLUSTER_NAMES, NOT_FOR_FIX, OUTPUT

ROOT = Path(__file__).parents[2]
REJECTED = ROOT / "examples" / "rejected-deployment.yaml"
NAMED = """\
import atexit, sys
from kubectl_harden.cli import main
atexit.register(lambda: sys.stderr.write(" ".join(("", "loaded", *sys.modules))))
main()
"""
# Clusters and migrations, and what the standard library takes long to load.
LEFT_OUT = ("kubectl_harden.live", "kubectl_harden.migration", "kubectl_harden.cluster.api", "kubectl_harden.atomic_files",
            "kubernetes", "urllib3", "rich", "ssl", "http", "email", "json", "pathlib", "hashlib", "logging", "dataclasses",
            "importlib.metadata", "concurrent", "asyncio", "tempfile", "shutil")  # fmt: skip


def loaded(*arguments: str) -> tuple[int, list[str]]:
    """Return the exit code of a command, and the modules that it has loaded."""
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{NAMED}", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.rpartition(" loaded ")[2].split()


@pytest.mark.parametrize("command", ["check", "fix"])
def test_a_run_on_files_loads_nothing_of_clusters(command: str) -> None:
    code, modules = loaded(command, "-f", str(REJECTED))
    assert (code, "kubectl_harden.manifests.reader" in modules) == (1, True)
    others = {"json"} if command == "fix" else set()  # The editor writes JSON texts.
    assert {name for name in LEFT_OUT if name in modules} - others == set()


def test_check_names_fix_without_loading_it() -> None:
    assert "kubectl_harden.cli.fix" not in loaded("check", "-f", str(REJECTED))[1]


def test_check_loads_nothing_of_plans_and_directories() -> None:
    modules = loaded("check", "-f", str(REJECTED))[1]
    others = ("plan_model", "origin_model", "json_differences", "manifests.directories", "cli.audit_log", "cli.only")
    assert [name for name in others if f"kubectl_harden.{name}" in modules] == []
    assert "difflib" not in modules


def test_what_check_takes_and_fix_does_not() -> None:
    of_check = {parameter.name for parameter in check.params}
    of_fix = {parameter.name for parameter in fix.params}
    reached = {*CLUSTER_NAMES, *(one.name for one in OUTPUT)}
    assert (of_check - of_fix) | reached | {"output", "build"} == NOT_FOR_FIX

"""PyYAML may have been built without libyaml: the command says so, and does not end with the exit code of violations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REJECTED = ROOT / "examples" / "rejected-deployment.yaml"
WITHOUT = """\
import sys
sys.modules.update({"yaml._yaml": None, "yaml.cyaml": None, "_yaml": None})
from kubectl_harden.cli import main
main()
"""


def without_libyaml(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "-f", str(REJECTED)),
        ("check", "deploy/web"),
        ("fix", "-f", str(REJECTED)),
        ("migrate", "shop"),
        ("rejected", "-"),
        ("undo", "--last"),
        ("version", "-o", "json"),
    ],
)
def test_it_is_told_in_a_sentence(arguments: tuple[str, ...]) -> None:
    done = without_libyaml(*arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: PyYAML is installed without libyaml")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--help",), ("check", "--help"), ("version",), ("explain",)])
def test_what_reads_no_yaml_works(arguments: tuple[str, ...]) -> None:
    done = without_libyaml(*arguments)
    assert (done.returncode, done.stderr) == (0, "")

"""The standard streams: full, closed before the command begins, or closed while it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import GOOD, REJECTED, ROOT

COMMANDS = [
    "check -f web.yaml", "check -f web.yaml -o json", "check -f web.yaml -o name", "fix -f web.yaml", "fix -f web.yaml -o yaml",
    "explain", "explain hostPorts", "version", "check --help", "completion bash",
]  # fmt: skip


def shell(command: str, redirection: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    words = f"{sys.executable} -c 'from kubectl_harden.cli import main; main()' {command} {redirection}"
    (directory / "web.yaml").write_text(REJECTED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(["bash", "-c", words], cwd=directory, capture_output=True, env=environment, timeout=60)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_told_as_one(command: str, tmp_path: Path) -> None:
    done = shell(command, "> /dev/full", tmp_path)
    assert done.returncode == 3
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("error:")]
    assert errors == ["error: the output is incomplete, since it cannot be written: No space left on device"]
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("redirection", ["2> /dev/full", "2>&-"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_work_goes_on_where_nothing_can_be_told(command: str, redirection: str, tmp_path: Path) -> None:
    told = shell(command, "", tmp_path)
    done = shell(command, redirection, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (told.returncode, told.stdout, b"")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stdout_that_is_closed_leads_nowhere(command: str, tmp_path: Path) -> None:
    told = shell(command, "", tmp_path)
    done = shell(command, ">&-", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (told.returncode, b"", told.stderr)


def test_a_stdin_that_is_closed_holds_nothing(tmp_path: Path) -> None:
    assert shell("check -f -", "<&-", tmp_path).stderr == shell("check -f -", "< /dev/null", tmp_path).stderr


@pytest.mark.parametrize("output", ["text", "wide", "json", "sarif", "name"])
@pytest.mark.parametrize("text", ["hello world\nmore\n", "\ufffe", "[1]\n\n"])
def test_observations_that_cannot_be_read_are_an_error_whatever_is_printed(
    output: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "seen.jsonl").write_text(text + "\n", encoding="utf-16" if text == "\ufffe" else "utf-8")
    done = shell(f"check -f good.yaml --observed seen.jsonl -o {output}", "", tmp_path)
    assert done.returncode == 3
    assert done.stderr.count(b"error: seen.jsonl:1: this is not a JSON object from a runtime sensor") == 1
    if output == "json":
        assert json.loads(done.stdout)["summary"]["restricted"] == 1
    assert shell("check -f good.yaml -o wide", "", tmp_path).returncode == 0
    assert shell("fix -f good.yaml --observed seen.jsonl", "", tmp_path).returncode == 3

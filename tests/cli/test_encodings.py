"""Files that are not UTF-8, wherever they are read: one error with its place, an exit code, and never a fault of ours."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import GOOD, REJECTED, run

PLACE = "line 2, column 3: not valid UTF-8 (byte 0xff)"
BAD = "ä\nüü".encode() + b"\xff\n"


def _one_error(done: Any, code: int, message: str) -> None:
    assert done.returncode == code, done.stderr.decode()
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("error:")]
    assert errors == [f"error: {message}"]
    assert "this is a bug" not in done.stderr.decode()


@pytest.mark.parametrize("locale", [{}, {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
@pytest.mark.parametrize(
    "arguments, code",
    [
        (("check", "-f", "bad"), 3),
        (("check", "-f", "good.yaml", "--known", "bad"), 3),
        (("migrate", "-A", "--exclude-from", "bad"), 3),
        (("migrate", "--plan", "bad", "--apply", "--yes"), 3),
        (("check", "-f", "good.yaml", "--config", "bad"), 2),
    ],
)
def test_the_place_of_a_bad_byte(arguments: tuple[str, ...], code: int, locale: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(BAD)
    (tmp_path / "good.yaml").write_text(GOOD)
    done = run(*arguments, cwd=tmp_path, **locale)
    _one_error(done, code, f"bad: {PLACE}")


@pytest.mark.parametrize("locale", [{}, {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_utf_8_is_read_in_every_locale(locale: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "patterns").write_bytes("\ufeffkube-*  # für später\n".encode())
    (tmp_path / "kubeconfig").write_text("")
    done = run("migrate", "-A", "--exclude-from", "patterns", cwd=tmp_path, KUBECONFIG="kubeconfig", **locale)
    assert done.returncode == 4, done.stderr
    assert b"no cluster is configured" in done.stderr


@pytest.mark.parametrize("text", ["{", '{"apiVersion": 1, "kind": [', "[" * 100_000, "null"])
def test_a_plan_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan").write_text(text)
    done = run("migrate", "--plan", "plan", "--apply", "--yes", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.decode().startswith("error: plan: ")
    assert done.stderr.count(b"\n") == 1


def test_damaged_journals_concern_their_runs_only(tmp_path: Path) -> None:
    directory = tmp_path / "kubectl-harden" / "journal"
    directory.mkdir(parents=True)
    head = json.dumps({"event": "run", "command": "fix", "server": "https://x", "context": "c"}).encode() + b"\n"
    begin = b'{"event": "begin", "change": "1"}\n'
    (directory / "1-cut.jsonl").write_bytes(head + '{"event": "begin", "change": "ü'.encode()[:-1])
    (directory / "2-damaged.jsonl").write_bytes(head + b"\xff\n" + head)
    (directory / "3-shapeless.jsonl").write_bytes(head + begin + head)
    os.mkfifo(directory / "4-pipe.jsonl")
    state = {"XDG_STATE_HOME": str(tmp_path)}
    listed = run("undo", **state)
    assert listed.returncode == 3
    assert listed.stdout.decode().split() == ["1-cut", "fix", "c", "nothing", "changed:"]
    errors = sorted(listed.stderr.decode().splitlines())
    assert errors == [
        f"error: {directory / name}: {why}" if ":" not in name else f"error: {directory}/{name}: {why}"
        for name, why in (
            ("2-damaged.jsonl:2", "this line of the journal is damaged: the run is not read"),
            ("3-shapeless.jsonl:2", "this line of the journal is damaged: the run is not read"),
            ("4-pipe.jsonl", "this is not a regular file"),
        )
    ]
    named = run("undo", "2-damaged", "--yes", **state)
    _one_error(named, 3, f"{directory}/2-damaged.jsonl:2: this line of the journal is damaged: the run is not read")
    last = run("undo", "--last", "--yes", **state)
    assert last.returncode == 2
    assert last.stderr.decode().count("and skipped") == 3
    assert "error: there is nothing to undo" in last.stderr.decode()


def test_names_of_files_that_are_not_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"w\xff.yaml")
    (tmp_path / name).write_text(REJECTED)
    for output in ("text", "wide", "json", "yaml", "name", "sarif", "junit", "github", "rdjson", "gitlab", "html"):
        done = run("check", "-f", ".", "-o", output, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
    written = run("check", "-f", ".", "--write-known", "known.json", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert b"\\udcff" in (tmp_path / "known.json").read_bytes()
    assert run("check", "-f", ".", "--known", "known.json", cwd=tmp_path).returncode == 0
    assert run("fix", "-f", ".", "--write", cwd=tmp_path).returncode == 0


def test_a_pipe_in_a_directory_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "good.yaml").write_text(GOOD)
    done = run("check", "-f", ".", cwd=tmp_path)
    _one_error(done, 3, "./pipe.yaml: this is not a regular file")


def test_a_pipe_that_is_named_is_read(tmp_path: Path) -> None:
    import threading

    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(GOOD))
    writer.start()
    done = run("check", "-f", "pipe", cwd=tmp_path)
    writer.join()
    assert done.returncode == 0, done.stderr


def test_names_that_a_terminal_acts_on_are_not_proposed(tmp_path: Path) -> None:
    contexts = [{"name": name, "context": {}} for name in ("good", "go\x1b[31m", "go\u202e", "go\nod")]
    file = {"apiVersion": "v1", "kind": "Config", "contexts": contexts, "clusters": [], "users": []}
    (tmp_path / "kubeconfig").write_text(json.dumps(file))
    journal = tmp_path / "kubectl-harden" / "journal"
    journal.mkdir(parents=True)
    for name in ("1-good", "1\x1b[31m"):
        (journal / f"{name}.jsonl").write_text("")
    known = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "XDG_STATE_HOME": str(tmp_path)}
    assert run("__complete", "check", "--context", "g", **known).stdout == b"good\n:4\n"
    assert run("__complete", "undo", "", **known).stdout == b"1-good\n:4\n"
    asked = {"_KUBECTL_HARDEN_COMPLETE": "bash_complete", "COMP_WORDS": "kubectl-harden undo 1", "COMP_CWORD": "2"}
    assert run(**known, **asked).stdout == b"plain,1-good\n"

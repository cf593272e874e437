"""The command as users and scripts meet it: exit codes, messages, signals.

By the command line alone this tests ``cli/codes.py``, ``cli/options.py``, too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import GOOD, REJECTED, ROOT, run
from tests.support.signals import heed_signals


def test_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(REJECTED)
    (tmp_path / "broken.yaml").write_text("a: b: c\n")
    for arguments, code in [
        (("check", "-f", "good.yaml"), 0),
        (("check", "-f", "bad.yaml"), 1),
        (("check", "-f", "bad.yaml", "--level", "nonsense"), 2),
        (("check", "-f", "bad.yaml", "-f", "broken.yaml"), 3),
        (("check", "-f", "missing.yaml", "-f", "good.yaml"), 3),
        (("check",), 2),
        (("chek",), 2),
        (("fix", "-f", "good.yaml"), 0),
        (("fix", "-f", "bad.yaml"), 1),
        (("fix", "-f", "bad.yaml", "-o", "yaml"), 0),
        (("fix", "-f", "bad.yaml", "-o", "yaml", "--skip", "runAsNonRoot"), 1),
        (("fix", "-f", "bad.yaml", "--skip", "runAsNonrot"), 2),
        (("fix", "-f", "bad.yaml", "--host-path", "x=y"), 2),
        (("fix", "-f", "-", "--write"), 2),
        (("fix", "-f", "bad.yaml", "--write"), 0),
        (("check", "-f", "bad.yaml"), 0),
        (("version",), 0),
        (("--help",), 0),
    ]:
        assert run(*arguments, cwd=tmp_path).returncode == code, arguments


def test_suggestions(tmp_path: Path) -> None:
    assert b'Did you mean "check"?' in run("chek").stderr
    assert b'Did you mean "runAsNonRoot"?' in run("fix", "-f", "-", "--only", "runAsNonrot").stderr
    assert b"use latest, or one of v1.0 to v1.37" in run("check", "-f", "-", "--policy-version", "v2").stderr


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (b"a: b: c\n", "1:5", "mapping values are not allowed in this context"),
        (b"apiVersion: v1\nkind: Pod\nspec:\n  hostPID: \"true\"\n  containers: [{name: c}]\n", "4:3",
         'spec.hostPID: must be true or false, not the string "true"'),
        (b"apiVersion: v1\nkind: Pod\nspec:\n  containers: {name: c}\n", "4:3", "spec.containers: must be a list, not an object"),
        (b"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: 5\n", "5:5", "spec.containers[0].name: must be a string, not the number 5"),
        (b"apiVersion: v1\nkind: Pod\nspec: {}\n", "3:1", "spec.containers: required: a pod needs at least one container"),
        (b"apiVersion: apps/v1\nkind: Deployment\nspec: {}\n", "3:1", "spec.template: required: there is no pod template here"),
        (b"a: 1\n", "1:1", "this is not a Kubernetes object: apiVersion and kind not set"),
        (b"apiVersion: v1\nkind: Pod\nspec: {a: 1, a: 2, containers: [{name: c}]}\n# {{\n", "3:14", 'the key "a" is repeated; kubectl takes the last one'),
        (b"a: \xff\n", "", "line 1, column 4: not valid UTF-8 (byte 0xff)"),
        (b"\x7fELF\x00\x00", "", "has NUL bytes: this is a binary file"),
        (b"a\x00:\x00", "", "has NUL bytes: this is a binary file"),
        (b"\xff\xfea\x00", "1:1", "this is not a Kubernetes object: apiVersion and kind not set"),
        (b"\xff\xfea\x00\n\x00b", "", "line 2, column 1: not valid UTF-16 (byte 0x62)"),
        (b"\xfe\xff\x00a\xdc\x00", "", "line 1, column 3: not valid UTF-16 (byte 0xdc)"),
        (b"\xef\xbb\xbfa: b: c\n", "1:5", "mapping values are not allowed in this context"),
        (b'{"apiVersion": "v1" "kind": "Pod"}', "1:21", "expecting \',\' delimiter"),
        (b"a: *b\n", "1:4", "unknown anchor 'b' referenced"),
        (b"a:\n" + b"  x: {{ .Values.x }}\n  y: {{ .Values.y }}\n", "2", "a template, not YAML yet: render it first"),
        (b"kind: Pod\x1b[31m\n", "1:10", "control characters are not allowed"),
    ],
)  # fmt: skip
def test_bad_input_is_told_with_its_place_and_the_rest_is_done(
    tmp_path: Path, text: bytes, place: str, message: str
) -> None:
    (tmp_path / "bad.yaml").write_bytes(text)
    (tmp_path / "web.yaml").write_text(REJECTED)
    result = run("check", "-f", "bad.yaml", "-f", "web.yaml", "-o", "json", cwd=tmp_path)
    assert result.returncode == 3
    assert json.loads(result.stdout)["summary"]["privileged"] == 1
    assert f"error: bad.yaml{':' if place else ''}{place}: " in result.stderr.decode()
    assert message in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()


def test_control_characters_from_files_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        GOOD.replace("name: good", '"name": "a\\e[31m\\u202eb"').replace("drop: [ALL]", "drop: []")
    )
    result = run("check", "-f", "x.yaml", cwd=tmp_path)
    assert b"\x1b" not in result.stdout
    assert b"Pod a\\x1b[31m\\u202eb" in result.stdout
    assert "\u202e" not in result.stdout.decode()


def test_colour_only_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    assert b"\x1b[" not in run("fix", "-f", "web.yaml", cwd=tmp_path).stdout
    script = f"{sys.executable} -c 'from kubectl_harden.cli import main; main()' fix -f web.yaml"
    for environment, coloured in [({}, True), ({"NO_COLOR": "1"}, False)]:
        shown = subprocess.run(
            ["script", "-qec", script, "/dev/null"], cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment},
        )  # fmt: skip
        assert (b"\x1b[" in shown.stdout) == coloured


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    for index in range(40):
        (tmp_path / f"{index}.yaml").write_text(REJECTED)
    command = f"{sys.executable} -c 'from kubectl_harden.cli import main; main()' check -f . -o wide | head -n 1"
    result = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert result.stdout.startswith(b"Deployment shop/web")
    assert b"Traceback" not in result.stderr
    assert b"BrokenPipe" not in result.stderr


def test_interrupting_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for index in range(2000):
        (tmp_path / f"{index:04}.yaml").write_text("# " + "x" * 5_000 + "\n" + REJECTED)
    process = subprocess.Popen(
        [sys.executable, "-c", "from kubectl_harden.cli import main; main()", "fix", "-f", ".", "-o", "json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=heed_signals,
    )  # fmt: skip
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted" in err
    assert b"Traceback" not in err
    assert out == b""


def test_reports_do_not_move_the_cursor(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        GOOD.replace("name: good", '"name": "a\\x9b31m\\u202eb"').replace("drop: [ALL]", "drop: []")
    )
    for output in ("json", "yaml", "name", "wide"):
        shown = run("check", "-f", "x.yaml", "-o", output, cwd=tmp_path).stdout.decode()
        assert not {"\x9b", "\u202e"} & set(shown), output
    report = json.loads(run("check", "-f", "x.yaml", "-o", "json", cwd=tmp_path).stdout)
    assert report["workloads"][0]["name"] == "a\x9b31m\u202eb"

"""``fix -i`` asks for every edit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.cli.test_evidence import manifest
from tests.support.answering import answered
from tests.support.command import REJECTED, run


def interactive(file: Path, answers: list[bytes], *flags: str, **environment: str) -> tuple[int, str]:
    """Answer the questions of fix -i on a terminal."""
    command = [
        sys.executable,
        "-c",
        "from kubectl_harden.cli import main; main()",
        "fix",
        "-f",
        str(file),
        "-i",
        *flags,
    ]
    return answered(command, b"[y,n,a,d,q,e,?]? ", answers, {**os.environ, "NO_COLOR": "1", **environment})


def test_one_edit_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(REJECTED)
    code, shown = interactive(file, [b"?\n", b"n\n", b"y\n", b"q\n"])
    assert code == 1
    assert "q - leave it out, and everything that follows" in shown
    assert "-      hostNetwork: true" in shown and "+      hostNetwork: false" in shown, "the lines, old and new"
    assert "you refused it: usually needed" in " ".join(shown.split())
    added = [line for line in file.read_text().splitlines() if line not in REJECTED.splitlines()]
    assert [line.strip() for line in added] == ["allowPrivilegeEscalation: false"]


def test_all_of_an_object_and_none(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(REJECTED)
    assert interactive(file, [b"q\n"])[0] == 1
    assert file.read_text() == REJECTED
    assert interactive(file, [b"a\n"])[0] == 0
    assert run("check", "-f", str(file)).returncode == 0


def test_a_value_is_changed_in_an_editor(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(manifest("i"))
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho 4711 > "$1"\n')
    editor.chmod(0o755)
    code, _ = interactive(file, [b"e\n", b"a\n"], "--run-as-user", "1000", EDITOR=str(editor))
    assert code == 0
    assert '"runAsUser": 4711' in file.read_text() or "runAsUser: 4711" in file.read_text()


def test_a_volume_and_its_mounts_are_one_question(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(REJECTED)
    code, shown = interactive(file, [b"n\n", b"n\n", b"n\n", b"n\n", b"y\n", b"q\n"])
    assert code == 1
    assert shown.count("Make these edits") == 1 and shown.count("Make this edit") == 5
    assert "/etc/localtime" not in file.read_text() and "hostNetwork: true" in file.read_text()
    gone = [line.strip() for line in REJECTED.splitlines() if line not in file.read_text().splitlines()]
    assert any("mountPath" in line or "localtime" in line for line in gone)


def test_d_leaves_out_the_rest_of_an_object(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    other = REJECTED.replace("name: web", "name: api", 1)
    file.write_text(f"{REJECTED}\n---\n{other}")
    code, shown = interactive(file, [b"d\n", b"a\n"])
    assert code == 1
    assert "d - leave it out, and all others of this object" not in shown
    first, second = file.read_text().split("\n---\n")
    assert first == REJECTED and "runAsNonRoot: true" in second


def test_what_is_refused_from_the_editor_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(manifest("i"))
    editor = tmp_path / "editor"
    seen = tmp_path / "seen"
    editor.write_text(
        f'#!/bin/sh\ncat "$1" >> {seen}\nif grep -q broken "$1"; then echo 4711 > "$1"; else echo "a: [broken" > "$1"; fi\n'
    )
    editor.chmod(0o755)
    code, shown = interactive(file, [b"e\n", b"e\n", b"a\n"], "--run-as-user", "1000", EDITOR=str(editor))
    assert code == 0
    assert "this is not YAML, e opens it again" in shown
    assert "a: [broken" in seen.read_text(), "the editor has again what was written"
    assert "4711" in file.read_text()

"""``fix -f`` as users and scripts meet it.

By the command line alone this tests ``reports/patches.py``, too.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from kubectl_harden.field_path import parse_pointer
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.pod_security.risks import Judgement
from kubectl_harden.yaml_text.tree import parse, value_of
from tests.support.command import GOOD, REJECTED, ROOT, run
from tests.support.oracle import Oracle


def test_fix_as_a_filter_keeps_other_documents(tmp_path: Path) -> None:
    other = "# kept\r\nkind:   Service\r\napiVersion: v1\r\n"
    stream = f"{other}---\r\n{REJECTED}---\n{other}"
    result = run("fix", "-f", "-", "-o", "yaml", stdin=stream)
    assert result.returncode == 0
    text = result.stdout.decode()
    assert text.startswith(other) and text.endswith(other)
    assert run("check", "-f", "-", stdin=text).returncode == 0


def test_git_applies_the_diff(tmp_path: Path) -> None:
    texts = {
        "plain.yaml": REJECTED,
        "unended.yaml": GOOD.replace("drop: [ALL]", "drop: []").rstrip("\n"),
        "windows.yaml": REJECTED.replace("\n", "\r\n"),
        "sub/deep.json": json.dumps(value_of(parse(REJECTED))[0], indent=4),
    }
    (tmp_path / "sub").mkdir()
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
    expected = {name: run("fix", "-f", name, "-o", "yaml", cwd=tmp_path).stdout for name in texts}
    diff = run("fix", "-f", ".", "-R", cwd=tmp_path).stdout
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "--whitespace=nowarn"], cwd=tmp_path, input=diff, check=True)
    for name, text in expected.items():
        assert (tmp_path / name).read_bytes() == text


def test_write_keeps_mode_and_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "web.yaml"
    target.write_text(REJECTED)
    target.chmod(0o640)
    (tmp_path / "link.yaml").symlink_to("real/web.yaml")
    assert run("fix", "-f", "link.yaml", "--write", cwd=tmp_path).returncode == 0
    assert (tmp_path / "link.yaml").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert "runAsNonRoot: true" in target.read_text()
    assert [path.name for path in target.parent.iterdir()] == ["web.yaml"]
    again = run("fix", "-f", "link.yaml", "--write", cwd=tmp_path)
    assert again.returncode == 0
    assert b"nothing to do" in again.stderr


def test_a_kill_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    new = run("fix", "-f", "-", "-o", "yaml", stdin=REJECTED).stdout
    outcomes = set()
    for attempt in range(12):
        file.write_text(REJECTED)
        process = subprocess.Popen(
            [sys.executable, "-c", "from kubectl_harden.cli import main; main()", "fix", "-f", str(file), "--write"],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        time.sleep(0.02 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert file.read_bytes() in (REJECTED.encode(), new)
        outcomes.add(file.read_bytes())
    assert REJECTED.encode() in outcomes


def test_plan_json_edits_are_rfc_6902(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    plan = json.loads(run("fix", "-f", "web.yaml", "-o", "json", cwd=tmp_path).stdout)
    (workload,) = plan["workloads"]
    assert (workload["before"], workload["after"], workload["remaining"]) == ("privileged", "restricted", [])
    import jsonpatch

    operations = [{k: v for k, v in edit.items() if k in ("op", "path", "value")} for edit in workload["edits"]]
    fixed = jsonpatch.apply_patch(value_of(parse(REJECTED))[0], operations)
    assert fixed == value_of(parse(run("fix", "-f", "web.yaml", "-o", "yaml", cwd=tmp_path).stdout.decode()))[0]
    assert all(
        edit["risk"] in ("safe", "review", "breaks") and edit["why"] and edit["checks"] for edit in workload["edits"]
    )


def test_patches_mean_the_same_to_their_tools(oracle: Oracle, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    value = value_of(parse(REJECTED))[0]
    expected = value_of(parse(run("fix", "-f", "web.yaml", "-o", "yaml", cwd=tmp_path).stdout.decode()))[0]
    strategic = run("fix", "-f", "web.yaml", "-o", "strategic-patch", cwd=tmp_path).stdout.decode()
    patched = oracle.ask(op="strategic", object=value, patch=value_of(parse(strategic))[0])
    assert patched["documents"][0]["json"] == expected
    component = run("fix", "-f", "web.yaml", "-o", "kustomize", cwd=tmp_path).stdout.decode()
    built = oracle.ask(op="kustomize", files={"web.yaml": REJECTED, "component/kustomization.yaml": component,
                       "kustomization.yaml": "resources: [web.yaml]\ncomponents: [component]\n"})  # fmt: skip
    assert "error" not in built, built
    assert built["documents"][0]["json"] == expected
    (patch,) = json.loads(run("fix", "-f", "web.yaml", "-o", "json-patch", cwd=tmp_path).stdout)
    assert patch["target"] == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
        "name": "web",
        "namespace": "shop",
    }
    edits = [Judgement("safe", "").edit(op["op"], _path(op["path"]), op.get("value")) for op in patch["patch"]]
    assert apply(value, edits) == expected


def _path(pointer: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in map(str, parse_pointer(pointer)))

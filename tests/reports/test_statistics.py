"""Counts by control and by namespace, and many workloads told together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.command import REJECTED, run

SIMPLE = """\
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: SPACE}
spec:
  containers: [{name: c, image: example.com/a:1}]
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    pods = [SIMPLE.replace("NAME", f"p{index}").replace("SPACE", f"team-{index % 3}") for index in range(60)]
    pods[7] = pods[7].replace("spec:", "spec:\n  hostPID: true")
    accepted = "metadata: {annotations: {kubectl-harden/allow: 'runAsNonRoot: it is an installer'}, "
    pods[8] = pods[8].replace("metadata: {", accepted)
    (tmp_path / "all.yaml").write_text("---\n".join(pods))
    return tmp_path


def test_equal_violations_of_many_are_told_once(many: Path) -> None:
    done = run("check", "-f", "all.yaml", cwd=many, COLUMNS="")
    shown = done.stdout.decode()
    assert done.returncode == 1
    assert "58 workloads: baseline, not restricted:v1.37\n" in shown
    assert shown.index("1 workload: privileged") < shown.index("58 workloads: baseline"), "what is worse comes first"
    # Once for each of two sets, and of the workload of which more is to be told.
    assert shown.count("runAsNonRoot != true") == 3
    assert "Pod team-2/p8: baseline" in shown and "accepted: it is an installer" in shown
    named = set(re.findall(r"Pod (?:team-./)?(p[0-9]+)", shown))
    assert named == {f"p{index}" for index in range(60)}
    assert "(all.yaml:1)" in shown and "-o concise" in shown
    assert b"60 workloads: 60 below restricted:v1.37 (240 violations, not counting 1 accepted violation)" in done.stderr


def test_few_are_told_one_by_one_and_counted_when_asked(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    plain = run("check", "-f", "web.yaml", cwd=tmp_path).stdout.decode()
    assert "CONTROL" not in plain
    for more in ((), ("--evidence",)):
        counted = run("check", "-f", "web.yaml", "--statistics", *more, cwd=tmp_path).stdout.decode()
        assert re.search(r"(?m)^ +1 +1  hostNamespaces$", counted)
    assert run("check", "-f", "web.yaml", "--statistics", "-o", "json", cwd=tmp_path).returncode == 2


def test_tables_of_many(many: Path) -> None:
    shown = run("check", "-f", "all.yaml", cwd=many).stdout.decode()
    tables = shown[shown.index("WORKLOADS  VIOLATIONS  CONTROL") :].splitlines()
    assert [line.split() for line in tables[1:6]] == [
        ["60", "60", "allowPrivilegeEscalation"],
        ["60", "60", "capabilities_restricted"],
        ["60", "60", "seccompProfile_restricted"],
        ["59", "59", "runAsNonRoot"],
        ["1", "1", "hostNamespaces"],
    ]
    spaces = [line.split() for line in tables[8:11]]
    assert spaces == [["20", "20", "0", "20", "0", "team-0"], ["20", "20", "1", "19", "0", "team-1"],
                      ["20", "20", "0", "20", "0", "team-2"]]  # fmt: skip


def test_a_known_violation_is_not_counted(many: Path) -> None:
    run("check", "-f", "all.yaml", "--write-known", "known.json", cwd=many)
    (many / "web.yaml").write_text(REJECTED)
    shown = run("check", "-f", ".", "--known", "known.json", "--statistics", cwd=many).stdout.decode()
    assert "Deployment shop/web" in shown
    assert re.search(r"(?m)^ +1 +1  runAsNonRoot$", shown)

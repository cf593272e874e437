"""``--known`` and ``--write-known``: a repository begins with its violations known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.reports.test_sarif import sarif
from tests.support.command import REJECTED, run

OTHER = REJECTED.replace("name: web", "name: api", 1)


def test_a_repository_begins_with_its_violations_known(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    file = tmp_path / "deploy" / "web.yaml"
    file.write_text(REJECTED)
    done = run("check", "-f", "deploy", "--write-known", "known.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"6 violations written to known.json" in done.stderr
    # Nothing new: silent but for the count, wherever lines are.
    file.write_text("# moved\n\n" + REJECTED)
    done = run("check", "-f", "deploy", "--known", "known.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"all meet restricted:v1.37 except for 6 violations of the baseline file" in b" ".join(done.stderr.split())
    # From another directory the files are the same ones.
    done = run("check", "-f", ".", "--known", "../known.json", cwd=tmp_path / "deploy")
    assert done.returncode == 0
    # A new object, and a further container of an old one, count.
    file.write_text(REJECTED + "---\n" + OTHER)
    done = run("check", "-f", "deploy", "--known", "known.json", "-o", "json", cwd=tmp_path)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["summary"]["known"], report["summary"]["violations"]) == (6, 6)
    assert all(v["known"] for v in report["workloads"][0]["violations"])
    file.write_text(REJECTED.replace("      containers:\n", "      containers:\n        - {name: side, image: i}\n"))
    report = json.loads(run("check", "-f", "deploy", "--known", "known.json", "-o", "json", cwd=tmp_path).stdout)
    assert {v["check"] for v in report["workloads"][0]["violations"] if "known" not in v} == {
        "allowPrivilegeEscalation", "capabilities_restricted", "runAsNonRoot", "seccompProfile_restricted"
    }  # fmt: skip
    # What is cured is told.
    file.write_text(REJECTED.replace("hostNetwork: true", "hostNetwork: false"))
    done = run("check", "-f", "deploy", "--known", "known.json", cwd=tmp_path)
    assert b"1 entry of known.json is fixed; --write-known known.json takes it out" in done.stderr
    log = sarif(tmp_path, "-f", "deploy", "--known", "known.json")
    assert all(result["suppressions"] == [{"kind": "external", "status": "accepted"}]
               for result in log["runs"][0]["results"])  # fmt: skip
    assert run("check", "-f", "deploy", "--known", "known.json", "-o", "github", cwd=tmp_path).stdout == b""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "KnownViolations"}', '{"kind": "Other", "violations": []}',
                                  '{"kind": "KnownViolations", "violations": [{"file": 1}]}'])  # fmt: skip
def test_what_is_no_baseline_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "known.json").write_text(text)
    (tmp_path / "web.yaml").write_text(REJECTED)
    done = run("check", "-f", "web.yaml", "--known", "known.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"error: known.json: this is not a baseline file" in done.stderr
    assert b"no such file" in run("check", "-f", "web.yaml", "--known", "none.json", cwd=tmp_path).stderr.lower()

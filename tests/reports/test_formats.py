"""The reports that other programs read: SARIF, JUnit, GitHub annotations; and the baseline file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped

from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.fix import fix_text, proposal
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.policy import parse_policy
from kubectl_harden.reports.check import Tally
from kubectl_harden.reports.sarif import sarif as sarif_log
from kubectl_harden.yaml_text.editor import spliced
from tests.cli.test_main import GOOD, REJECTED, run
from tests.support.browser import browser
from tests.support.plans import workload
from tests.support.pods import valid_templates
from tests.support.profile import fewer
from tests.support.styles import yaml_texts
from tests.support.tools import downloaded

OTHER = REJECTED.replace("name: web", "name: api", 1)
ACCEPTED = "# kubectl-harden/allow: hostNamespaces: 100%, sure: it listens\n"


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema of OASIS, as go-sarif has it."""
    source = downloaded("github.com/owenrumney/go-sarif/v3@v3.3.1") / "pkg/report/v210/sarif/schema.go"
    return json.loads(source.read_text().split("`")[1])


def sarif(directory: Path, *arguments: str, **more: Any) -> Any:
    return json.loads(run("check", *arguments, "-o", "sarif", cwd=directory, **more).stdout)


def applied(text: str, fix: Any) -> str:
    """Return a text with a SARIF fix carried out, as its specification says."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    changes = []
    for replacement in fix["artifactChanges"][0]["replacements"]:
        region = replacement["deletedRegion"]
        first = starts[region["startLine"] - 1] + region["startColumn"] - 1
        last = starts[region["endLine"] - 1] + region["endColumn"] - 1
        changes.append((first, last, replacement["insertedContent"]["text"]))
    for first, last, new in sorted(changes, reverse=True):
        text = text[:first] + new + text[last:]
    return text


def test_sarif_is_valid_and_has_its_places(schema: Any, tmp_path: Path) -> None:
    (tmp_path / "a dir").mkdir()
    (tmp_path / "a dir" / "web.yaml").write_text("# ü\n" + ACCEPTED + REJECTED)
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    log = sarif(tmp_path, "-f", "a dir", "-f", "bad.yaml")
    jsonschema.Draft4Validator(schema).validate(log)
    (found,) = log["runs"]
    rules = found["tool"]["driver"]["rules"]
    assert len(rules) == 19
    for result in found["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "a%20dir/web.yaml", "uriBaseId": "%SRCROOT%"}
    lines = {r["ruleId"]: r["locations"][0]["physicalLocation"]["region"]["startLine"] for r in found["results"]}
    assert (lines["hostNamespaces"], lines["runAsNonRoot"]) == (17, 23)
    (suppressed,) = (r for r in found["results"] if "suppressions" in r)
    assert suppressed["suppressions"][0]["justification"] == "100%, sure: it listens"
    (notification,) = found["invocations"][0]["toolExecutionNotifications"]
    assert notification["locations"][0]["physicalLocation"]["region"]["startLine"] == 1


def test_sarifs_fixes_cure_their_control_and_no_other(tmp_path: Path) -> None:
    text = "# ü 😀\r\n" + REJECTED.replace("\n", "\r\n")
    (tmp_path / "web.yaml").write_bytes(text.encode())
    results = sarif(tmp_path, "-f", "web.yaml")["runs"][0]["results"]
    checks = [result["ruleId"] for result in results]
    assert len(checks) == 6
    for result in results:
        (tmp_path / "cured.yaml").write_bytes(applied(text, result["fixes"][0]).encode())
        left = [r["ruleId"] for r in sarif(tmp_path, "-f", "cured.yaml")["runs"][0]["results"]]
        if result["ruleId"] == "restrictedVolumes":  # One of its two volumes is data that no edit replaces unasked.
            assert set(left) <= set(checks)
        else:
            assert left == [check for check in checks if check != result["ruleId"]]


@fewer(4)
@given(drawn=yaml_texts(st.builds(workload, valid_templates(), st.sampled_from(["Pod", "Deployment"]))))
def test_sarifs_fixes_do_what_fixing_one_control_does(drawn: tuple[Any, str]) -> None:
    """In every style of YAML: the replacements of lines and columns make the text that fix --only makes."""
    text = drawn[1]
    tally, policy = Tally(), parse_policy("restricted", "latest")
    found = check_text(Manifest("f.yaml", text), Policies(policy), propose=proposal)
    log = json.loads("".join(sarif_log(iter(found.checked), policy, tally)))
    for result in log["runs"][0]["results"]:
        only = FixOptions(only=frozenset((result["ruleId"],)))
        fixed = fix_text(Manifest("f.yaml", text), Policies(policy), only)
        expected = spliced(text, fixed.splices)
        assert (applied(text, result["fixes"][0]) if "fixes" in result else text) == expected


def test_sarifs_fingerprints_stay_when_lines_move(tmp_path: Path) -> None:
    def fingerprints(text: str) -> set[str]:
        (tmp_path / "f.yaml").write_text(text)
        results = sarif(tmp_path, "-f", "f.yaml")["runs"][0]["results"]
        found = {result["partialFingerprints"]["primaryLocationLineHash"] for result in results}
        assert len(found) == len(results)
        return found

    before = fingerprints(REJECTED + "---\n" + OTHER)
    assert len(before) == 12
    assert fingerprints("# one\n# two\n---\n" + OTHER + "---\n" + REJECTED) == before
    assert len(fingerprints(REJECTED + "---\n" + REJECTED) & before) == 6


def test_junit_is_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED + "---\n" + GOOD)
    (tmp_path / "ok.yaml").write_text(
        "# kubectl-harden/allow: runAsNonRoot: <&\u200b>\n" + GOOD.replace("runAsNonRoot: true, ", "")
    )
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    done = run("check", "-f", ".", "-o", "junit", cwd=tmp_path)
    (tmp_path / "report.xml").write_bytes(done.stdout)
    report = JUnitXml.fromfile(str(tmp_path / "report.xml"))
    assert (report.tests, report.failures, report.errors, report.skipped) == (4, 1, 1, 1)
    suites = {suite.name: list(suite) for suite in report}
    web, good = suites["./web.yaml"]
    assert (web.name, good.name, good.result) == ("Deployment shop/web", "Pod good", [])
    (failure,) = web.result
    assert isinstance(failure, Failure) and failure.type == "restricted:v1.37"
    assert failure.message.startswith("host namespaces (hostNetwork=true), allowPrivilegeEscalation != false (")
    assert "./web.yaml:15 hostNamespaces: host namespaces" in failure.text
    assert isinstance(suites["./ok.yaml"][0].result[0], Skipped)
    assert isinstance(suites["./bad.yaml"][0].result[0], Error)
    assert done.returncode == 3


def test_github_annotations(tmp_path: Path) -> None:
    (tmp_path / "a,b.yaml").write_text(ACCEPTED + REJECTED)
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    lines = run("check", "-f", ".", "-o", "github", cwd=tmp_path).stdout.decode().splitlines()
    assert lines[0] == (
        "::notice file=./a%2Cb.yaml,line=16,title=hostNamespaces::Deployment shop/web: host namespaces "
        "(hostNetwork=true), accepted: 100%25, sure: it listens"
    )
    assert lines[1].startswith("::error file=./a%2Cb.yaml,line=22,title=allowPrivilegeEscalation::Deployment shop/web:")
    assert lines[-1].startswith("::error file=./bad.yaml,line=1,title=not checked::mapping values are not allowed")
    assert len(lines) == 7


def test_a_page_to_read(tmp_path: Path) -> None:
    """In a real browser: what is below the level comes first, evidence stands beside it, and names stay names."""
    evil = "<script>document.title='broken'</script>"
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "web.yaml").write_text(
        ACCEPTED.replace("it listens", evil)
        + REJECTED.replace("image: registry", 'command: ["chown", "x", "y"]\n          image: registry')
    )
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    (tmp_path / "page.html").write_bytes(run("check", "-f", ".", "-o", "html", cwd=tmp_path).stdout)
    with browser() as page:
        page.get(f"file://{tmp_path / 'page.html'}")
        assert page.title == "Pod Security: what admission would say"
        heads = [head.text for head in page.find_elements("css selector", "h2")]
        assert heads == ["Deployment shop/web", "Pod good", "Not checked"]
        text = page.find_element("tag name", "body").text
        assert f"accepted: 100%, sure: {evil}" in text
        assert "./web.yaml:23" in text
        assert "/spec/template/spec/containers/0/securityContext/runAsNonRoot" in text
        assert 'container "web" runs chown' in text and "(manifest)" in text
        assert "mapping values are not allowed" in text
        assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


# -- the baseline file -----------------------------------------------------------------------------


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
    assert b"all meet restricted:v1.37 but for 6 violations of the baseline file" in done.stderr
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

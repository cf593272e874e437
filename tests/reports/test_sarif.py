"""SARIF: valid by its schema, with places, fixes and fingerprints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.fix import proposal
from kubectl_harden.reports.sarif import sarif as sarif_log
from tests.support.command import REJECTED, run
from tests.support.plans import workload
from tests.support.pods import valid_templates
from tests.support.profile import fewer
from tests.support.styles import yaml_texts
from tests.support.suggested import fixed_only, reported
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
    severities = {rule["id"]: rule["properties"]["security-severity"] for rule in rules}
    assert (severities["privileged"], severities["runAsNonRoot"]) == ("8.0", "5.5")
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
    assert found["invocations"][0]["executionSuccessful"] is False


def test_sarifs_fixes_cure_their_control_and_no_other(tmp_path: Path) -> None:
    text = "# ü 😀\r\n" + REJECTED.replace("\n", "\r\n")
    (tmp_path / "web.yaml").write_bytes(text.encode())
    (run,) = sarif(tmp_path, "-f", "web.yaml")["runs"]
    assert run["invocations"][0]["executionSuccessful"] is True
    results = run["results"]
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
    for result in reported(text, proposal, sarif_log)["runs"][0]["results"]:
        expected = fixed_only(text, result["ruleId"])
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

"""GitLab's code quality: the fields that its documentation asks for, and fingerprints (``reports/review.py``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jsonschema

from tests.support.command import REJECTED, run

SCHEMA: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "additionalProperties": False,
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "minLength": 1},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "additionalProperties": False,
                "properties": {
                    # Relative to the repository, without ./ before it.
                    "path": {"type": "string", "pattern": "^(?!\\./)."},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "additionalProperties": False,
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}
"""By https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format."""


def gitlab(directory: Path, *arguments: str, **more: Any) -> Any:
    done = run("check", *arguments, "-o", "gitlab", cwd=directory, **more)
    # GitLab reads neither a byte order mark nor a second value.
    report = json.loads(done.stdout)
    jsonschema.Draft7Validator(SCHEMA).validate(report)
    return report


def test_entries_have_gitlabs_fields(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("# kubectl-harden/allow: hostNamespaces: it listens\n" + REJECTED)
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    *found, bad = gitlab(tmp_path, "-f", "./web.yaml", "-f", "./bad.yaml")
    places = {item["check_name"]: (item["severity"], item["location"]["lines"]["begin"]) for item in found}
    assert len(found) == 6 and {item["location"]["path"] for item in found} == {"web.yaml"}
    assert places["hostNamespaces"] == ("info", 16)
    assert places["runAsNonRoot"] == ("major", 22)
    assert next(iter(found))["description"] == (
        "Deployment shop/web: host namespaces (hostNetwork=true), accepted: it listens"
    )
    assert (bad["check_name"], bad["severity"], bad["location"]["path"]) == ("not-checked", "blocker", "bad.yaml")
    assert gitlab(tmp_path, "-f", "web.yaml", "--level", "baseline")[0]["check_name"] == "hostNamespaces"
    (tmp_path / "web.yaml").write_text(REJECTED)
    assert gitlab(tmp_path, "-f", "web.yaml")[0]["severity"] == "critical"
    run("check", "-f", "web.yaml", "--write-known", "known.json", cwd=tmp_path)
    assert gitlab(tmp_path, "-f", "web.yaml", "--known", "known.json") == []


def test_fingerprints_stay_when_lines_move(tmp_path: Path) -> None:
    """And no two are the same: GitLab shows one of those that are."""

    def fingerprints(text: str) -> set[str]:
        (tmp_path / "f.yaml").write_text(text)
        report = gitlab(tmp_path, "-f", "f.yaml")
        found = {item["fingerprint"] for item in report}
        assert len(found) == len(report)
        return found

    before = fingerprints(REJECTED)
    assert len(before) == 6
    assert fingerprints("# one\n# two\n---\n" + REJECTED) == before
    twice = fingerprints(REJECTED + "---\n" + REJECTED)
    assert before < twice and len(twice) == 12


TWO: Final = """apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
"""
CONTAINER: Final = """  - name: %s
    image: a
    securityContext: {privileged: true}
    ports: [{containerPort: 80, hostPort: %d}]
"""


def test_a_further_container_is_new(tmp_path: Path) -> None:
    """And their order is not."""

    def fingerprints(*containers: tuple[str, int]) -> dict[str, str]:
        (tmp_path / "f.yaml").write_text(TWO + "".join(CONTAINER % one for one in containers))
        return {item["check_name"]: item["fingerprint"] for item in gitlab(tmp_path, "-f", "f.yaml")}

    one, two = fingerprints(("web", 80)), fingerprints(("web", 80), ("proxy", 81))
    assert len(one) == 6 and set(one.values()).isdisjoint(two.values())
    assert fingerprints(("proxy", 81), ("web", 80)) == two
    port = fingerprints(("web", 90))
    assert {name for name, value in port.items() if one[name] != value} == {"hostPorts"}


CASES: Final = Path(__file__).parents[1] / "pod_security" / "controls" / "cases"


def test_no_two_entries_of_all_cases_have_the_same_fingerprint(tmp_path: Path) -> None:
    report = gitlab(tmp_path, "-R", "-f", str(CASES))
    assert len(report) > 300
    assert len({item["fingerprint"] for item in report}) == len(report)


def test_stdin_has_a_name(tmp_path: Path) -> None:
    report = gitlab(tmp_path, "-f", "-", stdin=REJECTED.encode())
    assert {item["location"]["path"] for item in report} == {"stdin"}

"""What ``fix`` makes of manifests that reach no level: by texts, and as its users run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given

from kubectl_harden.cli import cli
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.policy import NEWEST, Policy
from tests.support.profile import fewer
from tests.support.styles import yaml_texts
from tests.yaml_text.test_editor import OBJECTS

AGENT = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: cni}
spec:
  selector: {matchLabels: {app: cni}}
  template:
    metadata: {labels: {app: cni}}
    spec:
      hostIPC: true
      containers:
      - name: cni
        image: registry.example/cni:1
        securityContext: {capabilities: {add: [NET_ADMIN]}}
        volumeMounts: [{name: conf, mountPath: /conf}]
      volumes:
      - {name: conf, hostPath: {path: /srv/conf}}
"""
NFS = AGENT.replace("hostPath: {path: /srv/conf}", "nfs: {server: s, path: /p}")
IS_SAFE = AGENT.replace("image:", "command: [chown]\n        image:").replace(
    "\n      volumes:",
    """
      - name: user
        image: registry.example/app:1
        securityContext: {runAsUser: 1000}
      volumes:""",
)


def fix(tmp_path: Path, text: str, *options: str) -> Any:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    return CliRunner().invoke(cli, ["fix", "-f", str(file), *options], standalone_mode=False, catch_exceptions=False)


@fewer(8)
@given(written=yaml_texts(OBJECTS))
def test_every_plan_can_be_written_and_proved(written: tuple[Any, str]) -> None:
    found = fix_text(Manifest("f.yaml", written[1]), Policies(Policy("restricted", NEWEST)), FixOptions())
    # A repeated key is an error that says how kubectl reads it; the document is edited like any other.
    assert all("is repeated; kubectl takes the last one" in problem.message for problem in found.problems)
    assert bool(found.splices) == any(item.plan.edits for item in found.planned)


def test_nothing_is_changed_where_no_level_is_reached(tmp_path: Path) -> None:
    shown = fix(tmp_path, AGENT)
    assert (shown.return_value, shown.stdout) == (1, "")
    words = " ".join(shown.stderr.split())
    line = (
        'nothing is changed: it stays below baseline because of hostPath volumes (volume "conf"); --partial makes the 6'
    )
    assert line in words
    assert "not changed, since baseline is out of reach (--partial)" in words
    plan = json.loads(fix(tmp_path, AGENT, "-o", "json").stdout)["workloads"][0]
    assert (plan["before"], plan["after"], plan["edits"]) == ("privileged", "privileged", [])
    assert {left["check"] for left in plan["remaining"]} == {
        "hostNamespaces", "allowPrivilegeEscalation", "capabilities_restricted", "restrictedVolumes", "runAsNonRoot",
        "seccompProfile_restricted",
    }  # fmt: skip
    assert len(plan["heldBack"]) == 6
    partly = json.loads(fix(tmp_path, AGENT, "-o", "json", "--partial").stdout)["workloads"][0]
    assert [left["check"] for left in partly["remaining"]] == ["restrictedVolumes"]
    assert not partly["heldBack"] and not partly["notes"]


def test_baseline_is_reached_where_restricted_is_not(tmp_path: Path) -> None:
    plan = json.loads(fix(tmp_path, NFS, "-o", "json").stdout)["workloads"][0]
    assert (plan["before"], plan["after"]) == ("privileged", "baseline")
    assert {edit["path"] for edit in plan["edits"]} == {
        "/spec/template/spec/hostIPC", "/spec/template/spec/containers/0/securityContext",
    }  # fmt: skip
    (note,) = plan["notes"]
    assert note.startswith("nothing more is changed: it stays below restricted because of restricted volume types (vol")
    baseline = json.loads(fix(tmp_path, NFS, "-o", "json", "--level", "baseline").stdout)["workloads"][0]
    assert plan["edits"] == baseline["edits"]


@pytest.mark.parametrize(
    "said", [("--skip", "restrictedVolumes"), ("--only", "hostNamespaces"), ("--host-path", "conf=emptyDir")]
)
def test_what_a_person_says_counts(tmp_path: Path, said: tuple[str, str]) -> None:
    plan = json.loads(fix(tmp_path, AGENT, "-o", "json", *said).stdout)["workloads"][0]
    assert "/spec/template/spec/hostIPC" in {edit["path"] for edit in plan["edits"]}
    assert not plan["notes"]


def test_an_accepted_violation_counts(tmp_path: Path) -> None:
    accepted = f"# kubectl-harden/allow: hostPathVolumes: its configuration\n{AGENT}"
    done = fix(tmp_path, accepted, "-o", "json")
    plan = json.loads(done.stdout)["workloads"][0]
    assert done.return_value == 0
    assert len(plan["edits"]) > 3
    assert [left["check"] for left in plan["remaining"] if not left.get("accepted")] == []


def test_what_is_safe_is_made(tmp_path: Path) -> None:
    plan = json.loads(fix(tmp_path, IS_SAFE, "-o", "json").stdout)["workloads"][0]
    assert {edit["risk"] for edit in plan["edits"]} == {"safe"}
    assert plan["edits"]
    assert plan["notes"][0].startswith("nothing more is changed: it stays below baseline because of ")


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize(
    "scalar", ["|\n{i}x", ">-\n{i}x\n{i}y", "|2\n{i}x", "|+\n{i}x\n\n", "|", '"x\n{i}y"', "x\n{i}y"]
)
def test_any_line_break_around_any_scalar_is_edited_or_said(line_break: str, scalar: str) -> None:
    for indent, place in ((6, "    workingDir: "), (4, "  hostname: "), (6, "    command:\n    - ")):
        value = scalar.replace("{i}", " " * indent)
        head = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n    image: a\n"
        text = f"{head}{place}{value}\n  restartPolicy: Never\n".replace("\n", line_break)
        fixed = fix_text(Manifest("f.yaml", text), Policies(Policy("restricted", NEWEST)), FixOptions())
        told = [problem.message for problem in fixed.problems]
        assert fixed.splices or told
        assert not any("is a bug" in message for message in told), (text, told)
        assert fixed.splices or line_break not in ("\n", "\r\n"), (text, told)

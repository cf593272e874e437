"""Accepted violations: where they are read, what they cover, and that they are never silent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import Policy
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.policy import NEWEST
from kubectl_harden.yaml_text.editor import spliced
from tests.support.command import GOOD, REJECTED, run

RESTRICTED = Policy("restricted", NEWEST)
AGENT = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  template:
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      volumes: [{name: logs, hostPath: {path: /var/log}}]
      containers:
      - name: agent
        image: registry.example/agent:1
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""


def accepted(text: str, level: str = "restricted") -> dict[str, str]:
    found = check_text(Manifest("f.yaml", text), Policies(RESTRICTED._replace(level=level)))
    return {violation.check: violation.accepted for item in found.checked for violation in item.violations}


def problems(text: str) -> list[str]:
    found = check_text(Manifest("f.yaml", text), Policies(RESTRICTED))
    return [f"{problem.line}:{problem.column}: {problem.message}" for problem in found.problems]


@pytest.mark.parametrize("check", ["restrictedVolumes", "hostPathVolumes"])
@pytest.mark.parametrize("level", ["restricted", "baseline"])
def test_a_control_stands_for_its_twin_of_the_other_level(check: str, level: str) -> None:
    text = f"# kubectl-harden/allow: {check}: reads logs\n{AGENT}"
    assert list(accepted(text, level).values()) == ["reads logs"]


def test_a_baseline_control_does_not_cover_what_else_the_restricted_one_finds() -> None:
    text = AGENT.replace("volumes: [", "volumes: [{name: nfs, nfs: {server: s, path: /}}, ")
    assert accepted("# kubectl-harden/allow: hostPathVolumes: reads logs\n" + text) == {"restrictedVolumes": ""}
    assert accepted("# kubectl-harden/allow: restrictedVolumes: old\n" + text) == {"restrictedVolumes": "old"}


def test_a_baseline_control_does_not_cover_what_is_hidden_behind_it() -> None:
    """The API server names the wrong profile only, and not the container without one."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "side", "image": "i", "securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"name": "main", "image": "i", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
    ]}}  # fmt: skip
    allowed = "# kubectl-harden/allow: seccompProfile_baseline: traces system calls\n"
    assert accepted(allowed + json.dumps(pod))["seccompProfile_restricted"] == "traces system calls"
    del pod["spec"]["containers"][1]["securityContext"]  # type: ignore[index]
    assert accepted(allowed + json.dumps(pod))["seccompProfile_restricted"] == ""


def test_an_annotation_takes_a_control_a_line() -> None:
    text = REJECTED.replace(
        "metadata:\n",
        "metadata:\n  annotations:\n    kubectl-harden/allow: |\n      hostnamespaces: a\n\n      runAsNonRoot:  b: c\n",
        1,
    )
    found = accepted(text)
    assert (found["hostNamespaces"], found["runAsNonRoot"], found["restrictedVolumes"]) == ("a", "b: c", "")


def test_a_comment_counts_for_its_own_document_and_its_own_item() -> None:
    comment = "# kubectl-harden/allow: restrictedVolumes: reads logs\n"
    found = check_text(Manifest("f.yaml", f"{AGENT}---\n{comment}{AGENT}---\n{AGENT}"), Policies(RESTRICTED))
    assert [item.violations[0].accepted for item in found.checked] == ["", "reads logs", ""]
    # Above the first separator, and above a comment in between.
    found = check_text(Manifest("f.yaml", f"{comment}---\n# more\n---\n{AGENT}---\n{AGENT}"), Policies(RESTRICTED))
    assert [item.violations[0].accepted for item in found.checked] == ["reads logs", ""]
    item = "- " + AGENT.replace("\n", "\n  ").rstrip(" ")
    for commented in (
        item.replace("  kind:", f"  {comment}  kind:"),
        comment + item,
        f"- {comment}{item.replace('- ', '  ', 1)}",
        f"{item}  {comment}",
        item.replace("{name: agent}\n", "{name: agent}  " + comment, 1),
        item.removesuffix("\n") + "  " + comment,
    ):
        for place in range(3):
            items = [item] * 3
            items[place] = commented
            found = check_text(
                Manifest("f.yaml", "apiVersion: v1\nkind: List\nitems:\n" + "".join(items)), Policies(RESTRICTED)
            )
            assert found.problems == ()
            reasons = [item.violations[0].accepted for item in found.checked]
            assert [bool(reason) for reason in reasons] == [index == place for index in range(3)], commented


@pytest.mark.parametrize(
    "quoted", ["'# kubectl-harden/allow: restrictedVolumes: x'", "|\n    # kubectl-harden/allow: restrictedVolumes: x"]
)
def test_what_stands_in_a_string_is_no_comment(quoted: str) -> None:
    text = AGENT.replace("metadata: {name: agent}", f"metadata:\n  name: agent\n  annotations:\n   x: {quoted}")
    assert accepted(text) == {"restrictedVolumes": ""}


@pytest.mark.parametrize(
    "words, message",
    [
        ("restrictedVolume: x", '"restrictedVolume" is not a control. Did you mean "restrictedVolumes"?'),
        ("restrictedVolumes", "there is no reason why restrictedVolumes is accepted"),
        ("restrictedVolumes:   ", "there is no reason why restrictedVolumes is accepted"),
    ],
)
def test_what_is_no_allowance_is_a_problem_with_its_place(words: str, message: str) -> None:
    (problem,) = problems(f"{AGENT}# kubectl-harden/allow: {words}\n")
    assert problem.startswith(f"13:25: {message}")
    (problem,) = problems(
        AGENT.replace("{name: agent}", f'{{name: agent, annotations: {{kubectl-harden/allow: "{words}"}}}}', 1)
    )
    assert problem.startswith("3:39: ") and message in problem


def test_what_is_accepted_is_shown_and_counted_and_does_not_fail(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("# kubectl-harden/allow: hostPathVolumes: reads logs\n" + AGENT)
    done = run("check", "-f", "agent.yaml", cwd=tmp_path)
    assert (done.returncode, b"accepted: reads logs" in done.stdout) == (0, True)
    assert b"all meet restricted:v1.37 except for 1 accepted violation" in done.stderr
    report = json.loads(run("check", "-f", "agent.yaml", "-o", "json", cwd=tmp_path).stdout)
    (workload,) = report["workloads"]
    # The verdict is the API server's all the same.
    assert (workload["level"], workload["allowed"]) == ("privileged", False)
    assert workload["violations"][0]["accepted"] == "reads logs"
    assert (report["summary"]["violations"], report["summary"]["accepted"]) == (0, 1)
    done = run("fix", "-f", "agent.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"accepted: reads logs" in done.stderr and b"1 accepted violation" in done.stderr
    assert run("check", "-f", "agent.yaml", "-o", "name", cwd=tmp_path).stdout == b""


@given(st.sets(st.sampled_from([control.id for control in CONTROLS])))
def test_fixing_leaves_just_what_is_accepted(checks: set[str]) -> None:
    comments = "".join(f"# kubectl-harden/allow: {check}: reason\n" for check in sorted(checks))
    before = {check for check, reason in accepted(comments + REJECTED).items() if reason}
    found = fix_text(Manifest("f.yaml", comments + REJECTED), Policies(RESTRICTED), FixOptions())
    after = accepted(spliced(comments + REJECTED, found.splices))
    assert {check for check, reason in after.items() if reason} == set(after) == before


def test_a_good_object_needs_none() -> None:
    assert accepted("# kubectl-harden/allow: hostPathVolumes: x\n" + GOOD) == {}

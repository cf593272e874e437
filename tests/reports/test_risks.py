"""Lines on what edits risk, and what is told once of many workloads (``reports/repeated.py``)."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.command import REJECTED, run

SIMPLE = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: SPACE}
spec:
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec:
      containers: [{name: c, image: example.com/a:1}]
"""
USUAL = (
    "  review  4 edits that restricted always asks for (allowPrivilegeEscalation, capabilities.drop, runAsNonRoot, "
    "seccompProfile); nothing is known about how the image runs: --inspect-images, or deployment/web for its running pods"
)


def notes(stdin: str, *arguments: str) -> str:
    done = run("fix", "-f", "-", *arguments, stdin=stdin, COLUMNS="")
    return str(done.stderr.decode())


def test_the_usual_edits_are_one_line_and_what_is_special_stands_before_it() -> None:
    lines = notes(REJECTED).splitlines()
    assert lines[-2] == USUAL
    assert lines[1].startswith("  review  hostNetwork: usually needed to watch")
    assert len(lines) == 6


def test_what_a_manifest_asks_for_is_no_usual_edit() -> None:
    """A capability that somebody has added is told by itself when it is taken away."""
    context = "{capabilities: {add: [NET_ADMIN]}}"
    text = SIMPLE.replace("NAME", "web").replace("SPACE", "shop").replace(":1}]", f":1, securityContext: {context}}}]")
    lines = notes(text).splitlines()
    assert any(line.startswith("  review  capabilities.add: takes away NET_ADMIN") for line in lines)
    assert any(
        "4 edits that restricted always asks for (allowPrivilegeEscalation, capabilities.drop," in line
        for line in lines
    )


def test_evidence_decides() -> None:
    """What is known of an edit is told; only of the others it is said that nothing is."""
    text = SIMPLE.replace("NAME", "web").replace("SPACE", "shop")
    known = text.replace("spec:\n      containers", "spec:\n      securityContext: {runAsUser: 1000}\n      containers")
    lines = notes(known).splitlines()
    assert any(line.startswith("  safe    runAsNonRoot: ") for line in lines)
    assert any(line.startswith("  safe    capabilities.drop: ") for line in lines)
    usual = [line for line in lines if "restricted always asks for" in line]
    assert usual == ["  review  2 edits that restricted always asks for (allowPrivilegeEscalation, seccompProfile); "
                     "nothing is known about whether the app needs what they take away"]  # fmt: skip


def test_the_same_is_told_a_few_times_and_then_whose_it_is(tmp_path: Path) -> None:
    texts = [SIMPLE.replace("NAME", f"app-{index}").replace("SPACE", f"ns-{index % 2}") for index in range(30)]
    texts[10] = texts[10].replace("spec:\n      containers", "spec:\n      hostPID: true\n      containers")
    (tmp_path / "all.yaml").write_text("---\n".join(texts))
    done = run("fix", "-f", "all.yaml", cwd=tmp_path, COLUMNS="")
    told = done.stderr.decode()
    assert told.count("restricted always asks for") == 4
    assert "Deployment ns-0/app-10: privileged → restricted" in told, "what differs is told"
    assert "26 more workloads: the same as Deployment ns-0/app-0\n" in told
    assert set(re.findall(r"app-[0-9]+", told)) == {f"app-{index}" for index in range(30)}
    assert done.stdout.count(b"+      securityContext:") + done.stdout.count(b"runAsNonRoot") >= 30

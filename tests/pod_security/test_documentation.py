"""The explanations, which are the documentation of the controls' own files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kubectl_harden.cli.main import cli
from kubectl_harden.errors import UsageError
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.documentation import RUNTIME, explain, explanations
from kubectl_harden.reports.explain import reference, text
from kubectl_harden.reports.output import shown

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("check", [control.id for control in CONTROLS])
def test_every_control_says_what_it_is_about(check: str) -> None:
    item = explain(check)
    for words in (item.title, item.versions, item.gain, item.breaks, item.fix):
        assert len(words.split()) > 2
    assert item.rules
    assert all(rule.fields and rule.allowed for rule in item.rules)
    assert re.fullmatch(r"policy/check_\w+\.go", item.source)
    assert item.versions.lower().startswith(item.level)
    oldest = min(revision.minor for control in CONTROLS if control.id == check for revision in control.revisions)
    assert f"v1.{oldest}" in item.versions
    lines = shown("".join(text(item, columns=80)), colour=False).splitlines()
    assert all(len(line) <= 80 for line in lines if " " in line.strip())


def test_the_words_of_the_kubelet() -> None:
    said = explain("runAsNonRoot").breaks
    assert "container has runAsNonRoot and image will run as root" in said
    assert "container has runAsNonRoot and image has non-numeric user (NAME), cannot verify user is non-root" in said


def test_the_reference_in_the_docs_is_current() -> None:
    assert (ROOT / "docs" / "checks.md").read_text() == "".join(reference(explanations()))


def test_the_command() -> None:
    run = CliRunner().invoke
    listed = run(cli, ["explain"], standalone_mode=False).output
    assert [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")] == [
        control.id for control in CONTROLS
    ]
    assert run(cli, ["explain", "RunAsNonRoot"], standalone_mode=False).output.startswith("runAsNonRoot (restricted)\n")
    assert RUNTIME[0].split()[0] in run(cli, ["explain", "runtime"], standalone_mode=False).output
    unknown = run(cli, ["explain", "runAsRoot"], standalone_mode=False)
    assert isinstance(unknown.exception, UsageError)
    assert 'Did you mean "runAsNonRoot"?' in str(unknown.exception)

"""Every control against its cases: before and after as bytes, or unchanged with what remains.

A case's first lines say how: ``# options:`` are flags of ``fix``; each ``# remaining:`` is a piece of
what the plan must say about what is left, each ``# told:`` of what it must say of its edits.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kubectl_harden.cli import cli
from kubectl_harden.pod_security.controls import CONTROLS

CASES = Path(__file__).parent / "cases"
BEFORE = sorted([*CASES.glob("*/*.before.yaml"), *CASES.glob("*/*.unchanged.yaml")])


def options(text: str) -> list[str]:
    match = re.match(r"# options: (.*)\n", text)
    assert match is not None, "a case begins with its options"
    return match[1].split()


@pytest.mark.parametrize("path", BEFORE, ids=lambda path: f"{path.parent.name}-{path.name.split('.')[0]}")
def test_case(path: Path) -> None:
    text = path.read_bytes().decode()
    result = CliRunner().invoke(
        cli, ["fix", "-f", str(path), "-o", "yaml", *options(text)], standalone_mode=False, catch_exceptions=False
    )
    after = path.with_name(path.name.replace(".before.", ".after."))
    assert result.stdout_bytes == after.read_bytes()
    plan = CliRunner().invoke(
        cli, ["fix", "-f", str(path), "-o", "json", *options(text)], standalone_mode=False, catch_exceptions=False
    )
    for words in re.findall(r"^# (?:remaining|told): (.*)$", text, re.MULTILINE):
        assert words in plan.stdout.replace('\\"', '"')
    if ".before." in path.name:
        assert result.stdout_bytes != text.encode()


def test_every_control_has_cases_that_change_something() -> None:
    assert {path.name for path in CASES.iterdir()} == {control.id for control in CONTROLS}
    for control in CONTROLS:
        assert list((CASES / control.id).glob("*.before.yaml")), control.id


def test_no_case_is_left_over() -> None:
    for after in CASES.glob("*/*.after.yaml"):
        assert after.with_name(after.name.replace(".after.", ".before.")).exists()

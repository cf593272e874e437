"""Every rule by which a control's edits are judged decides in its case: cases/ID/rules.yaml.

A rule that needs no evidence has none: it decides for a container of which nothing is known.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.risks import Change, Rule
from tests.support.rules import Case, assert_decides, case_of

FILES = sorted((Path(__file__).parent / "cases").glob("*/rules.yaml"))
CASES = {name: case_of(value) for file in FILES for name, value in yaml.safe_load(file.read_text()).items()}
RULES = dict.fromkeys((change, rule) for control in CONTROLS for change in control.changes for rule in change.rules)


@pytest.mark.parametrize(("change", "rule"), RULES, ids=[rule.name for _, rule in RULES])
def test_a_rule_decides_where_its_evidence_is_found(change: Change, rule: Rule) -> None:
    assert_decides(change, rule, CASES.get(rule.name, Case()))


def test_no_case_is_left_over() -> None:
    assert set(CASES) <= {rule.name for _, rule in RULES}
    for file in FILES:
        changes = next(control.changes for control in CONTROLS if control.id == file.parent.name)
        assert set(yaml.safe_load(file.read_text())) <= {rule.name for change in changes for rule in change.rules}

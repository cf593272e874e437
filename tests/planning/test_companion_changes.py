"""Every rule by which companion edits are judged: what finds it, and what it then says."""

from __future__ import annotations

import pytest

from kubectl_harden.planning.companion_changes import COMPANION_CHANGES
from kubectl_harden.pod_security.risks import Change, Rule
from tests.support.rules import Case, assert_decides, needs, user

PORT = {"ports": [{"containerPort": 80}]}
CHOWN = {"command": ["chown", "1:1", "/data"]}
CLAIM = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]}
MOUNT = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}

# A rule that needs no evidence decides for an empty container.
CASES = {
    "user-needs-root": Case(CHOWN, name="1000", words="runs chown"),
    "user-low-port": Case(learned=(needs("low port", 80),), name="1000", words="it used low port"),
    "user-same": Case(learned=(user(1000, "live pod"),), name="1000", words="it says 1000"),
    "user-declared-low-port": Case(PORT, name="1000", words="serves port 80"),
    "user-volume": Case(MOUNT, pod=CLAIM, name="1000", words="writes to the claim"),
    "user-directory": Case(learned=(needs("directory", "/data", "image"),), name="1000", words="it used directory"),
    "user-writes": Case(name="1000"),
}

RULES = [(change, rule) for change in COMPANION_CHANGES for rule in change.rules]


@pytest.mark.parametrize(("change", "rule"), RULES, ids=[rule.name for _, rule in RULES])
def test_a_rule_decides_where_its_evidence_is_found(change: Change, rule: Rule) -> None:
    assert_decides(change, rule, CASES.get(rule.name, Case()))


def test_no_case_is_left_over() -> None:
    assert set(CASES) <= {rule.name for _, rule in RULES}

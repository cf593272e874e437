"""``migration/soak.py``: what of an audit log keeps a level from being enforced."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.evidence.audit_log import LogSpan, read_audit_log
from kubectl_harden.evidence.audited import Audited
from kubectl_harden.live.audited import Traced
from kubectl_harden.migration.model import Soak
from kubectl_harden.migration.soak import soak_blockers
from kubectl_harden.model import Policy
from kubectl_harden.pod_security.in_force import InForce
from kubectl_harden.pod_security.policy import NEWEST, parse_policy
from tests.evidence.test_audit_log import event, text

RESTRICTED, BASELINE = parse_policy("restricted", "latest"), parse_policy("baseline", "latest")
DAY = 86400.0


def namespace() -> dict[str, Any]:
    """Return a namespace whose audit label was set long ago."""
    labels = {"f:pod-security.kubernetes.io/audit": {}}
    set_at = {"manager": "m", "time": "2020-01-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": labels}}}
    return {"metadata": {"name": "shop", "managedFields": [set_at]}}


def blockers(directory: Path, data: bytes, goal: Policy, *, others: int = 0, seconds: float = DAY) -> list[str]:
    """Return what a log of the last day, with an event in each half hour and ``data``, has against a level."""
    now = time.time()
    stamps = (datetime.fromtimestamp(now - 1800 * n, UTC) for n in range(50))
    quiet = {"annotations": {"pod-security.kubernetes.io/enforce-policy": "privileged:latest"}}
    (directory / "audit.log").write_bytes(
        text(*(event(stageTimestamp=one.isoformat(), **quiet) for one in stamps)) + data
    )
    span, audited = LogSpan(), Audited()
    for one in read_audit_log([str(directory / "audit.log")], span):
        audited.add(one)
    soak = Soak(span, {"shop": [Traced(item) for item in audited.creations()]}, seconds, others)
    in_force = InForce({"audit": Policy("restricted", NEWEST)})
    return [f"{found.what}: {found.why}" for found in soak_blockers(soak, namespace(), in_force, goal)]


def said(words: str, **fields: Any) -> bytes:
    """Return the event of a pod of now, whose audit annotation has some words."""
    key = "pod-security.kubernetes.io/audit-violations"
    annotations = {key: f'would violate PodSecurity "restricted:latest": {words}'}
    return text(event(stageTimestamp=datetime.now(UTC).isoformat(), annotations=annotations, **fields))


DROP = 'container "a" must set securityContext.capabilities.drop=["ALL"]'
ADD = 'container "a" must not include "{}" in securityContext.capabilities.add'


@pytest.mark.parametrize(
    ("words", "below_baseline"),
    [
        (f"unrestricted capabilities ({DROP})", False),
        (f"unrestricted capabilities ({DROP}; {ADD.format('CHOWN')})", False),
        (f"unrestricted capabilities ({DROP}; {ADD.format('SYS_ADMIN')})", True),
        ('restricted volume types (volume "d" uses restricted volume type "nfs")', False),
        ('restricted volume types (volume "d" uses restricted volume type "hostPath")', True),
        (
            'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault")',
            False,
        ),
        ('seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")', True),
        ("host namespaces (hostNetwork=true)", True),
        ('a control of tomorrow (container "a" does it)', True),
        ("a control of tomorrow", True),
    ],
)
def test_what_restricted_says_may_be_below_baseline_too(tmp_path: Path, words: str, below_baseline: bool) -> None:
    """The word of a restricted control stands for the baseline one that it overrides; a newer control has any level."""
    assert blockers(tmp_path, said(words), RESTRICTED)
    assert bool(blockers(tmp_path, said(words), BASELINE)) is below_baseline


def test_a_log_in_which_all_is_well(tmp_path: Path) -> None:
    assert blockers(tmp_path, b"", RESTRICTED) == []


def test_what_is_lost_of_a_log_is_not_well(tmp_path: Path) -> None:
    foreign = b'{"kind":"Record","of":"pod-security.kubernetes.io/audit-violations"}\n'
    (found,) = blockers(tmp_path, foreign, RESTRICTED)
    assert "1 line of the audit log is not an audit event" in found
    timeless = text(event(name="a", stageTimestamp="yesterday", requestReceivedTimestamp=""))
    (found,) = blockers(tmp_path, timeless, RESTRICTED)
    assert "1 event of the audit log has no time" in found
    (found,) = blockers(tmp_path, b"", RESTRICTED, others=3)
    assert "3 more events of too many kinds to be kept" in found

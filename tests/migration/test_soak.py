"""``migration/soak.py``: what of an audit log keeps a level from being enforced."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.evidence.audit_log import LogSpan, read_audit_log
from kubectl_harden.evidence.audited import Audited
from kubectl_harden.live.audited import Traced
from kubectl_harden.migration.model import Soak
from kubectl_harden.migration.soak import Unlogged, soak_blockers
from kubectl_harden.model import Policy
from kubectl_harden.pod_security.in_force import InForce
from kubectl_harden.pod_security.policy import NEWEST, parse_policy
from kubectl_harden.times import rfc3339
from tests.evidence.test_audit_log import event, text

RESTRICTED, BASELINE = parse_policy("restricted", "latest"), parse_policy("baseline", "latest")
DAY = 86400.0


def namespace(audited_since: float) -> dict[str, Any]:
    """Return a namespace whose audit label was set then."""
    labels = {"f:pod-security.kubernetes.io/audit": {}}
    set_at = {"manager": "m", "time": stamp(audited_since), "fieldsV1": {"f:metadata": {"f:labels": labels}}}
    return {"metadata": {"name": "shop", "managedFields": [set_at]}}


def blockers(
    directory: Path,
    data: bytes,
    goal: Policy,
    *,
    others: int = 0,
    seconds: float | None = DAY,
    pods: Sequence[dict[str, Any]] = (),
    audited_for: float = 10 * DAY,
    enforced: Policy | None = None,
) -> list[str]:
    """Return what a log of the last day, with an event in each half hour and ``data``, has against a level."""
    now = time.time()
    stamps = (datetime.fromtimestamp(now - 1800 * n, UTC) for n in range(50))
    quiet = {"annotations": {"pod-security.kubernetes.io/enforce-policy": "privileged:latest"}, "verb": "update"}
    (directory / "audit.log").write_bytes(
        text(*(event(stageTimestamp=one.isoformat(), **quiet) for one in stamps)) + data
    )
    span, audited = LogSpan(since=None if seconds is None else now - seconds), Audited()
    for one in read_audit_log([str(directory / "audit.log")], span):
        audited.add(one)
    soak = Soak(span, {"shop": [Traced(item) for item in audited.creations()]}, seconds, others)
    in_force = InForce({"audit": Policy("restricted", NEWEST), "enforce": enforced})
    value = namespace(now - audited_for)
    unlogged = Unlogged(soak, value)
    for pod in (*pods, *pods):
        unlogged.judge(pod)
    return [f"{found.what}: {found.why}" for found in soak_blockers(soak, value, in_force, goal, unlogged)]


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def pod(name: str, ago: float, **annotations: str) -> dict[str, Any]:
    """Return a pod that runs, as the API has it."""
    at = datetime.fromtimestamp(time.time() - ago, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {"name": name, "uid": name, "creationTimestamp": at, "annotations": annotations}}


def said(words: str, policy: str = "restricted:latest", **fields: Any) -> bytes:
    """Return the event of a pod of now, whose audit annotation has some words."""
    key = "pod-security.kubernetes.io/audit-violations"
    annotations = {key: f'would violate PodSecurity "{policy}": {words}'}
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


@pytest.mark.parametrize("seconds", [DAY, None])
def test_what_violates_baseline_violates_restricted(tmp_path: Path, seconds: float | None) -> None:
    """As where baseline was audited when the pod came; what is refused already is not new."""
    words = "host namespaces (hostNetwork=true)"
    (found,) = blockers(tmp_path, said(words, "baseline:latest"), RESTRICTED, seconds=seconds)
    assert "one created that violates it" in found
    status = {"code": 403, "message": f'pods "a" is forbidden: violates PodSecurity "baseline:latest": {words}'}
    refused = text(event(stageTimestamp=stamp(time.time()), responseStatus=status))
    (found,) = blockers(tmp_path, refused, RESTRICTED, seconds=seconds)
    assert "one refused that violates it" in found
    assert blockers(tmp_path, refused, RESTRICTED, seconds=seconds, enforced=BASELINE) == []


def test_a_log_in_which_all_is_well(tmp_path: Path) -> None:
    assert blockers(tmp_path, b"", RESTRICTED) == []


@pytest.mark.parametrize("seconds", [DAY, None])
def test_what_is_lost_of_a_log_is_not_well(tmp_path: Path, seconds: float | None) -> None:
    """Whether or not a time is asked for in which all was well."""
    foreign = b'{"kind":"Record","of":"pod-security.kubernetes.io/audit-violations"}\n'
    (found,) = blockers(tmp_path, foreign, RESTRICTED, seconds=seconds)
    assert "1 line of the audit log is not an audit event" in found
    (found,) = blockers(tmp_path, b'{"kind":"Event","auditID\n', RESTRICTED, seconds=seconds)
    assert "1 line of the audit log cannot be read" in found
    timeless = text(event(name="a", stageTimestamp="yesterday", requestReceivedTimestamp=""))
    (found,) = blockers(tmp_path, timeless, RESTRICTED, seconds=seconds)
    assert "1 event of the audit log has no time" in found
    (found,) = blockers(tmp_path, b"", RESTRICTED, seconds=seconds, others=3)
    assert "3 more events of too many kinds to be kept" in found


def test_a_log_that_does_not_show_what_runs_is_not_the_one(tmp_path: Path) -> None:
    """As a log of another cluster, or of one of several API servers, does not."""
    (found,) = blockers(tmp_path, b"", RESTRICTED, pods=[pod("a", 7200)])
    at = rfc3339(time.time() - 7200)
    assert (
        f"the audit log does not show the creation of 1 pod that runs, created at {at}: it may be of another" in found
    )
    (found,) = blockers(tmp_path, b"", RESTRICTED, pods=[pod("a", 7200), pod("b", 9000)])
    assert f"the creation of 2 pods that run, the last created at {at}" in found


def test_of_some_pods_no_log_shows_the_creation(tmp_path: Path) -> None:
    older, later, mirror = pod("a", 2 * DAY), pod("b", 10), pod("c", 7200, **{"kubernetes.io/config.mirror": "x"})
    assert blockers(tmp_path, b"", RESTRICTED, pods=[older, later, mirror]) == []
    # While nothing was audited, admission noted nothing; that is told once.
    (found,) = blockers(tmp_path, b"", RESTRICTED, pods=[pod("a", 7200)], audited_for=3600)
    assert "has been audited there only since" in found


def test_a_pod_whose_creation_the_log_shows(tmp_path: Path) -> None:
    at = time.time() - 7200
    key = "pod-security.kubernetes.io/enforce-policy"
    times = {"requestReceivedTimestamp": stamp(at - 0.5), "stageTimestamp": stamp(at + 0.5)}
    made = text(event(annotations={key: "privileged:latest"}, **times))
    assert blockers(tmp_path, made, RESTRICTED, pods=[pod("a", 7200)]) == []
    (found,) = blockers(tmp_path, made, RESTRICTED, pods=[pod("a", 7200), pod("b", 7300)])
    assert "1 pod that runs" in found

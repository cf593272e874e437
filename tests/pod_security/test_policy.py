"""The verdict is the API server's: official fixtures, and the official evaluator on generated pods."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.errors import UsageError
from kubectl_harden.model import Level
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.documentation import explain
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.pod_security.policy import (
    NEWEST,
    Policy,
    evaluate,
    highest_level,
    parse_policy,
    registry_faults,
)
from kubectl_harden.yaml_text.tree import parse, value_of
from tests.support.oracle import Oracle, module_directory
from tests.support.pods import templates

LEVELS: tuple[Level, ...] = ("baseline", "restricted")


def ours(pod: Pod) -> dict[tuple[str, int], list[tuple[str, str]]]:
    return {
        (level, minor): [(found.reason, found.detail) for _, found in evaluate(pod, Policy(level, minor))]
        for level in LEVELS
        for minor in range(NEWEST + 1)
    }


def test_official_fixtures() -> None:
    root = module_directory("k8s.io/pod-security-admission") / "test" / "testdata"
    files = sorted(root.glob("*/v*/*/*.yaml"))
    assert len(files) > 4_000
    failing = {file.stem.rstrip("0123456789") for file in files if file.parts[-3:-1] == (f"v1.{NEWEST}", "fail")}
    assert failing == {control.id.lower() for control in CONTROLS}
    wrong = []
    for file in files:
        level, version, expected = file.parts[-4:-1]
        value, _ = value_of(parse(file.read_text()))
        found = evaluate(Pod(value, is_pod=True), parse_policy(level, version))
        if bool(found) != (expected == "fail"):
            wrong.append(str(file))
    assert not wrong


def test_newest_version(oracle: Oracle) -> None:
    assert oracle.ask(op="versions")["newest"] == NEWEST


@given(template=templates())
def test_evaluator_parity(oracle: Oracle, template: dict[str, Any]) -> None:
    theirs = oracle.verdicts(op="evaluate", metadata=template["metadata"], spec=template["spec"])
    assert ours(Pod(template, is_pod=False)) == theirs


@given(template=templates(), minor=st.integers(0, NEWEST))
def test_privileged_forbids_nothing_and_the_level_stays_known(template: dict[str, Any], minor: int) -> None:
    pod = Pod(template, is_pod=False)
    assert evaluate(pod, Policy("privileged", minor)) == []
    forbidden = {level: evaluate(pod, Policy(level, minor)) for level in LEVELS}
    expected = "privileged" if forbidden["baseline"] else "baseline" if forbidden["restricted"] else "restricted"
    assert highest_level(pod, Policy("privileged", minor), []) == expected


def wrapped(kind: str, template: dict[str, Any]) -> dict[str, Any]:
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", **template}
    if kind == "PodTemplate":
        return {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
    if kind == "CronJob":
        job = {"spec": {"template": template}}
        return {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": job}}
    group = {"ReplicationController": "v1", "Job": "batch/v1"}.get(kind, "apps/v1")
    return {"apiVersion": group, "kind": kind, "spec": {"template": template}}


@given(
    template=templates(fewest_sources=0),
    kind=st.sampled_from(
        [
            "Pod",
            "Pod",
            "Deployment",
            "DaemonSet",
            "StatefulSet",
            "ReplicaSet",
            "ReplicationController",
            "Job",
            "CronJob",
            "PodTemplate",
        ]
    ),
)
def test_admission_parity(oracle: Oracle, template: dict[str, Any], kind: str) -> None:
    """As the API server sees a created object: after its decoding, defaults and preparation."""
    value = wrapped(kind, template)
    locations = locate(value, {})
    assert locations is not None
    (location,) = locations
    assert ours(Pod(location.value, is_pod=location.is_pod)) == oracle.verdicts(op="admit", object=value)


def test_registry_invariants() -> None:
    assert registry_faults(CONTROLS) == []
    official = module_directory("k8s.io/pod-security-admission") / "policy"
    sources = {f"policy/{file.name}" for file in official.glob("check_*.go") if not file.stem.endswith("_test")}
    assert sources == {explain(control.id).source for control in CONTROLS}
    assert len(sources) == len(CONTROLS)


def test_registry_faults_are_found() -> None:
    broken = (*CONTROLS, CONTROLS[0])
    assert registry_faults(broken) == [f"{CONTROLS[0].id}: registered twice"]


@pytest.mark.parametrize("version", ["v1", "1.25", "v1.38", "v2.0", "v1.025", "", "newest"])
def test_unknown_versions_name_the_valid_ones(version: str) -> None:
    with pytest.raises(UsageError, match=r"use latest, or one of v1\.0 to v1\.37"):
        parse_policy("restricted", version)


def test_unknown_level_names_the_valid_ones() -> None:
    with pytest.raises(UsageError, match="use baseline or restricted"):
        parse_policy("privileged", "latest")


def test_latest_is_the_newest_version() -> None:
    assert str(parse_policy("baseline", "latest")) == f"baseline:v1.{NEWEST}"

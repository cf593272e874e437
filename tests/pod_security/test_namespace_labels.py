"""What a namespace's labels ask for, against the official code."""

from __future__ import annotations

from typing import Any

import jsonpatch  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.pod_security.namespace_labels import (
    LADDER,
    MODES,
    PREFIX,
    PolicyChoice,
    chosen_policy,
    label_operations,
    mode_policies,
    pod_warnings,
    raised_labels,
    rank,
    target_policy,
)
from kubectl_harden.pod_security.policy import NEWEST, Policy
from tests.support.oracle import Oracle

LEVELS = st.sampled_from(["privileged", "baseline", "restricted", "Restricted", "", "nonsense"])
VERSIONS = st.sampled_from(["latest", "v1.0", "v1.24", "v1.37", "v1.99", "v1.01", "1.24", "v2.0", "", "v1.-1"])
LABELS = st.fixed_dictionaries(
    {},
    optional={
        **{PREFIX + mode: LEVELS for mode in MODES},
        **{f"{PREFIX}{mode}-version": VERSIONS for mode in MODES},
        "unrelated": st.just("x"),
    },
)


@given(labels=LABELS)
def test_modes_are_admissions(oracle: Oracle, labels: dict[str, str]) -> None:
    theirs = oracle.ask(op="labels", labels=labels)["modes"]
    ours = mode_policies(labels, NEWEST)
    for mode in MODES:
        found = ours[mode]
        if found is None:
            assert theirs[mode].startswith("privileged:")
        else:
            assert str(found) == theirs[mode]


def test_latest_is_the_servers_minor_version() -> None:
    labels = {PREFIX + "enforce": "restricted"}
    assert mode_policies(labels, 30)["enforce"] == Policy("restricted", 30, "latest")
    assert mode_policies(labels, NEWEST + 3)["enforce"] == Policy("restricted", NEWEST, "latest")
    pinned = {**labels, PREFIX + "enforce-version": "v1.35"}
    assert mode_policies(pinned, 30)["enforce"] == Policy("restricted", 30, "v1.35")
    assert chosen_policy(PolicyChoice("baseline"), labels, 30) == Policy("baseline", 30, "latest")


def test_enforced_then_warned_then_audited() -> None:
    audit = {PREFIX + "audit": "baseline", PREFIX + "audit-version": "v1.20"}
    warn = {**audit, PREFIX + "warn": "restricted", PREFIX + "warn-version": "v1.22"}
    enforce = {**warn, PREFIX + "enforce": "baseline", PREFIX + "enforce-version": "v1.24"}
    choice = PolicyChoice()
    assert str(chosen_policy(choice, {}, 37)) == "restricted:latest"
    assert str(chosen_policy(choice, None, 37)) == "restricted:latest"
    assert str(chosen_policy(choice, audit, 37)) == "baseline:v1.20"
    assert str(chosen_policy(choice, warn, 37)) == "restricted:v1.22"
    assert str(chosen_policy(choice, enforce, 37)) == "baseline:v1.24"
    assert str(chosen_policy(PolicyChoice(None, "v1.30"), enforce, 37)) == "baseline:v1.30"
    assert str(chosen_policy(PolicyChoice("restricted", "v1.30"), enforce, 37)) == "restricted:v1.30"


@given(
    labels=LABELS,
    modes=st.lists(st.sampled_from(MODES), unique=True, min_size=1),
    level=st.sampled_from(LADDER[1:]),
    version=st.sampled_from([None, "latest", "v1.30"]),
)
def test_raised_labels_lift_and_never_lower(
    labels: dict[str, str], modes: list[Any], level: Any, version: str | None
) -> None:
    wanted = raised_labels(labels, modes, level, version, NEWEST)
    after = {**labels, **wanted}
    before, now = mode_policies(labels, NEWEST), mode_policies(after, NEWEST)
    for mode in MODES:
        assert rank(now[mode]) >= rank(before[mode])
    for mode in modes:
        assert rank(now[mode]) >= rank(level)
        policy = now[mode]
        if version is not None and policy is not None and rank(before[mode]) <= rank(level):
            assert policy.named == version or f"{PREFIX}{mode}" not in after
    assert raised_labels(after, modes, level, version, NEWEST) == {}
    assert {key for key in wanted if "version" in key} == set() or version is not None
    for present in (labels, None):
        value = {"metadata": {} if present is None else {"labels": dict(present)}}
        patched = jsonpatch.apply_patch(value, label_operations(present, wanted))
        assert patched["metadata"].get("labels", {}) == {**(present or {}), **wanted}


def test_the_target_keeps_a_namespaces_version_unless_told() -> None:
    labels = {PREFIX + "enforce": "baseline", PREFIX + "enforce-version": "v1.25"}
    assert str(target_policy("restricted", None, labels, 37)) == "restricted:v1.25"
    assert str(target_policy("restricted", "v1.30", labels, 37)) == "restricted:v1.30"
    assert str(target_policy("restricted", None, {}, 37)) == "restricted:latest"


def test_the_warnings_of_a_namespace() -> None:
    policy = Policy("restricted", 37, "latest")
    assert pod_warnings("shop", policy, []) == []
    said = [("web-2", "privileged"), ("web-1", "privileged"), ("db-0", "hostPath volumes"), ("x", "privileged")]
    assert pod_warnings("shop", policy, said) == [
        'existing pods in namespace "shop" violate the new PodSecurity enforce level "restricted:latest"',
        "db-0: hostPath volumes",
        "web-1 (and 2 other pods): privileged",
    ]
    assert pod_warnings("shop", policy, said[:2])[1] == "web-1 (and 1 other pod): privileged"

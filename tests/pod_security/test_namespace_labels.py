"""What a namespace's labels ask for, against the official code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.model import LADDER
from kubectl_harden.pod_security.namespace_labels import (
    MODES,
    PREFIX,
    UNCONFIGURED,
    PolicyChoice,
    asked_policy,
    chosen_policy,
    label_faults,
    likely_typos,
    mode_policies,
    pod_warnings,
    policies_of,
    policy_of_words,
)
from kubectl_harden.pod_security.policy import NEWEST, Policy
from tests.support.oracle import Oracle

LEVELS = st.sampled_from(["privileged", "baseline", "restricted", "Restricted", "", "nonsense"])
VERSIONS = st.sampled_from(
    [
        "latest",
        "v1.0",
        "v1.24",
        "v1.37",
        "v1.99",
        "v1.01",
        "1.24",
        "v2.0",
        "",
        "v1.-1",
        "v1.9223372036854775808",
        "v1.1\n",
    ]
)
LABELS = st.fixed_dictionaries(
    {},
    optional={
        **{PREFIX + mode: LEVELS for mode in MODES},
        **{f"{PREFIX}{mode}-version": VERSIONS for mode in MODES},
        "unrelated": st.just("x"),
    },
)


KNOWN = st.sampled_from(["latest", "v1.0", "v1.24", "v1.31", "v1.37", "v1.99"])
DEFAULTS = st.fixed_dictionaries(
    {mode: st.builds(policy_of_words, st.builds("{}:{}".format, st.sampled_from(LADDER), KNOWN), st.just(NEWEST))
     for mode in MODES}
)  # fmt: skip


@given(labels=LABELS, defaults=st.none() | DEFAULTS)
def test_modes_are_admissions(oracle: Oracle, labels: dict[str, str], defaults: dict[Any, Policy] | None) -> None:
    given = {mode: str(policy) for mode, policy in (defaults or {}).items()}
    theirs = oracle.ask(op="labels", labels=labels, defaults=given)
    ours = policies_of(labels, NEWEST, defaults or UNCONFIGURED)
    assert ours == policies_of(labels, NEWEST, defaults or {})
    assert {mode: str(ours[mode]) for mode in MODES} == theirs["modes"]
    enforcing = mode_policies(labels, NEWEST, defaults or {})
    assert enforcing == {mode: None if p.level == "privileged" else p for mode, p in ours.items()}
    told = [
        f"metadata.labels[{key}]: {words.split(' Did you mean')[0].rstrip('.')}" for key, words in label_faults(labels)
    ]
    assert told == theirs.get("invalid", [])


@given(labels=LABELS, defaults=DEFAULTS)
def test_what_is_asked_is_what_is_enforced_or_else_warned_or_audited(
    labels: dict[str, str], defaults: dict[Any, Policy]
) -> None:
    modes = policies_of(labels, NEWEST, defaults)
    found = asked_policy(labels, NEWEST, defaults)
    if found is not None:
        mode, policy = found
        assert policy == modes[mode]
        assert all(modes[before].level == "privileged" for before in MODES[: MODES.index(mode)])
    else:
        assert all(modes[mode].level == "privileged" for mode in MODES)
    if labels.get(PREFIX + "enforce") in LADDER or modes["enforce"].level != "privileged":
        assert found == ("enforce", modes["enforce"])


def test_privileged_that_a_label_says_is_an_answer_and_by_default_is_none() -> None:
    assert asked_policy({PREFIX + "enforce-version": "v1.30"}, NEWEST) is None
    told = {PREFIX + "enforce": "privileged", PREFIX + "warn": "restricted"}
    assert asked_policy(told, NEWEST) == ("enforce", Policy("privileged", NEWEST, "latest"))
    # What admission does not understand is no permission.
    assert asked_policy({PREFIX + "warn": "Restricted", PREFIX + "audit": "baseline"}, NEWEST) == (
        "audit",
        Policy("baseline", NEWEST, "latest"),
    )


@pytest.mark.parametrize(
    "key, value, words",
    [
        (
            "enforce",
            "Restricted",
            'Invalid value: "Restricted": must be one of privileged, baseline, restricted. Did you mean "restricted"?',
        ),
        ("warn-version", "1.30", 'Invalid value: "1.30": must be "latest" or "v1.x". Did you mean "v1.30"?'),
        ("audit", "", 'Invalid value: "": must be one of privileged, baseline, restricted'),
        ("enforce-version", 1.3, "must be a string: write it in quotes"),
    ],
)
def test_what_is_wrong_with_a_label(key: str, value: Any, words: str) -> None:
    assert label_faults({PREFIX + key: value, "unrelated": 3}) == [(PREFIX + key, words)]


@pytest.mark.parametrize(
    "key, label",
    [
        ("pod-security.kubernetes.io/enforce-verison", "enforce-version"),
        ("pod-security.kubernetes.io/Enforce", "enforce"),
        ("pod-security.kubernetes.io/warning", "warn"),
        ("podsecurity.kubernetes.io/enforce", "enforce"),
        ("pod-security.k8s.io/audit-version", "audit-version"),
        ("pod-security.kubernetes.oi/warn-version", "warn-version"),
        ("pod-security.kubernetes.io/exempt", ""),
        ("app.kubernetes.io/enforce", None),
        ("topology.kubernetes.io/zone", None),
        ("security.openshift.io/scc.podSecurityLabelSync", None),
        ("pod-security.kyverno.io/enforce", None),
        ("pod-security.kubernetes.io/warn", None),
        ("enforce", None),
        (3, None),
    ],
)
def test_keys_that_look_like_a_label(key: Any, label: str | None) -> None:
    hint = f' Did you mean "{PREFIX}{label}"?' if label else ""
    expected = [] if label is None else [(key, f"Pod Security admission does not read this label.{hint}")]
    assert likely_typos([key]) == expected


def test_latest_is_the_servers_minor_version() -> None:
    labels = {PREFIX + "enforce": "restricted"}
    assert mode_policies(labels, 30)["enforce"] == Policy("restricted", 30, "latest")
    assert mode_policies(labels, NEWEST + 3)["enforce"] == Policy("restricted", NEWEST, "latest")
    pinned = {**labels, PREFIX + "enforce-version": "v1.35"}
    assert mode_policies(pinned, 30)["enforce"] == Policy("restricted", 30, "v1.35")
    assert chosen_policy(PolicyChoice("baseline"), mode_policies(labels, 30)["enforce"], 30) == Policy(
        "baseline", 30, "latest"
    )


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

"""What a namespace's labels ask for, against the official code."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.admission import MODES, PREFIX, PolicyChoice, chosen_policy, mode_policies
from kubectl_harden.policy import NEWEST, Policy
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

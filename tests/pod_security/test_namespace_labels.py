"""What a namespace's labels ask for, against the official code."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.pod_security.namespace_labels import (
    LADDER,
    MODES,
    PREFIX,
    PolicyChoice,
    chosen_policy,
    mode_policies,
    pod_warnings,
    policy_of_words,
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


KNOWN = st.sampled_from(["latest", "v1.0", "v1.24", "v1.37"])
DEFAULTS = st.fixed_dictionaries(
    {mode: st.builds(policy_of_words, st.builds("{}:{}".format, st.sampled_from(LADDER), KNOWN), st.just(NEWEST))
     for mode in MODES}
)  # fmt: skip


@given(labels=LABELS, defaults=st.none() | DEFAULTS)
def test_modes_are_admissions(oracle: Oracle, labels: dict[str, str], defaults: dict[Any, Policy] | None) -> None:
    given = {mode: str(policy) for mode, policy in (defaults or {}).items()}
    theirs = oracle.ask(op="labels", labels=labels, defaults=given)["modes"]
    ours = mode_policies(labels, NEWEST, defaults or {})
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

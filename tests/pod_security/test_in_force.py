"""What is in force as far as it is known, and that labels never make it weaker."""

from __future__ import annotations

from typing import Any

import jsonpatch  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.model import LADDER
from kubectl_harden.pod_security.in_force import goal_policy, in_force, left_alone, raised_labels
from kubectl_harden.pod_security.namespace_labels import (
    MODES,
    PREFIX,
    PolicyChoice,
    chosen_policy,
    label_operations,
    mode_policies,
    policy_of_words,
    rank,
)
from kubectl_harden.pod_security.policy import NEWEST, Policy
from tests.pod_security.test_namespace_labels import LABELS

POLICIES = st.sampled_from(
    [policy_of_words(text, NEWEST) for text in
     ("privileged:latest", "baseline:latest", "baseline:v1.24", "restricted:latest", "restricted:v1.30")]
)  # fmt: skip


def accepts_more(after: Policy | None, before: Policy | None) -> bool:
    """Whether a policy accepts a pod that another one refuses, as far as level and version tell."""
    if before is None:
        return False
    return after is None or rank(after) < rank(before) or after.minor < before.minor


@given(
    labels=LABELS,
    truth=st.fixed_dictionaries(dict.fromkeys(MODES, POLICIES)),
    known=st.sets(st.sampled_from(MODES)),
    level=st.sampled_from(LADDER[1:]),
    version=st.sampled_from([None, "latest", "v1.30", "v1.5"]),
)
def test_labels_raise_and_nothing_becomes_weaker(
    labels: dict[str, str], truth: dict[Any, Policy], known: set[Any], level: Any, version: str | None
) -> None:
    """In the steps of a migration: first warn and audit, then enforce."""
    defaults = {mode: truth[mode] for mode in known}
    for modes in (("warn", "audit"), ("enforce",)):
        now = in_force(labels, NEWEST, defaults)
        wanted = raised_labels(labels, now, modes, level, version, NEWEST)
        raised = {**labels, **wanted}
        before, after = mode_policies(labels, NEWEST, truth), mode_policies(raised, NEWEST, truth)
        for mode in MODES:
            assert not accepts_more(after[mode], before[mode]), (mode, before[mode], after[mode])
        left = left_alone(labels, now, modes, level, version, NEWEST)
        for mode in modes:
            assert rank(after[mode]) >= rank(level) or any(line.startswith(mode) for line in left)
        assert raised_labels(raised, in_force(raised, NEWEST, defaults), modes, level, version, NEWEST) == {}
        assert {key for key in wanted if "version" in key} == set() or version is not None
        for present in (labels, None):
            value = {"metadata": {} if present is None else {"labels": dict(present)}}
            patched = jsonpatch.apply_patch(value, label_operations(present, wanted))
            assert patched["metadata"].get("labels", {}) == {**(present or {}), **wanted}
        labels = raised


@given(
    labels=LABELS, truth=st.fixed_dictionaries(dict.fromkeys(MODES, POLICIES)), known=st.sets(st.sampled_from(MODES))
)
def test_what_is_known_is_never_more_than_what_is(
    labels: dict[str, str], truth: dict[Any, Policy], known: set[Any]
) -> None:
    now = in_force(labels, NEWEST, {mode: truth[mode] for mode in known})
    real = mode_policies(labels, NEWEST, truth)
    for mode in MODES:
        assert rank(now.modes[mode]) <= rank(real[mode])
        if mode not in now.unknown:
            assert rank(now.modes[mode]) == rank(real[mode])
            # The version of a label's level is the default's where no label names one.
            if all(PREFIX + key in labels or mode in known for key in (mode, f"{mode}-version")) and mode != "warn":
                assert now.modes[mode] == real[mode]


def test_enforced_then_warned_then_audited_then_restricted() -> None:
    audit = {PREFIX + "audit": "baseline", PREFIX + "audit-version": "v1.20"}
    warn = {**audit, PREFIX + "warn": "restricted", PREFIX + "warn-version": "v1.22"}
    enforce = {**warn, PREFIX + "enforce": "baseline", PREFIX + "enforce-version": "v1.24"}

    def chosen(labels: dict[str, str], choice: PolicyChoice = PolicyChoice()) -> str:  # noqa: B008
        return str(chosen_policy(choice, in_force(labels, 37, {}).chosen(), 37))

    assert chosen({}) == "restricted:latest"
    assert str(chosen_policy(PolicyChoice(), None, 37)) == "restricted:latest"
    assert chosen(audit) == "baseline:v1.20"
    assert chosen(warn) == "restricted:v1.22"
    assert chosen(enforce) == "baseline:v1.24"
    assert chosen(enforce, PolicyChoice(None, "v1.30")) == "baseline:v1.30"
    assert chosen(enforce, PolicyChoice("restricted", "v1.30")) == "restricted:v1.30"


def test_where_it_comes_from_is_told() -> None:
    baseline = policy_of_words("baseline:latest", 37)
    privileged = policy_of_words("privileged:latest", 37)
    plain = {"enforce": privileged, "warn": privileged}
    assert in_force({}, 37, {**plain, "enforce": baseline}).origin == "cluster default"
    assert in_force({PREFIX + "enforce": "baseline"}, 37, {}).origin == "enforce label"
    assert in_force({PREFIX + "warn": "baseline"}, 37, plain).origin == "warn label"
    assert in_force({}, 37, plain).origin == "nothing in force"
    assert in_force({}, 37, {}).origin == "nothing known to be in force"
    exempt = in_force({PREFIX + "enforce": "baseline"}, 37, {}, "namespace")
    assert (exempt.origin, exempt.chosen(), exempt.enforced) == ("exempt", None, None)


def test_the_goal_keeps_a_namespaces_version_unless_told() -> None:
    labels = {PREFIX + "enforce": "baseline", PREFIX + "enforce-version": "v1.25"}
    assert str(goal_policy(labels, "restricted", None, 37, {})) == "restricted:v1.25"
    assert str(goal_policy(labels, "restricted", "v1.30", 37, {})) == "restricted:v1.30"
    assert str(goal_policy({}, "restricted", None, 37, {})) == "restricted:latest"
    default = {"enforce": policy_of_words("baseline:v1.28", 37)}
    assert str(goal_policy({}, "restricted", None, 37, default)) == "restricted:v1.28"

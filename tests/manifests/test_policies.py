"""Which policy the workloads of manifests are held to, against admission's own word where it has one."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.errors import UsageError
from kubectl_harden.manifests.policies import Asking, Policies, Rules
from kubectl_harden.pod_security.admission_config import AdmissionConfig
from kubectl_harden.pod_security.namespace_labels import MODES, PREFIX
from kubectl_harden.pod_security.policy import NEWEST, Policy, PolicyChoice
from tests.pod_security.test_namespace_labels import DEFAULTS, LABELS
from tests.support.oracle import Oracle

SHOP = {PREFIX + "enforce": "baseline", PREFIX + "enforce-version": "v1.30"}
TALOS = AdmissionConfig(
    {
        "enforce": Policy("baseline", NEWEST, "latest"),
        "warn": Policy("restricted", NEWEST, "latest"),
        "audit": Policy("restricted", NEWEST, "latest"),
    },
    namespaces=("kube-system",),
    runtime_classes=("gvisor",),
    file="talos.yaml",
)


def of(rules: Rules, name: str | None, *asking: tuple[str, dict[str, str]]) -> str:
    policy = rules.policies(Asking(name, labels, f"{name}.yaml") for name, labels in asking).of(name)
    return f"{policy} ({policy.origin})" if policy.origin else str(policy)


@given(labels=LABELS, defaults=st.none() | DEFAULTS)
def test_what_admission_enforces_is_what_workloads_are_held_to(
    oracle: Oracle, labels: dict[str, str], defaults: dict[Any, Policy] | None
) -> None:
    """Where nothing is enforced, the first mode that asks for something, else as if there were no Namespace."""
    given = {mode: str(policy) for mode, policy in (defaults or {}).items()}
    theirs = oracle.ask(op="labels", labels=labels, defaults=given)["modes"]
    config = None if defaults is None else AdmissionConfig(defaults, file="config.yaml")
    rules = Rules(config=config)
    found = str(rules.policies([Asking("shop", labels, "ns.yaml")]).of("shop"))
    valid = [mode for mode in MODES if labels.get(PREFIX + mode) in ("privileged", "baseline", "restricted")]
    answers = [theirs[mode] for mode in MODES if mode in valid or not theirs[mode].startswith("privileged")]
    assert found == (answers[0] if answers else str(rules.default()))


@pytest.mark.parametrize(
    "rules, labels, expected",
    [
        (Rules(), None, f"restricted:v1.{NEWEST}"),
        (Rules(), {}, f"restricted:v1.{NEWEST}"),
        (Rules(), {"team": "a"}, f"restricted:v1.{NEWEST}"),
        (Rules(), SHOP, "baseline:v1.30 (Namespace shop in shop.yaml)"),
        (Rules(), {PREFIX + "warn": "baseline"}, "baseline:latest (Namespace shop in shop.yaml, warn)"),
        (Rules(), {PREFIX + "enforce": "privileged"}, "privileged:latest (Namespace shop in shop.yaml)"),
        # The project file comes after the Namespace, and its version counts where the Namespace names none.
        (Rules(project=PolicyChoice("baseline")), None, f"baseline:v1.{NEWEST} (the project file)"),
        (Rules(project=PolicyChoice("baseline")), {}, f"baseline:v1.{NEWEST} (the project file)"),
        (Rules(project=PolicyChoice("restricted", "v1.25")), SHOP, "baseline:v1.30 (Namespace shop in shop.yaml)"),
        (Rules(project=PolicyChoice(None, "v1.25")), {PREFIX + "audit": "baseline"},
         "baseline:v1.25 (Namespace shop in shop.yaml, audit)"),
        (Rules(project=PolicyChoice(None, "v1.25")), {PREFIX + "enforce": "baseline", PREFIX + "enforce-version": "latest"},
         "baseline:latest (Namespace shop in shop.yaml)"),
        # The API server's defaults come before the project file, and their version goes with them.
        (Rules(config=TALOS, project=PolicyChoice("restricted")), None, "baseline:latest (the defaults of talos.yaml)"),
        (Rules(config=TALOS), {}, "baseline:latest (the defaults of talos.yaml)"),
        (Rules(config=TALOS), {PREFIX + "enforce": "privileged"}, "privileged:latest (Namespace shop in shop.yaml)"),
        (Rules(config=TALOS), {PREFIX + "enforce-version": "v1.20"}, "baseline:v1.20 (Namespace shop in shop.yaml)"),
        (Rules(config=AdmissionConfig()), {}, f"restricted:v1.{NEWEST}"),
        # Options win.
        (Rules(PolicyChoice("restricted"), config=TALOS), SHOP, f"restricted:v1.{NEWEST}"),
        (Rules(PolicyChoice(None, "v1.22"), config=TALOS), SHOP, "baseline:v1.22 (Namespace shop in shop.yaml)"),
        (Rules(PolicyChoice(None, "v1.22"), config=TALOS), None, "baseline:v1.22 (the defaults of talos.yaml)"),
    ],
)  # fmt: skip
def test_who_has_the_word(rules: Rules, labels: dict[str, str] | None, expected: str) -> None:
    assert of(rules, "shop", *([("shop", labels)] if labels is not None else [])) == expected


def test_exemptions_count_whatever_is_asked_for() -> None:
    for options in (PolicyChoice(), PolicyChoice("restricted")):
        rules = Rules(options, config=TALOS)
        assert of(rules, "kube-system", ("kube-system", SHOP)) == "exempt (namespace kube-system in talos.yaml)"
        (gvisor,) = rules.policies([]).runtime_classes.items()
        assert gvisor == (
            "gvisor",
            Policy("privileged", NEWEST, "latest", "runtime class gvisor in talos.yaml", exempt=True),
        )


def test_who_names_no_namespace_belongs_to_none_of_the_input() -> None:
    assert of(Rules(), None, ("shop", SHOP), ("", SHOP)) == f"restricted:v1.{NEWEST}"
    # Helm says where a release goes.
    policies = Rules(release="shop").policies([Asking("shop", SHOP, "ns.yaml")])
    assert str(policies.of(None)) == "baseline:v1.30"
    assert str(policies.of("other")) == f"restricted:v1.{NEWEST}"


def test_of_several_namespaces_of_one_name_the_strictest_counts_and_it_is_told() -> None:
    versions = [{**SHOP, PREFIX + "enforce-version": version} for version in ("v1.30", "v1.31")]
    privileged = {PREFIX + "enforce": "privileged"}
    listed = [("shop", labels) for labels in (privileged, *versions, {}, privileged)]
    for order in (listed, listed[::-1]):
        assert of(Rules(), "shop", *order) == "baseline:v1.31 (Namespace shop in shop.yaml)"
    asking = [Asking(name, labels, f"{number}.yaml") for number, (name, labels) in enumerate(listed)]
    (note,) = Rules().disagreements(asking)
    assert note.message == (
        "Namespace shop asks for different policies: privileged:latest in 0.yaml, baseline:v1.30 in 1.yaml, "
        "baseline:v1.31 in 2.yaml; the strictest counts"
    )
    assert list(Rules().disagreements(asking[2:4])) == list(Rules(PolicyChoice("baseline")).disagreements(asking)) == []


@pytest.mark.parametrize(
    "choice", [PolicyChoice("high"), PolicyChoice(None, "1.30"), PolicyChoice("baseline", "v1.99")]
)
@pytest.mark.parametrize("config", [None, TALOS])
def test_unknown_levels_and_versions_are_refused(choice: PolicyChoice, config: Any) -> None:
    with pytest.raises(UsageError, match="unknown"):
        Rules(choice, config=config).default()


def test_other_processes_can_have_them() -> None:
    for policies in (Policies(Policy("restricted", 30)), Rules(config=TALOS).policies([Asking("a", SHOP, "a.yaml")])):
        assert pickle.loads(pickle.dumps(policies)) == policies

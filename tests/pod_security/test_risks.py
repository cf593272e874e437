"""What holds of all rules by which edits are judged, and how they decide together."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.model import RISKS
from kubectl_harden.planning.companion_changes import COMPANION_CHANGES
from kubectl_harden.pod_security import controls
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change
from tests.support.rules import Case, user

CHANGES = {change.name: change for control in CONTROLS for change in control.changes}
CHANGES |= {change.name: change for change in COMPANION_CHANGES}
RULES = [(change, rule) for change in CHANGES.values() for rule in change.rules]
PORT = {"ports": [{"containerPort": 80}]}
CLAIM = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]}
MOUNT = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
NUMBER = {"securityContext": {"runAsUser": 1000}}
WINDOWS = {"nodeSelector": {"kubernetes.io/os": "windows"}}


def test_the_rules_are_whole() -> None:
    names = [rule.name for _, rule in RULES]
    assert len(set(names)) == len(names)
    assert all(control.changes for control in CONTROLS)
    for change in CHANGES.values():
        last = change.rules[-1]
        # The last one needs no evidence.
        pod = Pod({"spec": {"containers": [{"name": "c", "image": "i"}]}}, is_pod=False)
        found = change.judge("", pod, pod.containers, facts_of(pod), "1")
        assert found.risk == last.risk, change.name
    for _, rule in RULES:
        assert rule.risk in RISKS
        assert rule.sentence.endswith(".")
        assert rule.source


def test_every_change_belongs_to_a_control_and_has_a_name_of_its_own() -> None:
    """What a control's file defines, and what its changes are, is the same: ``explain`` leaves none out."""
    modules = [
        import_module(f"{controls.__name__}.{module.name}") for module in pkgutil.iter_modules(controls.__path__)
    ]
    defined = {value for module in modules for value in vars(module).values() if isinstance(value, Change)}
    assert defined == {change for control in CONTROLS for change in control.changes}
    every = [*defined, *COMPANION_CHANGES]
    assert len({change.name for change in every}) == len(every) == len(CHANGES)


def test_replicas_that_disagree_count_as_their_worst() -> None:
    pod = Pod({"spec": {"containers": [{"name": "c", "image": "i"}]}}, is_pod=False)
    learned = (user(101, "live pod"), user(0, "live pod"))
    found = CHANGES["require non-root"].judge("", pod, pod.containers, facts_of(pod, {"c": learned}))
    assert (found.risk, found.why) == ("breaks", "it says 0")


def test_of_several_containers_the_worst_counts() -> None:
    containers = [{"name": name, "image": "i"} for name in ("a", "b")]
    pod = Pod({"spec": {"containers": containers}}, is_pod=False)
    facts = facts_of(pod, {"a": (user(1000),), "b": (user(0),)})
    assert CHANGES["require non-root"].judge("", pod, pod.containers, facts).risk == "breaks"
    assert CHANGES["require non-root"].judge("", pod, pod.containers[:1], facts).risk == "safe"


CLAIM_AND_PORT = Case({**MOUNT, **PORT}, pod=CLAIM)


@pytest.mark.parametrize(
    ("change", "case", "words"),
    [
        ("require non-root", CLAIM_AND_PORT, ["serves port 80", "writes to the claim"]),
        ("remove runAsUser 0", CLAIM_AND_PORT, ["serves port 80", "writes to the claim"]),
        # What it runs as, and what it must not, decides; the rest is of no matter then.
        ("require non-root", CLAIM_AND_PORT._replace(learned=(user(0),)), ["it says 0"]),
        ("require non-root", CLAIM_AND_PORT._replace(learned=(user(1000),)), ["it says 1000"]),
        ("require non-root", CLAIM_AND_PORT._replace(learned=(user(101, "live pod"),)), ["it says 101"]),
        ("require non-root", CLAIM_AND_PORT._replace(learned=(user(101, "observed"),)), []),
        ("require non-root", Case({**MOUNT, **NUMBER}, pod=CLAIM), ["runs as user 1000"]),
        ("require non-root", CLAIM_AND_PORT._replace(pod={**CLAIM, **WINDOWS}), ["runs on Windows nodes"]),
        ("require non-root", Case(learned=(user("ContainerUser"),), pod=WINDOWS), ["it runs as ContainerUser"]),
        # That is said of the runAsUser that goes.
        ("require non-root", Case({**MOUNT, "securityContext": {"runAsUser": 0}}, pod=CLAIM), []),
    ],
)
def test_a_review_tells_all_that_there_is_to_review(change: str, case: Case, words: list[str]) -> None:
    pod = Pod({"spec": {"containers": [{"name": "c", "image": "i", **case.container}], **case.pod}}, is_pod=False)
    found = CHANGES[change].judge("", pod, pod.containers, facts_of(pod, {"c": case.learned}))
    told = [part for part in found.why.split("; ") if part]
    assert len(told) == len(words), found.why
    assert all(any(word in part for part in told) for word in words)

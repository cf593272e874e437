"""Rules by which edits are judged, and cases in which each of them decides."""

from __future__ import annotations

from typing import Any, NamedTuple

from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.model import Fact, Topic
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change, Rule


class Case(NamedTuple):
    """A container, what was learned of it, the name of what is taken away, and words that the reason must have."""

    container: dict[str, Any] = {}  # noqa: RUF012
    learned: tuple[Fact, ...] = ()
    name: str = ""
    words: str = ""
    pod: dict[str, Any] = {}  # noqa: RUF012
    init: bool = False


def user(value: int | str, origin: Any = "image") -> Fact:
    return Fact("user", "user", f"it says {value}", origin, value)


def needs(topic: Topic, value: Any = None, origin: Any = "observed", name: str = "") -> Fact:
    return Fact("needs", topic, f"it used {name or topic}", origin, value, name)


def unused(topic: Topic, name: str = "") -> Fact:
    return Fact("unused", topic, f"it did not use {name or topic}", "observed", name=name)


UNKNOWN = Fact("unknown", "image", "nothing is known about image i", "image")
PORT = {"ports": [{"containerPort": 80}]}
CHOWN = {"command": ["chown", "1:1", "/data"]}
CLAIM = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]}
MOUNT = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
NUMBER = {"securityContext": {"runAsUser": 1000}}

WINDOWS = {"nodeSelector": {"kubernetes.io/os": "windows"}}


def case_of(value: dict[str, Any]) -> Case:
    """Return a case as a file has it: its facts are mappings."""
    return Case(**{**value, "learned": tuple(Fact(**fact) for fact in value.get("learned", ()))})


def assert_decides(change: Change, rule: Rule, case: Case) -> None:
    """Hold that a rule of a change decides in a case, with its words."""
    container = {"name": "c", "image": "i", **case.container}
    spec: dict[str, Any] = {"containers": [container], **case.pod}
    if case.init:
        spec.update(initContainers=[container], containers=[{"name": "app", "image": "i"}])
    pod = Pod({"metadata": {}, "spec": spec}, is_pod=False)
    containers = [found for found in pod.containers if found.name == "c"]
    found = change.judge("MEANING", pod, containers, facts_of(pod, {"c": case.learned}), case.name)
    assert (found.risk, found.offers) == (rule.risk, rule.offers)
    assert case.words in found.why
    if rule.risk != "safe":
        assert found.why.startswith("MEANING")

"""Every rule by which edits are judged: what finds it, and what it then says."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any, NamedTuple

import pytest

from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.model import Fact, Topic
from kubectl_harden.planning.companion_changes import COMPANION_CHANGES
from kubectl_harden.pod_security import controls
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import RISKS, Change, Rule

CHANGES = {change.name: change for control in CONTROLS for change in control.changes}
CHANGES |= {change.name: change for change in COMPANION_CHANGES}
RULES = [(change, rule) for change in CHANGES.values() for rule in change.rules]


class Case(NamedTuple):
    """A container, what was learned of it, what is taken away, and words that the reason must have."""

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


UNKNOWN = Fact("unknown", "image", "nothing is known of image i", "image")
PORT = {"ports": [{"containerPort": 80}]}
CHOWN = {"command": ["chown", "1:1", "/data"]}
CLAIM = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]}
MOUNT = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
NUMBER = {"securityContext": {"runAsUser": 1000}}

WINDOWS = {"nodeSelector": {"kubernetes.io/os": "windows"}}


def as_user(name: str) -> dict[str, Any]:
    return {"securityContext": {"windowsOptions": {"runAsUserName": name}}}


# By rule; a rule that needs no evidence decides for an empty container.
CASES = {
    "windows-user": Case(as_user("ContainerUser"), pod=WINDOWS, words="it runs as ContainerUser"),
    "windows-administrator": Case(pod={**WINDOWS, **as_user("CONTAINERADMINISTRATOR")}, words="CONTAINERADMINISTRATOR"),
    "windows-unknown": Case(pod=WINDOWS, words="the pod runs on Windows nodes: its nodeSelector has"),
    "non-root-volume": Case(MOUNT, pod=CLAIM, words="writes to the claim of volume data"),
    "own-number": Case(NUMBER, words="already runs as user 1000"),
    "image-root": Case(learned=(user(0),), words="it says 0"),
    "image-name": Case(learned=(user("nginx"),), words="it says nginx"),
    "prepares-volumes": Case({**CHOWN, **MOUNT}, pod=CLAIM, init=True, words="does nothing but give volumes"),
    "needs-root": Case(CHOWN, words="runs chown (command)"),
    "image-number": Case(learned=(user(1000),), words="it says 1000"),
    "live-root": Case(learned=(user(0, "live pod"),), words="it says 0"),
    "observed-root": Case(learned=(user(0, "observed"),), words="it says 0"),
    "live-number": Case(learned=(user(101, "live pod"),), words="it says 101"),
    "low-port-non-root": Case(PORT, words="serves port 80"),
    "non-root-unknown": Case(learned=(UNKNOWN,), words="nothing is known of image i"),
    "uid-0-needs-root": Case(CHOWN, words="runs chown"),
    "uid-0-image-root": Case({"securityContext": {"runAsUser": 0}}, (user(0),), words="it says 0"),
    "uid-0-image-name": Case({"securityContext": {"runAsUser": 0}}, (user("app"),), words="it says app"),
    "uid-0-volume": Case(MOUNT, pod=CLAIM, words="writes to the claim of volume data"),
    "uid-0-low-port": Case(PORT, words="serves port 80"),
    "uid-0-unknown": Case(),
    "owner-capability": Case({**CHOWN, **MOUNT}, pod=CLAIM, init=True, words="does nothing but give volumes"),
    "default-capability-used": Case(learned=(needs("default capability"),), words="it used default capability"),
    "file-capability-port": Case({**PORT, **NUMBER}, words="serves port 80"),
    "no-capabilities": Case(NUMBER, words="runs as user 1000, who has no capabilities anyway"),
    "default-capability-unused": Case(learned=(unused("default capability"),), words="it did not use"),
    "ping": Case({"command": ["ping", "db"]}, words="runs ping"),
    "drop-all-unknown": Case(),
    "capability-used": Case(learned=(needs("capability", name="NET_RAW"),), name="NET_RAW", words="it used NET_RAW"),
    "capability-unused": Case(
        learned=(unused("capability", name="NET_RAW"),), name="NET_RAW", words="it did not use NET_RAW"
    ),
    "capability-unknown": Case(name="NET_RAW"),
    "setuid-used": Case({"command": ["sudo", "app"]}, words="runs sudo"),
    "setuid-unused": Case(learned=(unused("setuid"),), words="it did not use setuid"),
    "escalation-unknown": Case(),
    "blocked-call-used": Case({"command": ["unshare", "app"]}, words="runs unshare"),
    "blocked-call-unused": Case(learned=(unused("seccomp"),), words="it did not use seccomp"),
    "seccomp-unknown": Case(),
    "privileged-used": Case({"command": ["mount", "/dev/sda", "/mnt"]}, words="runs mount"),
    "privileged-unknown": Case(),
    "host-namespace-used": Case(
        learned=(needs("host namespace", name="hostPID"),), name="hostPID", words="it used hostPID"
    ),
    "host-namespace-unknown": Case(name="hostPID"),
    "host-path-used": Case(learned=(needs("host path", name="root-fs"),), name="root-fs", words="it used root-fs"),
    "host-path-unused": Case(
        learned=(unused("host path", name="root-fs"),), name="root-fs", words="it did not use root-fs"
    ),
    "host-path-unknown": Case(name="root-fs"),
    "privileged-agent": Case(pod={"tolerations": [{"operator": "Exists"}]}, words="it tolerates every taint"),
    "host-namespace-agent": Case(
        name="hostPID", pod={"priorityClassName": "system-node-critical"}, words="class is system-node-critical"
    ),
    "host-path-agent": Case(name="v", pod={"tolerations": [{"operator": "Exists"}]}, words="the pod works on its node"),
    "user-needs-root": Case(CHOWN, name="1000", words="runs chown"),
    "user-low-port": Case(learned=(needs("low port", 80),), name="1000", words="it used low port"),
    "user-same": Case(learned=(user(1000, "live pod"),), name="1000", words="it says 1000"),
    "user-declared-low-port": Case(PORT, name="1000", words="serves port 80"),
    "user-volume": Case(MOUNT, pod=CLAIM, name="1000", words="writes to the claim"),
    "user-directory": Case(learned=(needs("directory", "/data", "image"),), name="1000", words="it used directory"),
    "user-writes": Case(name="1000"),
}


@pytest.mark.parametrize(("change", "rule"), RULES, ids=[rule.name for _, rule in RULES])
def test_a_rule_decides_where_its_evidence_is_found(change: Change, rule: Rule) -> None:
    case = CASES.get(rule.name, Case())
    container = {"name": "c", "image": "i", **case.container}
    spec: dict[str, Any] = {"containers": [container], **case.pod}
    if case.init:
        spec.update(initContainers=[container], containers=[{"name": "app", "image": "i"}])
    pod = Pod({"metadata": {}, "spec": spec}, is_pod=False)
    found = change.judge(
        "MEANING", pod, [c for c in pod.containers if c.name == "c"],
        facts_of(pod, {"c": case.learned}), case.name,
    )  # fmt: skip
    assert (found.risk, found.offers) == (rule.risk, rule.offers)
    assert case.words in found.why
    if rule.risk != "safe":
        assert found.why.startswith("MEANING")


def test_the_rules_are_whole() -> None:
    names = [rule.name for _, rule in RULES]
    assert len(set(names)) == len(names)
    assert set(CASES) <= set(names)
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


@pytest.mark.parametrize(
    ("learned", "pod", "expected"),
    [
        ((), {}, True),
        ((Fact("open", "low port", "containerd://2.1", "node"),), {}, False),
        ((unused("low port"),), {}, False),
        ((unused("low port"), needs("low port", 80)), {}, True),
        ((Fact("open", "low port", "containerd://2.1", "node"), needs("low port", 80)), {}, False),
        ((), {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}}, False),
        ((), {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "81"}]}}, True),
        ((), {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]}}, False),
    ],
)
def test_who_may_bind_a_low_port(learned: tuple[Fact, ...], pod: dict[str, Any], expected: bool) -> None:
    value = Pod({"spec": {"containers": [{"name": "c", "image": "i", **PORT}], **pod}}, is_pod=False)
    found = CHANGES["require non-root"].judge("", value, value.containers, facts_of(value, {"c": learned}))
    assert ("port" in found.why) is expected


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


def test_ping_is_free_where_the_pods_sysctl_says_so() -> None:
    container = {"name": "c", "image": "i", "command": ["ping", "db"]}
    sysctls = {"sysctls": [{"name": "net.ipv4.ping_group_range", "value": "0 2147483647"}]}
    for security, expected in (({}, True), (sysctls, False)):
        pod = Pod({"spec": {"containers": [container], "securityContext": security}}, is_pod=False)
        assert ("ping" in CHANGES["drop ALL"].judge("", pod, pod.containers, facts_of(pod)).why) is expected


def test_the_name_of_a_volume_is_not_a_topic() -> None:
    volume = {"name": "root", "hostPath": {"path": "/srv"}}
    container = {"name": "c", "image": "i", "volumeMounts": [{"name": "root", "mountPath": "/srv"}]}
    pod = Pod({"spec": {"containers": [container], "volumes": [volume]}}, is_pod=False)
    facts = facts_of(pod, {"c": (needs("path", "/srv/x"),)})
    assert CHANGES["no host path"].judge("", pod, pod.containers, facts, "root").risk == "breaks"
    assert CHANGES["require non-root"].judge("", pod, pod.containers, facts).risk == "review"


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
        ("require non-root", Case({**MOUNT, **NUMBER}, pod=CLAIM), ["already runs as user 1000"]),
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

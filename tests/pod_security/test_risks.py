"""Every rule of the table of risks: what finds it, and what it then says."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.model import Fact
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import CHANGES, RISKS, RULES, UNMAPPED, judge


class Case(NamedTuple):
    """A container, what was learned of it, what is taken away, and words that the reason must have."""

    container: dict[str, Any] = {}  # noqa: RUF012
    learned: tuple[Fact, ...] = ()
    topic: str = ""
    words: str = ""
    pod: dict[str, Any] = {}  # noqa: RUF012
    init: bool = False


def user(value: int | str, origin: Any = "image") -> Fact:
    return Fact("user", "user", f"it says {value}", origin, value)


def needs(topic: str, value: Any = None, origin: Any = "observed") -> Fact:
    return Fact("needs", topic, f"it used {topic}", origin, value)


def unused(topic: str) -> Fact:
    return Fact("unused", topic, f"it did not use {topic}", "observed")


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
    "user-namespace-low-port": Case(PORT, words="serves port 80"),
    "user-namespace-volume": Case(learned=(needs(UNMAPPED),), words=f"it used {UNMAPPED}"),
    "user-namespace": Case(learned=(user(0),)),
    "owner-capability": Case({**CHOWN, **MOUNT}, pod=CLAIM, init=True, words="does nothing but give volumes"),
    "default-capability-used": Case(learned=(needs("default capability"),), words="it used default capability"),
    "file-capability-port": Case({**PORT, **NUMBER}, words="serves port 80"),
    "no-capabilities": Case(NUMBER, words="runs as user 1000, who has no capabilities anyway"),
    "default-capability-unused": Case(learned=(unused("default capability"),), words="it did not use"),
    "ping": Case({"command": ["ping", "db"]}, words="runs ping"),
    "drop-all-unknown": Case(),
    "capability-used": Case(learned=(needs("NET_RAW"),), topic="NET_RAW", words="it used NET_RAW"),
    "capability-unused": Case(learned=(unused("NET_RAW"),), topic="NET_RAW", words="it did not use NET_RAW"),
    "capability-unknown": Case(topic="NET_RAW"),
    "setuid-used": Case({"command": ["sudo", "app"]}, words="runs sudo"),
    "setuid-unused": Case(learned=(unused("setuid"),), words="it did not use setuid"),
    "escalation-unknown": Case(),
    "blocked-call-used": Case({"command": ["unshare", "app"]}, words="runs unshare"),
    "blocked-call-unused": Case(learned=(unused("seccomp"),), words="it did not use seccomp"),
    "seccomp-unknown": Case(),
    "privileged-used": Case({"command": ["mount", "/dev/sda", "/mnt"]}, words="runs mount"),
    "privileged-unknown": Case(),
    "host-namespace-used": Case(learned=(needs("hostPID"),), topic="hostPID", words="it used hostPID"),
    "host-namespace-unknown": Case(topic="hostPID"),
    "host-path-used": Case(learned=(needs("root-fs"),), topic="root-fs", words="it used root-fs"),
    "host-path-unused": Case(learned=(unused("root-fs"),), topic="root-fs", words="it did not use root-fs"),
    "host-path-unknown": Case(topic="root-fs"),
    "privileged-agent": Case(pod={"tolerations": [{"operator": "Exists"}]}, words="it tolerates every taint"),
    "host-namespace-agent": Case(
        topic="hostPID", pod={"priorityClassName": "system-node-critical"}, words="class is system-node-critical"
    ),
    "host-path-agent": Case(
        topic="v", pod={"tolerations": [{"operator": "Exists"}]}, words="the pod works on its node"
    ),
    "user-needs-root": Case(CHOWN, topic="1000", words="runs chown"),
    "user-low-port": Case(learned=(needs("low port", 80),), topic="1000", words="it used low port"),
    "user-same": Case(learned=(user(1000, "live pod"),), topic="1000", words="it says 1000"),
    "user-declared-low-port": Case(PORT, topic="1000", words="serves port 80"),
    "user-volume": Case(MOUNT, pod=CLAIM, topic="1000", words="writes to the claim"),
    "user-directory": Case(learned=(needs("directory", "/data", "image"),), topic="1000", words="it used directory"),
    "user-writes": Case(topic="1000"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_decides_where_its_evidence_is_found(rule: Any) -> None:
    case = CASES.get(rule.name, Case())
    container = {"name": "c", "image": "i", **case.container}
    spec: dict[str, Any] = {"containers": [container], **case.pod}
    if case.init:
        spec.update(initContainers=[container], containers=[{"name": "app", "image": "i"}])
    pod = Pod({"metadata": {}, "spec": spec}, is_pod=False)
    found = judge(
        rule.change, "MEANING", pod, [c for c in pod.containers if c.name == "c"],
        facts_of(pod, {"c": case.learned}), case.topic,
    )  # fmt: skip
    assert (found.risk, found.offers) == (rule.risk, rule.offers)
    assert case.words in found.why
    if rule.risk != "safe":
        assert found.why.startswith("MEANING")


def test_the_table_is_whole() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert set(CASES) <= set(names)
    checks = {check for of_change in CHANGES.values() for check in of_change}
    assert checks == {control.id for control in CONTROLS}
    for change in CHANGES:
        last = [rule for rule in RULES if rule.change == change][-1]
        # The last one needs no evidence.
        pod = Pod({"spec": {"containers": [{"name": "c", "image": "i"}]}}, is_pod=False)
        found = judge(change, "", pod, pod.containers, facts_of(pod), "1")
        assert found.risk == last.risk, change
    for rule in RULES:
        assert rule.risk in RISKS
        assert rule.sentence.endswith(".")
        assert rule.source


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
    found = judge("require non-root", "", value, value.containers, facts_of(value, {"c": learned}))
    assert ("port" in found.why) is expected


def test_replicas_that_disagree_count_as_their_worst() -> None:
    pod = Pod({"spec": {"containers": [{"name": "c", "image": "i"}]}}, is_pod=False)
    learned = (user(101, "live pod"), user(0, "live pod"))
    found = judge("require non-root", "", pod, pod.containers, facts_of(pod, {"c": learned}))
    assert (found.risk, found.why) == ("breaks", "it says 0")


def test_of_several_containers_the_worst_counts() -> None:
    containers = [{"name": name, "image": "i"} for name in ("a", "b")]
    pod = Pod({"spec": {"containers": containers}}, is_pod=False)
    facts = facts_of(pod, {"a": (user(1000),), "b": (user(0),)})
    assert judge("require non-root", "", pod, pod.containers, facts).risk == "breaks"
    assert judge("require non-root", "", pod, pod.containers[:1], facts).risk == "safe"


def test_ping_is_free_where_the_pods_sysctl_says_so() -> None:
    container = {"name": "c", "image": "i", "command": ["ping", "db"]}
    sysctls = {"sysctls": [{"name": "net.ipv4.ping_group_range", "value": "0 2147483647"}]}
    for security, expected in (({}, True), (sysctls, False)):
        pod = Pod({"spec": {"containers": [container], "securityContext": security}}, is_pod=False)
        assert ("ping" in judge("drop ALL", "", pod, pod.containers, facts_of(pod)).why) is expected


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
    found = judge(change, "", pod, pod.containers, facts_of(pod, {"c": case.learned}))
    told = [part for part in found.why.split("; ") if part]
    assert len(told) == len(words), found.why
    assert all(any(word in part for part in told) for word in words)

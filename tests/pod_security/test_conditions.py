"""What the rules of several changes ask for."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.model import Fact
from kubectl_harden.pod_security.controls import CONTROLS
from kubectl_harden.pod_security.pod import Pod
from tests.support.rules import needs, unused

CHANGES = {change.name: change for control in CONTROLS for change in control.changes}
PORT = {"ports": [{"containerPort": 80}]}


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

"""What a manifest shows of the rights that its containers use."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.pod_security.pod import Pod


def known(spec: dict[str, Any]) -> list[tuple[str, str]]:
    facts = facts_of(Pod({"spec": spec}, is_pod=False))
    return [(fact.name or fact.topic, fact.text) for found in (facts.pod, *facts.containers.values()) for fact in found]


@pytest.mark.parametrize(
    ("fields", "topic", "words"),
    [
        ({"command": ["/bin/chown", "1", "/x"]}, "root", 'container "c" runs chown (command)'),
        ({"command": ["sh", "-c", "set -e; cd /x && chown 1 /x"]}, "root", "runs chown (command[2])"),
        ({"args": ["exec gosu app server"]}, "root", "runs gosu (args[0])"),
        ({"args": ["setpriv", "--reuid", "1"]}, "root", "runs setpriv (args)"),
        ({"command": ["sh", "-c", "for f in $(mount -a); do echo; done"]}, "privileged", "runs mount (command[2])"),
        ({"command": ["sh", "-c", "if true; then iptables -A x; fi"]}, "NET_ADMIN", "runs iptables (command[2])"),
        ({"args": ["istio-iptables", "-p", "15001"]}, "NET_ADMIN", "runs istio-iptables (args)"),
        ({"command": ["sh", "-c", "sysctl -w vm.max_map_count=262144"]}, "privileged", "runs sysctl"),
        ({"command": ["sh", "-c", "apt-get update && apt-get install -y x"]}, "root", "runs apt-get"),
        ({"command": ["sh", "-c", "setcap cap_net_raw+ep /x"]}, "SETFCAP", "runs setcap"),
        ({"command": ["sh", "-c", "ulimit -l unlimited; app"]}, "SYS_RESOURCE", "runs ulimit"),
        ({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "su app -c x"]}}}}, "root",
         "runs su (lifecycle.postStart[2])"),
        ({"livenessProbe": {"exec": {"command": ["ping", "-c", "1", "db"]}}}, "ping", "runs ping (livenessProbe)"),
        ({"ports": [{"containerPort": 443}]}, "low port", "serves port 443"),
    ],
)  # fmt: skip
def test_what_a_manifest_shows(fields: dict[str, Any], topic: str, words: str) -> None:
    texts = [text for found, text in known({"containers": [{"name": "c", "image": "i", **fields}]}) if found == topic]
    assert any(words in text for text in texts), texts


@pytest.mark.parametrize(
    "fields",
    [
        {"command": ["server", "--chown"]},
        {"command": ["sh", "-c", "echo chowned; server --user root"]},
        {"command": ["server"], "args": ["mount"]},
        {"ports": [{"containerPort": 8080}]},
        {"image": "nginx:latest"},
        {"image": "registry.example/root/chown:privileged"},
    ],
)
def test_what_it_does_not_show(fields: dict[str, Any]) -> None:
    assert known({"containers": [{"name": "c", "image": "i", **fields}]}) == []


@pytest.mark.parametrize(
    "script",
    [
        "mount | grep overlay; sleep 3600",
        "mount",
        "exec mount -l > /tmp/mounts 2>&1",
        "if mount -t nfs4 2>/dev/null | grep -q data; then app; fi",
        "mount --version",
        "sysctl -n net.core.somaxconn",
        "sysctl -a 2>/dev/null",
        "losetup --list",
        "ulimit -a; ulimit -n; app",
        "iptables --version",
    ],
)
def test_what_only_shows_needs_nothing(script: str) -> None:
    assert known({"containers": [{"name": "c", "image": "i", "command": ["sh", "-c", script]}]}) == []
    words = script.split()
    if not set(script) & set(";|>") and words[0] != "exec":
        assert known({"containers": [{"name": "c", "image": "i", "command": words}]}) == []
        assert known({"containers": [{"name": "c", "image": "i", "command": words[:1], "args": words[1:]}]}) == []


@pytest.mark.parametrize(
    "script",
    [
        "mount /data",
        "mount -a",
        "mount -t nfs server:/share /data",
        "mount --bind /a /b >/dev/null",
        "mount -o remount,rw /",
        'mount "$@"',
        "mount \\\n -t nfs a b",
        "sysctl -w vm.max_map_count=262144",
        "sysctl vm.max_map_count=262144 >/dev/null",
        "sysctl -p",
        "sysctl --system",
        "losetup /dev/loop0 file",
        "ulimit -n 65536",
        "ulimit -l unlimited 2>/dev/null",
    ],
)
def test_what_does_more_than_show(script: str) -> None:
    assert known({"containers": [{"name": "c", "image": "i", "command": ["sh", "-c", script]}]})
    if "ulimit" not in script and "$" not in script:
        words = script.replace("\\\n", "").split(">")[0].split()
        assert known({"containers": [{"name": "c", "image": "i", "command": words}]})
        assert known({"containers": [{"name": "c", "image": "i", "command": words[:1], "args": words[1:]}]})


CNI = {
    "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/host"}]}],
    "volumes": [{"name": "v", "hostPath": {"path": "/etc/cni/net.d"}}],
}
PLAIN = {"containers": [{"name": "c", "image": "i"}]}


def on(path: str) -> dict[str, Any]:
    return {**CNI, "volumes": [{"name": "v", "hostPath": {"path": path}}]}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({**PLAIN, "priorityClassName": "system-node-critical"}, "its priority class is system-node-critical"),
        ({**PLAIN, "priorityClassName": "system-cluster-critical"}, "its priority class is system-cluster-critical"),
        ({**PLAIN, "tolerations": [{"operator": "Exists"}]}, "it tolerates every taint"),
        ({**PLAIN, "tolerations": [{"key": "a"}, {"operator": "Exists", "effect": "NoSchedule"}]}, "every taint"),
        (
            {"hostNetwork": True, "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]},
            "it is privileged on the node's network",
        ),
        (CNI, "it mounts /etc/cni/net.d of the node"),
        (on("/opt/cni/bin/"), "it mounts /opt/cni/bin of the node"),
        (on("/run/xtables.lock"), "it mounts /run/xtables.lock"),
        (on("/var/run/netns"), "it mounts /var/run/netns"),
        (on("/var/lib/kubelet/device-plugins"), "it mounts /var/lib/kubelet/device-plugins"),
        (on("/var/lib/kubelet/plugins/csi.example.com"), "it mounts /var/lib/kubelet/plugins/csi.example.com"),
        (
            {**CNI, "priorityClassName": "system-node-critical", "tolerations": [{"operator": "Exists"}]},
            "system-node-critical, it tolerates every taint, it mounts /etc/cni/net.d of the node",
        ),
    ],
)
def test_what_shows_an_agent_of_the_node(spec: dict[str, Any], words: str) -> None:
    (text,) = [text for topic, text in known(spec) if topic == "node agent"]
    assert text.startswith("the pod works on its node: ")
    assert words in text


@pytest.mark.parametrize(
    "spec",
    [
        {**PLAIN, "priorityClassName": "high"},
        {**PLAIN, "tolerations": [{"operator": "Exists", "key": "node-role.kubernetes.io/control-plane"}]},
        {**PLAIN, "tolerations": [{"operator": "Exists", "effect": "NoExecute"}, {"key": "a", "value": "b"}]},
        {**PLAIN, "hostNetwork": True},
        {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]},
        {**CNI, "containers": [{"name": "c", "image": "i"}]},
        on("/etc/cnidata"),
        on("/srv/data"),
        {"containers": [{"name": "kube-proxy", "image": "registry.k8s.io/kube-proxy:v1.37.0"}], "hostNetwork": True},
        {"containers": [{"name": "calico-node", "image": "docker.io/calico/node:v3"}]},
    ],
)
def test_what_shows_none(spec: dict[str, Any]) -> None:
    assert not [text for topic, text in known(spec) if topic == "node agent"]


OS, OLD_OS = "kubernetes.io/os", "beta.kubernetes.io/os"


def required(*terms: list[tuple[str, str, list[str]]]) -> dict[str, Any]:
    listed = [
        {"matchExpressions": [dict(zip(("key", "operator", "values"), e, strict=True)) for e in t]} for t in terms
    ]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": listed}}}


ON_WINDOWS = (OS, "In", ["windows"])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"nodeSelector": {OS: "windows"}}, "its nodeSelector has kubernetes.io/os: windows"),
        ({"nodeSelector": {"a": "b", OLD_OS: "windows"}}, "its nodeSelector has beta.kubernetes.io/os: windows"),
        ({"os": {"name": "windows"}}, "spec.os.name says so"),
        ({"affinity": required([ON_WINDOWS])}, "its node affinity allows no other nodes"),
        ({"affinity": required([("a", "Exists", []), ON_WINDOWS], [(OLD_OS, "In", ["windows"])])}, "no other nodes"),
        ({"nodeSelector": {OS: "linux"}}, ""),
        ({"nodeSelector": {"os": "windows"}}, ""),
        ({"os": {"name": "linux"}}, ""),
        ({"affinity": required([ON_WINDOWS], [("a", "Exists", [])])}, ""),
        ({"affinity": required([(OS, "In", ["windows", "linux"])])}, ""),
        ({"affinity": required([(OS, "NotIn", ["windows"])])}, ""),
        ({"affinity": required()}, ""),
        ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}, ""),
        ({"tolerations": [{"key": "os", "value": "windows"}]}, ""),
    ],
)
def test_what_shows_that_it_runs_on_windows(spec: dict[str, Any], words: str) -> None:
    found = [text for topic, text in known({**PLAIN, **spec}) if topic == "windows"]
    assert len(found) == bool(words)
    assert words in "".join(found)

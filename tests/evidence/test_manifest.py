"""The evidence, and what the commands make of it for manifests."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.pod_security.pod import Pod
from tests.support.answering import answered
from tests.support.command import REJECTED, run
from tests.support.registry import Images, fronted


def manifest(image: str, **container: Any) -> str:
    body = {"name": "web", "image": image, **container}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
                       "spec": {"securityContext": {"fsGroup": 7}, "containers": [body]}})  # fmt: skip


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
        ({"affinity": required([ON_WINDOWS])}, "its node affinity takes no other nodes"),
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


def test_an_agent_of_the_node_keeps_what_it_works_with(tmp_path: Path) -> None:
    agent = {
        "hostNetwork": True,
        "hostPID": True,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}, "volumeMounts": [
            {"name": "scratch", "mountPath": "/a"}, {"name": "tz", "mountPath": "/etc/localtime"}]}],
        "volumes": [{"name": "scratch", "hostPath": {"path": "/tmp/x"}},
                    {"name": "tz", "hostPath": {"path": "/etc/localtime"}}],
    }  # fmt: skip
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": agent})
    level = ("--level", "baseline", "--partial")
    entry = plan(text, *level)
    held = {edit["path"]: edit for edit in entry["heldBack"]}
    taken = {"/spec/hostNetwork", "/spec/hostPID", "/spec/containers/0/securityContext/privileged", "/spec/volumes/0"}
    assert held.keys() == taken
    for edit in held.values():
        assert edit["risk"] == "breaks"
        assert "it tolerates every taint, it is privileged on the node's network" in edit["why"]
    # The time zone is no work of an agent's, and a person's choice counts.
    assert [edit["path"] for edit in entry["edits"]] == ["/spec/volumes/1", "/spec/containers/0/volumeMounts/1"]
    chosen = plan(text, *level, "--host-path", "scratch=emptyDir")
    assert "/spec/volumes/0" in [edit["path"] for edit in chosen["edits"]]
    assert plan(text, "--max-risk", "breaks")["after"] == "restricted"


def plan(text: str, *flags: str, **environment: str) -> Any:
    result = run("fix", "-f", "-", "-o", "json", *flags, stdin=text, **environment)
    assert result.returncode in (0, 1), result.stderr
    return json.loads(result.stdout)["workloads"][0]


def risk_of(entry: Any, check: str) -> tuple[str, str]:
    (edit,) = [e for e in (*entry["edits"], *entry["heldBack"]) if check in e["checks"]]
    return edit["risk"], edit["why"]


@pytest.mark.parametrize(
    ("user", "risk", "words"),
    [
        (None, "breaks", "names no user, so it runs as root"),
        ("0", "breaks", "says USER 0"),
        ("root", "breaks", "says USER root, a name"),
        ("app:app", "breaks", "says USER app:app, a name, which the kubelet cannot verify"),
        ("1000:0", "safe", "runs as user 1000"),
    ],
)
def test_the_images_user_decides(images: Images, tmp_path: Path, user: str | None, risk: str, words: str) -> None:
    image = images.make(f"decides-{(user or 'none').replace(':', '-')}:1", user)
    text = manifest(image)
    found, why = risk_of(plan(text, "--inspect-images", XDG_CACHE_HOME=str(tmp_path)), "runAsNonRoot")
    assert found == risk
    assert words in why
    # Unasked, and without a terminal, no registry is asked.
    assert risk_of(plan(text), "runAsNonRoot")[0] == "review"


@pytest.mark.parametrize("command", [("fix",), ("check", "-o", "wide"), ("fix", "--no-inspect-images")])
def test_no_registry_is_asked_on_a_terminal_either(images: Images, tmp_path: Path, command: tuple[str, ...]) -> None:
    """The hosts that a manifest names hear nothing unless a person says so."""
    with fronted(images) as front:
        (tmp_path / "web.yaml").write_text(manifest(f"{front.host}/x:1"))
        for more in ((), ("--inspect-images",)):
            main, other = pty.openpty()
            process = subprocess.Popen(
                [sys.executable, "-c", "from kubectl_harden.cli import main; main()", *command, *more, "-f", "web.yaml"],
                cwd=tmp_path, stdin=other, stdout=subprocess.DEVNULL, stderr=other,
                env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            )  # fmt: skip
            os.close(other)
            with contextlib.suppress(OSError):
                while os.read(main, 4096):
                    pass
            os.close(main)
            assert process.wait(timeout=60) == 1
            assert bool(front.asked) == bool(more)


def test_the_images_entrypoint_and_directories(images: Images, tmp_path: Path) -> None:
    content = json.dumps(
        {
            "os": "linux",
            "config": {
                "User": "1000",
                "Entrypoint": ["/usr/sbin/gosu", "app"],
                "Cmd": ["serve"],
                "Volumes": {"/data": {}},
            },
        }
    ).encode()
    digest = images.put_blob("entry", content)
    kind = "application/vnd.oci.image.manifest.v1+json"
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(content)}
    manifest_ = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": described, "layers": []}).encode()
    images.put("entry", "1", manifest_, kind)
    flags, environment = ("--inspect-images",), {"XDG_CACHE_HOME": str(tmp_path)}
    image = f"{images.host}/entry:1"
    risk, why = risk_of(plan(manifest(image), *flags, **environment), "runAsNonRoot")
    assert (risk, f"image {image} runs gosu (Entrypoint)" in why) == ("breaks", True)
    # The container's own command replaces the image's.
    assert risk_of(plan(manifest(image, command=["server"]), *flags, **environment), "runAsNonRoot")[0] == "safe"


def test_a_fact_that_could_not_be_had_is_named_and_the_plan_goes_on(images: Images, tmp_path: Path) -> None:
    for image, words in (
        (f"{images.host}/nothing:1", "has no nothing:1"),
        ("127.0.0.1:1/x:1", "cannot be reached"),
        ("{{ image }}", "this is no name of an image"),
    ):
        entry = plan(manifest(image), "--inspect-images", XDG_CACHE_HOME=str(tmp_path))
        risk, why = risk_of(entry, "runAsNonRoot")
        assert risk == "review"
        assert f"nothing is known of image {image}" in why
        assert any(words in note for note in entry["notes"])
        assert entry["after"] == "restricted"


def test_images_of_many_files_are_asked_for_together_and_once(images: Images, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.yaml").write_text(manifest("127.0.0.1:9/missing:1"))
    for number in range(6):
        images.make(f"together:{number}", "1000")
    with fronted(images) as front:
        slow = front._pass_on

        def answer(handler: Any) -> bool:
            time.sleep(0.5)
            return False

        front.answer = answer
        assert slow
        for number in range(30):
            (tmp_path / f"{number}.yaml").write_text(manifest(f"{front.host}/together:{number % 6}"))
        result = run("fix", "-f", str(tmp_path), "-o", "json", "--inspect-images", XDG_CACHE_HOME=str(tmp_path / "c"))
        workloads = json.loads(result.stdout)["workloads"]
        manifests = [asked.path for asked in front.asked if "/manifests/" in asked.path]
    assert {risk_of(entry, "runAsNonRoot")[0] for entry in workloads} == {"safe"}
    assert sorted(manifests) == sorted(set(manifests))
    assert len(manifests) == 6


def test_a_registry_that_hangs_does_not_keep_the_command(images: Images, tmp_path: Path) -> None:
    with fronted(images) as front:
        front.answer = lambda handler: time.sleep(60) or True
        start = time.monotonic()
        entry = plan(manifest(f"{front.host}/x:1"), "--inspect-images", "--inspect-timeout", "1s")
        assert time.monotonic() - start < 15
    assert risk_of(entry, "runAsNonRoot")[0] == "review"


def test_observations_decide(tmp_path: Path) -> None:
    where = {"k8s": {"namespace": "shop", "podName": "web", "containerName": "web"}, "proc": {"pid": 1}}
    events = [
        {**where, "timestamp": f"2026-11-0{day}T00:00:00Z", "cap": "CAP_NET_ADMIN", "capable": True} for day in (1, 4)
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"cut')
    text = manifest("i", securityContext={"capabilities": {"add": ["NET_ADMIN", "SYS_TIME"]}})
    entry = plan(text, "--observed", str(tmp_path))
    risks = {edit["why"]: edit["risk"] for edit in (*entry["edits"], *entry["heldBack"])}
    assert any(risk == "breaks" and "used NET_ADMIN in pod web (Inspektor Gadget" in why for why, risk in risks.items())
    assert any(risk == "safe" and "did not use SYS_TIME in 3 days" in why for why, risk in risks.items())


def test_wide_shows_what_is_known(images: Images, tmp_path: Path) -> None:
    image = images.make("wide:1", "nginx", ports=("80/tcp",))
    shown = run("check", "-f", "-", "-o", "wide", "--inspect-images", stdin=manifest(image), COLUMNS="200",
                XDG_CACHE_HOME=str(tmp_path)).stdout.decode()  # fmt: skip
    assert f"known image {image} says USER nginx, a name, which the kubelet cannot verify (image)" in " ".join(
        shown.split()
    )
    assert f"known image {image} exposes port 80 (image)" in shown


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--run-as-user", "0"), '--run-as-user "0": write a number from 1'),
        (("--run-as-user", "nobody"), '--run-as-user "nobody": write a number'),
        (("--writable", "tmp"), '--writable "tmp": write PATH or CONTAINER=PATH'),
        (("--writable", "/"), '--writable "/": write PATH'),
        (("--registry-mirror", "docker.io"), "write REGISTRY=HOST[/PREFIX]"),
        (("--registry-ca", "/nowhere"), '--registry-ca "/nowhere": there is no such file'),
        (("--observed", "/nowhere"), '--observed "/nowhere": there is no such file or directory'),
        (("--observed-for", "long"), '--observed-for "long": write a time'),
        (("-i",), "-i asks for every edit: there is no terminal to ask on"),
    ],
)
def test_wrong_usage(flags: tuple[str, ...], words: str) -> None:
    result = run("fix", "-f", "-", *flags, stdin=manifest("i"))
    assert result.returncode == 2
    assert words in result.stderr.decode()


# -- fix -i ---------------------------------------------------------------------------------------------


def interactive(file: Path, answers: list[bytes], *flags: str, **environment: str) -> tuple[int, str]:
    """Answer the questions of fix -i on a terminal."""
    command = [
        sys.executable,
        "-c",
        "from kubectl_harden.cli import main; main()",
        "fix",
        "-f",
        str(file),
        "-i",
        *flags,
    ]
    return answered(command, b"[y,n,a,q,e,?]? ", answers, {**os.environ, "NO_COLOR": "1", **environment})


def test_one_edit_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(REJECTED)
    code, shown = interactive(file, [b"?\n", b"n\n", b"y\n", b"q\n"])
    assert code == 1
    assert "q - leave it out, and everything that follows" in shown
    assert "+ /spec/template/spec/hostNetwork: false" in shown or "+ /spec/hostNetwork: false" in shown
    assert "you refused it: usually needed" in " ".join(shown.split())
    added = [line for line in file.read_text().splitlines() if line not in REJECTED.splitlines()]
    assert [line.strip() for line in added] == ["allowPrivilegeEscalation: false"]


def test_all_of_an_object_and_none(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(REJECTED)
    assert interactive(file, [b"q\n"])[0] == 1
    assert file.read_text() == REJECTED
    assert interactive(file, [b"a\n"])[0] == 0
    assert run("check", "-f", str(file)).returncode == 0


def test_a_value_is_changed_in_an_editor(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(manifest("i"))
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho 4711 > "$1"\n')
    editor.chmod(0o755)
    code, _ = interactive(file, [b"e\n", b"a\n"], "--run-as-user", "1000", EDITOR=str(editor))
    assert code == 0
    assert '"runAsUser": 4711' in file.read_text() or "runAsUser: 4711" in file.read_text()


@pytest.mark.parametrize(("opened", "risk"), [("/app/x", "safe"), ("/host/proc/1/maps", "breaks")])
def test_host_paths_that_were_watched(tmp_path: Path, opened: str, risk: str) -> None:
    where = {"k8s": {"namespace": "shop", "podName": "web", "containerName": "web"}, "proc": {"pid": 1}}
    events = [{**where, "timestamp": f"2026-11-0{day}T00:00:00Z", "fname": opened, "error_raw": 0} for day in (1, 8)]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    value = json.loads(manifest("i", volumeMounts=[{"name": "proc", "mountPath": "/host/proc"}]))
    value["spec"]["volumes"] = [{"name": "proc", "hostPath": {"path": "/proc"}}]
    entry = plan(json.dumps(value), "--observed", str(tmp_path), "--level", "baseline")
    if risk == "safe":
        assert {edit["path"] for edit in entry["edits"]} == {"/spec/volumes", "/spec/containers/0/volumeMounts"}
        assert all("opened nothing there in 7 days of Inspektor Gadget" in edit["why"] for edit in entry["edits"])
    else:
        (left,) = entry["remaining"]
        assert "opened /host/proc/1/maps in pod web" in left["why"]
    # What a person chooses is judged as well.
    chosen = plan(json.dumps(value), "--observed", str(tmp_path), "--level", "baseline", "--host-path", "proc=emptyDir")
    assert {edit["risk"] for edit in (*chosen["edits"], *chosen["heldBack"])} == {risk}

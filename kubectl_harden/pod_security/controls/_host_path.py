"""The usual purposes of hostPath volumes, and what can be done about them (shared by the two volume controls)."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from kubectl_harden.model import Edit, Facts, FixContext, HostPathChoice, Obstacle, Path, Remedy
from kubectl_harden.pod_security.conditions import AGENTS, PSS, always, first, named
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import Change, Judgement, Rule

__all__ = ["NO_HOST_PATH", "fix_host_paths", "mounts_of", "without_unused"]


class _Purpose(NamedTuple):
    """Paths (a prefix ends in "/", "*" matches the rest of a name) and what mounting them means."""

    paths: tuple[str, ...]
    why: str
    choices: tuple[str, ...]


_EXEMPT = "keep it, and run it in its own namespace with the enforce label privileged (as node agents do)"
_AGENT = (_EXEMPT,)

_TIME_ZONE = ("/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo/")
_SCRATCH = ("/tmp/", "/var/tmp/")  # noqa: S108 (paths of the node, not of this process)

# The first match decides, so single files and sockets come before the directories around them.
_PURPOSES = (
    _Purpose(
        (
            "/var/run/docker.sock",
            "/run/docker.sock",
            "/var/run/docker/",
            "/run/docker/",
            "/var/run/containerd/",
            "/run/containerd/",
            "/var/run/crio/",
            "/run/crio/",
            "/var/run/cri-dockerd.sock",
            "/run/cri-dockerd.sock",
            "/run/k3s/containerd/",
            "/var/run/podman/",
            "/run/podman/",
            "/var/run/dockershim.sock",
            "/var/run",
            "/run",
        ),
        "mounts the container runtime socket or the directory that it is in: whoever can use it controls the node",
        (
            "build images without the node's runtime (BuildKit rootless, Buildah, a build service)",
            "read container metadata from the Kubernetes API instead",
            _EXEMPT,
        ),
    ),
    _Purpose(("/",), "mounts the node's root directory, with every file of the node", _AGENT),
    _Purpose(("/proc/",), "reads the node's processes, as node agents do", _AGENT),
    _Purpose(("/sys/",), "reads the node's devices and control groups, as node agents do", _AGENT),
    _Purpose(
        ("/dev/",),
        "reaches devices of the node",
        ("let a device plugin or Dynamic Resource Allocation hand the device out", _EXEMPT),
    ),
    _Purpose(
        ("/var/log/", "/var/lib/docker/", "/var/lib/containers/", "/var/lib/containerd/"),
        "reads the logs or data of other containers, as log and monitoring agents do",
        _AGENT,
    ),
    _Purpose(
        (
            "/var/lib/kubelet/",
            "/etc/kubernetes/",
            "/etc/cni/",
            "/opt/cni/",
            "/var/lib/cni/",
            "/var/run/cni/",
            "/run/cni/",
            "/run/xtables.lock",
            "/var/run/netns/",
            "/run/netns/",
            "/var/lib/etcd/",
        ),
        "belongs to the kubelet, the network or storage plugins, or the control plane",
        ("mount storage through its CSI driver instead of the kubelet's directory", _EXEMPT),
    ),
    _Purpose(
        ("/lib/modules/", "/usr/lib/modules/", "/usr/src/", "/boot/", "/lib/", "/usr/", "/opt/bin/", "/bin/", "/sbin/"),
        "uses the node's kernel modules or programs",
        ("put the files into the image", _EXEMPT),
    ),
    _Purpose(
        ("/var/run/*", "/run/*"),
        "talks to a daemon of the node through its run directory",
        _AGENT,
    ),
    _Purpose(
        (
            "/etc/ssl/",
            "/etc/pki/",
            "/usr/share/ca-certificates/",
            "/usr/local/share/ca-certificates/",
            "/etc/ca-certificates/",
        ),
        "takes certificates from the node",
        ("use the image's own certificates, or a ConfigMap: --host-path {name}=configmap:NAME",),
    ),
    _Purpose(
        ("/etc/",),
        "takes configuration from the node",
        ("put it into a ConfigMap: --host-path {name}=configmap:NAME", _EXEMPT),
    ),
)

_DATA = _Purpose(
    (),
    "keeps data on the node, which an automatic change would lose",
    (
        "move the data to a PersistentVolumeClaim: --host-path {name}=pvc:CLAIM",
        "if it is only scratch space: --host-path {name}=emptyDir",
        "if it is not needed: --host-path {name}=remove",
    ),
)

NO_HOST_PATH: Final = Change(
    "no host path",
    (
        Rule("host-path-used", "breaks", "Its processes opened files of the node.", PSS, named("needs", "host path")),
        Rule(
            "host-path-unused",
            "safe",
            "Its processes were watched, and opened nothing below it.",
            PSS,
            named("unused", "host path"),
        ),
        Rule(
            "host-path-agent",
            "breaks",
            "A node agent works on the node's files.",
            AGENTS,
            first("needs", "node agent"),
        ),
        Rule("host-path-unknown", "review", "Nothing is known about what it reads and writes there.", PSS, always),
    ),
)


def _matches(path: str, pattern: str) -> bool:
    if pattern == "/":
        return path == "/"
    if pattern.endswith("/*"):
        return path.startswith(pattern[:-1])
    if pattern.endswith("/"):
        return path == pattern[:-1] or path.startswith(pattern)
    return path == pattern


def _purpose(path: str) -> _Purpose:
    for purpose in _PURPOSES:
        if any(_matches(path, pattern) for pattern in purpose.paths):
            return purpose
    return _DATA


def _normal(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts) if path.startswith("/") else path


def mounts_of(pod: Pod, name: str) -> list[tuple[Container, Path]]:
    """Return the containers that mount a volume, each with the path of its mount."""
    return [
        (container, (*container.path, "volumeMounts", index))
        for container in pod.containers
        for index, mount in enumerate(container.fields.get("volumeMounts", ()))
        if mount.get("name") == name
    ]


def without_unused(index: int, name: str, check: str) -> Edit:
    """Return the edit that removes a volume which no container mounts: the kubelet does not mount it, either."""
    return Judgement("safe", f"no container mounts volume {name}").edit(
        "remove", ("spec", "volumes", index), checks=(check,)
    )


def fix_host_paths(pod: Pod, context: FixContext, check: str, indexes: Iterable[int]) -> Remedy:
    """Plan for hostPath volumes, given by their indexes: as the user chose, else by the purpose of each."""
    edits: list[Edit] = []
    obstacles: list[Obstacle] = []
    for index in indexes:
        remedy = _fix_one(pod, index, pod.spec["volumes"][index], context, check)
        edits.extend(remedy.edits)
        obstacles.extend(remedy.obstacles)
    return Remedy(tuple(edits), tuple(obstacles))


def _fix_one(pod: Pod, index: int, volume: dict[str, Any], context: FixContext, check: str) -> Remedy:
    name = volume.get("name", "")
    path = _normal(volume["hostPath"].get("path", ""))
    mounts = mounts_of(pod, name)
    location: Path = ("spec", "volumes", index)
    chosen = context.host_paths.get(name)
    users = list({container.path: container for container, _ in mounts}.values())
    paths = [mount for _, mount in mounts]

    # That a pod is a node agent says nothing about a time zone, and does not count against a person's choice.
    whoever = context.facts._replace(pod=tuple(fact for fact in context.facts.pod if fact.topic != "node agent"))

    def judged(meaning: str, facts: Facts = context.facts) -> Judgement:
        return NO_HOST_PATH.judge(meaning, pod, users, facts, name)

    if chosen is not None:
        return _as_chosen(chosen, location, paths, volume, check, judged("as chosen by --host-path", whoever))
    if not mounts:
        return Remedy((without_unused(index, name, check),))
    if any(_matches(path, pattern) for pattern in _TIME_ZONE):
        why = "the node's time zone is not part of the app: set the TZ environment variable if it matters"
        return _remove(location, paths, check, judged(why, whoever))
    kind = volume["hostPath"].get("type", "")
    if any(_matches(path, pattern) for pattern in _SCRATCH) and kind in ("", "Directory", "DirectoryOrCreate"):
        why = f"{path} on the node is scratch space: an emptyDir lives as long as the pod, and other pods do not see it"
        return Remedy((_replace(location, volume, {"emptyDir": {}}, check, judged(why)),))
    purpose = _purpose(path)
    known = judged(f"volume {name} ({path}) {purpose.why}")
    if known.risk == "safe":
        return _remove(location, paths, check, known)
    choices = tuple(choice.format(name=name) for choice in purpose.choices)
    return Remedy(obstacles=(Obstacle(check, known.why, choices),))


def _as_chosen(
    chosen: HostPathChoice,
    location: Path,
    mounts: list[Path],
    volume: dict[str, Any],
    check: str,
    judgement: Judgement,
) -> Remedy:
    if chosen.action == "remove":
        return _remove(location, mounts, check, judgement)
    if chosen.action == "emptyDir":
        source: dict[str, Any] = {"emptyDir": {}}
    elif chosen.action == "pvc":
        source = {"persistentVolumeClaim": {"claimName": chosen.name}}
    else:
        source = {"configMap": {"name": chosen.name}}
    return Remedy((_replace(location, volume, source, check, judgement),))


def _replace(location: Path, volume: dict[str, Any], source: dict[str, Any], check: str, judgement: Judgement) -> Edit:
    kept = {key: value for key, value in volume.items() if key != "hostPath"}
    return judgement.edit("replace", location, {**kept, **source}, checks=(check,))


def _remove(location: Path, mounts: list[Path], check: str, judgement: Judgement) -> Remedy:
    return Remedy(tuple(judgement.edit("remove", path, checks=(check,)) for path in (location, *mounts)))

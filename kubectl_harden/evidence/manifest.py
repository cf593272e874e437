"""What a manifest itself shows about the privileges that its containers use.

Words of commands and lifecycle hooks, mounts and ports; every fact is a sentence that names the word found. What is not
found here counts as unknown, and nothing is guessed from image names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any, Final

from kubectl_harden.model import Fact, Facts, Learned, Path, Topic
from kubectl_harden.pod_security.conditions import windows_sign
from kubectl_harden.pod_security.pod import Container, Pod

__all__ = ["commands", "entrypoint_facts", "facts_of"]

# pkg/volume: plugins that hand the kubelet's fsGroup on; those of a node's directory do not.
_GROUPED: Final = ("persistentVolumeClaim", "ephemeral", "emptyDir")
_NOTHING: Final[Learned] = MappingProxyType({})

_REDIRECTIONS: Final = re.compile(r"\d*(?:>{1,2}|<)&?[ \t]*[^\s;&|()<>]*")
_COMMAND_END: Final = re.compile(r"[;&|()\n{}`]+|\$\(")
# Words that may come before the program of a shell command.
_PREFIXES: Final = frozenset(
    ("exec", "then", "do", "else", "if", "while", "until", "!", "time", "command", "env", "nohup", "sudo", "-")
)

_Need = tuple[Topic, str]


def _needs(*topics: Topic, capabilities: Sequence[str] = (), namespace: str = "") -> tuple[_Need, ...]:
    """Return topics with the names of their subjects."""
    named: list[_Need] = [("capability", name) for name in capabilities]
    return (*((topic, "") for topic in topics), *named, *((("host namespace", namespace),) if namespace else ()))


# Program → what it needs. "root": user 0; "default capability": one that root has by default; "setuid": it raises
# privileges by a set-user-ID bit.
_PROGRAMS: Final[dict[str, tuple[_Need, ...]]] = {
    **dict.fromkeys(("chown", "chgrp"), _needs("root", "default capability", capabilities=["CHOWN"])),
    **dict.fromkeys(
        ("su", "gosu", "su-exec", "setpriv", "runuser"), _needs("root", "default capability", capabilities=["SETUID"])
    ),
    "sudo": _needs("setuid", "default capability"),
    **dict.fromkeys(
        ("apt-get", "apk", "yum", "dnf", "microdnf", "useradd", "adduser", "groupadd"),
        _needs("root", "default capability"),
    ),
    "setcap": _needs("root", "default capability", capabilities=["SETFCAP"]),
    "chroot": _needs("root", "default capability", "privileged", capabilities=["SYS_CHROOT"]),
    "mknod": _needs("root", "default capability", capabilities=["MKNOD"]),
    **dict.fromkeys(("mount", "umount"), _needs("root", "privileged", "seccomp", capabilities=["SYS_ADMIN"])),
    **dict.fromkeys(
        ("losetup", "mkfs", "fsfreeze", "swapoff", "blockdev"),
        _needs("root", "privileged", capabilities=["SYS_ADMIN"]),
    ),
    **dict.fromkeys(
        ("modprobe", "insmod", "rmmod"), _needs("root", "privileged", "seccomp", capabilities=["SYS_MODULE"])
    ),
    "nsenter": _needs("root", "privileged", "seccomp", capabilities=["SYS_ADMIN"], namespace="hostPID"),
    "unshare": _needs("seccomp", capabilities=["SYS_ADMIN"]),
    **dict.fromkeys(
        ("istio-iptables", "istio-clean-iptables", "proxy-init"), _needs("root", capabilities=["NET_ADMIN", "NET_RAW"])
    ),
    "dockerd": _needs("root", "privileged", capabilities=["SYS_ADMIN"]),
    "sysctl": _needs("root", "privileged"),
    **dict.fromkeys(
        (
            *("iptables", "ip6tables", "iptables-restore", "nft", "ipset", "ipvsadm", "tc"),
            *("kube-proxy", "flanneld", "cilium-agent", "calico-node"),
        ),
        _needs("root", "privileged", capabilities=["NET_ADMIN"], namespace="hostNetwork"),
    ),
    **dict.fromkeys(("tcpdump", "arping"), _needs(capabilities=["NET_RAW"], namespace="hostNetwork")),
    "ping": _needs("ping", capabilities=["NET_RAW"]),
    "ulimit": _needs(capabilities=["SYS_RESOURCE"]),
    **dict.fromkeys(("strace", "gdb"), _needs(capabilities=["SYS_PTRACE"])),
    **dict.fromkeys(("hwclock", "ntpd"), _needs(capabilities=["SYS_TIME"])),
    **dict.fromkeys(("renice", "chrt"), _needs(capabilities=["SYS_NICE"])),
    "ipcs": _needs(namespace="hostIPC"),
}
# Arguments with which a program only shows something, each followed by a blank: mount(8), losetup(8), sysctl(8),
# and ulimit of POSIX.
_SHOWN_BY_ALL: Final = r"(--version|--help|-V) "
_SHOWN_BY: Final[dict[str, str]] = {
    "mount": r"((-[lv]+|--show-labels|--verbose|(-t ?|--types[ =])\S+) )*",
    "losetup": r"((-[aln]+|--all|--list|--noheadings|-J|--json) )*",
    "sysctl": r"((-[aAXbeNn]+|--all|--ignore|--names|--values|(?!-)[\w./*-]+) )*",
    "ulimit": r"(-[HSa-zA-Z]+ )*",
}

# core/v1 well_known_labels.go, LabelOSStable, and the name that it had before.
_OS_LABELS: Final = ("kubernetes.io/os", "beta.kubernetes.io/os")
# pkg/apis/scheduling/types.go: the priority classes that every cluster has.
_CRITICAL: Final = ("system-node-critical", "system-cluster-critical")
# Where the kubelet and the container runtimes find plugins for networks, storage and devices, and the node's networks.
_PLUGIN_PATHS: Final = (
    "/etc/cni",
    "/opt/cni",
    "/var/lib/cni",
    "/run/cni",
    "/var/run/cni",
    "/run/netns",
    "/var/run/netns",
    "/run/xtables.lock",
    "/var/lib/kubelet",
)


_HOOKS: Final = (
    ("lifecycle", "postStart"),
    ("lifecycle", "preStop"),
    ("livenessProbe", ""),
    ("readinessProbe", ""),
    ("startupProbe", ""),
)


def _programs(container: Container) -> Iterator[tuple[str, str]]:
    """Yield (place, program) for everything that a container's specification executes."""
    fields = container.fields
    if "command" in fields:
        yield from _of_argv("command", fields["command"], first=True, more=fields.get("args", ()))
    if "args" in fields:
        # Entrypoints of images often execute their arguments.
        yield from _of_argv("args", fields["args"], first=not fields.get("command"))
    for outer, inner in _HOOKS:
        if outer in fields:
            handler: dict[str, Any] = fields[outer].get(inner, {}) if inner else fields[outer]
            place = f"{outer}.{inner}" if inner else outer
            yield from _of_argv(place, handler.get("exec", {}).get("command", []), first=True)


def _of_argv(field: str, argv: Sequence[str], *, first: bool, more: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield (place, program) for arguments; ``first`` tells that the first one is a program, whose arguments ``more``
    are.
    """
    for index, text in enumerate(argv):
        if any(char.isspace() for char in text) or (index > 0 and argv[index - 1].endswith("c")):
            for program in _shell_programs(text):
                yield f"{field}[{index}]", program
        elif index == 0 and first:
            program = text.rpartition("/")[2]
            if not _only_shows(program, (*argv[1:], *more)):
                yield field, program


def entrypoint_facts(image: str, entrypoint: Sequence[str], arguments: Sequence[str]) -> Iterator[Fact]:
    """Yield what an image's own entrypoint and arguments need."""
    places = (
        *_of_argv("Entrypoint", entrypoint, first=True, more=arguments),
        *_of_argv("Cmd", arguments, first=True),
    )
    for place, program in places:
        for topic, name in _PROGRAMS.get(program, ()):
            if topic != "host namespace":
                yield Fact("needs", topic, f"image {image} runs {program} ({place})", "image", name=name)


def commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell script."""
    for command in _COMMAND_END.split(script):
        words = command.split()
        if words:
            yield words


def _shell_programs(script: str) -> Iterator[str]:
    for words in commands(_REDIRECTIONS.sub(" ", script)):
        for index, word in enumerate(words):
            program = word.rpartition("/")[2]
            if word not in _PREFIXES and "=" not in word:
                if not _only_shows(program, words[index + 1 :]):
                    yield program
                break
            yield program


def _only_shows(program: str, arguments: Sequence[str]) -> bool:
    """Whether a program with these arguments only displays something, which needs no privileges."""
    text = "".join(f"{argument} " for argument in arguments)
    return bool(re.fullmatch(_SHOWN_BY.get(program, _SHOWN_BY_ALL), text) or re.fullmatch(_SHOWN_BY_ALL, text))


def _container_facts(pod: Pod, container: Container) -> Iterator[Fact]:
    seen: set[_Need] = set()
    for place, program in _programs(container):
        for need in _PROGRAMS.get(program, ()):
            if need not in seen:
                seen.add(need)
                topic, name = need
                yield Fact("needs", topic, f'container "{container.name}" runs {program} ({place})', name=name)
    for mount in container.fields.get("volumeMounts", ()):
        if mount.get("mountPropagation") == "Bidirectional" and ("privileged", "") not in seen:
            why = f'container "{container.name}" mounts {mount.get("name", "")} with Bidirectional propagation'
            yield Fact("needs", "privileged", why)
    for port in container.fields.get("ports", ()):
        number = port.get("containerPort", 0)
        if 0 < number < 1024:
            yield Fact("needs", "low port", f'container "{container.name}" serves port {number}', value=number)
    if "volumeMounts" not in container.fields:
        return
    owner = _ownership(pod, container)
    if owner is not None:
        yield owner
    if "fsGroup" not in pod.security:
        claims = list(_written(pod, container))
        if claims:
            text = f'container "{container.name}" writes to the claim of volume {claims[0]}, and there is no fsGroup'
            yield Fact("needs", "volume", text)


def _written(pod: Pod, container: Container) -> Iterator[str]:
    """Yield the volumes of persistent storage that a container mounts and may write to.

    A volume that is mounted but not declared is a claim that a StatefulSet adds.
    """
    declared = {volume.get("name", ""): volume for _, volume in pod.volumes()}
    for mount in container.fields.get("volumeMounts", ()):
        volume = declared.get(mount.get("name", ""), {"persistentVolumeClaim": {}})
        if ("persistentVolumeClaim" in volume or "ephemeral" in volume) and not mount.get("readOnly"):
            yield mount.get("name", "")


def _ownership(pod: Pod, container: Container) -> Fact | None:
    """Return the fact that an init container only changes the owner of volumes; its ``value`` is the gid, or None."""
    if container.path[1] != "initContainers" or container.fields.get("restartPolicy") == "Always":
        return None
    argv = [*container.fields.get("command", ()), *container.fields.get("args", ())]
    shell = len(argv) >= 2 and argv[-2].startswith("-") and argv[-2].endswith("c")
    script = argv[-1] if shell else " ".join(argv)
    declared = {volume.get("name"): volume for _, volume in pod.volumes()}
    mounts = [
        mount.get("mountPath", "").rstrip("/")
        for mount in container.fields.get("volumeMounts", ())
        if any(kind in declared.get(mount.get("name"), {"persistentVolumeClaim": {}}) for kind in _GROUPED)
    ]
    group: int | None = None
    gives = False
    for words in commands(script):
        program = words[0].rpartition("/")[2]
        operands = [word.strip("\"'") for word in words[1:] if not word.startswith("-")]
        if program in ("set", "echo", "true"):
            continue
        if program not in ("chown", "chgrp", "chmod") or len(operands) < 2:
            return None
        if not all(_below(path.rstrip("/"), mounts) for path in operands[1:]):
            return None
        if program != "chmod":
            gives = True
            named = operands[0].rpartition(":")[2] if ":" in operands[0] or program == "chgrp" else operands[0]
            group = int(named) if named.isdigit() and int(named) else group
    text = f'init container "{container.name}" only changes the owner of volumes'
    return Fact("needs", "volume owner", text, value=group) if gives else None


def _below(path: str, mounts: list[str]) -> bool:
    return any(path == mount or path.startswith(f"{mount}/") for mount in mounts)


def _host_path_facts(pod: Pod, container: Container, learned: tuple[Fact, ...]) -> Iterator[Fact]:
    """Yield what was observed about the hostPath volumes that a container mounts, by their names."""
    opened = [fact for fact in learned if fact.kind == "needs" and fact.topic == "path"]
    watched = next((fact for fact in learned if fact.kind == "unused" and fact.topic == "path"), None)
    if not opened and watched is None:
        return
    volumes = {volume.get("name", "") for _, volume in pod.volumes() if "hostPath" in volume}
    for mount in container.fields.get("volumeMounts", ()):
        name, path = mount.get("name", ""), mount.get("mountPath", "").rstrip("/")
        if name not in volumes:
            continue
        used = next((fact for fact in opened if fact.value == path or fact.value.startswith(f"{path}/")), None)
        if used is not None:
            yield used._replace(topic="host path", name=name)
        elif watched is not None:
            yield watched._replace(topic="host path", name=name)


def _agent_signs(pod: Pod) -> Iterator[str]:
    """Yield what shows that a pod is an agent of its node; one sign is enough, and an image's name is none."""
    priority = pod.spec.get("priorityClassName")
    if priority in _CRITICAL:
        yield f"its priority class is {priority}"
    for toleration in pod.spec.get("tolerations", ()):
        # Without a key, Exists matches every taint (core/v1 types.go, Toleration).
        every = toleration.get("operator") == "Exists" and not toleration.get("key")
        if every and toleration.get("effect", "") in ("", "NoSchedule"):
            yield "it tolerates every taint"
            break
    if pod.spec.get("hostNetwork") and any(container.security.get("privileged") for container in pod.containers):
        yield "it is privileged on the node's network"
    mounted = {mount.get("name") for c in pod.containers for mount in c.fields.get("volumeMounts", ())}
    for _, volume in pod.volumes():
        path = volume.get("hostPath", {}).get("path", "").rstrip("/")
        if volume.get("name") in mounted and _below(path, list(_PLUGIN_PATHS)):
            yield f"it mounts {path} of the node"


def _windows_sign(pod: Pod) -> str:
    """Return what shows that a pod runs on nodes with Windows, or an empty text."""
    selector = pod.spec.get("nodeSelector", {})
    for label in _OS_LABELS:
        if selector.get(label) == "windows":
            return f"its nodeSelector has {label}: windows"
    required = (
        pod.spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    )
    # A node has to match one of the terms, and all expressions of it (core/v1 types.go, NodeSelector).
    terms = [term.get("matchExpressions", ()) for term in (required or {}).get("nodeSelectorTerms", ())]
    if terms and all(any(_is_windows(expression) for expression in term) for term in terms):
        return "its node affinity allows no other nodes"
    # Last: a plan may set it, and the sentence about the pod should not change by that.
    return "spec.os.name says so" if pod.is_windows else ""


def _is_windows(expression: dict[str, Any]) -> bool:
    is_in = expression.get("key") in _OS_LABELS and expression.get("operator") == "In"
    return is_in and expression.get("values") == ["windows"]


def _pod_facts(pod: Pod) -> Iterator[Fact]:
    windows = _windows_sign(pod)
    if windows:
        yield Fact("needs", "windows", f"the pod runs on Windows nodes: {windows}")
    signs = list(dict.fromkeys(_agent_signs(pod)))
    if signs:
        yield Fact("needs", "node agent", f"the pod works on its node: {', '.join(signs)}")


def facts_of(pod: Pod, learned: Learned = _NOTHING) -> Facts:
    """Return what the pod template itself shows, and what other sources say about its containers."""
    containers: dict[Path, tuple[Fact, ...]] = {}
    shared: dict[str, Fact] = {}
    of_pod = tuple(_pod_facts(pod))
    on_windows = bool(windows_sign(of_pod))
    for container in pod.containers:
        facts: list[Fact] = []
        # What a container needs of Linux says nothing on Windows.
        for fact in () if on_windows else _container_facts(pod, container):
            if fact.topic == "host namespace":
                shared.setdefault(fact.name, fact)
            else:
                facts.append(fact)
        if learned:
            known = learned.get(container.name, ())
            facts.extend(known)
            facts.extend(_host_path_facts(pod, container, known))
        if facts:
            containers[container.path] = tuple(facts)
    return Facts(containers, (*shared.values(), *of_pod, *learned.get("", ())))

"""What a manifest itself shows about the rights that its containers use.

Words of commands and lifecycle hooks, mounts and ports; every fact is a sentence that names the
word found. What is not found here is not known, and nothing is guessed from image names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from kubectl_harden.model import Facts, Path
from kubectl_harden.pod import Container, Pod

__all__ = ["facts_of"]

_COMMAND_END: Final = re.compile(r"[;&|()\n{}`]+|\$\(")
# Words that stand before the program of a shell command.
_PREFIXES: Final = frozenset(
    ("exec", "then", "do", "else", "if", "while", "until", "!", "time", "command", "env", "nohup", "sudo", "-")
)

# Program → topics it shows. "root": needs user 0; "default capability": needs one that root has by
# default; "setuid": raises privileges by a set-user-ID bit; the rest are capabilities and pod fields.
_PROGRAMS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("chown", "chgrp"), ("root", "default capability", "CHOWN")),
    **dict.fromkeys(("su", "gosu", "su-exec", "setpriv", "runuser"), ("root", "default capability", "SETUID")),
    "sudo": ("setuid", "default capability"),
    **dict.fromkeys(
        ("apt-get", "apk", "yum", "dnf", "microdnf", "useradd", "adduser", "groupadd"), ("root", "default capability")
    ),
    "setcap": ("root", "default capability", "SETFCAP"),
    "chroot": ("root", "default capability", "SYS_CHROOT", "privileged"),
    "mknod": ("root", "default capability", "MKNOD"),
    **dict.fromkeys(("mount", "umount"), ("root", "privileged", "SYS_ADMIN", "seccomp")),
    **dict.fromkeys(("losetup", "mkfs", "fsfreeze", "swapoff", "blockdev"), ("root", "privileged", "SYS_ADMIN")),
    **dict.fromkeys(("modprobe", "insmod", "rmmod"), ("root", "privileged", "SYS_MODULE", "seccomp")),
    "nsenter": ("root", "privileged", "SYS_ADMIN", "seccomp", "hostPID"),
    "unshare": ("seccomp", "SYS_ADMIN"),
    "dockerd": ("root", "privileged", "SYS_ADMIN"),
    "sysctl": ("root", "privileged"),
    **dict.fromkeys(
        ("iptables", "ip6tables", "iptables-restore", "nft", "ipset", "ipvsadm", "tc"),
        ("root", "privileged", "NET_ADMIN", "hostNetwork"),
    ),
    **dict.fromkeys(("tcpdump", "arping"), ("NET_RAW", "hostNetwork")),
    "ping": ("NET_RAW",),
    **dict.fromkeys(("strace", "gdb"), ("SYS_PTRACE",)),
    **dict.fromkeys(("hwclock", "ntpd"), ("SYS_TIME",)),
    **dict.fromkeys(("renice", "chrt"), ("SYS_NICE",)),
    "ipcs": ("hostIPC",),
}
_POD_TOPICS: Final = frozenset(("hostPID", "hostNetwork", "hostIPC"))


def _programs(container: Container) -> Iterator[tuple[str, str]]:
    """Yield (field, program) for everything that the container's specification executes."""
    fields = container.fields
    arguments = [("command", fields.get("command", [])), ("args", fields.get("args", []))]
    for parts in _HOOKS:
        handler: dict[str, Any] = fields
        for part in parts:
            handler = handler.get(part, {})
        arguments.append((".".join(parts), handler.get("exec", {}).get("command", [])))
    for field, argv in arguments:
        for index, text in enumerate(argv):
            if index == 0 and field != "args":
                yield field, text.rpartition("/")[2]
            elif any(char.isspace() for char in text) or (index > 0 and argv[index - 1].endswith("c")):
                for program in _shell_programs(text):
                    yield field, program


_HOOKS: Final = (
    ("lifecycle", "postStart"),
    ("lifecycle", "preStop"),
    ("livenessProbe",),
    ("readinessProbe",),
    ("startupProbe",),
)


def _shell_programs(script: str) -> Iterator[str]:
    for command in _COMMAND_END.split(script):
        for word in command.split():
            program = word.rpartition("/")[2]
            if word not in _PREFIXES and "=" not in word:
                yield program
                break
            yield program


def _container_facts(container: Container) -> dict[str, str]:
    facts: dict[str, str] = {}
    for field, program in _programs(container):
        for topic in _PROGRAMS.get(program, ()):
            facts.setdefault(topic, f'container "{container.name}" runs {program} ({field})')
    for mount in container.fields.get("volumeMounts", ()):
        if mount.get("mountPropagation") == "Bidirectional":
            why = f'container "{container.name}" mounts {mount.get("name", "")} with Bidirectional propagation'
            facts.setdefault("privileged", why)
    return facts


def facts_of(pod: Pod) -> Facts:
    """Return what the pod template itself shows."""
    containers: dict[Path, dict[str, str]] = {}
    shared: dict[str, str] = {}
    for container in pod.containers:
        facts = _container_facts(container)
        for topic in _POD_TOPICS & facts.keys():
            shared.setdefault(topic, facts.pop(topic))
        if facts:
            containers[container.path] = facts
    return Facts(containers, shared)

"""Shared by the two capability controls: names, uses, and the fix of ``capabilities.add``."""

from __future__ import annotations

from typing import Final

from kubectl_harden.model import Edit, FixContext
from kubectl_harden.pod_security.conditions import CAPABILITIES, always, named
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import Change, Judgement, Rule

__all__ = ["DEFAULT_SET", "REMOVE", "added", "fix_added", "uses"]

DEFAULT_SET = frozenset(
    (
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    )
)
"""policy/check_capabilities_baseline.go, capabilities_allowed_1_0."""

_USES = {
    "ALL": "everything that root on the node may do",
    "AUDIT_WRITE": "writing to the kernel's audit log",
    "BPF": "loading eBPF programs",
    "CHOWN": "changing the owner of files",
    "DAC_OVERRIDE": "reading and writing files regardless of their permissions",
    "DAC_READ_SEARCH": "reading files regardless of their permissions",
    "FOWNER": "changing permissions of other users' files",
    "IPC_LOCK": "locking memory (mlock), as databases and secret stores do",
    "KILL": "signalling processes of other users",
    "MKNOD": "creating device files",
    "NET_ADMIN": "configuring network interfaces, routes and packet filters",
    "NET_BIND_SERVICE": "binding ports below 1024",
    "NET_RAW": "raw sockets, as ping and packet capture use them",
    "PERFMON": "performance monitoring",
    "SETGID": "switching the group of a process",
    "SETUID": "switching the user of a process",
    "SYSLOG": "reading the kernel log",
    "SYS_ADMIN": "mounting file systems and much else that amounts to root on the node",
    "SYS_BOOT": "rebooting the node",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "loading kernel modules",
    "SYS_NICE": "raising priorities and setting CPU affinity",
    "SYS_PTRACE": "tracing other processes",
    "SYS_RAWIO": "raw access to devices and ports",
    "SYS_RESOURCE": "raising resource limits",
    "SYS_TIME": "setting the clock",
}

REMOVE: Final = Change(
    "remove a capability",
    (
        Rule("capability-used", "breaks", "It uses the capability.", CAPABILITIES, named("needs", "capability")),
        Rule(
            "capability-unused",
            "safe",
            "It was watched, and did not use the capability.",
            CAPABILITIES,
            named("unused", "capability"),
        ),
        Rule("capability-unknown", "review", "Whoever added a capability usually had a reason.", CAPABILITIES, always),
    ),
)


def uses(name: str) -> str:
    """Return what a capability is usually added for, as a phrase."""
    return _USES.get(_canonical(name), "a privilege outside the runtime's default set")


def _canonical(name: str) -> str:
    upper = name.upper()
    return upper[4:] if upper.startswith("CAP_") else upper


def added(container: Container) -> list[str]:
    """Return ``securityContext.capabilities.add``, or an empty list."""
    names: list[str] = container.security.get("capabilities", {}).get("add", [])
    return names


def fix_added(pod: Pod, container: Container, allowed: frozenset[str], check: str, context: FixContext) -> list[Edit]:
    """Return edits that leave only allowed names, once each, in the standard's spelling."""
    edits = []
    names = added(container)
    kept = {name for name in names if name in allowed}
    for index, name in enumerate(names):
        if name in allowed:
            continue
        path = container.field("capabilities", "add", index)
        canonical = _canonical(name)
        if canonical in allowed and canonical not in kept:
            kept.add(canonical)
            why = f"the standard knows this capability as {canonical}"
            edits.append(Judgement("safe", why).edit("replace", path, canonical, checks=(check,)))
            continue
        why = f"takes away {canonical}: {uses(canonical)}"
        judgement = REMOVE.judge(why, pod, [container], context.facts, canonical)
        edits.append(judgement.edit("remove", path, checks=(check,)))
    return edits

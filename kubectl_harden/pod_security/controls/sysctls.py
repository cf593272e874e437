"""Only sysctls that stay inside the pod may be set.

Baseline, from v1.0; the list grew in v1.27, v1.29, v1.32 and v1.37.

Fields:
    spec.securityContext.sysctls[*].name
Allowed:
    kernel.shm_rmid_forced, net.ipv4.ip_local_port_range, net.ipv4.ip_unprivileged_port_start,
    net.ipv4.ping_group_range, net.ipv4.tcp_syncookies;
    from v1.27 net.ipv4.ip_local_reserved_ports;
    from v1.29 net.ipv4.tcp_fin_timeout, net.ipv4.tcp_keepalive_{intvl,probes,time};
    from v1.32 net.ipv4.tcp_rmem, net.ipv4.tcp_wmem;
    from v1.37 net.ipv4.tcp_notsent_lowat, net.ipv4.tcp_slow_start_after_idle
Without it:
    kernel parameters that are not namespaced change the whole node, for all its pods
May break:
    what relies on the value: shared memory of databases (kernel.shm*), network tuning. Even without this control, the
    kubelet refuses unsafe sysctls that its configuration does not allow ("SysctlForbidden")
Fix:
    remove the sysctl, or have it set on the nodes that need it
Source: policy/check_sysctls.go
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kubectl_harden.model import Finding, FixContext, Path, Remedy
from kubectl_harden.pod_security.conditions import PSS, always
from kubectl_harden.pod_security.control import Control, Revision, Sign
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "sysctls"

_ADDED = {
    0: (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    ),
    27: ("net.ipv4.ip_local_reserved_ports",),
    29: (
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ),
    32: ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
    37: ("net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"),
}

_REMOVE: Final = Change(
    "remove a sysctl",
    (Rule("sysctl", "review", "The kernel's default applies again.", PSS, always),),
)


def _allowed(minor: int) -> frozenset[str]:
    return frozenset(name for since, names in _ADDED.items() if since <= minor for name in names)


def _forbidden(pod: Pod, allowed: frozenset[str]) -> list[tuple[int, str]]:
    names = [(index, item.get("name", "")) for index, item in enumerate(pod.security.get("sysctls", ()))]
    return [(index, name) for index, name in names if name not in allowed]


def refused_by_kubelet(pod: Pod) -> str:
    """Return why the kubelet refuses network sysctls for a pod, or "".

    Source: pkg/kubelet/sysctl/allowlist.go, validateSysctl.
    """
    return "the kubelet refuses network sysctls for a pod on the node's network" if pod.spec.get("hostNetwork") else ""


def _path(index: int, *field: str) -> Path:
    return ("spec", "securityContext", "sysctls", index, *field)


def _check(minor: int) -> Callable[[Pod], Finding | None]:
    allowed = _allowed(minor)

    def check(pod: Pod) -> Finding | None:
        bad = _forbidden(pod, allowed)
        if not bad:
            return None
        return Finding(
            "forbidden sysctls",
            ", ".join(name for _, name in bad),
            tuple(_path(index, "name") for index, _ in bad),
        )

    return check


def _fix(pod: Pod, context: FixContext) -> Remedy:
    edits = []
    for index, name in _forbidden(pod, _allowed(context.minor)):
        since = next((minor for minor, names in _ADDED.items() if name in names), None)
        why = f"the kernel's default of {name} applies again: set it on the node if it matters"
        if since is not None:
            why += f", or choose policy version v1.{since} or later, which allows it"
        judgement = _REMOVE.judge(why, pod, (), context.facts)
        edits.append(judgement.edit("remove", _path(index), checks=(ID,)))
    return Remedy(tuple(edits))


CONTROL = Control(
    ID,
    "baseline",
    tuple(Revision(minor, _check(minor)) for minor in _ADDED),
    _fix,
    reasons=("forbidden sysctls",),
    changes=(_REMOVE,),
    cure="remove the sysctls named from spec.securityContext.sysctls",
    signs=(Sign(("sysctl",), "set the sysctl on the node, or use one that the level allows"),),
)

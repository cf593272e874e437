"""No capabilities may be added beyond the container runtime's default set (NET_RAW is not in it).

Baseline, from v1.0.

Fields:
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.capabilities.add
Allowed:
    AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, SETFCAP, SETGID,
    SETPCAP, SETUID, SYS_CHROOT, undefined
Without it:
    each capability beyond the runtime's default set gives back a part of root's power: SYS_ADMIN is nearly all of it,
    NET_ADMIN rewires the network, SYS_PTRACE reads the memory of other processes
May break:
    what uses the capability: iptables and ip need NET_ADMIN, mount needs SYS_ADMIN, raw sockets need NET_RAW.
    They say "Operation not permitted"
Fix:
    remove the capability from capabilities.add
Source: policy/check_capabilities_baseline.go
"""

from __future__ import annotations

from kubectl_harden.model import Finding, FixContext, Remedy
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._capabilities import DEFAULT_SET, REMOVE, added, fix_added
from kubectl_harden.pod_security.controls._signs import DENIED
from kubectl_harden.pod_security.controls._words import containers_text, join_quote
from kubectl_harden.pod_security.pod import Pod

ID = "capabilities_baseline"


def _check_1_0(pod: Pod) -> Finding | None:
    bad = [c for c in pod.containers if not DEFAULT_SET.issuperset(added(c))]
    if not bad:
        return None
    forbidden = sorted({name for c in bad for name in added(c)} - DEFAULT_SET)
    return Finding(
        "non-default capabilities",
        f"{containers_text(bad)} must not include {join_quote(forbidden)} in securityContext.capabilities.add",
        tuple(
            c.field("capabilities", "add", index)
            for c in bad
            for index, name in enumerate(added(c))
            if name not in DEFAULT_SET
        ),
    )


def _fix(pod: Pod, context: FixContext) -> Remedy:
    return Remedy(tuple(edit for c in pod.containers for edit in fix_added(pod, c, DEFAULT_SET, ID, context)))


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, _check_1_0),),
    _fix,
    reasons=("non-default capabilities",),
    changes=(REMOVE,),
    cure="remove the capabilities named from securityContext.capabilities.add",
    signs=(DENIED,),
)

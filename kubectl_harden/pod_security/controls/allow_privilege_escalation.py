"""Privilege escalation, such as by set-user-ID binaries, must be switched off for every container.

Restricted, from v1.8; pods with spec.os.name=windows are exempt from v1.25.

Fields:
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.allowPrivilegeEscalation
Allowed:
    false
Without it:
    a process can gain more privileges than its parent through a set-user-ID program or file capabilities: one
    vulnerable sudo or su makes it root
May break:
    set-user-ID programs no longer gain privileges: sudo says 'The "no new privileges" flag is set, which prevents
    sudo from running as root', su and ping say "Operation not permitted"
Fix:
    set allowPrivilegeEscalation to false for every container; start as the user that is needed instead of switching to
    it; for a pod on Windows nodes, set spec.os.name to windows instead
Source: policy/check_allowPrivilegeEscalation.go
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.model import Finding, FixContext, Remedy
from kubectl_harden.pod_security.conditions import always, first
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._signs import DENIED
from kubectl_harden.pod_security.controls._windows import windows_remedy
from kubectl_harden.pod_security.controls._words import containers_text
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "allowPrivilegeEscalation"
_WHY = "stops set-user-ID binaries (sudo, su, ping) and file capabilities from raising privileges"

_NO_NEW_PRIVS = "Documentation/userspace-api/no_new_privs.rst of the Linux kernel"
_NO_ESCALATION: Final = Change(
    "no privilege escalation",
    (
        Rule(
            "setuid-used",
            "breaks",
            "Under no_new_privs a set-user-ID executable keeps the user that started it.",
            _NO_NEW_PRIVS,
            first("needs", "setuid"),
        ),
        Rule(
            "setuid-unused",
            "safe",
            "Its processes were watched, and none was set-user-ID.",
            _NO_NEW_PRIVS,
            first("unused", "setuid"),
        ),
        Rule(
            "escalation-unknown",
            "review",
            "Nothing is known about set-user-ID executables and file capabilities in the image.",
            _NO_NEW_PRIVS,
            always,
        ),
    ),
)


def _check_1_8(pod: Pod) -> Finding | None:
    bad = [c for c in pod.containers if c.security.get("allowPrivilegeEscalation") is not False]
    if not bad:
        return None
    return Finding(
        "allowPrivilegeEscalation != false",
        f"{containers_text(bad)} must set securityContext.allowPrivilegeEscalation=false",
        tuple(c.field("allowPrivilegeEscalation") for c in bad),
    )


def _check_1_25(pod: Pod) -> Finding | None:
    return None if pod.is_windows else _check_1_8(pod)


def _fix(pod: Pod, context: FixContext) -> Remedy:
    on_windows = windows_remedy(pod, context, ID)
    if on_windows is not None:
        return on_windows
    edits = []
    for container in pod.containers:
        if container.security.get("allowPrivilegeEscalation") is not False:
            judgement = _NO_ESCALATION.judge(_WHY, pod, [container], context.facts)
            edits.append(judgement.edit("add", container.field("allowPrivilegeEscalation"), False, checks=(ID,)))
    return Remedy(tuple(edits))


CONTROL = Control(
    ID,
    "restricted",
    (Revision(8, _check_1_8), Revision(25, _check_1_25)),
    _fix,
    reasons=("allowPrivilegeEscalation != false",),
    changes=(_NO_ESCALATION,),
    cure="set securityContext.allowPrivilegeEscalation: false in each container named",
    signs=(DENIED,),
)

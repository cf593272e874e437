"""Privileged containers switch off most isolation and must not be used.

Baseline, from v1.0.

Fields:
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.privileged
Allowed:
    false, undefined
Without it:
    all capabilities, all devices, no seccomp and no AppArmor: mounting the node's disk is one command away
May break:
    what mounts, loads kernel modules, writes to /sys or opens devices: "Operation not permitted", "Permission
    denied", "no such device"
Fix:
    set privileged to false, and add only the capability that is needed, where the level allows it; for devices, use a
    device plugin
Source: policy/check_privileged.go
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.model import Finding, FixContext, Remedy
from kubectl_harden.pod_security.conditions import AGENTS, PSS, always, first
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._signs import DENIED
from kubectl_harden.pod_security.controls._words import containers_text
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "privileged"

_NOT_PRIVILEGED: Final = Change(
    "not privileged",
    (
        Rule(
            "privileged-used",
            "breaks",
            "What it does needs the node's devices or mounts.",
            PSS,
            first("needs", "privileged"),
        ),
        Rule(
            "privileged-agent",
            "breaks",
            "A node agent is privileged for its work on the node.",
            AGENTS,
            first("needs", "node agent"),
        ),
        Rule("privileged-unknown", "review", "Whoever made it privileged usually had a reason.", PSS, always),
    ),
)


def _check_1_0(pod: Pod) -> Finding | None:
    bad = [c for c in pod.containers if c.security.get("privileged")]
    if not bad:
        return None
    return Finding(
        "privileged",
        f"{containers_text(bad)} must not set securityContext.privileged=true",
        tuple(c.field("privileged") for c in bad),
    )


def _fix(pod: Pod, context: FixContext) -> Remedy:
    edits = []
    for container in pod.containers:
        if container.security.get("privileged"):
            why = "usually needed to mount file systems, load kernel modules or reach the node's devices"
            judgement = _NOT_PRIVILEGED.judge(why, pod, [container], context.facts)
            edits.append(judgement.edit("replace", container.field("privileged"), False, checks=(ID,)))
    return Remedy(tuple(edits))


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, _check_1_0),),
    _fix,
    reasons=("privileged",),
    changes=(_NOT_PRIVILEGED,),
    cure="remove securityContext.privileged: true from each container named",
    signs=(DENIED,),
)

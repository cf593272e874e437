"""The masks over /proc must stay.

Baseline, from v1.0; from v1.35 pods in a user namespace (hostUsers: false) may unmask it.

Fields:
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.procMount
Allowed:
    Default, undefined
Without it:
    the masked paths below /proc (kcore, keys, sysrq-trigger, …) leak the node's memory and can reboot it
May break:
    container builders and other nested containers that mount a /proc of their own: "mount: … Operation not
    permitted"
Fix:
    remove procMount; run nested containers in a user namespace (hostUsers: false)
Source: policy/check_procMount_baseline.go
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.model import Finding, FixContext, Remedy
from kubectl_harden.pod_security.conditions import PSS, always
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._user_namespace import ENTER, NO_USER_NAMESPACE
from kubectl_harden.pod_security.controls._words import containers_text, join_quote
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "procMount"

MASKS: Final = Change(
    "default procMount",
    (Rule("proc-mount", "review", "Parts of /proc are masked or read-only again.", PSS, always),),
)


def check_1_0(pod: Pod) -> Finding | None:
    """Forbid any procMount but Default (also the rule of procMount_restricted)."""
    bad = [c for c in pod.containers if c.security.get("procMount", "Default") != "Default"]
    if not bad:
        return None
    return Finding(
        "procMount",
        f"{containers_text(bad)} must not set securityContext.procMount to "
        f"{join_quote(sorted({c.security['procMount'] for c in bad}))}",
        tuple(c.field("procMount") for c in bad),
    )


def _check_1_35(pod: Pod) -> Finding | None:
    return None if pod.in_user_namespace else check_1_0(pod)


def fix(pod: Pod, context: FixContext, check: str) -> Remedy:
    """Restore the masks."""
    why = "hides kernel settings below /proc again; usually needed only to run containers inside this container"
    edits = []
    for c in pod.containers:
        if c.security.get("procMount", "Default") != "Default":
            judgement = MASKS.judge(why, pod, [c], context.facts)
            edits.append(judgement.edit("replace", c.field("procMount"), "Default", checks=(check,)))
    return Remedy(tuple(edits))


def _fix(pod: Pod, context: FixContext) -> Remedy:
    return fix(pod, context, ID)


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, check_1_0), Revision(35, _check_1_35)),
    _fix,
    reasons=("procMount",),
    changes=(MASKS, ENTER),
    cure="remove securityContext.procMount from each container named",
    signs=(NO_USER_NAMESPACE,),
)

"""Windows HostProcess containers, which run on the node itself, must not be used.

Baseline, from v1.0.

Fields:
    spec.securityContext.windowsOptions.hostProcess
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.windowsOptions.hostProcess
Allowed:
    false, undefined
Without it:
    the container runs as a process of the Windows node, with the node's users, files and network: whoever takes it over
    controls the node
May break:
    node agents of Windows (CNI plugins, log collectors, kube-proxy) that install or configure something on the
    node itself stop working
Fix:
    set hostProcess to false; run node agents in a namespace of their own whose enforce label is privileged
Source: policy/check_windowsHostProcess.go
"""

from __future__ import annotations

from typing import Any, Final

from kubectl_harden.model import Finding, FixContext, Path, Remedy
from kubectl_harden.pod_security.conditions import PSS, always
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._words import setters
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "windowsHostProcess"
_POD: Path = ("spec", "securityContext", "windowsOptions", "hostProcess")

_NOT_HOST_PROCESS: Final = Change(
    "not HostProcess",
    (
        Rule(
            "host-process",
            "breaks",
            "A HostProcess container manages the node, and cannot without being one.",
            PSS,
            always,
        ),
    ),
)


def _is_bad(security: dict[str, Any]) -> bool:
    return bool(security.get("windowsOptions", {}).get("hostProcess"))


def _check_1_0(pod: Pod) -> Finding | None:
    pod_is_bad = _is_bad(pod.security)
    bad = [c for c in pod.containers if _is_bad(c.security)]
    if not pod_is_bad and not bad:
        return None
    return Finding(
        "hostProcess",
        f"{setters(pod_is_bad, bad)} must not set securityContext.windowsOptions.hostProcess=true",
        (*((_POD,) if pod_is_bad else ()), *(c.field("windowsOptions", "hostProcess") for c in bad)),
    )


def _fix(pod: Pod, context: FixContext) -> Remedy:
    found = _check_1_0(pod)
    why = "HostProcess containers manage the node, and find neither its files nor their rights without it"
    judgement = _NOT_HOST_PROCESS.judge(why, pod, (), context.facts)
    return Remedy(tuple(judgement.edit("replace", p, False, checks=(ID,)) for p in (found.paths if found else ())))


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, _check_1_0),),
    _fix,
    reasons=("hostProcess",),
    changes=(_NOT_HOST_PROCESS,),
    cure="remove securityContext.windowsOptions.hostProcess: true",
)

"""The node's network, process and IPC namespaces must not be shared.

Baseline, from v1.0.

Fields:
    spec.hostNetwork, spec.hostPID, spec.hostIPC
Allowed:
    false, undefined
Without it:
    with hostPID it sees and signals every process of the node (and reads their environment from /proc), with
    hostNetwork it sees the node's traffic and reaches services that listen on its loopback, with hostIPC it reads the
    shared memory of others
May break:
    servers that were reached at the node's address, network plugins, packet capture; tools that look at the node's
    processes. Containers still start, but peers are no longer found ("connection refused", "no such process")
Fix:
    set each field to false; reach servers through a Service, and let node agents run in a namespace of their own
Source: policy/check_hostNamespaces.go
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.model import Finding, FixContext, Remedy
from kubectl_harden.pod_security.conditions import AGENTS, always, first, named
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "hostNamespaces"
_USES = {
    "hostNetwork": "usually needed to watch or configure the node's network, or to serve before the pod network is up",
    "hostPID": "usually needed to see or signal the node's processes (monitoring, debugging)",
    "hostIPC": "usually needed to share memory with processes of the node",
}

_NO_HOST_NAMESPACE: Final = Change(
    "no host namespace",
    (
        Rule(
            "host-namespace-used",
            "breaks",
            "What it executes looks at the node.",
            "namespaces(7)",
            named("needs", "host namespace"),
        ),
        Rule(
            "host-namespace-agent",
            "breaks",
            "A node agent works on the node's network and processes.",
            AGENTS,
            first("needs", "node agent"),
        ),
        Rule("host-namespace-unknown", "review", "Nothing is known about what it does there.", "namespaces(7)", always),
    ),
)


def _check_1_0(pod: Pod) -> Finding | None:
    shared = [name for name in _USES if pod.spec.get(name)]
    if not shared:
        return None
    return Finding("host namespaces", ", ".join(f"{name}=true" for name in shared), tuple(("spec", n) for n in shared))


def _fix(pod: Pod, context: FixContext) -> Remedy:
    edits = []
    for name, use in _USES.items():
        if pod.spec.get(name):
            judgement = _NO_HOST_NAMESPACE.judge(use, pod, (), context.facts, name)
            edits.append(judgement.edit("replace", ("spec", name), False, checks=(ID,)))
    return Remedy(tuple(edits))


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, _check_1_0),),
    _fix,
    reasons=("host namespaces",),
    changes=(_NO_HOST_NAMESPACE,),
    cure="remove spec.hostNetwork, hostPID and hostIPC where they are true",
)

"""Containers must not use ports of the node.

Baseline, from v1.0. For a Pod with hostNetwork, the API server sets hostPort from containerPort.

Fields:
    spec.{initContainers,containers,ephemeralContainers}[*].ports[*].hostPort
Allowed:
    0, undefined
Without it:
    a port on the node's own address, which bypasses NetworkPolicy and Services: a listener there can pose as a service
    of the node
May break:
    clients that reach the pod at the node's address: "connection refused"
Fix:
    remove hostPort, and reach the pod through a Service or an Ingress
Source: policy/check_hostPorts.go
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.model import Finding, FixContext, Path, Remedy
from kubectl_harden.pod_security.conditions import PSS, always
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._words import containers_text, plural
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "hostPorts"

_NO_HOST_PORT: Final = Change(
    "no host port",
    (Rule("host-port", "review", "Clients that use the node's address no longer reach the pod.", PSS, always),),
)


def _bad_ports(container: Container) -> list[tuple[Path, int]]:
    return [
        ((*container.path, "ports", index, "hostPort"), port["hostPort"])
        for index, port in enumerate(container.fields.get("ports", ()))
        if port.get("hostPort")
    ]


def _check_1_0(pod: Pod) -> Finding | None:
    bad = [c for c in pod.containers if _bad_ports(c)]
    if not bad:
        return None
    ports = [found for c in bad for found in _bad_ports(c)]
    numbers = sorted({str(number) for _, number in ports})
    return Finding(
        "hostPort",
        f"{containers_text(bad)} {plural('uses', 'use', len(bad))} "
        f"{plural('hostPort', 'hostPorts', len(numbers))} {', '.join(numbers)}",
        tuple(path for path, _ in ports),
    )


def _fix(pod: Pod, context: FixContext) -> Remedy:
    # A port that the API server has set is not in the object, and goes away with hostNetwork.
    edits = []
    for container in pod.containers:
        for path, number in _bad_ports(container):
            if pod.written_at(path):
                why = f"port {number} of the node no longer leads here: reach the pod by a Service instead"
                judgement = _NO_HOST_PORT.judge(why, pod, [container], context.facts)
                edits.append(judgement.edit("remove", path, checks=(ID,)))
    return Remedy(tuple(edits))


def _stays(pod: Pod) -> str:
    return "the API server fills these in while hostNetwork is true" if pod.spec.get("hostNetwork") else ""


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, _check_1_0),),
    _fix,
    reasons=("hostPort",),
    changes=(_NO_HOST_PORT,),
    cure="remove hostPort from the ports of each container named, and reach the pod through a Service",
    stays=_stays,
)

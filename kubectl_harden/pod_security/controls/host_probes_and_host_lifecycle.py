"""Probes and lifecycle hooks must not name a host: the kubelet would send requests there.

Baseline, from v1.34.

Fields:
    spec.{initContainers,containers,ephemeralContainers}[*].{livenessProbe,readinessProbe,startupProbe}.{httpGet,tcpSocket}.host
    spec.{initContainers,containers,ephemeralContainers}[*].lifecycle.{postStart,preStop}.{httpGet,tcpSocket}.host
Allowed:
    empty, undefined
Without it:
    the kubelet sends requests from the node to any address that the pod's author chooses: a way to reach what only the
    node may reach
May break:
    a server that listens only on loopback no longer passes its probe: "Liveness probe failed: … connection
    refused", and the kubelet restarts it
Fix:
    remove host, so that the kubelet uses the pod's own IP; have the server listen on it
Source: policy/check_hostProbesAndhostLifecycle.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubectl_harden.model import Finding, FixContext, Path, Remedy
from kubectl_harden.pod_security.conditions import PSS, always
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._words import join_quote, plural
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "hostProbesAndHostLifecycle"
_HANDLERS: tuple[tuple[str, ...], ...] = (
    ("livenessProbe",),
    ("readinessProbe",),
    ("startupProbe",),
    ("lifecycle", "postStart"),
    ("lifecycle", "preStop"),
)

_PROBE_THE_POD: Final = Change(
    "probe the pod",
    (Rule("probe-host", "review", "The probe contacts a different address than before.", PSS, always),),
)


def _hosts(container: Container) -> Iterator[tuple[Path, str]]:
    for parts in _HANDLERS:
        handler = container.fields.get(parts[0])
        for part in parts[1:]:
            handler = handler and handler.get(part)
        if not handler:
            continue
        for action in ("httpGet", "tcpSocket"):
            host = handler.get(action, {}).get("host")
            if host:
                yield (*container.path, *parts, action, "host"), host


def _check_1_34(pod: Pod) -> Finding | None:
    found = [(c.name, path, host) for c in pod.containers for path, host in _hosts(c)]
    if not found:
        return None
    names = sorted({name for name, _, _ in found})
    hosts = sorted({host for _, _, host in found})
    return Finding(
        "probe or lifecycle host",
        f"{plural('container', 'containers', len(names))} {join_quote(names)} {plural('uses', 'use', len(names))} "
        f"{plural('probe or lifecycle host', 'probe or lifecycle hosts', len(hosts))} {join_quote(hosts)}",
        tuple(path for _, path, _ in found),
    )


def _fix(pod: Pod, context: FixContext) -> Remedy:
    edits = []
    for container in pod.containers:
        for path, host in _hosts(container):
            why = f"the kubelet contacts the pod's own IP instead of {host}"
            if host in ("localhost", "127.0.0.1", "::1"):
                why += ", so a server that listens on loopback only must listen on the pod's IP too"
            judgement = _PROBE_THE_POD.judge(why, pod, [container], context.facts)
            edits.append(judgement.edit("remove", path, checks=(ID,)))
    return Remedy(tuple(edits))


CONTROL = Control(
    ID,
    "baseline",
    (Revision(34, _check_1_34),),
    _fix,
    reasons=("probe or lifecycle host",),
    changes=(_PROBE_THE_POD,),
    cure="remove host from the probes and lifecycle hooks of each container named",
)

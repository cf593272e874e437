"""Containers must be required to run as a user other than root.

Restricted, from v1.0; from v1.35 pods in a user namespace (hostUsers: false) are exempt.

Fields:
    spec.securityContext.runAsNonRoot
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.runAsNonRoot
Allowed:
    true; undefined for a container where the pod says true
Without it:
    root in the container is root on the node for every flaw of the runtime or the kernel that leaves the
    container, and for every volume that is shared
May break:
    images that run as root do not start: CreateContainerConfigError, "container has runAsNonRoot and image will
    run as root"; where the image names its user: "container has runAsNonRoot and image has non-numeric user
    (NAME), cannot verify user is non-root"
Fix:
    set runAsNonRoot to true for the pod; where the image runs as root or as a name, also runAsUser to a number
    other than 0, and fsGroup for volumes that it must write to. What has to stay root may do so in a user
    namespace from v1.35 on, where it is an ordinary user of the node: set hostUsers to false in place of both
    (--user-namespace), for nodes that have user namespaces, without capabilities
Source: policy/check_runAsNonRoot.go
"""

from __future__ import annotations

from kubectl_harden.model import Edit, Finding, FixContext, Path, Remedy
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._words import containers_text, setters
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import WINDOWS, judge

ID = "runAsNonRoot"
_POD: Path = ("spec", "securityContext", "runAsNonRoot")


def _explicit(pod: Pod) -> list[Container]:
    return [c for c in pod.containers if c.security.get("runAsNonRoot") is False]


def _implicit(pod: Pod) -> list[Container]:
    if pod.security.get("runAsNonRoot"):
        return []
    return [c for c in pod.containers if "runAsNonRoot" not in c.security]


def _check_1_0(pod: Pod) -> Finding | None:
    pod_is_bad = pod.security.get("runAsNonRoot") is False
    explicit = _explicit(pod)
    if pod_is_bad or explicit:
        paths = (*((_POD,) if pod_is_bad else ()), *(c.field("runAsNonRoot") for c in explicit))
        who = setters(pod_is_bad, explicit)
        return Finding("runAsNonRoot != true", f"{who} must not set securityContext.runAsNonRoot=false", paths)
    implicit = _implicit(pod)
    if not implicit:
        return None
    return Finding(
        "runAsNonRoot != true",
        f"pod or {containers_text(implicit)} must set securityContext.runAsNonRoot=true",
        tuple(c.field("runAsNonRoot") for c in implicit),
    )


def _check_1_35(pod: Pod) -> Finding | None:
    return None if pod.in_user_namespace else _check_1_0(pod)


def _fix(pod: Pod, context: FixContext) -> Remedy:
    implicit = _implicit(pod)
    pod_value = pod.security.get("runAsNonRoot")
    edits = []
    if pod_value is False or (implicit and context.pod_security_context):
        edits.append(_edit(pod, _POD, implicit, context))
    elif implicit:
        edits.extend(_edit(pod, c.field("runAsNonRoot"), [c], context) for c in implicit)
    edits.extend(_edit(pod, c.field("runAsNonRoot"), [c], context) for c in _explicit(pod))
    return Remedy(tuple(edits))


def _edit(pod: Pod, path: Path, containers: list[Container], context: FixContext) -> Edit:
    on_windows = any(fact.topic == WINDOWS for fact in context.facts.pod)
    refused = "is ContainerAdministrator" if on_windows else "is root, or a name"
    meaning = f"the kubelet refuses an image whose user {refused} (CreateContainerConfigError)"
    return Edit("add", path, True, (ID,), *judge("require non-root", meaning, pod, containers, context.facts))


CONTROL = Control(
    ID,
    "restricted",
    (Revision(0, _check_1_0), Revision(35, _check_1_35)),
    _fix,
    reasons=("runAsNonRoot != true",),
    cure="set spec.securityContext.runAsNonRoot: true, and remove false from the containers",
)

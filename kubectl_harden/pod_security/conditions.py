"""Conditions that the rules of several changes share, and the sources and offers that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

from kubectl_harden.model import Fact, FactKind, FactOrigin, Topic
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Case

__all__ = [
    "AGENTS",
    "AS_USER",
    "CAPABILITIES",
    "FS_GROUP",
    "GROUP",
    "IN_USER_NAMESPACE",
    "LOW_PORTS",
    "OWNER",
    "POD_LEVEL_OFFERS",
    "PORTS",
    "PSS",
    "VERIFY",
    "always",
    "first",
    "low_port",
    "named",
    "serves_low_port",
    "unknown",
    "user_is",
    "users",
    "windows_sign",
]

VERIFY: Final = "pkg/kubelet/kuberuntime/security_context_others.go, verifyRunAsNonRoot"
CAPABILITIES: Final = "capabilities(7)"
PORTS: Final = "Documentation/networking/ip-sysctl.rst of the Linux kernel, ip_unprivileged_port_start"
PSS: Final = "https://kubernetes.io/docs/concepts/security/pod-security-standards/"
AGENTS: Final = "https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/"
FS_GROUP: Final = "pkg/volume/volume_linux.go, SetVolumeOwnership"

AS_USER: Final = "give it its own user: --run-as-user UID"
IN_USER_NAMESPACE: Final = "let it stay root, in a user namespace: --user-namespace"
GROUP: Final = "let the kubelet give the volume to the pod's group: --fs-group auto"
OWNER: Final = "leave that to the kubelet: --fs-group auto"
LOW_PORTS: Final = "open the ports below 1024 to every user of the pod: --low-ports"

POD_LEVEL_OFFERS: Final = (GROUP, OWNER, LOW_PORTS)
"""Offers that need a field of the pod's securityContext."""


def users(facts: Iterable[Fact], origin: FactOrigin | None = None) -> Iterator[Fact]:
    """Yield what is known about the user that a container runs as."""
    return (fact for fact in facts if fact.kind == "user" and origin in (None, fact.origin))


def low_port(pod: Pod, facts: Iterable[Fact]) -> Fact | None:
    """Return the evidence that a container serves a port that only root may bind here."""
    known = tuple(facts)
    start = next(
        (
            int(item["value"])
            for item in pod.security.get("sysctls", ())
            if item.get("name") == "net.ipv4.ip_unprivileged_port_start" and str(item.get("value")).isdigit()
        ),
        1024,
    )
    used = [fact for fact in known if fact.kind == "needs" and fact.topic == "low port" and fact.value < start]
    seen = [fact for fact in used if fact.origin == "observed"]
    if any(fact.topic == "low port" and fact.kind in ("open", "unused") for fact in known):
        # What the node allows holds for every bind; that no bind was observed holds only for declared ports.
        opened = any(fact.kind == "open" for fact in known if fact.topic == "low port")
        return None if opened or not seen else seen[0]
    return next(iter((*seen, *used)), None)


def first(kind: FactKind, topic: Topic) -> Callable[[Case], str | None]:
    """Return a condition: a fact about the topic is of this kind."""

    def when(case: Case) -> str | None:
        return next((fact.text for fact in case.facts if fact.kind == kind and fact.topic == topic), None)

    return when


def named(kind: FactKind, topic: Topic) -> Callable[[Case], str | None]:
    """Return a condition: a fact of this kind is about the capability, namespace or volume that the edit removes."""

    def when(case: Case) -> str | None:
        about = (fact for fact in case.facts if fact.kind == kind and fact.topic == topic)
        return next((fact.text for fact in about if fact.name == case.name), None)

    return when


def windows_sign(facts: Iterable[Fact]) -> str:
    """Return what shows that a pod runs on nodes with Windows, or ""."""
    return next((fact.text for fact in facts if fact.topic == "windows"), "")


def user_is(origin: FactOrigin, kind: Literal["root", "number", "name"]) -> Callable[[Case], str | None]:
    """Return a condition on the user of the image or the live pod: "root", "number" (not 0) or "name"."""

    def when(case: Case) -> str | None:
        # A pod that runs as root because runAsUser says so shows nothing about its image; the image itself does.
        if case.user or (case.user == 0 and origin != "image"):
            return None
        for fact in users(case.facts, origin):
            found = "name" if isinstance(fact.value, str) else "number" if fact.value else "root"
            if found == kind:
                return fact.text
        return None

    return when


def serves_low_port(case: Case) -> str | None:
    """Return the evidence that a container serves a port that only root may bind, or None."""
    found = low_port(case.pod, case.facts)
    return found.text if found else None


def unknown(case: Case) -> str | None:
    """Return what could not be read, or an empty sentence: this rule always decides."""
    return next((fact.text for fact in case.facts if fact.kind == "unknown"), "")


def always(_case: Case) -> str | None:
    """Return an empty sentence: this rule always decides."""
    return ""

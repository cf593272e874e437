"""Root where it is needed: a user namespace (hostUsers: false) instead of runAsNonRoot and runAsUser.

Sources: KEP-127; relaxPolicyForUserNamespacePod in policy/helpers.go of k8s.io/pod-security-admission;
https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.model import Edit, Fact, Facts, Policy
from kubectl_harden.pod_security.conditions import users, windows_sign
from kubectl_harden.pod_security.controls._user_namespace import ENTER as CHANGE
from kubectl_harden.pod_security.controls.run_as_non_root import EXEMPT_FROM
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import user_of

__all__ = ["ENTER", "Rootful", "entering", "may_enter"]

ENTER: Final = Edit("add", ("spec", "hostUsers"), False, (), "review", "")
"""The edit, before it is judged."""

_OPTION: Final = "--user-namespace"
_OF_ROOT: Final = ("runAsNonRoot", "runAsUser")
# pkg/kubelet/apis/config, UserNamespaces.IDsPerPod: the length of a pod's range where nobody sets another.
_IDS: Final = 65536
_HOST: Final = ("hostNetwork", "hostPID", "hostIPC")
# Volumes whose file system has no ID-mapped mounts: FS_ALLOW_IDMAP in the fs_flags of Linux's file systems.
_WITHOUT_MAPPING: Final = {"nfs": "NFS", "azureFile": "SMB", "glusterfs": "GlusterFS"}
_MEANING: Final = "root in the container is an ordinary user of the node"
_POWERLESS: Final = (
    "it has no capability but NET_BIND_SERVICE where that is added, without which chown, su and gosu fail, servers "
    "that change their user, and access to files of others"
)
_NODES: Final = (
    "whether the nodes have user namespaces is not known: they need Kubernetes 1.33, Linux 6.3 and a runtime that "
    "reports them, such as containerd 2.0 or CRI-O"
)


class Rootful(NamedTuple):
    """A pod with its companions, the pod ``after`` a plan without a user namespace, and what is known about it.

    Of the ``violated`` controls, a user namespace satisfies those that are ``relieved``; ``stopped`` stop the plan.
    """

    location: Location
    pod: Pod
    after: Pod
    facts: Facts
    policy: Policy
    violated: tuple[str, ...]
    relieved: tuple[str, ...]
    stopped: Collection[str]


def may_enter(location: Location, policy: Policy) -> bool:
    """Whether an object has the field hostUsers, and its policy allows root in a user namespace."""
    return not _no_field(location) and policy.minor >= EXEMPT_FROM


def entering(case: Rootful, asked: Literal["stopped", "auto"]) -> tuple[Edit | None, list[str]]:
    """Return the judged edit that puts a pod into a user namespace where it needs one, else None and why not.

    "auto": only evidence of root counts, otherwise also that a plan is stopped by what a user namespace satisfies.
    """
    shown = next(_as_root(case.pod, case.facts), "") or (_unmasked(case) if asked == "stopped" else "")
    concerned = {*case.violated}.intersection(case.relieved or _OF_ROOT)
    if not concerned:
        return None, []
    if not shown and (asked == "auto" or not concerned.intersection(case.stopped)):
        words = f"so {_OPTION} leaves it as it is"
        unknown = _unknown(case) if concerned.intersection(_OF_ROOT) else ()
        return None, [f'nothing shows the user of container "{name}", {words}' for name in unknown]
    if not case.relieved:
        words = f"policy {case.policy.version} forbids root in a user namespace, too; v1.{EXEMPT_FROM} does not"
        return None, [f"{_OPTION} is not done: {words}"]
    against = _no_field(case.location) or "; ".join((*_refused(case), *_impediments(case.after, case.facts)))
    if against:
        return None, [f"{_OPTION} is not done: {against}"]
    nodes = [fact.text for fact in case.facts.pod if fact.topic == "user namespaces"] or [_NODES]
    volumes = "; ".join(_volumes(case.after, case.facts))
    of_pod = [fact for fact in case.facts.pod if fact.topic != "volume mapping"]
    of_pod.extend([Fact("needs", "volume mapping", volumes)] if volumes else ())
    facts = Facts(case.facts.containers, tuple(of_pod))
    powerless = [_POWERLESS] if case.policy.level == "restricted" else []
    shown = shown or next(_stopping(case), "")
    meaning = "; ".join((*((shown,) if shown else ()), _MEANING, *powerless, *nodes))
    judged = CHANGE.judge(meaning, case.pod, case.pod.containers, facts)
    return judged.edit(ENTER.op, ENTER.path, ENTER.value, checks=case.relieved), []


def _unmasked(case: Rootful) -> str:
    """Return which container unmasks /proc, which baseline allows only in a user namespace, or ""."""
    unmasked = (c for c in case.pod.containers if c.security.get("procMount") == "Unmasked")
    first = next(unmasked, None) if "procMount" in case.relieved else None
    return f'container "{first.name}" has procMount: Unmasked, which takes hostUsers: false' if first else ""


def _stopping(case: Rootful) -> Iterator[str]:
    """Yield what stops a plan that requires users other than root, although nothing shows root."""
    for container in case.pod.containers:
        for fact in case.facts.containers.get(container.path, ()):
            if (fact.kind == "user" and isinstance(fact.value, str)) or (fact.kind, fact.topic) == ("needs", "root"):
                yield fact.text


def _unknown(case: Rootful) -> Iterator[str]:
    """Yield the containers whose user is not known."""
    for container in case.pod.containers:
        if user_of(case.pod, container) is None and not any(users(case.facts.containers.get(container.path, ()))):
            yield container.name


def _no_field(location: Location) -> str:
    """Return why an object does not have the field hostUsers, or ""."""
    if location.spread:
        return "an Argo Workflow has no field hostUsers"
    return "" if location.pod_security_context else "Knative has no field hostUsers"


def _as_root(pod: Pod, facts: Facts) -> Iterator[str]:
    """Yield the evidence that containers run as root."""
    return (text for container in pod.containers if (text := _root(pod, container, facts)))


def _root(pod: Pod, container: Container, facts: Facts) -> str:
    """Return the evidence that a container runs as root, or ""."""
    user = user_of(pod, container)
    if user is not None:
        return "" if user else f'container "{container.name}" runs as user 0 (runAsUser)'
    known = facts.containers.get(container.path, ())
    # The kubelet checks the user that the image sets; a running pod may have become root since.
    return next((fact.text for fact in list(users(known, "image")) or users(known) if fact.value == 0), "")


def _refused(case: Rootful) -> Iterator[str]:
    """Yield the containers that run as root and set runAsNonRoot themselves, which the kubelet always refuses.

    Source: pkg/kubelet/kuberuntime/security_context_others.go, verifyRunAsNonRoot.
    """
    for container in case.pod.containers:
        demanded = container.security.get("runAsNonRoot", case.pod.security.get("runAsNonRoot"))
        if demanded and (text := _root(case.pod, container, case.facts)):
            yield f"{text}, and its runAsNonRoot: true forbids that in a user namespace, too"


def _impediments(pod: Pod, facts: Facts) -> Iterator[str]:
    """Yield why a pod cannot be in a user namespace.

    Source: validateHostUsers in pkg/apis/core/validation/validation.go, pkg/kubelet/userns.
    """
    if pod.is_windows or windows_sign(facts.pod):
        yield "it is for Linux, and the pod runs on Windows nodes"
    for name in _HOST:
        if pod.spec.get(name):
            yield f"{name} is true, which the API server refuses with hostUsers: false"
    for container in pod.containers:
        if container.fields.get("volumeDevices"):
            yield f'container "{container.name}" has volumeDevices, which the API server refuses with hostUsers: false'
    for name, number in _ids(pod):
        if number >= _IDS:
            yield f"{name} is {number}, and a user namespace has the ids 0 to {_IDS - 1}"
    yield from (fact.text for fact in facts.pod if fact.topic == "user namespaces" and fact.kind == "closed")


def _ids(pod: Pod) -> Iterator[tuple[str, int]]:
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        for security in (pod.security, *(container.security for container in pod.containers)):
            if name in security:
                yield name, security[name]
    yield from (("supplementalGroups", group) for group in pod.security.get("supplementalGroups", ()))


def _volumes(pod: Pod, facts: Facts) -> Iterator[str]:
    """Yield notes on volumes whose file system must support ID-mapped mounts."""
    known = {fact.name: fact for fact in facts.pod if fact.topic == "volume mapping"}
    declared = {volume.get("name", ""): volume for _, volume in pod.volumes()}
    unsure: list[str] = []
    for name in dict.fromkeys(_mounted(pod.containers)):
        # A volume that is mounted but not declared is a claim that a StatefulSet adds.
        volume: dict[str, Any] = declared.get(name, {"persistentVolumeClaim": {}})
        kind = next((words for source, words in _WITHOUT_MAPPING.items() if source in volume), "")
        if kind:
            yield f"volume {name} is {kind}, which has no ID-mapped mounts: the container does not start"
        elif name in known:
            if known[name].kind == "needs":
                yield known[name].text
        elif any(source in volume for source in ("persistentVolumeClaim", "ephemeral", "csi")):
            unsure.append(name)
    if unsure:
        names = ", ".join(unsure)
        yield f"what storage is behind {names} is not known: on NFS or SMB, without ID-mapped mounts, it does not start"


def _mounted(containers: Iterable[Container]) -> Iterator[str]:
    for container in containers:
        yield from (mount.get("name", "") for mount in container.fields.get("volumeMounts", ()))

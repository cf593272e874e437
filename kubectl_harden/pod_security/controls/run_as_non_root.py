"""Containers must be required to run as a user other than root.

Restricted, from v1.0; from v1.35 pods in a user namespace (hostUsers: false) are exempt.

Fields:
    spec.securityContext.runAsNonRoot
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.runAsNonRoot
Allowed:
    true; undefined for a container where the pod says true
Without it:
    root in the container is root on the node as soon as a flaw in the runtime or the kernel lets it escape, and it is
    root on every volume that is shared
May break:
    images that run as root do not start: CreateContainerConfigError, "container has runAsNonRoot and image will
    run as root"; where the image sets its user by name: "container has runAsNonRoot and image has non-numeric user
    (NAME), cannot verify user is non-root"
Fix:
    set runAsNonRoot to true for the pod; where the image runs as root or sets its user by name, also set runAsUser to a
    number other than 0, and fsGroup for volumes that it must write to. An app that must stay root may do so in a user
    namespace from v1.35 on, where it is an ordinary user of the node: set hostUsers to false instead of both
    (--user-namespace), on nodes that support user namespaces, without capabilities
Source: policy/check_runAsNonRoot.go
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kubectl_harden.model import Edit, Finding, FixContext, Path, Policy, Remedy
from kubectl_harden.pod_security.conditions import (
    AS_USER,
    CAPABILITIES,
    FS_GROUP,
    GROUP,
    IN_USER_NAMESPACE,
    LOW_PORTS,
    OWNER,
    PORTS,
    VERIFY,
    first,
    serves_low_port,
    unknown,
    user_is,
    users,
    windows_sign,
)
from kubectl_harden.pod_security.control import Control, Revision, Sign
from kubectl_harden.pod_security.controls._signs import DENIED
from kubectl_harden.pod_security.controls._user_namespace import ENTER, NO_USER_NAMESPACE
from kubectl_harden.pod_security.controls._words import containers_text, setters
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import Case, Change, Rule

ID = "runAsNonRoot"
EXEMPT_FROM = 35
"""The policy version from which pods in a user namespace are exempt."""
_POD: Path = ("spec", "securityContext", "runAsNonRoot")

_WINDOWS = "pkg/kubelet/kuberuntime/security_context_windows.go, verifyRunAsNonRoot"
_AS_KNOWN_USER = "set that user's UID: --run-as-user UID (auto if a running pod shows it)"
_AS_WINDOWS_USER = "set another user: windowsOptions.runAsUserName: ContainerUser"


def _runs_as_number(case: Case) -> str | None:
    return f"runs as user {case.user}" if case.user else None


def _low_port_of_unknown_user(case: Case) -> str | None:
    """Return the evidence that a container serves a low port, unless it is known to do so as its future user."""
    return None if any(users(case.facts)) else serves_low_port(case)


def _volume_of_unknown_user(case: Case) -> str | None:
    """Return the evidence that a container writes to a volume, where its user is not known: it is usually root."""
    if case.user is not None or any(users(case.facts)):
        return None
    return first("needs", "volume")(case)


def _windows_user(wanted: bool | None) -> Callable[[Case], str | None]:
    """Return a condition on the Windows user: True: not ContainerAdministrator, False: that, None: not known."""

    def when(case: Case) -> str | None:
        shown = windows_sign(case.facts)
        if not shown or case.container is None:
            return None
        own, of_pod = (security.get("windowsOptions", {}) for security in (case.container.security, case.pod.security))
        name = own.get("runAsUserName") or of_pod.get("runAsUserName")
        if not name:
            name = next((fact.value for fact in users(case.facts, "image") if isinstance(fact.value, str)), "")
        found = name.casefold() != "containeradministrator" if name else None
        return (f"it runs as {name}" if name else shown) if found is wanted else None

    return when


_REQUIRE: Final = Change(
    "require non-root",
    (
        Rule(
            "windows-user",
            "safe",
            "On Windows the kubelet lets every user start but ContainerAdministrator.",
            _WINDOWS,
            _windows_user(True),
        ),
        Rule(
            "windows-administrator",
            "breaks",
            "On Windows the kubelet takes ContainerAdministrator for root: the container does not start.",
            _WINDOWS,
            _windows_user(False),
            (_AS_WINDOWS_USER,),
        ),
        Rule(
            "windows-unknown",
            "review",
            "On Windows the kubelet refuses an image whose user is ContainerAdministrator.",
            _WINDOWS,
            _windows_user(None),
        ),
        Rule(
            "own-number", "safe", "A runAsUser other than 0 is all that the kubelet requires.", VERIFY, _runs_as_number
        ),
        Rule(
            "image-root",
            "breaks",
            'The image runs as root: the container does not start (CreateContainerConfigError, "container has '
            'runAsNonRoot and image will run as root").',
            VERIFY,
            user_is("image", "root"),
            (AS_USER, IN_USER_NAMESPACE),
        ),
        Rule(
            "image-name",
            "breaks",
            'The image sets its user by name: the container does not start (CreateContainerConfigError, "container has '
            'runAsNonRoot and image has non-numeric user, cannot verify user is non-root").',
            VERIFY,
            user_is("image", "name"),
            (_AS_KNOWN_USER,),
        ),
        Rule(
            "prepares-volumes",
            "breaks",
            "Only root may give files away.",
            "chown(2)",
            first("needs", "volume owner"),
            (OWNER,),
        ),
        Rule(
            "needs-root",
            "breaks",
            "What it executes needs root, regardless of the user that the image sets.",
            CAPABILITIES,
            first("needs", "root"),
            (AS_USER,),
        ),
        Rule(
            "image-number",
            "safe",
            "The image runs as a number other than 0: the kubelet lets it start, and nothing changes for it.",
            VERIFY,
            user_is("image", "number"),
        ),
        Rule(
            "live-root",
            "breaks",
            "A running container has uid 0, and no runAsUser asks for it: its image runs as root.",
            "KEP-3619, containerStatuses[].user.linux.uid",
            user_is("live pod", "root"),
            (AS_USER, IN_USER_NAMESPACE),
        ),
        Rule(
            "observed-root",
            "breaks",
            "A sensor saw processes of uid 0: the image runs as root, or becomes root.",
            VERIFY,
            user_is("observed", "root"),
            (AS_USER, IN_USER_NAMESPACE),
        ),
        Rule(
            "live-number",
            "review",
            "A running container has a uid other than 0; should the image name that user, the kubelet cannot verify "
            "it.",
            VERIFY,
            user_is("live pod", "number"),
            ("state that uid: --run-as-user auto",),
        ),
        Rule(
            "low-port-non-root",
            "review",
            "A process other than root may not bind ports below 1024 unless the node's runtime opens them "
            "(containerd from 2.0 does).",
            PORTS,
            _low_port_of_unknown_user,
            (LOW_PORTS,),
        ),
        Rule(
            "non-root-volume",
            "review",
            "Root may have written to the volume, and another user may not.",
            FS_GROUP,
            _volume_of_unknown_user,
            (AS_USER, GROUP),
        ),
        Rule("non-root-unknown", "review", "Nothing is known about the image's user.", VERIFY, unknown),
    ),
)


def _explicit(pod: Pod) -> list[Container]:
    return [c for c in pod.containers if c.security.get("runAsNonRoot") is False]


def _implicit(pod: Pod) -> list[Container]:
    if pod.security.get("runAsNonRoot"):
        return []
    return [c for c in pod.containers if "runAsNonRoot" not in c.security]


def _check_1_0(pod: Pod) -> Finding | None:
    pod_is_bad = pod.security.get("runAsNonRoot") is False
    explicit = _explicit(pod)
    implicit = _implicit(pod)
    silent = tuple(c.field("runAsNonRoot") for c in implicit)
    if pod_is_bad or explicit:
        paths = (*((_POD,) if pod_is_bad else ()), *(c.field("runAsNonRoot") for c in explicit))
        who = setters(pod_is_bad, explicit)
        return Finding("runAsNonRoot != true", f"{who} must not set securityContext.runAsNonRoot=false", paths, silent)
    if not implicit:
        return None
    who = f"pod or {containers_text(implicit)}"
    return Finding("runAsNonRoot != true", f"{who} must set securityContext.runAsNonRoot=true", silent)


def is_required(pod: Pod, policy: Policy) -> bool:
    """Whether a pod that meets a policy has to run as users other than root."""
    exempt = pod.in_user_namespace and policy.minor >= EXEMPT_FROM
    return (policy.level == "restricted" and not exempt) or bool(pod.security.get("runAsNonRoot"))


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
    refused = "is ContainerAdministrator" if windows_sign(context.facts.pod) else "is root, or a name"
    meaning = f"the kubelet refuses an image whose user {refused} (CreateContainerConfigError)"
    judgement = _REQUIRE.judge(meaning, pod, containers, context.facts)
    return judgement.edit("add", path, True, checks=(ID,))


# The kubelet's words: pkg/kubelet/kuberuntime/security_context_others.go, verifyRunAsNonRoot.
_NON_ROOT: Final = Sign(
    ("runasnonroot", "non-root", "non-numeric user"),
    "run the image as a user of its own: set runAsUser to a number other than 0, or build it with a numeric USER",
)

CONTROL = Control(
    ID,
    "restricted",
    (Revision(0, _check_1_0), Revision(EXEMPT_FROM, _check_1_35)),
    _fix,
    reasons=("runAsNonRoot != true",),
    changes=(_REQUIRE, ENTER),
    cure="set spec.securityContext.runAsNonRoot: true, and remove runAsNonRoot: false from the containers",
    signs=(_NON_ROOT, NO_USER_NAMESPACE, DENIED),
)

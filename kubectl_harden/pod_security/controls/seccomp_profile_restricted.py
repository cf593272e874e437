"""A seccomp profile must be set: the container runtime's default, or a profile on the node.

Restricted, from v1.19; pods with spec.os.name=windows are exempt from v1.25. Overrides seccompProfile_baseline.

Fields:
    spec.securityContext.seccompProfile.type
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.seccompProfile.type
Allowed:
    RuntimeDefault, Localhost; undefined for a container where the pod sets one
Without it:
    where none is set, and the kubelet sets no default (seccompDefault), all system calls of the kernel are open
May break:
    what uses a system call that the runtime's default profile blocks: unshare, mount, perf_event_open,
    io_uring, …, with "Operation not permitted" or "Function not implemented"
Fix:
    set seccompProfile.type to RuntimeDefault for the pod, or to Localhost with your own profile; for a pod on Windows
    nodes, set spec.os.name to windows instead
Source: policy/check_seccompProfile_restricted.go
"""

from __future__ import annotations

from kubectl_harden.model import Finding, FixContext, Remedy
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls import _seccomp as seccomp
from kubectl_harden.pod_security.controls._signs import SECCOMP_ERROR
from kubectl_harden.pod_security.controls._windows import windows_remedy
from kubectl_harden.pod_security.controls._words import containers_text
from kubectl_harden.pod_security.controls.seccomp_profile_baseline import check_1_19 as _check_types
from kubectl_harden.pod_security.pod import Container, Pod

ID = "seccompProfile_restricted"


def _implicit(pod: Pod) -> list[Container]:
    if "seccompProfile" in pod.security and seccomp.bad_type(pod.security) is None:
        return []
    return [c for c in pod.containers if "seccompProfile" not in c.security]


def _check_1_19(pod: Pod) -> Finding | None:
    found = _check_types(pod)
    implicit = _implicit(pod)
    silent = tuple(c.field("seccompProfile", "type") for c in implicit)
    if found is not None:
        return found._replace(hidden=silent)
    if not implicit:
        return None
    return Finding(
        "seccompProfile",
        f"pod or {containers_text(implicit)} must set securityContext.seccompProfile.type "
        'to "RuntimeDefault" or "Localhost"',
        silent,
    )


def _check_1_25(pod: Pod) -> Finding | None:
    return None if pod.is_windows else _check_1_19(pod)


def _fix(pod: Pod, context: FixContext) -> Remedy:
    on_windows = windows_remedy(pod, context, ID)
    if on_windows is not None:
        return on_windows
    edits = seccomp.correct_bad_types(pod, ID, context)
    implicit = _implicit(pod)
    if implicit and seccomp.bad_type(pod.security) is None:
        if context.pod_security_context:
            edits.extend(seccomp.require(pod, seccomp.POD, seccomp.POD_KEY, implicit, ID, context))
        else:
            for c in implicit:
                key = seccomp.CONTAINER_KEY + c.name
                edits.extend(seccomp.require(pod, c.field("seccompProfile"), key, [c], ID, context))
    return Remedy(tuple(edits))


CONTROL = Control(
    ID,
    "restricted",
    (
        Revision(19, _check_1_19, overrides=("seccompProfile_baseline",)),
        Revision(25, _check_1_25, overrides=("seccompProfile_baseline",)),
    ),
    _fix,
    reasons=("seccompProfile",),
    changes=(seccomp.SECCOMP,),
    cure="set spec.securityContext.seccompProfile.type: RuntimeDefault, and remove Unconfined from the containers",
    signs=(SECCOMP_ERROR,),
    covers=lambda detail: "must not set" in detail,
)

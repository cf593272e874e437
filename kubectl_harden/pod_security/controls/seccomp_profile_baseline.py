"""The seccomp filter must not be switched off explicitly.

Baseline, from v1.0 (annotations), from v1.19 (fields).

Fields (before v1.19):
    metadata.annotations["seccomp.security.alpha.kubernetes.io/pod"]
    metadata.annotations["container.seccomp.security.alpha.kubernetes.io/*"]
Allowed:
    "runtime/default", "docker/default", "localhost/*", undefined
Fields:
    spec.securityContext.seccompProfile.type
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.seccompProfile.type
Allowed:
    RuntimeDefault, Localhost, undefined
Without it:
    all system calls of the kernel are open, even those that only exploits and debuggers use (keyctl, userfaultfd, bpf,
    …)
May break:
    what uses a system call that the runtime's default profile blocks: unshare, mount, perf_event_open,
    io_uring, …, with "Operation not permitted" or "Function not implemented"
Fix:
    remove the profile Unconfined, or set RuntimeDefault or your own profile (Localhost)
Source: policy/check_seccompProfile_baseline.go
"""

from __future__ import annotations

from kubectl_harden.model import Finding, FixContext, Remedy
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls import _seccomp as seccomp
from kubectl_harden.pod_security.controls._signs import SECCOMP_ERROR
from kubectl_harden.pod_security.controls._words import go_quote, join_quote, plural, setters
from kubectl_harden.pod_security.pod import Pod

ID = "seccompProfile_baseline"


def _bad_annotations(pod: Pod) -> list[str]:
    keys = {seccomp.POD_KEY, *(seccomp.CONTAINER_KEY + c.name for c in pod.containers)}
    return sorted(key for key in keys if key in pod.annotations and not seccomp.valid_annotation(pod.annotations[key]))


def _check_1_0(pod: Pod) -> Finding | None:
    keys = _bad_annotations(pod)
    if not keys:
        return None
    quoted = sorted(f"{key}={go_quote(pod.annotations[key])}" for key in keys)
    return Finding(
        "seccompProfile",
        f"forbidden {plural('annotation', 'annotations', len(keys))} {', '.join(quoted)}",
        tuple(("metadata", "annotations", key) for key in keys),
    )


def check_1_19(pod: Pod) -> Finding | None:
    """Forbid profile types other than RuntimeDefault and Localhost (also part of the restricted rule)."""
    pod_type = seccomp.bad_type(pod.security)
    bad = [(c, kind) for c in pod.containers if (kind := seccomp.bad_type(c.security)) is not None]
    if pod_type is None and not bad:
        return None
    kinds = {kind for _, kind in bad} | (set() if pod_type is None else {pod_type})
    who = setters(pod_type is not None, [c for c, _ in bad])
    return Finding(
        "seccompProfile",
        f"{who} must not set securityContext.seccompProfile.type to {join_quote(sorted(kinds))}",
        (
            *(((*seccomp.POD, "type"),) if pod_type is not None else ()),
            *(c.field("seccompProfile", "type") for c, _ in bad),
        ),
    )


def _fix(pod: Pod, context: FixContext) -> Remedy:
    if context.minor >= 19:
        return Remedy(tuple(seccomp.correct_bad_types(pod, ID, context)))
    why = "switches the seccomp filter back to the node's default"
    judgement = seccomp.SECCOMP.judge(why, pod, pod.containers, context.facts)
    edits = (judgement.edit("remove", ("metadata", "annotations", key), checks=(ID,)) for key in _bad_annotations(pod))
    return Remedy(tuple(edits))


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, _check_1_0), Revision(19, check_1_19)),
    _fix,
    reasons=("seccompProfile",),
    changes=(seccomp.SECCOMP,),
    cure="remove the seccomp profile Unconfined",
    signs=(SECCOMP_ERROR,),
)

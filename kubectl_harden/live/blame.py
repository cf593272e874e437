"""Which edits a failing pod's words point at.

Sources of the words: the kubelet's verifyRunAsNonRoot (pkg/kubelet/kuberuntime/security_context.go) and
user namespaces (pkg/kubelet/userns), the errors of the container runtimes for seccomp, AppArmor, sysctls and mounts,
and errno's texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from kubectl_harden.live.rollout import PodFailure
from kubectl_harden.model import Edit

__all__ = ["Blame", "blame"]

_IMAGE: Final = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")

_WORDS: Final[tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...]] = (
    (
        ("runasnonroot", "non-root", "non-numeric user"),
        ("runAsNonRoot",),
        "run the image as a user of its own: set runAsUser to a number other than 0, or build it with a numeric USER",
    ),
    (
        ("hostusers", "user namespace", "idmap", "mount_setattr"),
        ("runAsNonRoot", "runAsUser", "procMount"),
        "let it run only on nodes that have user namespaces, with volumes that can be ID-mapped, or leave out "
        "--user-namespace",
    ),
    (("seccomp",), ("seccompProfile_restricted", "seccompProfile_baseline"), "check the node's seccomp profiles"),
    (("apparmor",), ("appArmorProfile",), "check the node's AppArmor profiles"),
    (("sysctl",), ("sysctls",), "set the sysctl on the node, or use one that the level allows"),
    (
        ("operation not permitted", "permission denied"),
        ("capabilities_restricted", "capabilities_baseline", "runAsNonRoot", "allowPrivilegeEscalation", "privileged"),
        "the process does something that only root or a capability allows: change the image so that it need not",
    ),
)


class Blame(NamedTuple):
    """The controls whose edits the words point at (``sure``), or may have to do with it; and what to do."""

    checks: tuple[str, ...]
    sure: bool
    advice: str


def blame(words: str, failure: PodFailure | None, steps: Iterable[Edit]) -> Blame:
    """Return what the words of a failure point at, of the edits that were made."""
    if failure is not None and failure.reason in _IMAGE:
        return Blame((), True, "the image cannot be pulled, which no edit of the securityContext causes: correct it")
    if failure is None and "Unschedulable: " in words:
        return Blame((), True, "no node takes its pods, which no edit of the securityContext causes")
    if failure is None and "FailedCreate: " in words:
        return Blame((), True, "its controller may not create the pods; the words above say who refuses them")
    made = list(steps)
    controls = [check for step in made for check in step.checks]
    text = words.lower()
    for signs, checks, advice in _WORDS:
        found = tuple(dict.fromkeys(check for check in controls if check in checks))
        if found and any(sign in text for sign in signs):
            return Blame(found, True, advice)
    doubtful = dict.fromkeys(check for step in made if step.risk != "safe" for check in step.checks)
    checks = tuple(doubtful or dict.fromkeys(controls))
    return Blame(checks, False, "look at the pod's logs; leave edits out with --skip to find the one")

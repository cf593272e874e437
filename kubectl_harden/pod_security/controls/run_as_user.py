"""Containers must not set user 0.

Restricted, from v1.23; from v1.35 pods in a user namespace (hostUsers: false) are exempt.

Fields:
    spec.securityContext.runAsUser
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.runAsUser
Allowed:
    any number but 0, undefined
Without it:
    the container runs as root whatever its image says; see runAsNonRoot
May break:
    files that belong to root and ports below 1024 that only root may bind: "Permission denied"
Fix:
    remove runAsUser: 0, or set it to the number of the user that the app is built for; from v1.35 on it may stay in a
    user namespace (hostUsers: false, --user-namespace)
Source: policy/check_runAsUser.go
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.model import Edit, Finding, FixContext, Path, Remedy
from kubectl_harden.pod_security.conditions import (
    AS_USER,
    CAPABILITIES,
    FS_GROUP,
    GROUP,
    IN_USER_NAMESPACE,
    LOW_PORTS,
    PORTS,
    VERIFY,
    first,
    serves_low_port,
    unknown,
    user_is,
)
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._user_namespace import ENTER, NO_USER_NAMESPACE
from kubectl_harden.pod_security.controls._words import setters
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "runAsUser"
_POD: Path = ("spec", "securityContext", "runAsUser")

_REMOVE_ROOT: Final = Change(
    "remove runAsUser 0",
    (
        Rule(
            "uid-0-needs-root",
            "breaks",
            "What it executes needs root.",
            CAPABILITIES,
            first("needs", "root"),
            (AS_USER,),
        ),
        Rule(
            "uid-0-image-root",
            "breaks",
            "The image itself runs as root, and with runAsNonRoot the container does not start.",
            VERIFY,
            user_is("image", "root"),
            (AS_USER, IN_USER_NAMESPACE),
        ),
        Rule(
            "uid-0-image-name",
            "breaks",
            "The image sets its user by name, and with runAsNonRoot the kubelet cannot verify it.",
            VERIFY,
            user_is("image", "name"),
            (AS_USER,),
        ),
        Rule(
            "uid-0-volume",
            "review",
            "Root has written to the volume, and another user may not.",
            FS_GROUP,
            first("needs", "volume"),
            (AS_USER, GROUP),
        ),
        Rule(
            "uid-0-low-port",
            "review",
            "A process other than root may not bind ports below 1024 unless the node's runtime opens them.",
            PORTS,
            serves_low_port,
            (LOW_PORTS,),
        ),
        Rule(
            "uid-0-unknown",
            "review",
            "Files that belong to root are out of reach, and nothing is known about which it writes.",
            VERIFY,
            unknown,
        ),
    ),
)


def _is_root(user: int | None) -> bool:
    return user == 0


def _check_1_23(pod: Pod) -> Finding | None:
    pod_is_bad = _is_root(pod.security.get("runAsUser"))
    bad = [c for c in pod.containers if _is_root(c.security.get("runAsUser"))]
    if not pod_is_bad and not bad:
        return None
    return Finding(
        "runAsUser=0",
        f"{setters(pod_is_bad, bad)} must not set runAsUser=0",
        (*((_POD,) if pod_is_bad else ()), *(c.field("runAsUser") for c in bad)),
    )


def _check_1_35(pod: Pod) -> Finding | None:
    return None if pod.in_user_namespace else _check_1_23(pod)


def _fix(pod: Pod, context: FixContext) -> Remedy:
    bad = [c for c in pod.containers if _is_root(c.security.get("runAsUser"))]
    edits = []
    if _is_root(pod.security.get("runAsUser")):
        inheriting = [c for c in pod.containers if "runAsUser" not in c.security]
        edits.append(_edit(pod, _POD, inheriting, "the image's own user", context))
    pod_user = pod.security.get("runAsUser")
    then = f"the pod's user {pod_user}" if pod_user else "the image's own user"
    edits.extend(_edit(pod, c.field("runAsUser"), [c], then, context) for c in bad)
    return Remedy(tuple(edits))


def _edit(pod: Pod, path: Path, containers: list[Container], then: str, context: FixContext) -> Edit:
    why = f"runs as {then} instead of root, so files that only root may read or write are out of reach"
    judgement = _REMOVE_ROOT.judge(why, pod, containers, context.facts)
    return judgement.edit("remove", path, checks=(ID,))


CONTROL = Control(
    ID,
    "restricted",
    (Revision(23, _check_1_23), Revision(35, _check_1_35)),
    _fix,
    reasons=("runAsUser=0",),
    changes=(_REMOVE_ROOT, ENTER),
    cure="remove runAsUser: 0, or set another number",
    signs=(NO_USER_NAMESPACE,),
)

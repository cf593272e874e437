"""Shared by the two seccomp controls."""

from __future__ import annotations

from typing import Any, Final

from kubectl_harden.model import Edit, FixContext, Path
from kubectl_harden.pod_security.conditions import always, first
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import Change, Judgement, Rule

__all__ = [
    "CONTAINER_KEY",
    "POD",
    "POD_KEY",
    "SECCOMP",
    "bad_type",
    "correct",
    "correct_bad_types",
    "require",
    "valid_annotation",
]

POD_KEY = "seccomp.security.alpha.kubernetes.io/pod"
CONTAINER_KEY = "container.seccomp.security.alpha.kubernetes.io/"
POD: Path = ("spec", "securityContext", "seccompProfile")

_WHY = "blocks system calls that containers rarely need (mount, unshare, bpf, keyctl, …) with the runtime's own filter"

_BLOCKED = "https://docs.docker.com/engine/security/seccomp/, blocked system calls"
SECCOMP: Final = Change(
    "seccomp",
    (
        Rule(
            "blocked-call-used",
            "breaks",
            "The runtime's filter blocks what it does.",
            _BLOCKED,
            first("needs", "seccomp"),
        ),
        Rule(
            "blocked-call-unused",
            "safe",
            "Its system calls were recorded, and the runtime's filter blocks none of them.",
            _BLOCKED,
            first("unused", "seccomp"),
        ),
        Rule("seccomp-unknown", "review", "Nothing is known about its system calls.", _BLOCKED, always),
    ),
)


def bad_type(security: dict[str, Any]) -> str | None:
    """Return a profile type that both controls forbid, or None (undefined is not forbidden here)."""
    profile = security.get("seccompProfile")
    if profile is None:
        return None
    kind: str = profile.get("type", "")
    return None if kind in ("RuntimeDefault", "Localhost") else kind


def valid_annotation(value: str) -> bool:
    """Whether an annotation (before v1.19) names an allowed profile."""
    return value in ("runtime/default", "docker/default") or value.startswith("localhost/")


def correct(
    pod: Pod, security: dict[str, Any], path: Path, containers: list[Container], check: str, context: FixContext
) -> Edit:
    """Return the edit that replaces a forbidden profile by RuntimeDefault in its place."""
    judgement = SECCOMP.judge(_WHY, pod, containers, context.facts)
    if len(security["seccompProfile"]) > 1:
        # The API server refuses a localhostProfile with any type but Localhost.
        return judgement.edit("replace", path, {"type": "RuntimeDefault"}, checks=(check,))
    return judgement.edit("add", (*path, "type"), "RuntimeDefault", checks=(check,))


def correct_bad_types(pod: Pod, check: str, context: FixContext) -> list[Edit]:
    """Return the edits for every forbidden profile, with the annotations that would contradict them."""
    edits = []
    kind = bad_type(pod.security)
    if kind is not None:
        inheriting = [c for c in pod.containers if "seccompProfile" not in c.security]
        edits.extend(_with_annotation(pod, POD_KEY, correct(pod, pod.security, POD, inheriting, check, context), kind))
    for c in pod.containers:
        kind = bad_type(c.security)
        if kind is not None:
            edit = correct(pod, c.security, c.field("seccompProfile"), [c], check, context)
            edits.extend(_with_annotation(pod, CONTAINER_KEY + c.name, edit, kind))
    return edits


def require(pod: Pod, path: Path, key: str, containers: list[Container], check: str, context: FixContext) -> list[Edit]:
    """Return the edits that set a profile where there is none: that of the (obsolete) annotation if it is valid."""
    judgement = SECCOMP.judge(_WHY, pod, containers, context.facts)
    annotation = pod.annotations.get(key, "")
    profile = {"type": "RuntimeDefault"}
    if annotation.startswith("localhost/") and len(annotation) > len("localhost/"):
        profile = {"type": "Localhost", "localhostProfile": annotation.removeprefix("localhost/")}
        judgement = judgement._replace(why=f"the annotation {key} asks for this profile, but has no effect since v1.27")
    edit = judgement.edit("add", path, profile, checks=(check,))
    return [edit] if profile["type"] == "Localhost" else _with_annotation(pod, key, edit)


def _with_annotation(pod: Pod, key: str, edit: Edit, was: str | None = None) -> list[Edit]:
    """Return an edit that sets RuntimeDefault, and the removal of an annotation that it makes contradictory."""
    annotation = pod.annotations.get(key)
    if annotation is None or annotation in ("runtime/default", "docker/default"):
        return [edit]
    if was == "Unconfined" and annotation != "unconfined":
        return [edit]  # It contradicted the field before; that is not for this fix to change.
    why = "the API server refuses an annotation that contradicts seccompProfile, and it has no effect since v1.27"
    return [edit, Judgement(edit.risk, why).edit("remove", ("metadata", "annotations", key), checks=edit.checks)]

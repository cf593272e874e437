"""The changes of companion edits, which people ask for and not the level, with the rules that judge them."""

from __future__ import annotations

from typing import Final

from kubectl_harden.pod_security.conditions import (
    CAPABILITIES,
    FS_GROUP,
    GROUP,
    LOW_PORTS,
    PORTS,
    VERIFY,
    always,
    first,
    low_port,
    serves_low_port,
    users,
)
from kubectl_harden.pod_security.risks import Case, Change, Rule

__all__ = ["COMPANION_CHANGES", "MAKE_WRITABLE", "OPEN_PORTS", "REMOVE_CHOWN", "SET_GROUP", "SET_USER", "USE_RECORDED"]


def _becomes_itself(case: Case) -> str | None:
    return next((f.text for f in users(case.facts) if f.value == int(case.name)), None)


def _unmounted_directory(case: Case) -> str | None:
    """Return the evidence that the image writes to a directory without a volume, or None."""
    mounts = case.container.fields.get("volumeMounts", ()) if case.container is not None else ()
    mounted = [mount.get("mountPath", "").rstrip("/") for mount in mounts]
    for fact in case.facts:
        if fact.kind == "needs" and fact.topic == "directory" and fact.value.rstrip("/") not in mounted:
            return fact.text
    return None


def _bound_as_root(case: Case) -> str | None:
    found = low_port(case.pod, case.facts)
    if found is None or found.origin != "observed":
        return None
    return found.text


SET_USER: Final = Change(
    "set runAsUser",
    (
        Rule("user-needs-root", "breaks", "What it executes needs root.", CAPABILITIES, first("needs", "root")),
        Rule(
            "user-low-port",
            "breaks",
            "It was seen to bind a port below 1024, which a user other than root may not.",
            PORTS,
            _bound_as_root,
            (LOW_PORTS,),
        ),
        Rule("user-same", "safe", "It runs as that user already.", VERIFY, _becomes_itself),
        Rule(
            "user-declared-low-port",
            "review",
            "A process other than root may not bind ports below 1024 unless the node's runtime opens them "
            "(containerd from 2.0 does).",
            PORTS,
            serves_low_port,
            (LOW_PORTS,),
        ),
        Rule(
            "user-volume",
            "review",
            "Another user has written to the volume.",
            FS_GROUP,
            first("needs", "volume"),
            (GROUP,),
        ),
        Rule(
            "user-directory",
            "review",
            "The image declares a directory that it writes to, which belongs to another user.",
            "OCI image specification, config.md, Volumes",
            _unmounted_directory,
            ("give it a directory to write to: --writable PATH",),
        ),
        Rule(
            "user-writes",
            "review",
            "Files of the image belong to another user, and volumes may.",
            VERIFY,
            always,
            ("give it a directory to write to: --writable PATH",),
        ),
    ),
)

SET_GROUP: Final = Change(
    "set fsGroup",
    (
        Rule(
            "fs-group",
            "review",
            "The kubelet gives the volumes' files to that group, which takes a while where there are many.",
            FS_GROUP,
            always,
        ),
    ),
)

OPEN_PORTS: Final = Change(
    "open low ports",
    (Rule("low-ports", "safe", "The sysctl is the pod's own, and only lets more users bind.", PORTS, always),),
)

MAKE_WRITABLE: Final = Change(
    "make writable",
    (Rule("writable", "review", "What the image has at that path is hidden.", "mount(8)", always),),
)

USE_RECORDED: Final = Change(
    "recorded seccomp",
    (
        Rule(
            "recorded-profile",
            "review",
            "System calls that were not recorded fail.",
            "https://kubernetes.io/docs/tutorials/security/seccomp/",
            always,
        ),
    ),
)

REMOVE_CHOWN: Final = Change(
    "remove a chown",
    (
        Rule(
            "chown-by-fs-group",
            "review",
            "With fsGroup the kubelet gives the volumes to the group that it names.",
            FS_GROUP,
            always,
        ),
    ),
)

COMPANION_CHANGES: Final = (SET_USER, SET_GROUP, OPEN_PORTS, MAKE_WRITABLE, USE_RECORDED, REMOVE_CHOWN)
"""In the order in which the reference lists them."""

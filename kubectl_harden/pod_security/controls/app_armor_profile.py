"""The container runtime's AppArmor profile must not be switched off.

Baseline, from v1.0.

Fields:
    metadata.annotations["container.apparmor.security.beta.kubernetes.io/*"]
Allowed:
    "runtime/default", "localhost/*", empty, undefined
Fields:
    spec.securityContext.appArmorProfile.type
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.appArmorProfile.type
Allowed:
    RuntimeDefault, Localhost, undefined
Without it:
    without AppArmor a container that runs as root may write to more of /proc and /sys, mount, and trace
May break:
    what the runtime's default profile denies: "Permission denied", and a line with apparmor="DENIED" in the
    node's kernel log
Fix:
    remove the profile Unconfined: undefined means the runtime's profile where the node has AppArmor
Source: policy/check_appArmorProfile.go

The fix removes the field: undefined means the runtime's profile where the node has AppArmor. An explicit
RuntimeDefault would make the kubelet refuse the pod on other nodes (pkg/security/apparmor/validate.go).
"""

from __future__ import annotations

from typing import Any, Final

from kubectl_harden.model import Finding, FixContext, Path, Remedy
from kubectl_harden.pod_security.conditions import PSS, always
from kubectl_harden.pod_security.control import Control, Revision, Sign
from kubectl_harden.pod_security.controls._words import go_quote, join_quote, plural, setters
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "appArmorProfile"
_PREFIX = "container.apparmor.security.beta.kubernetes.io/"
_WHY = "the container gets the runtime's AppArmor profile, which denies mounts and writes below /proc and /sys"

_DEFAULT_PROFILE: Final = Change(
    "default AppArmor",
    (Rule("app-armor", "review", "The runtime's own profile forbids more than no profile does.", PSS, always),),
)


def _bad_type(security: dict[str, Any]) -> str | None:
    profile = security.get("appArmorProfile")
    if profile is None:
        return None
    kind: str = profile.get("type", "")
    return None if kind in ("RuntimeDefault", "Localhost") else kind


def _bad_annotations(pod: Pod) -> list[str]:
    return sorted(
        key
        for key, value in pod.annotations.items()
        if key.startswith(_PREFIX) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )


def _check_1_0(pod: Pod) -> Finding | None:
    values = set()
    paths: list[Path] = []
    pod_value = _bad_type(pod.security)
    if pod_value is not None:
        values.add(pod_value)
        paths.append(("spec", "securityContext", "appArmorProfile", "type"))
    bad = []
    for container in pod.containers:
        value = _bad_type(container.security)
        if value is not None:
            bad.append(container)
            values.add(value)
            paths.append(container.field("appArmorProfile", "type"))
    annotations = _bad_annotations(pod)
    if pod_value is None and not bad and not annotations:
        return None
    quoted = sorted(f"{key}={go_quote(pod.annotations[key])}" for key in annotations)
    listed = [*sorted(values), *quoted]
    others = (plural("annotation", "annotations", len(annotations)),) if annotations else ()
    return Finding(
        plural("forbidden AppArmor profile", "forbidden AppArmor profiles", len(listed)),
        f"{setters(pod_value is not None, bad, *others)} must not set AppArmor profile type to {join_quote(listed)}",
        (*paths, *(("metadata", "annotations", key) for key in annotations)),
    )


def _fix(pod: Pod, context: FixContext) -> Remedy:
    fields: list[Path] = []
    if _bad_type(pod.security) is not None:
        fields.append(("spec", "securityContext", "appArmorProfile"))
    for container in pod.containers:
        path = container.field("appArmorProfile")
        # The API server also sets the field from a Pod's annotation; then only the annotation is at fault.
        if _bad_type(container.security) is not None and pod.written_at(path) is not None:
            fields.append(path)
    fields.extend(("metadata", "annotations", key) for key in _bad_annotations(pod))
    judgement = _DEFAULT_PROFILE.judge(_WHY, pod, (), context.facts)
    return Remedy(tuple(judgement.edit("remove", path, checks=(ID,)) for path in fields))


def _stays(_pod: Pod) -> str:
    return "the API server fills the profile in from an annotation"


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, _check_1_0),),
    _fix,
    reasons=(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
    ),
    changes=(_DEFAULT_PROFILE,),
    cure="remove the AppArmor profile named, so that the runtime's own applies",
    signs=(Sign(("apparmor",), "check the node's AppArmor profiles"),),
    stays=_stays,
)

"""SELinux user and role must not be set, and the type must be one of the container types.

Baseline, from v1.0; container_engine_t is allowed from v1.31.

Fields:
    spec.securityContext.seLinuxOptions.{type,user,role}
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.seLinuxOptions.{type,user,role}
Allowed:
    type: container_t, container_init_t, container_kvm_t, container_engine_t (v1.31), empty, undefined
    user, role: empty, undefined
Without it:
    a user, role or type that the pod chooses can take the container out of the confinement of container_t: spc_t is not
    confined at all
May break:
    access to files of the node that are labelled for the other type: "Permission denied", and an AVC denial in
    the node's audit log
Fix:
    remove user and role, and set the type to one of the allowed ones
Source: policy/check_seLinuxOptions.go
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kubectl_harden.model import Finding, FixContext, Path, Remedy
from kubectl_harden.pod_security.conditions import PSS, always
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._words import join_quote, plural, setters
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change, Rule

ID = "seLinuxOptions"
_TYPES_1_0 = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
_TYPES_1_31 = _TYPES_1_0 | {"container_engine_t"}
_POD: Path = ("spec", "securityContext", "seLinuxOptions")

_DEFAULT_LABEL: Final = Change(
    "default SELinux",
    (Rule("se-linux", "review", "The runtime's own label can access less.", PSS, always),),
)


def _bad_fields(security: dict[str, Any], types: frozenset[str]) -> list[str]:
    options = security.get("seLinuxOptions", {})
    bad = ["type"] if options.get("type", "") not in types else []
    return bad + [name for name in ("user", "role") if options.get(name)]


def _check(types: frozenset[str]) -> Callable[[Pod], Finding | None]:
    def check(pod: Pod) -> Finding | None:
        pod_fields = _bad_fields(pod.security, types)
        bad = [(c, _bad_fields(c.security, types)) for c in pod.containers]
        bad = [(c, fields) for c, fields in bad if fields]
        if not pod_fields and not bad:
            return None
        sources = ([(pod.security, pod_fields)] if pod_fields else []) + [(c.security, fields) for c, fields in bad]
        bad_types = sorted({s["seLinuxOptions"]["type"] for s, fields in sources if "type" in fields})
        set_fields = {name for _, fields in sources for name in fields}
        data = [f"{plural('type', 'types', len(bad_types))} {join_quote(bad_types)}"] if bad_types else []
        data.extend(f"{name} may not be set" for name in ("user", "role") if name in set_fields)
        who = setters(bool(pod_fields), [c for c, _ in bad])
        return Finding(
            "seLinuxOptions",
            f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}",
            (
                *((*_POD, name) for name in pod_fields),
                *(c.field("seLinuxOptions", name) for c, fields in bad for name in fields),
            ),
        )

    return check


_check_1_0 = _check(_TYPES_1_0)
_check_1_31 = _check(_TYPES_1_31)


def _fix(pod: Pod, context: FixContext) -> Remedy:
    # Only types that this policy version does not allow: the finding names them.
    found = (_check_1_31 if context.minor >= 31 else _check_1_0)(pod)
    why = "the runtime labels the process container_t again, which cannot reach files of the node"
    judgement = _DEFAULT_LABEL.judge(why, pod, (), context.facts)
    return Remedy(tuple(judgement.edit("remove", p, checks=(ID,)) for p in (found.paths if found else ())))


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, _check_1_0), Revision(31, _check_1_31)),
    _fix,
    reasons=("seLinuxOptions",),
    changes=(_DEFAULT_LABEL,),
    cure="remove user and role from seLinuxOptions, and a type that is not allowed",
)

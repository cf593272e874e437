"""Containers must drop all capabilities, and may add back only NET_BIND_SERVICE.

Restricted, from v1.22; pods with spec.os.name=windows are exempt from v1.25. Overrides capabilities_baseline.

Fields:
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.capabilities.drop
Allowed:
    any list that includes ALL
Fields:
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.capabilities.add
Allowed:
    NET_BIND_SERVICE, undefined
Without it:
    the runtime's default set (CHOWN, DAC_OVERRIDE, NET_RAW, SETUID, …) lets root in the container change
    owners, read every file in it, forge packets and switch users
May break:
    chown, su, raw sockets and, for root, ports below 1024: "Operation not permitted", "bind: permission
    denied". Users other than root have none of these capabilities in any case
Fix:
    drop ALL for every container, and add back at most NET_BIND_SERVICE; for a pod on Windows nodes, set spec.os.name to
    windows instead
Source: policy/check_capabilities_restricted.go
"""

from __future__ import annotations

import re
from typing import Final

from kubectl_harden.model import Edit, Finding, FixContext, Remedy
from kubectl_harden.pod_security.conditions import (
    CAPABILITIES,
    LOW_PORTS,
    OWNER,
    first,
    serves_low_port,
    unknown,
    user_is,
)
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._capabilities import DEFAULT_SET, REMOVE, added, fix_added
from kubectl_harden.pod_security.controls._signs import DENIED
from kubectl_harden.pod_security.controls._windows import windows_remedy
from kubectl_harden.pod_security.controls._words import containers_text, join_quote
from kubectl_harden.pod_security.pod import Container, Pod
from kubectl_harden.pod_security.risks import Case, Change, Rule

ID = "capabilities_restricted"
_ALLOWED = frozenset(("NET_BIND_SERVICE",))
_ADDED: Final = r"must not include (.*?) in securityContext\.capabilities\.add"


def _no_capabilities(case: Case) -> str | None:
    if case.user:
        return f"runs as user {case.user}, who has no capabilities anyway"
    number = user_is("image", "number")(case)
    return f"{number}, who has no capabilities anyway" if number else None


def _pings(case: Case) -> str | None:
    if any(item.get("name") == "net.ipv4.ping_group_range" for item in case.pod.security.get("sysctls", ())):
        return None
    return first("needs", "ping")(case)


def _low_port_without_capabilities(case: Case) -> str | None:
    return serves_low_port(case) if _no_capabilities(case) else None


_DROP_ALL: Final = Change(
    "drop ALL",
    (
        Rule(
            "owner-capability",
            "breaks",
            "Giving files away takes CAP_CHOWN.",
            CAPABILITIES,
            first("needs", "volume owner"),
            (OWNER,),
        ),
        Rule(
            "default-capability-used",
            "breaks",
            "It uses a capability that root has by default.",
            CAPABILITIES,
            first("needs", "default capability"),
        ),
        Rule(
            "file-capability-port",
            "review",
            "A user other than root who binds a port below 1024 has it from a file capability, unless the runtime "
            "opens low ports; an executable with a file capability that is not in the bounding set does not even "
            "start.",
            CAPABILITIES,
            _low_port_without_capabilities,
            (LOW_PORTS,),
        ),
        Rule(
            "no-capabilities",
            "safe",
            "Users other than root have no capabilities to lose.",
            CAPABILITIES,
            _no_capabilities,
        ),
        Rule(
            "default-capability-unused",
            "safe",
            "It was watched, and used none of them.",
            CAPABILITIES,
            first("unused", "default capability"),
        ),
        Rule(
            "ping", "review", "ping needs NET_RAW, unless net.ipv4.ping_group_range has its group.", "icmp(7)", _pings
        ),
        Rule(
            "drop-all-unknown", "review", "Nothing is known about the capabilities that it uses.", CAPABILITIES, unknown
        ),
    ),
)


def _dropped(container: Container) -> list[str]:
    names: list[str] = container.security.get("capabilities", {}).get("drop", [])
    return names


def _check_1_22(pod: Pod) -> Finding | None:
    missing = [c for c in pod.containers if "ALL" not in _dropped(c)]
    adding = [c for c in pod.containers if not _ALLOWED.issuperset(added(c))]
    details = []
    if missing:
        details.append(f'{containers_text(missing)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = join_quote(sorted({name for c in adding for name in added(c)} - _ALLOWED))
        details.append(f"{containers_text(adding)} must not include {names} in securityContext.capabilities.add")
    if not details:
        return None
    paths = [c.field("capabilities", "drop") for c in missing]
    for c in adding:
        paths.extend(c.field("capabilities", "add", i) for i, name in enumerate(added(c)) if name not in _ALLOWED)
    return Finding("unrestricted capabilities", "; ".join(details), tuple(paths))


def _check_1_25(pod: Pod) -> Finding | None:
    return None if pod.is_windows else _check_1_22(pod)


def _fix(pod: Pod, context: FixContext) -> Remedy:
    on_windows = windows_remedy(pod, context, ID)
    if on_windows is not None:
        return on_windows
    edits = []
    for container in pod.containers:
        edits.extend(fix_added(pod, container, _ALLOWED, ID, context))
        if "ALL" not in _dropped(container):
            edits.append(_drop_all(pod, container, context))
    return Remedy(tuple(edits))


def _drop_all(pod: Pod, container: Container, context: FixContext) -> Edit:
    why = "takes away what root has by default (CHOWN, SETUID, NET_RAW, …); other users have none of it"
    judgement = _DROP_ALL.judge(why, pod, [container], context.facts)
    dropped = _dropped(container)
    for index, name in enumerate(dropped):
        if name.upper() == "ALL":
            return judgement.edit("replace", container.field("capabilities", "drop", index), "ALL", checks=(ID,))
    if dropped:
        return judgement.edit("add", container.field("capabilities", "drop", len(dropped)), "ALL", checks=(ID,))
    return judgement.edit("add", container.field("capabilities", "drop"), ["ALL"], checks=(ID,))


CONTROL = Control(
    ID,
    "restricted",
    (
        Revision(22, _check_1_22, overrides=("capabilities_baseline",)),
        Revision(25, _check_1_25, overrides=("capabilities_baseline",)),
    ),
    _fix,
    reasons=("unrestricted capabilities",),
    changes=(
        _DROP_ALL,
        REMOVE,
    ),
    cure='set securityContext.capabilities.drop: ["ALL"] in each container named, and add nothing but NET_BIND_SERVICE',
    signs=(DENIED,),
    covers=lambda detail: any(
        not DEFAULT_SET.issuperset(re.findall('"([^"]*)"', names)) for names in re.findall(_ADDED, detail)
    ),
)

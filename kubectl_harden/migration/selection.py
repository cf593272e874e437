"""The namespaces of a run, and whether the user has the permissions that the run needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import NAMESPACES, PODS, WORKLOADS, Cluster, Resource
from kubectl_harden.errors import NotFound, NotPermitted
from kubectl_harden.live.find import SYSTEM, left_out, problem
from kubectl_harden.model import Problem

__all__ = [
    "Chosen",
    "Permission",
    "Selection",
    "choose",
    "missing_permissions",
    "needed_permissions",
    "share_of",
]

_WHOLE: Final = 4
"""The whole cluster is listed at once where at least one in this many namespaces is wanted …"""
_FEW: Final = 3
"""… and more than this many."""


class Selection(NamedTuple):
    """Which namespaces: ``names``, or those that ``selector`` matches (all where it is empty).

    ``exclude`` are names or patterns with ``*`` and ``?``; ``shard`` is (index from 0, count).
    """

    names: tuple[str, ...] = ()
    selector: str = ""
    exclude: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None


class Chosen(NamedTuple):
    """The namespaces as objects by name; ``at_once`` whether to list the whole cluster for them."""

    namespaces: dict[str, dict[str, Any]]
    at_once: bool
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


class Permission(NamedTuple):
    """A verb on a resource, such as (patch, namespaces)."""

    verb: str
    resource: Resource

    def __str__(self) -> str:
        return f"{self.verb} {self.resource.name}"


def share_of(name: str, count: int) -> int:
    """Return which of ``count`` shares a namespace belongs to, whatever other namespaces there are."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % count


def choose(cluster: Cluster, selection: Selection) -> Chosen:
    """Return the namespaces of a selection, without those that are being deleted. Raises ClusterError.

    Kubernetes' own namespaces have to be named.
    """
    found: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    notes: list[str] = []
    if selection.names:
        for name in dict.fromkeys(selection.names):
            try:
                found[name] = cluster.get(NAMESPACES, None, name)
            except NotFound as error:
                problems.append(problem(error, namespace=name))
            except NotPermitted as error:
                problems.append(problem(error, f"namespace {name}: it is not known whether it exists", name))
    else:
        every = cluster.each(NAMESPACES, None, selector=selection.selector)
        found = {value["metadata"]["name"]: value for value in every}
    found = {name: value for name, value in found.items() if _wanted(name, selection)}
    system = [] if selection.names else [name for name in found if name in SYSTEM]
    if system:
        found = {name: value for name, value in found.items() if name not in SYSTEM}
        notes.append(left_out(system))
    leaving = [name for name, value in found.items() if value["metadata"].get("deletionTimestamp")]
    for name in leaving:
        del found[name]
    if leaving:
        notes.append(f"left out, since they are being deleted: {', '.join(leaving)}")
    at_once = not selection.names and len(found) > _FEW
    if at_once:
        at_once = len(found) * _WHOLE >= sum(1 for _ in cluster.each(NAMESPACES, None))
    return Chosen(dict(sorted(found.items())), at_once, tuple(problems), tuple(notes))


def _wanted(name: str, selection: Selection) -> bool:
    if any(fnmatchcase(name, pattern) for pattern in selection.exclude):
        return False
    return selection.shard is None or share_of(name, selection.shard[1]) == selection.shard[0]


def needed_permissions(custom: Sequence[Resource]) -> list[Permission]:
    """Return the permissions that a run with --apply needs; ``custom`` are the cluster's custom workloads.

    PodTemplates run nothing, and Kubernetes' own roles do not include them: no permission for them is needed.
    """
    workloads = [resource for resource in WORKLOADS if resource.kind != "PodTemplate"]
    needed = [Permission("list", resource) for resource in (*custom, *workloads)]
    needed.append(Permission("patch", NAMESPACES))
    needed.append(Permission("get", NAMESPACES))
    needed.extend(Permission(verb, resource) for resource in custom for verb in ("get", "patch"))
    for resource in workloads:
        if resource.kind not in ("Pod", "Job"):
            needed.append(Permission("patch", resource))
        needed.append(Permission("get", resource))
        needed.append(Permission("watch", resource))
    needed.append(Permission("create", PODS))
    # A StatefulSet's rollback deletes its failed pods.
    needed.append(Permission("delete", PODS))
    return needed


def missing_permissions(
    cluster: Cluster, permissions: Sequence[Permission], namespaces: Mapping[str, object] | None
) -> list[str]:
    """Return what is not allowed, a line each, as SelfSubjectAccessReviews answer.

    ``namespaces`` None asks for the whole cluster; else each namespace is asked for, where the whole cluster is
    not allowed. Source: kubernetes.io/docs/reference/access-authn-authz/authorization. Raises ClusterError.
    """
    scopes: Iterable[str] = () if namespaces is None else namespaces
    with ThreadPoolExecutor(8) as pool:
        everywhere = list(pool.map(lambda permission: _may(cluster, permission, ""), permissions))
        missing = []
        for permission, allowed in zip(permissions, everywhere, strict=True):
            if allowed:
                continue
            if namespaces is None or not permission.resource.namespaced:
                names = [name for name in scopes if not _may(cluster, permission, "", name)]
                if namespaces is None or names:
                    missing.append(_line(permission, names))
                continue
            answers = pool.map(lambda name, permission=permission: _may(cluster, permission, name), scopes)
            names = [name for name, may in zip(scopes, answers, strict=True) if not may]
            if names:
                missing.append(_line(permission, names))
    return missing


def _line(permission: Permission, names: Sequence[str]) -> str:
    if not names:
        return f"{permission} in the whole cluster"
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{permission} in {shown}"


def _may(cluster: Cluster, permission: Permission, namespace: str, name: str = "") -> bool:
    plural, _, subresource = permission.resource.plural.partition("/")
    attributes = {
        "verb": permission.verb,
        "group": permission.resource.group,
        "resource": plural,
        **({"subresource": subresource} if subresource else {}),
        "namespace": namespace,
        "name": name,
    }
    if permission.resource == NAMESPACES and name:
        # The API server asks for a namespace as if it were inside itself.
        attributes["namespace"] = name
    return cluster.allowed(attributes)

"""Pods in an audit log, joined to the workloads that a person edits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.evidence.audited import Creation
from kubectl_harden.json_values import mapping
from kubectl_harden.live.find import Finder, Live, Targets
from kubectl_harden.model import Level, Policy
from kubectl_harden.planning.verdict import judged
from kubectl_harden.pod_security.in_force import in_force
from kubectl_harden.pod_security.namespace_labels import PREFIX, Mode, PolicyChoice, chosen_policy, includes
from kubectl_harden.pod_security.policy import NEWEST, worded
from kubectl_harden.times import seconds_of

__all__ = [
    "Traced",
    "audited_since",
    "label_set_at",
    "level_of",
    "logged_modes",
    "of_namespaces",
    "policy_of",
    "traced",
]

_FEW: Final = 5
_ROLLOUT: Final = 600
"""Seconds in which an older template may still make pods after a change: progressDeadlineSeconds, by default."""
_CUSTOM: Final = ""
"""Stands for the kind of all custom resources."""
_PARENTS: Final = {
    "ReplicaSet": (("Deployment", _CUSTOM), re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}$")),
    "Job": (("CronJob", _CUSTOM), re.compile(r"-[0-9]+$")),
}
"""By kind, the kind of the owner, and what it appends to its own name."""
_LOGGED: Final[tuple[Mode, ...]] = ("enforce", "audit")
_BUILT_IN: Final = ("", "apps", "batch")


class Traced(NamedTuple):
    """Creations of a log, and the workload to edit.

    ``target`` is ``deployment/web``, empty where none is known. ``state``: its template still ``violates`` the policy
    of the log; it is ``fixed``; the pods' owner is ``gone``; or the owner is ``unknown``, could not be read, or what
    admission said is not known, or the template may never have been to blame. ``candidates`` are targets that would all
    create such pods.
    """

    creation: Creation
    target: str = ""
    state: Literal["violates", "fixed", "gone", "unknown"] = "unknown"
    candidates: tuple[str, ...] = ()


class _Known(NamedTuple):
    """A workload that exists: how a command line names it, and what its templates violate by policy.

    ``changed_at`` is when its spec was last changed since it was created, by its field managers; 0 where it was not, or
    that is not known. Times are in seconds since 1970.
    """

    target: str
    words: dict[str, str]
    created_at: float
    changed_at: float


def level_of(policy: str) -> Level:
    """Return the level of ``restricted:latest``."""
    return "baseline" if policy.startswith("baseline") else "restricted"


def policy_of(policy: str, minor: int) -> Policy:
    """Return the policy of ``restricted:latest`` on an API server of a minor version."""
    version = policy.partition(":")[2]
    number = version.removeprefix("v1.")
    return Policy(level_of(policy), min(int(number) if number.isdigit() else minor, NEWEST))


def traced(finder: Finder, creations: Sequence[Creation]) -> Iterator[Traced]:
    """Yield each creation with the workload to edit, as the cluster has it now.

    Where the cluster cannot be read, the pods' owner stays unknown. Raises ClusterError where the cluster's version
    cannot be read.
    """
    spaces = frozenset(item.namespace for item in creations)
    if not spaces:
        return
    policies: dict[str, set[str]] = {}
    for item in creations:
        policies.setdefault(item.namespace, set()).add(item.policy)
    minor = finder.cluster.minor()
    known: dict[tuple[str, str, str], _Known] = {}
    whole = True
    # A user who may read a few namespaces may not be allowed to list the whole cluster.
    few = [Targets(namespace=space) for space in sorted(spaces)] if len(spaces) <= _FEW else []
    for found in chain.from_iterable(map(finder.find, few or [Targets(among=spaces)])):
        if isinstance(found, Live):
            words = {policy: _words(found, policy, minor) for policy in policies[found.namespace]}
            kinds = [found.resource.kind] + [_CUSTOM] * (found.resource.group not in _BUILT_IN)
            there = _known(found, words)
            known.update({(found.namespace, kind, found.name): there for kind in kinds})
        else:
            whole = False
    unseen = {resource.kind if resource.group in _BUILT_IN else _CUSTOM for resource in finder.unlisted}
    for item in creations:
        yield _traced(item, known, None if not whole else unseen)


def _words(live: Live, policy: str, minor: int) -> str:
    checked = judged(live.held_to(policy_of(policy, minor)).subject).checked
    violations = (violation for item in checked for violation in item.violations)
    return ", ".join(worded(violation.reason, violation.detail) for violation in violations)


def _kinds(kind: str) -> tuple[str, ...]:
    """Return a kind, and the kinds of what makes its objects."""
    return kind, *_PARENTS.get(kind, ((), None))[0]


def _traced(item: Creation, known: dict[tuple[str, str, str], _Known], unseen: set[str] | None) -> Traced:
    """Join a creation to what is ``known``; ``unseen`` are kinds that may not be listed, None stands for any."""
    owners = (item.owner,) if item.owner is not None else item.candidates
    there = [found for owner in owners if (found := _there(item.namespace, owner, known)) is not None]
    if not owners and item.kind:
        kinds = _kinds(item.kind)
        there = [
            found
            for (namespace, kind, _), found in known.items()
            if namespace == item.namespace and kind in kinds and found.words[item.policy] == item.words
        ]
    targets = tuple(dict.fromkeys(found.target for found in there))
    if len(targets) > 1:
        return Traced(item, candidates=targets)
    if not there:
        kind = "" if item.owner is None else item.owner[0]
        is_gone = kind and unseen is not None and unseen.isdisjoint(_kinds(kind))
        return Traced(item, state="gone" if is_gone else "unknown")
    if there[0].words[item.policy]:
        return Traced(item, targets[0], "violates")
    # What a newer control than is known here forbids may still be in the template; what a template that is older than
    # the pods does not have, something else has put into them.
    cured = item.of_template or there[0].changed_at + _ROLLOUT >= int(item.last) or there[0].created_at > item.last
    return Traced(item, targets[0], "fixed" if cured and not item.rest else "unknown")


def _known(live: Live, words: dict[str, str]) -> _Known:
    metadata = live.value["metadata"]
    entries = [mapping(entry) for entry in metadata.get("managedFields") or ()]
    # Scaling is no change of it.
    own = [entry for entry in entries if not entry.get("subresource") and "f:spec" in mapping(entry.get("fieldsV1"))]
    times = [seconds_of(str(entry.get("time"))) or 0 for entry in own]
    created_at = seconds_of(str(metadata.get("creationTimestamp"))) or 0
    was_changed = metadata.get("generation") != 1
    return _Known(live.target, words, created_at, max(times, default=0) if was_changed else 0)


def _there(namespace: str, owner: tuple[str, str], known: dict[tuple[str, str, str], _Known]) -> _Known | None:
    """Return a workload that exists, or its owner."""
    kind, name = owner
    found = known.get((namespace, kind, name))
    if found is None and kind in _PARENTS:
        parents, suffix = _PARENTS[kind]
        makers = (known.get((namespace, parent, suffix.sub("", name))) for parent in parents)
        found = next((maker for maker in makers if maker is not None), None) if suffix.search(name) else None
    return found


def of_namespaces(creations: Iterable[Creation], takes: Targets) -> list[Creation]:
    """Return what was created where targets look."""
    space = takes.namespace
    return [item for item in creations if (takes.takes(item.namespace) if space is None else item.namespace == space)]


def audited_since(cluster: Cluster, takes: Targets, choice: PolicyChoice) -> dict[str, float | None]:
    """Return by namespace since when an audit log shows everything that violates its policy.

    It shows what is enforced and what is audited, as far as their labels tell: None where neither is. Times are as in
    ``label_set_at``, 0 where they are not known. Raises ClusterError where the namespaces cannot be read.
    """
    minor = cluster.minor()
    if takes.namespace is not None:
        names = [takes.namespace]
    else:
        cluster.read_namespaces()
        names = sorted(name for name in cluster.known_namespaces() if takes.takes(name))
    out: dict[str, float | None] = {}
    for name in names:
        metadata = cluster.namespace_metadata(name)
        now = in_force(metadata.get("labels") or {}, minor, {})
        goal = chosen_policy(choice, now.chosen(), minor)
        modes = logged_modes(now.modes, goal)
        out[metadata["name"]] = min((label_set_at(metadata, mode) or 0 for mode in modes), default=None)
    return out


def logged_modes(modes: Mapping[Mode, Policy | None], goal: Policy) -> list[Mode]:
    """Return the modes of a namespace by which an audit log shows everything that violates a policy."""
    return [mode for mode in _LOGGED if includes(modes.get(mode), goal)]


def label_set_at(metadata: Mapping[str, Any], mode: Mode) -> float | None:
    """Return when a namespace's label of a mode was last set, at the latest, in seconds since 1970.

    Its field manager tells; None where none does.
    """
    found = []
    for entry in metadata.get("managedFields") or ():
        labels = mapping(mapping(mapping(mapping(entry).get("fieldsV1")).get("f:metadata")).get("f:labels"))
        if any(f"f:{PREFIX}{mode}{part}" in labels for part in ("", "-version")):
            set_at = seconds_of(str(mapping(entry).get("time")))
            if set_at is None:
                return None
            found.append(set_at)
    return max(found, default=None)

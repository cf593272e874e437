"""What an audit log tells of pods that came and went, joined to the workloads that a person edits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, Literal, NamedTuple

from kubectl_harden.cluster.api import NAMESPACES, Cluster
from kubectl_harden.evidence.audit_log import seconds_of
from kubectl_harden.evidence.audited import Creation
from kubectl_harden.json_values import mapping
from kubectl_harden.live.find import Finder, Live, Targets
from kubectl_harden.model import Level, Policy
from kubectl_harden.planning.verdict import judged
from kubectl_harden.pod_security.in_force import in_force
from kubectl_harden.pod_security.namespace_labels import PolicyChoice, chosen_policy, includes
from kubectl_harden.pod_security.policy import NEWEST, worded

__all__ = ["Traced", "level_of", "of_namespaces", "policy_of", "traced", "unaudited"]

_FEW: Final = 5
_CUSTOM: Final = ""
"""Stands for the kind of all custom resources."""
_PARENTS: Final = {
    "ReplicaSet": (("Deployment", _CUSTOM), re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}$")),
    "Job": (("CronJob", _CUSTOM), re.compile(r"-[0-9]+$")),
}
"""What makes objects of a kind, and what it appends to its own name for theirs."""
_BUILT_IN: Final = ("", "apps", "batch")


class Traced(NamedTuple):
    """Creations of a log, and the workload to edit.

    ``target`` is ``deployment/web``, empty where none is known. ``state``: its template ``violates`` the policy of the
    log still; it is ``fixed``; what made the pods is ``gone``; it is ``unknown`` what made them, or it could not be
    read, or what admission said is not known, or the template may never have been to blame. ``candidates`` are targets
    of which each would make such pods.
    """

    creation: Creation
    target: str = ""
    state: Literal["violates", "fixed", "gone", "unknown"] = "unknown"
    candidates: tuple[str, ...] = ()


class _Known(NamedTuple):
    """A workload that is there: how a command line names it, what its templates violate by policy, and its last change.

    ``changed_at`` is when a manager last set what is in its spec, in seconds since 1970, None where that is not known.
    """

    target: str
    words: dict[str, str]
    changed_at: float | None


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

    What cannot be read in the cluster leaves it unknown what made the pods. Raises ClusterError where the cluster does
    not tell its version.
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
    # Whoever may look into a few namespaces may not be allowed to list the whole cluster.
    few = [Targets(namespace=space) for space in sorted(spaces)] if len(spaces) <= _FEW else []
    for found in chain.from_iterable(map(finder.find, few or [Targets(among=spaces)])):
        if isinstance(found, Live):
            words = {policy: _words(found, policy, minor) for policy in policies[found.namespace]}
            kinds = [found.resource.kind] + [_CUSTOM] * (found.resource.group not in _BUILT_IN)
            there = _Known(found.target, words, _changed_at(found))
            known.update({(found.namespace, kind, found.name): there for kind in kinds})
        else:
            whole = False
    for item in creations:
        yield _traced(item, known, whole=whole)


def _words(live: Live, policy: str, minor: int) -> str:
    checked = judged(live.held_to(policy_of(policy, minor)).subject).checked
    violations = (violation for item in checked for violation in item.violations)
    return ", ".join(worded(violation.reason, violation.detail) for violation in violations)


def _traced(item: Creation, known: dict[tuple[str, str, str], _Known], *, whole: bool) -> Traced:
    owners = (item.owner,) if item.owner is not None else item.candidates
    there = [found for owner in owners if (found := _there(item.namespace, owner, known)) is not None]
    if not owners and item.kind:
        kinds = (item.kind, *_PARENTS.get(item.kind, ((), None))[0])
        there = [
            found
            for (namespace, kind, _), found in known.items()
            if namespace == item.namespace and kind in kinds and found.words[item.policy] == item.words
        ]
    targets = tuple(dict.fromkeys(found.target for found in there))
    if len(targets) > 1:
        return Traced(item, candidates=targets)
    if not there:
        return Traced(item, state="gone" if item.owner is not None and whole else "unknown")
    if there[0].words[item.policy]:
        return Traced(item, targets[0], "violates")
    # What a newer control than is known here forbids may still be in the template; what a template that is older than
    # the pods does not have, something else has put into them.
    cured = item.of_template or (there[0].changed_at or 0) >= int(item.last)
    return Traced(item, targets[0], "fixed" if cured and not item.rest else "unknown")


def _changed_at(live: Live) -> float | None:
    """Return when the spec of a workload was last changed, by its field managers; scaling does not count."""
    entries = [mapping(entry) for entry in live.value["metadata"].get("managedFields") or ()]
    own = [entry for entry in entries if not entry.get("subresource") and "f:spec" in mapping(entry.get("fieldsV1"))]
    times = (seconds_of(str(entry.get("time"))) for entry in own)
    return max((time for time in times if time is not None), default=None)


def _there(namespace: str, owner: tuple[str, str], known: dict[tuple[str, str, str], _Known]) -> _Known | None:
    """Return a workload that is there, or the one that made it."""
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


def unaudited(cluster: Cluster, takes: Targets, choice: PolicyChoice) -> list[str]:
    """Return the namespaces of which an audit log does not show all that violates the policy that they are held to.

    It shows what is enforced and what is audited, as far as their labels tell. Raises ClusterError where they cannot be
    read.
    """
    minor = cluster.minor()
    labels: Iterable[tuple[str, dict[str, str]]]
    if takes.namespace is not None:
        labels = [(takes.namespace, cluster.namespace_labels(takes.namespace))]
    else:
        found = (value["metadata"] for value in cluster.each(NAMESPACES, None))
        labels = ((item["name"], item.get("labels") or {}) for item in found if takes.takes(item["name"]))
    out = []
    for name, own in labels:
        now = in_force(own, minor, {})
        goal = chosen_policy(choice, now.chosen(), minor)
        if not any(includes(now.modes[mode], goal) for mode in ("enforce", "audit")):
            out.append(name)
    return sorted(out)

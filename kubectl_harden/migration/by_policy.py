"""Workloads that a migration may not edit, but whose new pods an admission policy takes to the level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.cluster.eviction import EVICTIONS
from kubectl_harden.errors import ClusterError, InputError
from kubectl_harden.live.at_admission import objects_for, policy_resources, served_version
from kubectl_harden.live.cut_off_policies import cut_off_policies
from kubectl_harden.live.find import Live, Targets
from kubectl_harden.live.leftover_policies import LeftoverPolicies
from kubectl_harden.live.mutators import Mutators
from kubectl_harden.live.propose import Proposal
from kubectl_harden.migration.gathered import Gathered
from kubectl_harden.migration.hindrances import Keeper
from kubectl_harden.migration.model import NamespaceSurvey
from kubectl_harden.migration.selection import Permission
from kubectl_harden.objects import name_of
from kubectl_harden.planning.admission_policy import policy_name

__all__ = ["ByPolicy", "keeper_by_policy", "permissions", "policy_notes"]

KINDS: Final = (
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("", "ReplicationController"),
    ("batch", "CronJob"),
)
"""The kinds whose controllers are known to recreate an evicted pod; a CronJob runs its Job again."""
_SOME_DAY: Final = "2100-01-01"
"""Stands for the day where the question is only whether a policy can be made."""
_NAMED: Final = 3


class ByPolicy:
    """Tells which workloads have an admission policy of their own, or can get one that makes their edits.

    ``day`` is the day of expiry where policies are asked for, "" where not. ``notes`` get what could not be read.
    """

    def __init__(self, cluster: Cluster, day: str, notes: list[str]) -> None:
        self._cluster = cluster
        self._day = day
        self._mutators = Mutators(cluster, notes)
        self._version: str | None = None
        self._unproved: frozenset[str] | None = None

    def proposed(self, proposal: Proposal) -> Proposal:
        """Return a proposal, made by a policy where it is held back only because others write the object."""
        if not self._day or not self.can(proposal):
            return proposal
        # The next write of the object has nothing to revert.
        return proposal._replace(refusal=None, denied=False, reapplied=(), by_policy=_name(proposal.live))

    def can(self, proposal: Proposal) -> bool:
        """Whether others write the object, and a policy would make all that is planned to its new pods."""
        live = proposal.live
        held_back = bool(proposal.patch) and proposal.refusal is not None and not proposal.recreate
        if not held_back or not (live.owner is not None or proposal.managers):
            return False
        left = any(item.plan.remaining for item in proposal.planned)
        if left or proposal.problems or (live.resource.group, live.resource.kind) not in KINDS or not self._served():
            return False
        try:
            objects = objects_for(proposal, self._served(), self._day or _SOME_DAY)
        except InputError:
            return False
        return objects is not None and not objects.left_out

    def there(self, live: Live) -> str:
        """Return the policy that was made for a workload and proved, "" where there is none.

        A policy that a killed run of this machine was creating is not proved.
        """
        if not self._mutators.made_for(name_of(live.resource.kind, live.value)):
            return ""
        if self._unproved is None:
            self._unproved = frozenset(cut_off_policies(self._cluster.connection.server))
        name = _name(live)
        return "" if name in self._unproved else name

    def leftovers(self, found: Mapping[str, Gathered]) -> Iterator[str]:
        """Yield which policies of namespaces are no longer needed, with the commands that delete them."""
        if not found:
            return
        leftover = LeftoverPolicies(self._cluster, self._mutators, Targets(among=frozenset(found)))
        for namespace in found.values():
            for item in namespace.workloads:
                completed = item.proposal.by_policy or item.proposal.name in namespace.completed
                if item.now == "restricted" and not completed:
                    leftover.restricted(item.proposal.name)
        yield from leftover.notes()

    def _served(self) -> str:
        if self._version is None:
            try:
                self._version = served_version(self._cluster)
            except ClusterError:
                self._version = ""
        return self._version


def _name(live: Live) -> str:
    return policy_name(live.namespace, live.resource.kind, live.name)


def keeper_by_policy(live: Live, keeper: Keeper | None) -> Keeper | None:
    """Return what keeps the old pods of a workload whose new pods a policy changes: its template is not changed.

    ``keeper`` is what keeps them in any case.
    """
    if keeper is not None and (keeper.jobs or keeper.custom):
        return keeper
    why = "a policy changes only new pods: older ones stay as they are until they are evicted or restarted"
    return Keeper(live.target, "older than its policy", why, evicted=True)


def permissions(version: str) -> list[Permission]:
    """Return the permissions that policies of an API version, and evictions, need besides those of every run."""
    needed = [
        Permission(verb, resource)
        for resource in policy_resources(version)
        for verb in ("list", "get", "create", "delete")
    ]
    return [*needed, Permission("create", EVICTIONS)]


def policy_notes(namespaces: Iterable[NamespaceSurvey]) -> Iterator[str]:
    """Yield which workloads get a policy, and how many of their pods are evicted."""
    found = tuple(namespaces)
    names = [item.proposal.name for one in found for item in one.to_fix if item.proposal.by_policy]
    if names:
        yield f"a MutatingAdmissionPolicy is created for each of these, because others write them: {_listed(names)}"
    pods = [name for one in found if one.state != "blocked" for name in one.to_evict]
    if pods:
        yield f"pods older than their policy are evicted, one by one, within disruption budgets: {_listed(pods)}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")

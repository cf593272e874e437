"""Changes of the journal become proposals that undo them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from kubectl_harden.cluster.api import NAMESPACES, PODS, WORKLOADS, Cluster, Resource
from kubectl_harden.cluster.connection import Answer
from kubectl_harden.errors import ClusterError, Conflict, NotFound
from kubectl_harden.json_values import copied
from kubectl_harden.live.find import Live
from kubectl_harden.live.journal import Change
from kubectl_harden.live.ownership import Entry, inverted, left_behind, transferred, transfers
from kubectl_harden.live.propose import RETRIES, Proposal, guarded, tries
from kubectl_harden.live.recreate import is_made
from kubectl_harden.live.trial import admission
from kubectl_harden.model import Policy
from kubectl_harden.objects import generated_from, group_version
from kubectl_harden.planning.json_patch import carried_out, in_force, moved_on
from kubectl_harden.pod_security.messages import POD_SECURITY, rejecter_of
from kubectl_harden.pod_security.namespace_labels import mode_policies, rank
from kubectl_harden.pod_security.policy import NEWEST

__all__ = ["by_object", "in_phases", "lowers", "propose_undo"]


def by_object(changes: Iterable[Change]) -> list[list[Change]]:
    """Return changes grouped by the object that they changed, in their order; a recreation is a group of its own."""
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        alone = change.id if change.recreated else ""
        groups.setdefault((change.object["uid"], alone), []).append(change)
    return list(groups.values())


def in_phases(proposals: Iterable[Proposal]) -> list[list[Proposal]]:
    """Return proposals in an order in which no pod is refused on the way.

    Namespaces that will enforce less come first, those that will enforce more come last.
    """
    phases: list[list[Proposal]] = [[], [], []]
    for proposal in proposals:
        phases[1 + _step(proposal)].append(proposal)
    return [phase for phase in phases if phase]


def lowers(proposal: Proposal) -> bool:
    """Whether a proposal makes a namespace enforce less."""
    return bool(proposal.patch) and proposal.refusal is None and _step(proposal) < 0


def _step(proposal: Proposal) -> int:
    """Return 1 for a namespace that will enforce more, -1 for less, and 0 for everything else."""
    if proposal.live.resource != NAMESPACES:
        return 0
    before, after = (_enforced(value) for value in (proposal.live.value, proposal.goal))
    return (rank(after) > rank(before)) - (rank(after) < rank(before))


def _enforced(namespace: dict[str, Any]) -> Policy | None:
    return mode_policies(namespace["metadata"].get("labels") or {}, NEWEST)["enforce"]


def propose_undo(
    cluster: Cluster, changes: Sequence[Change], *, lowered: Collection[str] = (), even_if_refused: bool = False
) -> Proposal:
    """Return a proposal that undoes changes of one object, proved by a server dry-run.

    ``changes`` begin with the latest; a recreation comes alone.

    Its patch is empty where nothing of the change is left, except perhaps the ``ownership`` of its fields. It is
    refused where someone else has changed the same fields since, where another object has the name now, and (unless
    ``even_if_refused``) where the pods of the state before are refused today. Namespaces that are ``lowered`` first are
    asked about their pods only after that.
    """
    resource = _resource(changes[0])
    for _ in tries():
        proposal = _proposed(cluster, changes, resource)
        if proposal.refusal is not None or not proposal.patch:
            return proposal
        if proposal.live.namespace in lowered and proposal.recreate:
            return proposal
        try:
            answer = _dry_run(cluster, proposal)
        except Conflict:
            continue
        except ClusterError as error:
            return proposal._replace(refusal=f"the API server refuses to undo it: {error}", denied=True)
        # That the state before violates a level is why the change was made.
        warnings = tuple(text for text in answer.warnings if rejecter_of(text) != POD_SECURITY)
        proposal = proposal._replace(returned=answer.value, warnings=warnings)
        if proposal.live.namespace in lowered or resource in (NAMESPACES, PODS):
            return proposal
        return _with_pods_asked(cluster, proposal, changes[-1].made, even_if_refused=even_if_refused)
    return proposal._replace(refusal=f"others changed it {RETRIES} times in the meantime; try again later", denied=True)


def _resource_of(value: dict[str, Any]) -> Resource:
    """Return the resource of a workload whose manifest is in the journal."""
    group, version = group_version(value["apiVersion"])
    known = (item for item in WORKLOADS if (item.group, item.version, item.kind) == (group, version, value["kind"]))
    return next(known, Resource(group, version, value["kind"].lower(), value["kind"]))


def _resource(change: Change) -> Resource:
    named = change.object
    group, version = group_version(named["apiVersion"])
    for known in (*WORKLOADS, NAMESPACES):
        if (known.group, known.version, known.plural) == (group, version, named["resource"]):
            return known
    return Resource(group, version, named["resource"], named["kind"], namespaced=bool(named["namespace"]))


def _dry_run(cluster: Cluster, proposal: Proposal) -> Answer:
    live = proposal.live
    if proposal.recreate:
        trial = copied(proposal.goal)
        trial["metadata"]["generateName"] = generated_from(trial["metadata"].pop("name"))
        return cluster.create(live.resource, live.namespace, trial, dry_run=True)
    return cluster.patch(live.resource, live.namespace or None, live.name, guarded(live, proposal.patch), dry_run=True)


def _with_pods_asked(
    cluster: Cluster, proposal: Proposal, made: dict[str, Any] | None, *, even_if_refused: bool
) -> Proposal:
    """Ask whether pods of the state before are admitted today, and refuse to restore what is not.

    Of a custom resource these are the pods of the workload that its operator ``made`` from it.
    """
    before = proposal.live.changed(proposal.returned or proposal.goal)
    if made is not None:
        before = Live.of(_resource_of(made), made, proposal.live.policy)
    refused, unproven = admission(cluster, before)
    if unproven:
        return proposal._replace(unproven=(unproven,))
    if refused is None:
        return proposal
    if even_if_refused:
        return proposal._replace(pods_refused=str(refused))
    words = f"its pods as they were before would be refused now: {refused}"
    return proposal._replace(refusal=f"{words}; --even-if-refused undoes it anyway")


def _proposed(cluster: Cluster, changes: Sequence[Change], resource: Resource) -> Proposal:
    change = changes[0]
    named = change.object
    stub = {**resource.head, "metadata": {key: named[key] for key in ("namespace", "name", "uid")}}
    try:
        value = {**resource.head, **cluster.get(resource, named["namespace"], named["name"])}
    except NotFound:
        if not change.recreated:
            return _proposal(resource, stub, refusal="it does not exist: deleted since, or this is a different cluster")
        # Deleted and not recreated: the run was cut off in between.
        value = dict(change.after)
        value["metadata"] = {**value.get("metadata", {}), "uid": named["uid"], "resourceVersion": ""}
        return _whole(resource, value, change)
    except ClusterError as error:
        return _proposal(resource, stub, refusal=str(error), denied=True)
    if value["metadata"]["uid"] != named["uid"]:
        if change.recreated and change.state == "begun" and is_made(value, change.after):
            return _whole(resource, value, change)
        return _proposal(
            resource, value, refusal="another object has its name now (or this is a different cluster); left alone"
        )
    if change.recreated:
        if change.state == "begun" and "deletionTimestamp" not in value["metadata"]:
            return _proposal(resource, value)  # It was never deleted.
        return _whole(resource, value, change)
    goal, patch, complete = value, [], True
    owners = list(value["metadata"].get("managedFields") or ())
    for one in changes:
        moved = moved_on(goal, one.inverse)
        if moved is None:
            goal = carried_out(goal, one.inverse)
            patch.extend(one.inverse)
            owners = transferred(owners, inverted(one.ownership))
            complete = complete and one.complete
        elif not in_force(goal, one.inverse):
            return _proposal(resource, value, refusal=f"someone has changed {moved} since; undo it by hand")
        else:
            owners = transferred(owners, left_behind(owners, one.ownership, cluster.manager))
    return _proposal(resource, value, owners)._replace(patch=tuple(patch), goal=goal, follow=complete)


def _whole(resource: Resource, value: dict[str, Any], change: Change) -> Proposal:
    owners = transferred(value["metadata"].get("managedFields") or (), inverted(change.ownership))
    proposal = _proposal(resource, value, owners)
    swap = ({"op": "replace", "path": "/spec", "value": change.before.get("spec")},)
    return proposal._replace(goal=copied(change.before), patch=swap, recreate=True)


def _proposal(
    resource: Resource,
    value: dict[str, Any],
    owners: Sequence[Entry] | None = None,
    refusal: str | None = None,
    *,
    denied: bool = False,
) -> Proposal:
    """Return a proposal for an object; ``owners`` are its managedFields once the change is undone."""
    live = Live.of(resource, value, Policy("restricted", NEWEST))
    proposal = Proposal(live, (), (), value, refusal=refusal, denied=denied)
    if owners is None:
        return proposal
    now = value["metadata"].get("managedFields") or ()
    return proposal._replace(owners=tuple(owners), ownership=tuple(transfers(now, owners)))

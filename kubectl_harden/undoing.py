"""Changes of the journal become proposals that take them back."""

from __future__ import annotations

from typing import Any

from kubectl_harden.cluster import Cluster, Resource, api_group
from kubectl_harden.errors import ClusterError, Conflict, NotFound
from kubectl_harden.inverse import carried_out, in_force, moved_on
from kubectl_harden.journal import Change
from kubectl_harden.live import Live
from kubectl_harden.model import Policy
from kubectl_harden.policy import NEWEST
from kubectl_harden.proposing import RETRIES, Proposal, fresh, guarded
from kubectl_harden.values import copied

__all__ = ["propose_undo"]


def propose_undo(cluster: Cluster, change: Change) -> Proposal:
    """Return a proposal that takes a change back, proved by a server dry-run.

    Its patch is empty where nothing of the change is left. It is refused where someone else has changed
    the same fields since, or where another object has the name now.
    """
    named = change.object
    group, version = api_group(named["apiVersion"]), named["apiVersion"].rpartition("/")[2]
    resource = Resource(group, version, named["resource"], named["kind"], namespaced=bool(named["namespace"]))
    for _ in range(RETRIES):
        proposal = _proposed(cluster, change, resource)
        if proposal.refusal is not None or not proposal.patch:
            return proposal
        live = proposal.live
        try:
            if proposal.recreate:
                trial = copied(proposal.goal)
                trial["metadata"]["generateName"] = f"{trial['metadata'].pop('name')[:50]}-"
                answer = cluster.create(resource, live.namespace, trial, dry_run=True)
            else:
                answer = cluster.patch(resource, live.namespace, live.name, guarded(live, proposal.patch), dry_run=True)
        except Conflict:
            continue
        except ClusterError as error:
            return proposal._replace(refusal=f"the API server refuses to take it back: {error}", denied=True)
        return proposal._replace(returned=answer.value, warnings=answer.warnings)
    return proposal._replace(
        refusal=f"it was changed by others {RETRIES} times meanwhile; try again later", denied=True
    )


def _proposed(cluster: Cluster, change: Change, resource: Resource) -> Proposal:
    named = change.object
    head = {"apiVersion": named["apiVersion"], "kind": named["kind"]}
    stub = {**head, "metadata": {key: named[key] for key in ("namespace", "name", "uid")}}
    try:
        value = {**head, **cluster.get(resource, named["namespace"], named["name"])}
    except NotFound:
        if not change.recreated:
            return _proposal(resource, stub, refusal="it is not there: deleted since, or this is another cluster")
        # Deleted and not created again: the run was cut off in between.
        value = dict(change.after)
        value["metadata"] = {**value.get("metadata", {}), "uid": named["uid"], "resourceVersion": ""}
        return _whole(resource, value, change)
    except ClusterError as error:
        return _proposal(resource, stub, refusal=str(error), denied=True)
    if value["metadata"]["uid"] != named["uid"]:
        if change.recreated and change.state == "begun" and _is_made(value, change):
            return _whole(resource, value, change)
        return _proposal(
            resource, value, refusal="another object has its name now (or this is another cluster); left alone"
        )
    if change.recreated:
        if change.state == "begun":
            return _proposal(resource, value)  # It was never deleted.
        return _whole(resource, value, change)
    moved = moved_on(value, change.inverse)
    if moved is None:
        goal = carried_out(value, change.inverse)
        return _proposal(resource, value)._replace(patch=tuple(change.inverse), goal=goal, follow=change.complete)
    if in_force(value, change.inverse):
        return _proposal(resource, value)
    return _proposal(resource, value, refusal=f"someone has changed {moved} since; take it back by hand")


def _is_made(value: dict[str, Any], change: Change) -> bool:
    """Whether an object is the one that a cut-off run created."""
    made, wanted = fresh(value)["spec"], change.after.get("spec", {})
    return all(made.get(key) == item for key, item in wanted.items())


def _whole(resource: Resource, value: dict[str, Any], change: Change) -> Proposal:
    proposal = _proposal(resource, value)
    swap = ({"op": "replace", "path": "/spec", "value": change.before.get("spec")},)
    return proposal._replace(goal=copied(change.before), patch=swap, recreate=True)


def _proposal(
    resource: Resource, value: dict[str, Any], refusal: str | None = None, *, denied: bool = False
) -> Proposal:
    live = Live(resource, value, (), Policy("restricted", NEWEST))
    return Proposal(live, (), (), value, refusal=refusal, denied=denied)

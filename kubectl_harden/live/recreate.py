"""Objects that cannot be patched are deleted and recreated, after recreating what a killed run has left deleted.

In between, the object exists only in the journal. An annotation of the namespace names it for that time, so that
another machine does not take the namespace for complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event, Lock
from typing import Any, Final

from kubectl_harden.cluster.api import NAMESPACES, WORKLOADS, Cluster, Resource
from kubectl_harden.errors import ClusterError, Conflict, NotFound, NotPermitted, Unreachable
from kubectl_harden.field_path import pointer
from kubectl_harden.live.find import Live
from kubectl_harden.live.journal import Change, note_later
from kubectl_harden.live.propose import fresh, tries
from kubectl_harden.model import Policy
from kubectl_harden.objects import annotation, api_group, name_of
from kubectl_harden.planning.json_patch import Operation

__all__ = ["MARKER", "held_back", "is_made", "lost", "lost_with", "replace", "resume", "unmarked"]

MARKER: Final = "kubectl-harden/recreating"
"""Annotation of a namespace: which of its objects are being recreated, as KIND/NAME:RUN, separated by spaces."""
_MARKED: Final = pointer(("metadata", "annotations", MARKER))
_ANY: Final = Policy("privileged", 0)
_lock: Final = Lock()


def lost_with(value: dict[str, Any]) -> list[str]:
    """Return what is lost with a Pod or a Job when it is recreated."""
    spec = value["spec"]
    out = []
    if value["kind"] == "Job":
        done = (value.get("status") or {}).get("succeeded") or 0
        out.append(f"the Job's progress ({done} of {spec.get('completions', 1)} completions)")
        spec = (spec.get("template") or {}).get("spec") or {}
    for volume in spec.get("volumes") or ():
        if "emptyDir" in volume:
            out.append(f"what is in the emptyDir volume {volume['name']}")
        elif "ephemeral" in volume:
            claim = f"{value['metadata']['name']}-{volume['name']}"
            where = f" ({claim})" if value["kind"] == "Pod" else ""
            out.append(f"the claim of the ephemeral volume {volume['name']}{where} with its data")
    return out


def is_made(value: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether an object was created as ``wanted``: the server may add to it, but changes nothing."""
    made = fresh(value)["spec"]
    return all(made.get(key) == item for key, item in wanted.get("spec", {}).items())


def replace(
    cluster: Cluster,
    live: Live,
    before: dict[str, object],
    after: dict[str, object],
    *,
    run: str,
    seconds: float,
    leave: Event,
    report: Callable[[str, str], None],
) -> tuple[dict[str, Any] | None, str]:
    """Delete an object and create ``after``, or where that fails ``before`` again.

    Returns the object that exists now (None: that is not certain, and the journal must not record an end), and what
    went wrong. ``seconds`` is how much longer than its own grace period its end may take; ``leave`` ends the waiting.
    Raises Conflict where it is another object now, and other ClusterErrors: nothing is deleted then.
    """
    resource, namespace, name = live.resource, live.namespace, live.name
    marked = _mark(cluster, namespace, f"{resource.kind}/{name}", run)
    report(name_of(resource.kind, live.value), "deleting")
    try:
        cluster.delete(resource, namespace, name, live.uid, dry_run=False, foreground=True)
    except NotFound:
        pass
    except ClusterError as error:
        if not (isinstance(error, Unreachable) and error.sent):
            if marked:
                unmarked(cluster, namespace, f"{resource.kind}/{name}")
            raise
    trouble = _end_of(cluster, live, seconds, leave)
    if trouble:
        return None, trouble
    report(name_of(resource.kind, live.value), "creating")
    made, trouble = _created(cluster, resource, namespace, after, before)
    if made is not None and marked:
        unmarked(cluster, namespace, f"{resource.kind}/{name}")
    return made, trouble


def _created(
    cluster: Cluster, resource: Resource, namespace: str, after: dict[str, object], before: dict[str, object]
) -> tuple[dict[str, Any] | None, str]:
    trouble = ""
    for value in (after, before):
        try:
            return _created_once(cluster, resource, namespace, value), trouble
        except ClusterError as error:
            trouble = trouble or f"the new one was not created ({error}), the old one was created again"
            last = error
    return None, f"deleted, and neither the new nor the old one could be created: {last}"


def _created_once(cluster: Cluster, resource: Resource, namespace: str, value: dict[str, Any]) -> dict[str, object]:
    """Create an object, or return one that already exists as wanted: an earlier answer may have been lost. Raises
    ClusterError.
    """
    lost: ClusterError = Unreachable("not created")
    for _ in tries():
        try:
            made: dict[str, object] = cluster.create(resource, namespace, value, dry_run=False).value
            return made
        except (Conflict, Unreachable) as error:
            lost = error
        try:
            now: dict[str, object] = cluster.get(resource, namespace, value["metadata"]["name"])
        except ClusterError:
            continue
        if is_made({**resource.head, **now}, value):
            return now
        raise lost
    raise lost


def _end_of(cluster: Cluster, live: Live, seconds: float, leave: Event) -> str:
    """Wait until an object that was deleted is gone; returns why that is not known."""
    grace = _grace(live.value)
    deadline = time.monotonic() + grace + seconds
    waiting = "its deletion has started and has not finished"
    while not leave.is_set():
        try:
            now = cluster.get(live.resource, live.namespace, live.name)
            if now["metadata"]["uid"] != live.uid:
                return ""
            deadline += max(0.0, _grace(now) - grace)
            grace = max(grace, _grace(now))
        except NotFound:
            return ""
        except ClusterError as error:
            if time.monotonic() > deadline:
                return f"{waiting}: {error}"
        if time.monotonic() > deadline:
            return f"{waiting} {seconds:.0f} s after its grace period"
        leave.wait(0.25)
    return f"{waiting}: interrupted"


def _grace(value: dict[str, Any]) -> float:
    own = (value["metadata"].get("deletionGracePeriodSeconds"), value["spec"].get("terminationGracePeriodSeconds"))
    return float(max(filter(None, own), default=0))


# -- seen from elsewhere -----------------------------------------------------------------------------------


def _mark(cluster: Cluster, namespace: str, what: str, run: str) -> bool:
    """Name an object in the namespace's annotation; False where that is not permitted. Raises ClusterError."""
    try:
        return _annotate(cluster, namespace, what, f"{what}:{run}")
    except NotPermitted:
        return False


def unmarked(cluster: Cluster, namespace: str, what: str) -> str:
    """Remove an object (KIND/NAME) from the namespace's annotation; returns why it is still there."""
    try:
        _annotate(cluster, namespace, what, "")
    except NotPermitted:
        return ""
    except ClusterError as error:
        return f"namespace {namespace} still has the annotation {MARKER}: {error}"
    return ""


def _annotate(cluster: Cluster, namespace: str, what: str, entry: str) -> bool:
    with _lock:
        for _ in tries():
            value = cluster.get(NAMESPACES, None, namespace)
            metadata = value["metadata"]
            before = str(annotation(value, MARKER) or "").split()
            after = [one for one in before if not one.startswith(f"{what}:")] + ([entry] if entry else [])
            if after == before:
                return True
            operations: list[Operation] = [
                {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
            ]
            if not metadata.get("annotations"):
                operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
            text = " ".join(after)
            change = {"op": "add", "value": text} if text else {"op": "remove"}
            operations.append({**change, "path": _MARKED})
            try:
                cluster.patch(NAMESPACES, None, namespace, operations, dry_run=False)
            except Conflict:
                continue
            return True
    raise Conflict(f"namespace {namespace} was changed by others in the meantime")


def held_back(cluster: Cluster, namespace: dict[str, Any]) -> Iterator[str]:
    """Yield, a sentence each, what was deleted in a namespace and is not known to be there again."""
    name = namespace["metadata"]["name"]
    for entry in str(annotation(namespace, MARKER) or "").split():
        what, _, run = entry.partition(":")
        kind, _, object_name = what.partition("/")
        resource = next((one for one in WORKLOADS if one.kind == kind), None)
        if resource is None or not object_name:
            continue
        try:
            if "deletionTimestamp" not in cluster.get(resource, name, object_name)["metadata"]:
                continue
        except ClusterError:
            pass  # Where it cannot be read, it is not known to be there.
        commands = cluster.connection.commands
        yield (
            f"{kind} {name}/{object_name} was deleted by run {run} and is not created again yet: where that run was "
            f"made, {commands.harden('undo', run)} does it; without that machine, create it from its manifest, then "
            f"{commands.kubectl('annotate', 'namespace', name, f'{MARKER}-')}"
        )


# -- what an earlier run left --------------------------------------------------------------------------------


def lost(cluster: Cluster, change: Change) -> bool:
    """Whether what a run has deleted does not exist, or is being deleted. Raises ClusterError."""
    value = _now(cluster, change)
    return value is None or "deletionTimestamp" in value["metadata"]


def _resource(change: Change) -> Resource:
    group = api_group(change.object["apiVersion"])
    return next(one for one in WORKLOADS if (one.group, one.kind) == (group, change.object["kind"]))


def _now(cluster: Cluster, change: Change) -> dict[str, Any] | None:
    named, resource = change.object, _resource(change)
    try:
        return {**resource.head, **cluster.get(resource, named["namespace"], named["name"])}
    except NotFound:
        return None


def resume(cluster: Cluster, run: str, change: Change, *, seconds: float, leave: Event) -> str:
    """Recreate what a killed run has deleted; returns what was done, "" for nothing.

    Raises ClusterError where it could not be created; the journal still has it as begun then.
    """
    named = change.object
    resource = _resource(change)
    what = f"{named['kind']}/{named['name']}"
    value = _now(cluster, change)
    words = ""
    if value is not None and value["metadata"]["uid"] == named["uid"]:
        if "deletionTimestamp" not in value["metadata"]:
            note_later(run, change.id, "failed", why="it was never deleted")
            unmarked(cluster, named["namespace"], what)
            return ""
        trouble = _end_of(cluster, Live.of(resource, value, _ANY), seconds, leave)
        if trouble:
            raise Unreachable(f"{change.name}: {trouble}")
        value = None
    if value is None:
        made, trouble = _created(cluster, resource, named["namespace"], change.after, change.before)
        if made is None:
            raise Unreachable(f"{change.name}: {trouble}")
        words = f"{change.name}: {trouble or 'created, which an earlier run had deleted'}"
        if trouble:
            note_later(run, change.id, "undone", why=trouble)
        else:
            note_later(run, change.id, "applied", inverse=[], uid=made["metadata"]["uid"])
    elif is_made(value, change.after):
        note_later(run, change.id, "applied", inverse=[], uid=value["metadata"]["uid"])
    else:
        note_later(run, change.id, "undone", why="another object has its name now")
    unmarked(cluster, named["namespace"], what)
    return words

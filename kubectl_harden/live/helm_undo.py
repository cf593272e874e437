"""Upgrades of Helm releases are undone by helm rollback, where nobody has upgraded since."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.cluster.helm import Helm
from kubectl_harden.errors import ClusterError, InputError, NotFound, Unreachable
from kubectl_harden.live.find import Live
from kubectl_harden.live.follow import Followed
from kubectl_harden.live.helm_record import Record, digest, newest, revision_of
from kubectl_harden.live.helm_release import TYPE
from kubectl_harden.live.helm_upgrade import followed_each, roll_back, snapshots
from kubectl_harden.live.journal import Change, Journal
from kubectl_harden.live.trial import admission
from kubectl_harden.model import Policy
from kubectl_harden.objects import api_group
from kubectl_harden.pod_security.policy import NEWEST

__all__ = ["WayBack", "go_back", "is_upgrade", "way_back"]

_PENDING_SECONDS: Final = 60.0
"""How long to wait for a helm process whose run was killed."""
_TICK: Final = 1.0


class WayBack(NamedTuple):
    """How an upgrade is undone: from ``now`` to ``before``, whose pods the workloads ``lives`` then run again.

    ``refusal`` is why it is not undone ("" where it can be), ``denied``: the cluster refused it. Without ``before``
    nothing of the change is left.
    """

    change: Change
    now: Record | None = None
    before: Record | None = None
    lives: tuple[Live, ...] = ()
    refusal: str = ""
    denied: bool = False


def is_upgrade(change: Change) -> bool:
    """Whether a change is that of a release."""
    return change.object["apiVersion"] == TYPE


def way_back(cluster: Cluster, change: Change, *, even_if_refused: bool, seconds: float) -> WayBack:
    """Return how an upgrade is undone, after checking for later changes.

    Where helm seems to be at work on the release, that is waited for, not longer than ``seconds``. Raises nothing.
    """
    named = change.object
    to, made = change.before.get("revision"), change.after.get("revision")
    if not isinstance(to, int) or not isinstance(made, int):
        return WayBack(change, refusal="the journal does not have its revisions")
    try:
        now = _settled(cluster, named["namespace"], named["name"], min(seconds, _PENDING_SECONDS))
        if now.uid == named["uid"]:
            return WayBack(change, now)
        if now.revision != made or digest(now.config, named["uid"]) != change.after.get("values"):
            words = f"it is now at revision {now.revision}, which this run did not make: someone has upgraded it since"
            return WayBack(change, now, refusal=f"{words}; left alone")
        before = revision_of(cluster, now, to)
        lives = tuple(_lives(cluster, change))
        refused = "" if even_if_refused else _refused(cluster, before, lives)
    except NotFound as error:
        return WayBack(change, refusal=f"it no longer exists: {error}")
    except ClusterError as error:
        return WayBack(change, refusal=str(error), denied=True)
    except InputError as error:
        return WayBack(change, refusal=f"its release cannot be read: {error}")
    return WayBack(change, now, before, lives, refused)


def _settled(cluster: Cluster, namespace: str, name: str, seconds: float) -> Record:
    """Return a release; where helm seems to be at work on it, wait some time for that to end."""
    deadline = time.monotonic() + seconds
    while (now := newest(cluster, namespace, name)).status.startswith("pending-") and time.monotonic() < deadline:
        time.sleep(_TICK)
    return now


def _lives(cluster: Cluster, change: Change) -> list[Live]:
    """Return the workloads that an upgrade has changed; what is gone is left out."""
    found = []
    for named in change.before.get("workloads") or ():
        resource = cluster.resource_of(named["apiVersion"], named["kind"])
        try:
            value = {**resource.head, **cluster.get(resource, named["namespace"], named["name"])} if resource else None
        except NotFound:
            value = None
        if resource is not None and value is not None:
            found.append(Live.of(resource, value, Policy("restricted", NEWEST)))
    return found


def _refused(cluster: Cluster, before: Record, lives: tuple[Live, ...]) -> str:
    """Return why the pods of the revision before would be refused today, "" where they would not."""
    specs: dict[tuple[str, object, object], Any] = {}
    for value in before.objects():
        metadata = value.get("metadata")
        if isinstance(metadata, Mapping):
            specs[api_group(str(value.get("apiVersion"))), value.get("kind"), metadata.get("name")] = value.get("spec")
    for live in lives:
        spec = specs.get((live.resource.group, live.resource.kind, live.name))
        if isinstance(spec, dict):
            refused, _ = admission(cluster, live.changed({**live.value, "spec": spec}))
            if refused is not None:
                words = f"its pods as they were before would be refused now: {refused}"
                return f"{words}; --even-if-refused undoes it anyway"
    return ""


def go_back(
    cluster: Cluster, journal: Journal, way: WayBack, *, seconds: float, stop: Event, report: Callable[[str, str], None]
) -> tuple[bool, str]:
    """Have helm roll a release back, and watch it; returns whether it did, and a sentence on how it ended.

    Raises HardenError where the journal cannot be written.
    """
    now, before = way.now, way.before
    if now is None or before is None:
        return True, "nothing is left of the change"
    try:
        helm = Helm(cluster.connection, now.namespace, now.storage)
        pods = snapshots(cluster, way.lives)
    except (ClusterError, InputError) as error:
        return False, f"not undone: {error}"
    made = {"revision": now.revision + 1, "values": digest(before.config, now.uid)}
    workloads = way.change.before.get("workloads")
    change = journal.begin(now.target(), [], [], {"revision": now.revision, "workloads": workloads}, made)
    report(now.title, f"helm rollback to revision {before.revision}")
    try:
        roll_back(helm, now, before.revision, seconds)
    except ClusterError as error:
        if not (isinstance(error, Unreachable) and error.sent):
            journal.failed(change, str(error))
        return False, f"not undone: {error}"
    journal.done(change, [])
    ended = followed_each(cluster, way.lives, pods, seconds=seconds, stop=stop, report=report)
    journal.followed(change, "watched")
    told = [
        f"{name}: {item.words or item.state}" if isinstance(item, Followed) else f"{name}: {item}"
        for name, item in ended.items()
        if (isinstance(item, Followed) and item.state != "ready") or isinstance(item, ClusterError)
    ]
    words = f"rolled back to what it was in revision {before.revision}"
    return True, f"{words}; not running yet: {'; '.join(told)}" if told else words

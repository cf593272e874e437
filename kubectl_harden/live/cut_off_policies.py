"""Admission policies that a killed run was creating: a policy or a binding alone, or a pair that was not proved.

The next run deletes them before it creates its own, so that what stays is proved and belongs to one run.
"""

from __future__ import annotations

from threading import Event
from typing import NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.errors import HardenError, InputError
from kubectl_harden.live.at_admission import delete_created, is_forgotten
from kubectl_harden.live.find import Live
from kubectl_harden.live.journal import Change, mark_undone, runs, was_killed

__all__ = ["CutOff", "clear", "cut_off_policies"]


class CutOff(NamedTuple):
    """What a killed run of this machine has left of a policy: the run, and its changes, the latest first."""

    run: str
    changes: tuple[Change, ...]


def cut_off_policies(server: str) -> dict[str, CutOff]:
    """Return, by the name of the policy, what runs on a server have created and not proved, except runs that still
    work.
    """
    found: dict[str, CutOff] = {}
    for run in runs():
        begun = [
            change
            for change in reversed(run.changes)
            if change.created and not change.followed and change.state in ("applied", "begun")
        ]
        if begun and run.about.get("server") == server and was_killed(run.id):
            for name in {change.object["name"] for change in begun}:
                own = tuple(change for change in begun if change.object["name"] == name)
                found.setdefault(name, CutOff(run.id, own))
    return found


def clear(cluster: Cluster, live: Live, left: CutOff, stop: Event) -> str:
    """Delete what a killed run has left of a workload's policy, and return why that is not possible ("" where it is
    gone).

    Then it waits until the API server knows, which may take seconds.
    """
    for change in left.changes:
        try:
            why = delete_created(cluster, left.run, change, dry_run=False)
            if why:
                return f"{change.name} of run {left.run}, which was cut off, still exists ({why})"
            mark_undone(left.run, [change.id], "the next run creates it again")
        except HardenError as error:
            return f"{change.name} of run {left.run}, which was cut off, cannot be deleted: {error}"
    try:
        if len(left.changes) > 1 and not is_forgotten(cluster, live, stop):
            return "its new pods meet the level without a policy of its own"
    except InputError as error:
        return str(error)
    return ""

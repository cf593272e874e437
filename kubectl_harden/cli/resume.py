"""Objects that a killed run has deleted are recreated before anything else is changed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Event
from typing import TYPE_CHECKING

from kubectl_harden.errors import ClusterError, HardenError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.model import Problem

__all__ = ["missing_elsewhere", "resume_cut_off"]


def resume_cut_off(
    cluster: Cluster,
    takes: Callable[[str], bool],
    say: Callable[[str], None],
    *,
    apply: bool,
    yes: bool,
    seconds: float,
) -> list[Problem]:
    """Recreate what earlier runs of this machine have deleted in the namespaces of a run.

    Returns a problem for everything that is still missing: without ``apply``, or where the answer is no. ``say`` gets a
    line for each that is created, and for each run that cannot be read.
    """
    from kubectl_harden.live.find import problem
    from kubectl_harden.live.journal import cut_off
    from kubectl_harden.live.recreate import lost, resume
    from kubectl_harden.reports.output import ask

    problems = []
    for run, change in cut_off(
        cluster.connection.server,
        lambda damaged: say(f"note: {damaged.trouble}, so it is not known what it was doing when it was cut off"),
    ):
        namespace = change.object["namespace"]
        if not takes(namespace):
            continue
        try:
            if apply and (
                yes
                or not lost(cluster, change)
                or ask(f"Create {change.name} {cluster.connection.place}, which run {run} has deleted?")
            ):
                words = resume(cluster, run, change, seconds=seconds, leave=Event())
                if words:
                    say(words)
            elif lost(cluster, change):
                undo = cluster.connection.commands.harden("undo", run)
                message = f"run {run} was cut off after it deleted this: use --apply to recreate it, or {undo}"
                problems.append(problem(message, change.name, namespace))
        except HardenError as error:
            problems.append(problem(error, "" if change.name in str(error) else change.name, namespace))
    return problems


def missing_elsewhere(cluster: Cluster, namespaces: Collection[str], known: Collection[str]) -> list[Problem]:
    """Return a problem for what runs of other machines have deleted, and not recreated, in namespaces.

    What is reported already (``known``) is left out.
    """
    from kubectl_harden.live.find import problem
    from kubectl_harden.live.recreate import held_back
    from kubectl_harden.reports.output import report_problems

    problems = []
    for name in namespaces:
        try:
            annotations = cluster.namespace_annotations(name)
            value = {"metadata": {"name": name, "annotations": annotations}}
            for words in held_back(cluster, value):
                if not any(text in words for text in known):
                    problems.append(problem(words, namespace=name))
        except ClusterError:
            continue  # What cannot be read is said where its policy is looked for.
    report_problems(problems)
    return problems

"""``undo`` for releases that a run has had helm upgrade: helm rolls them back."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING

from kubectl_harden.errors import HardenError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.journal import Change, Journal, Run
    from kubectl_harden.model import Problem

__all__ = ["undo_upgrades"]


def undo_upgrades(
    cluster: Cluster,
    journal: Journal,
    chosen: Run,
    changes: Sequence[Change],
    *,
    yes: bool,
    dry_run: bool,
    even_if_refused: bool,
    limit: float,
    stop: Event,
) -> list[Problem]:
    """Roll releases back, after asking unless ``yes``; ``changes`` begin with the latest.

    With ``dry_run`` it is only shown. A signal sets ``stop``: helm finishes what it has begun. Returns a problem for
    each that is not rolled back, or whose pods do not run.
    """
    from kubectl_harden.cli.interrupts import calling
    from kubectl_harden.live.helm_undo import go_back, way_back
    from kubectl_harden.live.journal import mark_undone
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.output import line
    from kubectl_harden.words import counted

    left: list[Problem] = []
    back = 0
    ways = [way_back(cluster, change, even_if_refused=even_if_refused, seconds=limit) for change in changes]
    for way in ways:
        if way.refusal:
            words = f"{way.change.name}: left alone: {way.refusal}"
            left.append(Problem(words, refused=way.denied))
        elif way.before is None:
            words = f"{way.change.name}: nothing is left of the change"
        else:
            words = f"{way.change.name}: helm rollback to revision {way.before.revision}"
            words += "".join(f", which runs {hook}" for hook in way.before.hooks("pre-rollback", "post-rollback"))
        line(words)
    ready = [way for way in ways if not way.refusal]
    if dry_run:
        return left + [Problem(way.change.name) for way in ready if way.before is not None]
    if any(way.before is not None for way in ready) and not (yes or _agreed(cluster, ready)):
        return left + [Problem(f"{way.change.name}: not confirmed") for way in ready]
    with calling(lambda _count: stop.set()):
        for way in ready:
            if stop.is_set():
                left.append(Problem(f"{way.change.name}: not started"))
                continue
            try:
                done, words = go_back(
                    cluster, journal, way, seconds=limit, stop=stop, report=lambda name, said: line(f"{name}: {said}")
                )
                if done:
                    mark_undone(chosen.id, [way.change.id])
                    back += way.before is not None
            except HardenError as error:
                done, words = False, str(error)
            if way.before is not None:
                line(f"{way.change.name}: {words}")
            if not done or "not running yet" in words:
                left.append(Problem(f"{way.change.name}: {words}", refused=not done))
        if back:
            again = cluster.connection.commands.harden("undo", journal.run)
            line(f"{counted(back, 'Helm release')} rolled back. To undo it: {again}")
    return left


def _agreed(cluster: Cluster, ways: Sequence[object]) -> bool:
    from kubectl_harden.cli.interrupts import raising_again
    from kubectl_harden.reports.output import ask
    from kubectl_harden.words import counted

    with raising_again():
        return ask(f"Roll {counted(len(ways), 'Helm release')} back {cluster.connection.place}?")

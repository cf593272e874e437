"""The fourth step of a plan: edits that the API server or the kubelet refuses, or that have no effect, are dropped."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.json_values import size
from kubectl_harden.model import Edit, Obstacle, Path
from kubectl_harden.planning.api_rules import refusals
from kubectl_harden.planning.case import Case, Violations
from kubectl_harden.planning.companions import without_refused
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import evaluate

__all__ = ["MAX_EFFORT", "Pruned", "prune"]

MAX_EFFORT: Final = 500_000
"""The most edits times fields of a pod template: a plan is tried without each edit, for at most some seconds."""


class Pruned(NamedTuple):
    """The edits that are left, the pod ``after`` them, its violations, and why the other edits are not made."""

    edits: list[Edit]
    after: Pod
    left: Violations
    obstacles: list[Obstacle]
    notes: list[str]


def prune(case: Case, edits: list[Edit]) -> Pruned:
    """Drop edits that are refused, then those that make no difference to the violations that are left.

    Raises InputError where that would take too long, or where the API server refuses the pod in any case.
    """
    if not edits:
        return Pruned([], case.pod, case.violations, [], [])
    notes: list[str] = []
    if any(edit.companion for edit in edits):
        edits, notes = without_refused(edits, case.patched(edits))
    edits, after, refused = _without_refusals(case, edits)
    notes.extend(obstacle.why for obstacle in refused if not obstacle.check)
    left = evaluate(after, case.policy)
    if left:
        _refuse_too_much(case, edits)
        edits, after = _effective(case, edits, after, left)
    return Pruned(edits, after, left, refused, notes)


def _without_refusals(case: Case, edits: list[Edit]) -> tuple[list[Edit], Pod, list[Obstacle]]:
    """Drop edits whose result the API server would refuse, until it refuses only what it did before.

    Returns the edits that are left, the pod that they make, and why the others are not made.
    """
    known = refusals(case.pod)
    kept = list(edits)
    obstacles: list[Obstacle] = []
    while True:
        after = case.patched(kept)
        new = sorted(case.refusals(after, kept) - known, key=str)
        if not new:
            return kept, after, obstacles
        _refuse_too_much(case, edits)
        guilty, why = _guilty(case, new, kept)
        kept = [edit for edit in kept if edit not in guilty]
        obstacles.extend(
            Obstacle(next(iter(edit.checks), ""), f"the API server would refuse the change: {why}") for edit in guilty
        )


def _guilty(case: Case, refused: list[tuple[Path, str]], edits: list[Edit]) -> tuple[list[Edit], str]:
    """Return the edits at, above or below a refused field, else those whose removal makes it accepted, and why."""
    for path, why in refused:
        found = [edit for edit in edits if edit.path[: len(path)] == path or path[: len(edit.path)] == edit.path]
        if not found:
            without = ((edit, [other for other in edits if other is not edit]) for edit in edits)
            found = [edit for edit, rest in without if (path, why) not in case.refusals(case.patched(rest), rest)]
        if found:
            return found, why
    raise InputError(f"cannot be planned: the API server would refuse the result: {refused[0][1]}", refused[0][0])


def _effective(case: Case, edits: list[Edit], after: Pod, left: Violations) -> tuple[list[Edit], Pod]:
    """Drop edits without which the same violations are ``left``, because something else stays."""
    known = refusals(case.pod)
    goal = [finding[:2] for _, finding in left]
    kept = edits
    while True:
        before = kept
        for edit in before:
            if edit.companion:
                continue
            fewer = [other for other in kept if other is not edit]
            lesser = case.patched(fewer)
            same = [finding[:2] for _, finding in evaluate(lesser, case.policy)] == goal
            if same and not case.refusals(lesser, fewer) - known:
                kept, after = fewer, lesser
        # Without one edit, another may no longer make a difference.
        if len(kept) == len(before):
            return kept, after


def _refuse_too_much(case: Case, edits: Collection[Edit]) -> None:
    """Raise InputError where trying a plan without each of its edits would take too long."""
    fields = size(case.pod.written)
    if len(edits) * fields > MAX_EFFORT:
        raise InputError(
            f"cannot be planned: {len(edits):,} edits in a pod template of {fields:,} fields "
            f"(at most {MAX_EFFORT:,} in their product)"
        )

"""The third step of a plan: the edits of controls that may be made and are wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from kubectl_harden.model import Edit, Obstacle, Path
from kubectl_harden.planning.case import Case
from kubectl_harden.planning.proposals import within_risk

__all__ = ["Chosen", "choose_from", "without_objection"]

_OF_POD: Final[Path] = ("spec", "securityContext")


class Chosen(NamedTuple):
    """The edits that are left, those that are held back, and why edits are not made."""

    edits: list[Edit]
    held_back: list[Edit]
    obstacles: list[Obstacle]


def choose_from(case: Case, proposed: list[Edit], known: Collection[Obstacle]) -> Chosen:
    """Return the proposed edits that are neither too risky, nor wrong for other pod templates, nor refused by a person.

    ``known`` are the obstacles that are reported already.
    """
    edits, too_risky = within_risk(proposed, case.options.max_risk)
    edits, against = without_objection(case, edits)
    edits, refused = _wanted(case, edits)
    objections = (Obstacle(edit.checks[0], case.objection(edit), _apart(edit)) for edit in against)
    return Chosen(edits, [*too_risky, *against], [*_risks(too_risky, known), *objections, *refused])


def without_objection(case: Case, edits: list[Edit]) -> tuple[list[Edit], list[Edit]]:
    """Return the edits that are right for other pod templates, and those that are not."""
    against = [edit for edit in edits if case.objection(edit)]
    return [edit for edit in edits if edit not in against], against


def _risks(too_risky: list[Edit], known: Collection[Obstacle]) -> Iterator[Obstacle]:
    """Yield why edits are too risky, each reason once."""
    told = {(obstacle.check, obstacle.why) for obstacle in known}
    for edit in too_risky:
        if (edit.checks[0], edit.why) not in told:
            told.add((edit.checks[0], edit.why))
            choices = (*edit.offers, f"accept it: --max-risk {edit.risk}")
            yield Obstacle(edit.checks[0], edit.why, choices)


def _apart(edit: Edit) -> tuple[str, ...]:
    """Return what a person can do where an edit of a shared field is not right for all that share it."""
    return ("give the template a securityContext of its own",) if edit.path[:2] == _OF_POD else ()


def _wanted(case: Case, edits: list[Edit]) -> tuple[list[Edit], list[Obstacle]]:
    """Return the edits that a person wants, and an obstacle for each that they refuse."""
    wanted = case.wanted(edits)
    if wanted == edits:
        return edits, []
    places = {(edit.op, edit.path) for edit in wanted}
    refused = (edit for edit in edits if (edit.op, edit.path) not in places)
    return wanted, [Obstacle(edit.checks[0], f"you refused it: {edit.why}") for edit in refused]

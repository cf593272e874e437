"""The data of plans, and of files that are fixed by them: named tuples without logic."""

# Annotations are evaluated here: each one of a named tuple would be compiled on its own otherwise, at every start.
from typing import Any, NamedTuple

from kubectl_harden.model import Edit, Identity, Level, Other, Policy, Problem, Splice

__all__ = ["FileFix", "Plan", "Planned", "Remaining"]


class Remaining(NamedTuple):
    """A violation, or what is left of one, after the plan; ``accepted``: somebody has said why it may stay."""

    check: str
    reason: str
    detail: str
    why: str
    choices: tuple[str, ...]
    accepted: bool = False


class Plan(NamedTuple):
    """The edits for one pod template of one object, as an RFC 6902 patch that applies in order.

    ``steps`` are the same changes field by field, relative to the pod template: an edit may take
    several together. ``held_back`` are steps that are not made, for their risk or because they would reach no level;
    ``notes`` say so, and what was asked for and is not done. ``reaches`` is the level that the edits reach, None where
    it is none; what a person has accepted or left out does not count.
    """

    before: Level
    after: Level
    edits: tuple[Edit, ...]
    remaining: tuple[Remaining, ...]
    steps: tuple[Edit, ...] = ()
    held_back: tuple[Edit, ...] = ()
    notes: tuple[str, ...] = ()
    reaches: Level | None = None


class Planned(NamedTuple):
    """The plan for one pod template, to meet a policy."""

    identity: Identity
    plan: Plan
    policy: Policy


class FileFix(NamedTuple):
    """What fixing one file came to: its text, and the splices that fix it (none where nothing is to do)."""

    file: str
    before: str
    splices: tuple[Splice, ...]
    planned: tuple[Planned, ...]
    problems: tuple[Problem, ...]
    objects: tuple[tuple[Identity, Any, Any], ...] = ()
    """Each object that the plans change: its identity, its value before and after."""
    others: tuple[Other, ...] = ()

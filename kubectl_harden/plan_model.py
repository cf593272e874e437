"""The data of plans, and of files that are fixed with them: named tuples without logic."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
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

    ``steps`` are the same changes field by field, relative to the pod template: one edit may combine several.
    ``held_back`` are steps that are not made, because of their risk or because they would reach no level; ``notes`` say
    so, and what was asked for and is not done. ``reaches`` is the level that the edits reach, or None; violations that
    a person has accepted or left out do not count.
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
    """The fix of one file: its text, and the splices that fix it (none where there is nothing to do)."""

    file: str
    before: str
    splices: tuple[Splice, ...]
    planned: tuple[Planned, ...]
    problems: tuple[Problem, ...]
    objects: tuple[tuple[Identity, Any, Any], ...] = ()
    """Each object that the plans change: its identity, its value before and after."""
    others: tuple[Other, ...] = ()

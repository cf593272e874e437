"""The first step of a plan: the companion edits that a person asks for and that may be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kubectl_harden.model import Edit, Facts
from kubectl_harden.planning.case import Case
from kubectl_harden.planning.choose import without_objection
from kubectl_harden.planning.companions import companions
from kubectl_harden.planning.proposals import within_risk
from kubectl_harden.pod_security.pod import Pod

__all__ = ["accompanied", "accompany"]


class Accompanied(NamedTuple):
    """The companions that are made, the ``pod`` with them, those that are held back, and notes.

    Every container that stays in the pod keeps its place. The notes say what is not known, and what is not done.
    """

    edits: list[Edit]
    pod: Pod
    held_back: list[Edit]
    notes: list[str]


def accompany(case: Case, first: list[Edit]) -> Accompanied:
    """Return the companions of a pod template, which come after ``first`` and before the edits of controls."""
    pod = case.patched(first) if first else case.pod
    facts = case.facts(pod)
    asked = companions(
        pod,
        facts,
        case.policy,
        case.options.asked._replace(user_namespace=None),
        pod_security_context=case.location.pod_security_context,
        objection=case.objection,
    )
    beside, held_back = within_risk(case.offering(list(asked.edits)), case.options.max_risk)
    unknown = dict.fromkeys(_missing(facts)) if case.violations else ()
    notes = [*unknown, *asked.notes, *(f"{edit.companion} is not done: {edit.why}" for edit in held_back)]
    beside, against = without_objection(case, beside)
    notes.extend(f"{edit.companion} is not done: {case.objection(edit)}" for edit in against)
    edits = case.wanted(beside)
    return Accompanied(edits, accompanied(case, [*first, *edits]), [*held_back, *against], notes)


def _missing(facts: Facts) -> Iterator[str]:
    """Yield what could not be read, and why."""
    for known in facts.containers.values():
        yield from (f"{fact.text}: {fact.value}" for fact in known if fact.kind == "unknown" and fact.value)


def accompanied(case: Case, edits: list[Edit]) -> Pod:
    """Return the pod with edits; every container that stays keeps its place."""
    if not edits:
        return case.pod
    gone = {edit.path for edit in edits if edit.op == "remove"}
    out = case.patched([edit for edit in edits if edit.op != "remove"])
    out.containers = tuple(container for container in out.containers if container.path not in gone)
    return out

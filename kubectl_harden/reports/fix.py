"""The outputs of ``fix``, and its notes for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Final

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Edit, Identity, LiveSource, Problem, Source
from kubectl_harden.plan_model import FileFix, Plan, Planned
from kubectl_harden.planning.plan import left_below
from kubectl_harden.pod_security.policy import Policy, worded
from kubectl_harden.reports.diff import unified
from kubectl_harden.reports.entries import identity_json, problem_json
from kubectl_harden.reports.goals import Goals, origin_words, policy_json, sourced, workload_policy_json
from kubectl_harden.reports.passed import Passed
from kubectl_harden.reports.patches import json_patch, kustomize, strategic
from kubectl_harden.reports.repeated import Repeated
from kubectl_harden.reports.risks import risk_lines
from kubectl_harden.reports.tally import unread
from kubectl_harden.reports.terminal import json_text, level_text, object_name, paint, place, template_of, wrapped
from kubectl_harden.words import counted
from kubectl_harden.yaml_text.documents import separated
from kubectl_harden.yaml_text.editor import spliced

__all__ = [
    "FORMATS",
    "FixTally",
    "diff",
    "notes",
    "notes_of_many",
    "notes_on",
    "plan_json",
    "planned_json",
    "render",
    "summary_line",
]


class FixTally:
    """Counts of a run."""

    def __init__(self) -> None:
        self.planned = 0
        self.edits = 0
        self.edited = 0
        self.left = 0
        self.accepted = 0
        self.files_changed = 0
        self.goals = Goals()
        self.problems: list[Problem] = []
        self.passed = Passed()

    def add(self, found: FileFix) -> None:
        """Count the results of one file."""
        self.problems.extend(found.problems)
        self.passed.add(found.others)
        self.files_changed += bool(found.splices)
        self.count(found.planned)

    def count(self, planned: Iterable[Planned]) -> None:
        """Count plans."""
        for item in planned:
            self.planned += 1
            self.goals.add(item.policy)
            self.edits += len(item.plan.edits)
            self.edited += bool(item.plan.edits)
            self.left += left_below(item.plan)
            self.accepted += sum(left.accepted for left in item.plan.remaining)


def diff(found: FileFix) -> Iterator[tuple[str, str]]:
    """Yield a file's diff as (meaning, line)."""
    return unified(found.file, found.before, found.splices)


def render(output: str, results: Iterator[FileFix], policy: Policy) -> Iterator[str]:
    """Yield an output for programs in pieces; ``yaml`` does not wait for all files."""
    return FORMATS[output](results, policy)


def _stream(results: Iterator[FileFix], _policy: Policy) -> Iterator[str]:
    """Yield the fixed texts, byte for byte where there is one; further ones begin with a separator.

    kubectl reads a series of JSON values only at the start of a stream, and no YAML after one.
    """
    texts = (text for found in results if (text := spliced(found.before, found.splices)))
    first, second = next(texts, ""), next(texts, "")
    if not second:
        yield first
        return
    ended = True
    for number, text in enumerate(chain((first, second), texts)):
        text = separated(text.removeprefix("\ufeff") if number else text)
        if number and not text.startswith("---"):
            yield "---\n" if ended else "\n---\n"
        elif not ended:
            yield "\n"
        yield text
        ended = text.endswith("\n")


def _json(results: Iterator[FileFix], policy: Policy) -> Iterator[str]:
    yield json_text(_plan_json(results, policy)) + "\n"


def _json_patch(results: Iterator[FileFix], _policy: Policy) -> Iterator[str]:
    yield json_patch(_by_object(results))


def _kustomize(results: Iterator[FileFix], _policy: Policy) -> Iterator[str]:
    yield kustomize(_by_object(results))


def _strategic(results: Iterator[FileFix], _policy: Policy) -> Iterator[str]:
    yield strategic([entry for found in results for entry in found.objects])


FORMATS: Final[dict[str, Callable[[Iterator[FileFix], Policy], Iterator[str]]]] = {
    "json-patch": _json_patch,
    "strategic-patch": _strategic,
    "kustomize": _kustomize,
    "yaml": _stream,
    "json": _json,
}
"""The outputs for programs, by the name that -o takes."""


def _by_object(results: Iterator[FileFix]) -> list[tuple[Identity, list[Plan]]]:
    """Return the plans that edit something, those of one object together."""
    objects: dict[tuple[str, Source | LiveSource], tuple[Identity, list[Plan]]] = {}
    for found in results:
        for item in found.planned:
            if item.plan.edits:
                objects.setdefault((found.file, item.identity.source), (item.identity, []))[1].append(item.plan)
    return list(objects.values())


def _edit_json(edit: Edit) -> dict[str, object]:
    out: dict[str, object] = {"op": edit.op, "path": pointer(edit.path)}
    if edit.op != "remove":
        out["value"] = edit.value
    out.update(checks=list(edit.checks), risk=edit.risk, why=edit.why)
    if edit.offers:
        out["offers"] = list(edit.offers)
    if edit.companion:
        out["companion"] = edit.companion
    return out


def _plan_json(results: Iterator[FileFix], policy: Policy) -> dict[str, object]:
    tally = FixTally()
    workloads = []
    for found in results:
        tally.add(found)
        for item in found.planned:
            workloads.append(planned_json(item, policy))
    return plan_json(workloads, tally.problems, policy, tally)


def planned_json(item: Planned, head: Policy) -> dict[str, object]:
    """Return an entry of a FixPlan's ``workloads``."""
    return {
        **identity_json(item.identity),
        **workload_policy_json(item.identity, item.policy, head),
        "before": item.plan.before,
        "after": item.plan.after,
        "edits": [_edit_json(edit) for edit in item.plan.edits],
        "remaining": [
            {
                "check": left.check,
                "reason": left.reason,
                "detail": left.detail,
                "why": left.why,
                "choices": list(left.choices),
                **({"accepted": True} if left.accepted else {}),
            }
            for left in item.plan.remaining
        ],
        "heldBack": [_edit_json(edit) for edit in item.plan.held_back],
        "notes": list(item.plan.notes),
    }


def plan_json(
    workloads: list[dict[str, object]], problems: list[Problem], policy: Policy, tally: FixTally
) -> dict[str, object]:
    """Return a FixPlan."""
    return {
        "apiVersion": "kubectl-harden/v1",
        "kind": "FixPlan",
        "policy": policy_json(policy),
        "workloads": workloads,
        "errors": [problem_json(problem) for problem in problems],
        "summary": {
            "workloads": tally.planned,
            "edited": tally.edited,
            "edits": tally.edits,
            "remaining": tally.left,
            "accepted": tally.accepted,
            "exempt": tally.goals.exempt,
            "errors": len(tally.problems),
        },
    }


def notes(planned: Iterable[Planned], *, columns: int) -> Iterator[str]:
    """Yield what a person should know about each workload's plan: its risks, and what is left and why."""
    for item in planned:
        plan = item.plan
        if not plan.edits and not plan.remaining and not plan.notes:
            continue
        identity = item.identity
        change = f"{level_text(plan.before)} → {level_text(plan.after)}"
        where = place(identity.source)
        room = columns - len(f"{object_name(identity)}{template_of(identity)}: {plan.before} → {plan.after}  {where}")
        gap = "  " if room >= 0 else "\n  "
        gap = gap if where else ""
        name = paint(object_name(identity), "strong") + template_of(identity)
        yield f"{name}: {change}{gap}{paint(where, 'place')}\n"
        if origin_words(item.policy):
            yield f"  {'level':<7} " + wrapped(sourced(item.policy), 10, columns).lstrip() + "\n"
        yield from risk_lines(identity, plan.steps, columns=columns)
        for left in plan.remaining:
            words = f"{worded(left.reason, left.detail)} [{left.check}]"
            head = paint("kept   ", "warn") if left.accepted else paint("left   ", "bad")
            yield f"  {head} " + wrapped(words, 10, columns).lstrip() + "\n"
            for why in dict.fromkeys(left.why.split("; ")):
                yield wrapped(why, 10, columns) + "\n"
            for choice in left.choices:
                yield wrapped("– " + choice, 10, columns) + "\n"
        for note in plan.notes:
            yield f"  {paint('note   ', 'warn')} " + wrapped(note, 10, columns).lstrip() + "\n"


def notes_of_many(planned: Iterable[Planned], *, columns: int) -> Iterator[str]:
    """Yield the notes of many workloads; notes that are the same for more than a few come together at the end."""
    repeated = Repeated()
    for item in planned:
        yield from repeated.notes(item.identity, partial(notes_on, item), columns)
    yield from repeated.rest(columns)


def notes_on(item: Planned, columns: int) -> Iterator[str]:
    """Yield the notes on one workload's plan."""
    return notes((item,), columns=columns)


def summary_line(tally: FixTally, *, written: bool) -> str:
    """Return the last line for people."""
    if not tally.planned:
        return tally.passed.instead(read=not tally.problems)
    goal = tally.goals.goal()
    more = tally.goals.unbound() + tally.passed.unjudged()
    if not tally.edited and not tally.left:
        more += unread(tally.problems)
        but = f" except for {counted(tally.accepted, 'accepted violation')}" if tally.accepted else ""
        return f"{counted(tally.planned, 'workload')}: all meet {goal}{but}, nothing to do{more}"
    done = "edited" if written else "to edit"
    parts = [f"{tally.edited:,} {done} in {counted(tally.files_changed, 'file')}"]
    if tally.left:
        parts.append(f"{tally.left:,} with something left below {goal}")
    if tally.accepted:
        parts.append(counted(tally.accepted, "accepted violation"))
    advice = "" if written or not tally.edited else "; --write makes the edits"
    return f"{counted(tally.planned, 'workload')}: {', '.join(parts)}{advice}{more}"

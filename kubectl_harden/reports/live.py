"""Proposals for live workloads and their outcomes, for people and for programs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from kubectl_harden.live.apply import Outcome
from kubectl_harden.live.pasted import pasted
from kubectl_harden.live.propose import Proposal, fresh
from kubectl_harden.live.reapply import Reapplied
from kubectl_harden.live.recreate import lost_with
from kubectl_harden.model import Problem
from kubectl_harden.reports.fix import notes
from kubectl_harden.reports.origin import origin_json, origin_words
from kubectl_harden.reports.terminal import paint, printable, wrapped
from kubectl_harden.words import counted
from kubectl_harden.yaml_text.tree import dump

__all__ = [
    "diff",
    "next_write_json",
    "outcome_json",
    "outcome_lines",
    "pasted_notes",
    "proposal_json",
    "proposal_notes",
    "summary",
    "yaml_text",
]

_HIDDEN: Final = ("managedFields", "generation", "resourceVersion")
_MEANINGS: Final = {"-": "bad", "+": "good", "@": "place"}
_SHOWN: Final = {
    "applied": ("applied", "good"),
    "unwatched": ("applied, rollout not watched to the end", "warn"),
    "tried": ("not applied, its trial pod does not run", "bad"),
    "down": ("applied, its pods do not run", "bad"),
    "rolled back": ("ROLLED BACK", "bad"),
    "left": ("FAILED, left in place", "bad"),
    "failed": ("not changed", "bad"),
    "refused": ("not applied", "warn"),
    "skipped": ("not started", "warn"),
    "unknown": ("NOT KNOWN", "bad"),
}


def diff(proposal: Proposal) -> str:
    """Return the unified diff between the live object and the result of the server's dry-run (else of the plan)."""
    if not proposal.patch:
        return ""
    old, new = proposal.live.value, proposal.returned or proposal.goal
    if proposal.recreate:
        old, new = fresh(old), fresh(proposal.goal)
    name = f"{proposal.live.resource.name}/{proposal.live.name}"
    where = printable(f"{proposal.live.namespace}/{name}")
    lines = difflib.unified_diff(
        _text(old).splitlines(), _text(new).splitlines(), f"live/{where}", f"fixed/{where}", lineterm="", n=3
    )
    out = []
    for index, line in enumerate(lines):
        meaning = "strong" if index < 2 else _MEANINGS.get(line[:1], "")
        out.append(paint(line, meaning) if meaning else printable(line))
    return "\n".join(out) + "\n" if out else ""


def _text(value: dict[str, Any]) -> str:
    """Return an object as YAML, without what the server sets at every change."""
    head: dict[str, object] = {key: value[key] for key in ("apiVersion", "kind") if key in value}
    shown = {**head, **{key: item for key, item in value.items() if key != "status"}}
    shown["metadata"] = {key: item for key, item in value["metadata"].items() if key not in _HIDDEN}
    return dump(shown)


def yaml_text(proposal: Proposal) -> str:
    """Return the fixed object as a YAML document."""
    return _text(proposal.goal)


def proposal_notes(proposal: Proposal, *, columns: int) -> Iterator[str]:
    """Yield what a person should know about a proposal: risks, what is left, who manages it, what is not proved."""
    yield from notes(proposal.planned, columns=columns)
    told: list[tuple[str, str, str]] = []
    told.extend(("managed", "warn", f"by {m.name}: {m.consequence}") for m in proposal.managers)
    if proposal.origin and (proposal.managers or proposal.live.owner):
        told.append(("from   ", "strong", origin_words(proposal.origin)))
    told.extend(("next   ", "warn", _next_write(item)) for item in proposal.reapplied)
    told.extend(("warning", "warn", text) for text in proposal.warnings)
    told.extend(("server ", "warn", f"also {text}") for text in proposal.beyond)
    told.extend(
        ("pods   ", "bad", f"will still violate it, since an admission webhook or policy changes them: {text}")
        for text in proposal.injected
    )
    if proposal.pods_refused and not proposal.patch:
        words = "no change to its template fixes that: kubectl harden rejected shows what admission adds to its pods"
        told.append(("pods   ", "bad", f"it lacks pods, and {proposal.pods_refused}; {words}"))
    if proposal.trial and proposal.refusal is None:
        words = "one new pod is started first, without its labels and with empty directories instead of claims"
        told.append(("trial  ", "warn", f"{words}; --no-trial skips this"))
    if proposal.recreate and proposal.patch:
        told.extend(
            ("lost   ", "warn", f"with the {proposal.live.resource.kind}: {text}")
            for text in lost_with(proposal.live.value)
        )
    told.extend(("unproved", "warn", text) for text in proposal.unproven)
    if proposal.refusal is not None:
        told.append(("cannot ", "bad", f"be applied: {proposal.refusal}"))
    for label, meaning, text in told:
        yield f"  {paint(label, meaning)} " + wrapped(text, 10, columns).lstrip() + "\n"
    if proposal.managers or proposal.live.owner:
        yield from pasted_notes(proposal, columns=columns)


def pasted_notes(proposal: Proposal, *, columns: int) -> Iterator[str]:
    """Yield the change in the form of the workload's source, if that takes one."""
    found = pasted(proposal)
    if found is None:
        return
    words = f"{found.field} of {found.link.kind} {found.link.namespace}/{found.link.name} takes it as"
    if found.place.url:
        where = f"{found.place.url}@{found.place.revision}".removesuffix("@")
        words = f"the manifest in {found.place.path} of {where} (fix --source DIR edits it in a checkout); or {words}"
    yield f"  {paint('source ', 'strong')} " + wrapped(f"{words}:", 10, columns).lstrip() + "\n"
    for line in found.entry.splitlines():
        yield f"          {printable(line)}\n"


def deeds(proposals: Sequence[Proposal]) -> str:
    """Return what is to be done, by verb and kind: ``Delete and create 2 Pods, patch 1 Deployment``."""
    counts: dict[tuple[str, str], int] = {}
    for proposal in sorted(proposals, key=lambda proposal: not proposal.recreate):
        deed = ("delete and create" if proposal.recreate else "patch", proposal.live.resource.kind)
        counts[deed] = counts.get(deed, 0) + 1
    parts: list[str] = []
    last = ""
    for (verb, kind), count in counts.items():
        parts.append(("" if verb == last else f"{verb} ") + counted(count, kind))
        last = verb
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def _next_write(item: Reapplied) -> str:
    """Return what the next write from the manifests does to the edits, in a sentence."""
    parts = []
    if item.conflicts:
        parts.append(f"conflicts on {', '.join(item.conflicts)}")
    if item.takes_back:
        parts.append(f"reverts {', '.join(item.takes_back)}")
    if item.refused:
        parts.append(f"is refused ({item.refused})")
    return f"{item.by} {' and '.join(parts)}; the other edits stay. To keep all of them, {item.advice}"


def outcome_lines(outcome: Outcome, *, columns: int) -> Iterator[str]:
    """Yield the outcome of a proposal."""
    word, meaning = _SHOWN[outcome.state]
    name = paint(outcome.proposal.name, "strong")
    yield f"{name}: {paint(word, meaning)}\n"
    if outcome.message:
        yield wrapped(outcome.message, 2, columns) + "\n"
    for line in outcome.log:
        yield f"    | {printable(line)}\n"
    if outcome.blamed is not None:
        if outcome.blamed.checks:
            word = "the cause is the edit for" if outcome.blamed.sure else "the cause may be the edit for"
            yield wrapped(f"{word} {', '.join(outcome.blamed.checks)}: {outcome.blamed.advice}", 2, columns) + "\n"
        else:
            yield wrapped(outcome.blamed.advice, 2, columns) + "\n"


def summary(outcomes: Iterable[Outcome], undo: str) -> str:
    """Return the last line for people; ``undo`` is the command that undoes the run."""
    counts: dict[str, int] = {}
    unit = "workload"
    for outcome in outcomes:
        counts[outcome.state] = counts.get(outcome.state, 0) + 1
        unit = unit if outcome.proposal.live.namespace else "object"
    parts = [f"{count:,} {_SHOWN[state][0].lower()}" for state, count in counts.items()]
    back = f". To undo it: {undo}" if undo else ""
    return f"{counted(sum(counts.values()), unit)}: {', '.join(parts)}{back}"


def proposal_json(proposal: Proposal) -> dict[str, object]:
    """Return what a FixPlan's workload says besides the plan."""
    return {
        "managedBy": [manager.name for manager in proposal.managers],
        "nextWrite": next_write_json(proposal),
        "recreate": proposal.recreate,
        "notApplicable": proposal.refusal,
        "podsRefused": proposal.pods_refused or None,
        **({"unproven": list(proposal.unproven)} if proposal.unproven else {}),
        **origin_json(proposal.origin),
        **_pasted_json(proposal),
    }


def _pasted_json(proposal: Proposal) -> dict[str, object]:
    found = pasted(proposal)
    if found is None:
        return {}
    link = found.link
    of = {"apiVersion": link.api_version, "kind": link.kind, "namespace": link.namespace, "name": link.name}
    return {"pasteAt": {"object": of, "field": found.field, "add": found.entry}}


def next_write_json(proposal: Proposal) -> list[dict[str, object]]:
    """Return what the next write from the manifests does to the edits."""
    return [
        {
            "by": item.by,
            "takesBack": list(item.takes_back),
            "conflictsOn": list(item.conflicts),
            "refused": item.refused or None,
        }
        for item in proposal.reapplied
    ]


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """Return what a FixPlan's workload says about how it was applied."""
    out: dict[str, object] = {"state": outcome.state, "message": outcome.message}
    if outcome.blamed is not None:
        out["blamed"] = list(outcome.blamed.checks)
    return out


def refused(outcomes: Iterable[Outcome]) -> Iterator[Problem]:
    """Yield a problem for each outcome whose cause is the cluster."""
    for outcome in outcomes:
        if outcome.state in ("failed", "unknown", "unwatched") or (
            outcome.state == "refused" and outcome.proposal.denied
        ):
            yield Problem(f"{outcome.proposal.name}: {outcome.message}", refused=True)

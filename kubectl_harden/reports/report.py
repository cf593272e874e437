"""A survey, and what a migration did, as one HTML page that needs no network.

The page shows names, levels, edited fields and reasons; no other part of an object gets into it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from kubectl_harden.field_path import parse_pointer
from kubectl_harden.migration.at_source import SourceChanges
from kubectl_harden.migration.migrate import Migrated
from kubectl_harden.migration.model import Aim, Blocker, NamespaceSurvey, Survey, Surveyed
from kubectl_harden.model import LADDER, RISKS
from kubectl_harden.reports.matrix import STATES, enforced, reached
from kubectl_harden.reports.migrate_source import source_page
from kubectl_harden.reports.origin import origin_words
from kubectl_harden.reports.terminal import meaning_of, printable
from kubectl_harden.yaml_text.tree import dump

__all__ = ["field_diff", "report_page"]


def report_page(
    found: Survey,
    aim: Aim,
    done: Sequence[Migrated],
    *,
    where: str,
    made: str,
    changes: SourceChanges | None = None,
) -> str:
    """Return the page. ``found`` is a detailed survey, ``where`` names the cluster, ``made`` is the time.

    ``changes`` are those of checkouts, if any were named: their diffs are on the page, too.
    """
    texts = _Texts()
    outcomes = {item.name: item for item in done}
    data = {
        "where": where,
        "made": made,
        "level": aim.level,
        "applied": bool(done),
        "states": {state: words for state, (_, _, words) in STATES.items()},
        "ladder": LADDER,
        "risks": RISKS,
        "tones": {word: meaning_of(word) for word in (*LADDER, *RISKS)},
        "stateTones": {state: meaning for state, (_, meaning, _) in STATES.items()},
        "namespaces": [_namespace(item, outcomes.get(item.name), texts) for item in found.namespaces],
        "texts": texts.listed,
        "source": source_page(changes),
    }
    # No character of the data may end the script element that holds it.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    page = files("kubectl_harden.reports").joinpath("report.html").read_text(encoding="utf-8")
    return page.replace("/*DATA*/", text, 1)


class _Texts:
    """Texts that stand in the page once and are named by their number."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of a text."""
        if text not in self._numbers:
            self._numbers[text] = len(self.listed)
            self.listed.append(printable_lines(text))
        return self._numbers[text]


def printable_lines(text: str) -> str:
    """Return text with all control characters but line feeds escaped."""
    return "\n".join(map(printable, text.split("\n")))


def _namespace(item: NamespaceSurvey, done: Migrated | None, texts: _Texts) -> dict[str, object]:
    out: dict[str, Any] = {
        "name": item.name,
        "state": item.state,
        "team": item.team,
        "enforces": enforced(item),
        "meets": item.now,
        "reaches": reached(item),
        "bare": item.bare_pods,
        "server": "" if not item.server.asked else "agrees" if item.server.agrees else "disagrees",
        "blockers": [_blocker(blocker, texts) for blocker in (done.blockers if done is not None else item.blockers)],
        "workloads": [_workload(workload, done, texts) for workload in item.workloads],
    }
    if done is not None:
        out["outcome"] = done.state
        out["message"] = texts.number(done.message)
        out["after"] = (done.labels or {}).get("pod-security.kubernetes.io/enforce", "–")
    return out


def _blocker(blocker: Blocker, texts: _Texts) -> list[object]:
    come_from = f"from: {origin_words(blocker.origin)}" if blocker.origin else ""
    choices = (f"– {choice}" for choice in (*blocker.choices, *blocker.commands))
    why = "; ".join(filter(None, (blocker.why, come_from, *choices)))
    numbers = [texts.number(text) for text in (blocker.cause, blocker.what, why, blocker.owner)]
    return [blocker.subject, *numbers, blocker.team]


def _workload(item: Surveyed, done: Migrated | None, texts: _Texts) -> list[object]:
    proposal = item.proposal
    name = proposal.name.replace(f" {proposal.live.namespace}/", " ", 1)
    plans = [planned.plan for planned in proposal.planned]
    whys = list(dict.fromkeys((step.risk, step.why) for plan in plans for step in (*plan.steps, *plan.held_back)))
    risk = max((risk for risk, _ in whys), key=RISKS.index, default="")
    shown = "\n".join(field_diff(proposal.patch, item.before))
    outcome = ""
    for ended in done.outcomes if done is not None else ():
        if ended.proposal.live.uid == proposal.live.uid:
            outcome = ended.state
    notes = [f"{risk}: {why}" for risk, why in whys]
    if proposal.refusal is not None and proposal.patch:
        notes.append(f"cannot be applied: {proposal.refusal}")
    if proposal.by_policy:
        notes.append(f"made to its new pods, by MutatingAdmissionPolicy {proposal.by_policy}")
    if proposal.origin:
        notes.append(f"from: {origin_words(proposal.origin)}")
    return [
        name,
        item.now,
        item.after,
        item.team,
        item.owner,
        risk,
        texts.number(shown),
        [texts.number(note) for note in notes],
        outcome,
    ]


def field_diff(patch: Sequence[Mapping[str, Any]], before: Mapping[str, object]) -> Iterator[str]:
    """Yield the lines of a diff of the touched fields alone, each under its field path.

    ``patch`` is an RFC 6902 patch, ``before`` the values of its fields by JSON pointer.
    """
    for operation in patch:
        *parents, last = parse_pointer(operation["path"])
        yield f"@ {_dotted(parents)}"
        old = before.get(operation["path"]) if operation["op"] != "add" else None
        if old is not None or operation["op"] in ("remove", "replace"):
            yield from _lines("-", last, old)
        if operation["op"] != "remove":
            yield from _lines("+", last, operation["value"])


def _dotted(parts: Sequence[str | int]) -> str:
    out = ""
    for part in parts:
        out += f"[{part}]" if str(part).isdecimal() else f".{part}"
    return out.removeprefix(".")


def _lines(sign: str, key: str | int, value: object) -> Iterator[str]:
    item = str(key).isdecimal() or key == "-"
    text = _yaml(json.dumps([value] if item else {str(key): value}))
    for line in text.splitlines():
        yield f"{sign} {line}"


@cache
def _yaml(text: str) -> str:
    return dump(json.loads(text))

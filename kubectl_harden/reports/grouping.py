"""Refused workloads that need the same edits, grouped: the edits once, then the workloads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from kubectl_harden.cluster.command import Commands
from kubectl_harden.field_path import field_path
from kubectl_harden.live.propose import Proposal
from kubectl_harden.live.refused_pods import Rejected, advice
from kubectl_harden.live.rejections import named
from kubectl_harden.model import Edit
from kubectl_harden.pod_security.messages import POD_SECURITY
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.reports.live import proposal_notes
from kubectl_harden.reports.rejected import missing, rejected_text, since, target
from kubectl_harden.reports.terminal import paint, printable, wrapped
from kubectl_harden.words import counted

__all__ = ["grouped_text", "rejected_summary"]

Found = tuple[Rejected, Proposal | None]

_FEW: Final = 5
"""Up to this many that need the same are shown one by one."""
_NAMED: Final = 20
"""Up to this many are named in a command that fixes them all."""


class _Need(NamedTuple):
    """What a refused workload needs: workloads for which it is equal are shown together."""

    rejecter: str
    stale: bool = False
    unknown: str = ""
    violations: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    refusal: str | None = None


def grouped_text(found: Sequence[Found], commands: Commands, *, columns: int) -> Iterator[str]:
    """Yield what is refused, the longest first; more than a few that need the same are one paragraph."""
    groups: dict[_Need, list[Found]] = {}
    for item in found:
        groups.setdefault(_need(*item, commands), []).append(item)
    for need, members in groups.items():
        if len(members) > _FEW:
            yield from _together(need, members, commands, columns)
        else:
            for rejected, proposal in members:
                yield from rejected_text(rejected, proposal, commands, columns=columns)


def rejected_summary(found: Sequence[Found], commands: Commands) -> str:
    """Return the last line for people: how many, and the one command that fixes those that a command can fix."""
    refused = [(rejected, proposal) for rejected, proposal in found if not rejected.stale]
    fixable = [rejected for rejected, proposal in refused if _is_fixable(proposal)]
    line = f"{counted(len(refused), 'workload')} with pods that are refused"
    if len(found) > len(refused):
        line += f", {len(found) - len(refused):,} fixed since"
    if not fixable:
        return line
    spaces = {rejected.live.namespace for rejected in fixable}
    if len(fixable) <= _NAMED and len(spaces) == 1:
        names = (target(rejected) for rejected in fixable)
        command = commands.harden("fix", *names, "--apply", namespace=spaces.pop())
        words = (
            "to fix it" if len(fixable) == 1 else f"to fix {'all' if len(fixable) == len(refused) else len(fixable)}"
        )
        return f"{line}; {words}: {command}"
    if len(spaces) == 1:
        where, command = f"in {spaces.copy().pop()}", commands.harden("fix", "--apply", namespace=spaces.pop())
    else:
        where, command = "in all namespaces", commands.harden("fix", "-A", "--apply")
    return f"{line}; to fix {len(fixable):,}, and what else {where} is below its level: {command}"


def _is_fixable(proposal: Proposal | None) -> bool:
    return proposal is not None and bool(proposal.patch) and proposal.refusal is None


def _need(rejected: Rejected, proposal: Proposal | None, commands: Commands) -> _Need:
    # The API server's words, and advice, name the object and its pods.
    own = rf"{re.escape(rejected.live.name)}[\w.-]*|{re.escape(rejected.live.namespace)}"
    unknown = "" if rejected.trial.admitted is not None else re.sub(own, "*", rejected.trial.message)
    if rejected.rejecter != POD_SECURITY or rejected.stale:
        return _Need(rejected.rejecter, rejected.stale, unknown)
    told = tuple(re.sub(own, "*", words) for words in advice(rejected, commands))
    if proposal is None:
        violations = tuple(worded(said.reason, said.detail) for said in rejected.violations)
        return _Need(rejected.rejecter, unknown=unknown, violations=violations, advice=told)
    plans = [item.plan for item in proposal.planned]
    edits = sorted({_words(step) for plan in plans for step in plan.steps})
    left = sorted({(item.check, item.why) for plan in plans for item in plan.remaining})
    refusal = None if proposal.refusal is None else re.sub(own, "*", proposal.refusal)
    return _Need(rejected.rejecter, unknown=unknown, advice=told, edits=tuple(edits), left=tuple(left), refusal=refusal)


def _words(step: Edit) -> str:
    """Return an edit as a line, in any of a pod's containers alike."""
    path = re.sub(r"^(spec\.\w*[cC]ontainers)\[\d+\]", r"\1[*]", field_path(step.path))
    value = "" if step.op == "remove" else f": {json.dumps(step.value, ensure_ascii=False)}"
    return f"{'remove' if step.op == 'remove' else 'set'} {path}{value}"


def _together(need: _Need, members: Sequence[Found], commands: Commands, columns: int) -> Iterator[str]:
    """Yield a paragraph for many: the edits once, then the names by namespace."""
    first, proposal = members[0]
    alike = len({rejected.live.resource for rejected, _ in members}) == 1
    what = counted(len(members), first.live.resource.kind if alike else "workload")
    counts = [rejected.missing for rejected, _ in members if rejected.missing is not None]
    pods = missing(sum(counts) if len(counts) == len(members) else None)
    yield f"{paint(what, 'strong')}: {pods}{since(min(r.since for r, _ in members))}\n"
    if need.stale:
        words = f"were refused by {need.rejecter}, and have been fixed since: the API server admits them now"
        yield wrapped(f"{words} (by a dry-run), and their controllers try again", 2, columns) + "\n"
    elif need.rejecter != POD_SECURITY:
        rejecter = paint(need.rejecter, "bad")
        yield f"  refused by {rejecter}, not by Pod Security admission; the first:\n"
        yield wrapped(first.message, 4, columns) + "\n"
    elif need.edits:
        yield f"  need the same {counted(len(need.edits), 'edit')}:\n"
        yield "".join(wrapped(edit, 4, columns) + "\n" for edit in need.edits)
    elif need.violations:
        yield "  violate the same:\n"
        yield "".join(wrapped(words, 4, columns) + "\n" for words in need.violations)
    if need.unknown:
        words = f"whether they would be admitted now is not known: {first.trial.message}"
        yield wrapped(printable(words), 2, columns) + "\n"
    if need.advice:
        yield f"  of {printable(named(first))}, like the others:\n"
        yield "".join(wrapped(f"→ {printable(words)}", 4, columns) + "\n" for words in advice(first, commands))
    if proposal is not None and (need.left or need.refusal is not None):
        yield f"  of {printable(named(first))}, like the others:\n"
        left = tuple(item._replace(plan=item.plan._replace(steps=(), notes=())) for item in proposal.planned)
        yield from proposal_notes(proposal._replace(planned=left), columns=columns)
    spaces: dict[str, list[str]] = {}
    for rejected, _ in members:
        spaces.setdefault(rejected.live.namespace, []).append(rejected.live.name if alike else target(rejected))
    for space, names in sorted(spaces.items()):
        yield wrapped(printable(f"{space}: {', '.join(sorted(names))}"), 2, columns) + "\n"
    yield "\n"

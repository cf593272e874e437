"""Rejected pods and what fixes them, for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from kubectl_harden.cluster.command import Commands
from kubectl_harden.json_values import mapping
from kubectl_harden.live.propose import Proposal
from kubectl_harden.live.refused_pods import Rejected, advice
from kubectl_harden.live.rejections import named
from kubectl_harden.live.restarts import Restarts
from kubectl_harden.model import Problem
from kubectl_harden.plan_model import Planned
from kubectl_harden.pod_security.messages import POD_SECURITY, Message, policies_named
from kubectl_harden.reports.entries import problem_json
from kubectl_harden.reports.fix import planned_json
from kubectl_harden.reports.goals import origin_words, policy_json
from kubectl_harden.reports.live import diff, proposal_notes
from kubectl_harden.reports.terminal import json_text, paint, printable, wrapped
from kubectl_harden.times import seconds_of
from kubectl_harden.words import counted

__all__ = [
    "joined_json",
    "message_json",
    "message_text",
    "missing",
    "rejected_json",
    "rejected_text",
    "restarts_text",
    "since",
    "target",
]


_TRUNCATED: Final = (
    "the text ends before the message does (an event holds at most 1,024 characters): there may be more violations. "
    "To see them all: kubectl harden rejected"
)
_MENDED: Final = "the API server admits it now (by a dry-run), and its controller tries again by itself"


def rejected_text(found: Rejected, proposal: Proposal | None, commands: Commands, *, columns: int) -> Iterator[str]:
    """Yield a workload whose pods are refused: since when, why, and the diff that fixes it, with its command."""
    name = paint(named(found), "strong")
    yield f"{name}: {missing(found.missing)}{since(found.since)}\n"
    if found.live.owner:
        yield f"  made by {printable(found.live.owner)}\n"
    if found.stale:
        yield wrapped(f"was refused by {found.rejecter}, and has been fixed since: {_MENDED}", 2, columns) + "\n\n"
        return
    if found.rejecter != POD_SECURITY:
        yield f"  refused by {paint(found.rejecter, 'bad')}, not by Pod Security admission\n"
        yield wrapped(found.message, 4, columns) + "\n"
        yield from _unknown(found, columns)
        yield "\n"
        return
    yield f'  violates PodSecurity "{_policy(found)}"{origin_words(found.live.policy)}:\n'
    for said in found.violations:
        detail = f" ({said.detail})" if said.detail else ""
        reason = paint(said.reason, "bad")
        if len(said.reason) + len(detail) + 4 <= columns:
            yield f"    {reason}{printable(detail)}\n"
        else:
            yield f"    {reason}\n" + wrapped(said.detail, 8, columns) + "\n"
        if not found.checked:
            yield wrapped(f"→ {said.control.cure}", 6, columns) + "\n"
    yield from _unknown(found, columns)
    for words in advice(found, commands):
        yield wrapped(f"→ {words}", 2, columns) + "\n"
    if proposal is not None:
        yield "\n" + diff(proposal)
        yield from proposal_notes(proposal._replace(planned=_only_left(proposal)), columns=columns)
        if proposal.patch and proposal.refusal is None:
            command = commands.harden("fix", target(found), "--apply", namespace=found.live.namespace)
            yield f"  to make this change: {paint(command, 'strong')}\n"
    yield "\n"


def missing(pods: int | None) -> str:
    """Return ``2 pods missing``; of kinds that do not count their pods, that some are refused."""
    return "pods refused" if pods is None else f"{counted(pods, 'pod')} missing"


def _policy(found: Rejected) -> str:
    return next((policy for policy, _ in policies_named(found.message)), str(found.live.policy))


def _unknown(found: Rejected, columns: int) -> Iterator[str]:
    """Yield that it is not known whether the pod would be admitted now, and why."""
    if found.trial.admitted is None:
        if found.checked and not found.template_violates:
            yield f"  its template meets {printable(str(found.live.policy))} now\n"
        words = f"whether it would be admitted now is not known: {found.trial.message}"
        yield wrapped(words, 2, columns) + "\n"


def _only_left(proposal: Proposal) -> tuple[Planned, ...]:
    """Return the plans of which something is left; their risks are shown before they are applied."""
    return tuple(item._replace(plan=item.plan._replace(steps=())) for item in proposal.planned if item.plan.remaining)


def target(found: Rejected) -> str:
    """Return ``deployment/web``, as a command line names it."""
    resource = found.live.resource
    group = f".{resource.group}" if resource.group not in ("", "apps", "batch") else ""
    return f"{resource.kind.lower()}{group}/{found.live.name}"


def since(text: str) -> str:
    """Return `` since 14:03:22 (5m ago)``."""
    began = seconds_of(text)
    if began is None:
        return ""
    seconds = int(time.time() - began)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f" since {text} ({seconds // size}{unit} ago)"
    return f" since {text} ({max(seconds, 0)}s ago)"


def rejected_json(
    found: Sequence[tuple[Rejected, Proposal | None]],
    problems: Sequence[Problem],
    restarts: Restarts | None,
    commands: Commands,
    audit: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the RejectionReport, with earlier ones from an audit log; without ``restarts`` they are not known."""
    entries = []
    for rejected, proposal in found:
        live = rejected.live
        entries.append(
            {
                "apiVersion": live.resource.api_version,
                "kind": live.resource.kind,
                "namespace": live.namespace,
                "name": live.name,
                "rejectedBy": rejected.rejecter,
                "policy": policy_json(live.policy),
                "since": rejected.since,
                "missingPods": rejected.missing,
                "stale": rejected.stale,
                "message": rejected.message,
                "admittedNow": rejected.trial.admitted,
                **({"notKnown": rejected.trial.message} if rejected.trial.admitted is None else {}),
                "violations": [
                    {"check": said.control.id, "reason": said.reason, "detail": said.detail}
                    for said in rejected.violations
                ],
                **_injected_json(rejected),
                "advice": list(advice(rejected, commands)),
                "plans": [planned_json(item, item.policy) for item in proposal.planned] if proposal else [],
            }
        )
    head = {"apiVersion": "kubectl-harden/v1", "kind": "RejectionReport"}
    later = None
    if restarts is not None and (restarts.workloads or not restarts.unknown):
        later = [item._asdict() for item in restarts.workloads]
    errors = [problem_json(item) for item in problems]
    before = {} if audit is None else {"auditLog": audit}
    return {**head, "rejections": entries, "wouldBeRefused": later, **before, "errors": errors}


def joined_json(reports: Iterable[tuple[str, Mapping[str, object]]]) -> dict[str, object]:
    """Return one RejectionReport of several clusters', whose entries name their cluster."""
    found: dict[str, list[object]] = {"rejections": [], "wouldBeRefused": [], "errors": []}
    clusters = []
    for name, report in reports:
        for key, joined in found.items():
            entries = report[key]
            joined += [{"cluster": name, **mapping(item)} for item in entries] if isinstance(entries, list) else []
        known = report["wouldBeRefused"] is not None
        clusters.append({"cluster": name, "wouldBeRefusedKnown": known})
    return {"apiVersion": "kubectl-harden/v1", "kind": "RejectionReport", "clusters": clusters, **found}


def restarts_text(restarts: Restarts, namespace: str | None, commands: Commands, *, columns: int) -> Iterator[str]:
    """Yield how many workloads run pods that would be refused if recreated, and the command that lists them."""
    if restarts.workloads:
        spaces = {item.namespace for item in restarts.workloads}
        several = namespace is None and len(spaces) > 1
        command = commands.harden("check", *(("-A",) if several else ()), namespace="" if several else min(spaces))
        verb = "runs" if len(restarts.workloads) == 1 else "run"
        words = (
            f"{counted(len(restarts.workloads), 'workload')} {verb} pods that violate what their namespace enforces, "
            f"and that would be refused if they were recreated: {command}"
        )
        yield wrapped(printable(words), 0, columns) + "\n"
    if restarts.unknown:
        words = f"whether running pods would be refused if they were recreated is not known: {restarts.unknown}"
        yield wrapped(printable(words), 0, columns) + "\n"


def _injected_json(found: Rejected) -> dict[str, object]:
    injected = found.injected
    if injected is None:
        return {}
    return {"injected": {"containers": list(injected.containers), "by": list(injected.by)}}


def message_text(message: Message, *, columns: int) -> Iterator[str]:
    """Yield the explanation of a pasted message."""
    others = f" and {message.others} more" if message.others else ""
    about = f"{printable(message.subject)}{others}: " if message.subject else ""
    if message.rejecter != POD_SECURITY:
        yield f"{about}refused by {paint(message.rejecter, 'bad')}, not by Pod Security admission\n"
        yield wrapped(message.text, 2, columns) + "\n\n"
        return
    word = "would be refused (this is only a warning)" if message.warned else "refused"
    yield f"{about}{word} by Pod Security admission at {paint(message.policy, 'strong')}\n"
    for said in message.violations:
        yield f"  {paint(said.reason, 'bad')}\n"
        if said.detail:
            yield wrapped(said.detail, 6, columns) + "\n"
        yield wrapped(f"→ {said.control.cure}", 4, columns) + "\n"
    if message.truncated:
        yield wrapped(_TRUNCATED, 2, columns) + "\n"
    if message.rest:
        yield wrapped(f"and what this version does not know: {message.rest}", 2, columns) + "\n"
    yield "\n"


def message_json(messages: Sequence[Message]) -> str:
    """Return the report of pasted messages."""
    entries = [
        {
            "rejectedBy": message.rejecter,
            "policy": message.policy or None,
            "warning": message.warned,
            "subject": message.subject or None,
            "others": message.others,
            "message": message.text,
            "truncated": message.truncated,
            "violations": [
                {"check": said.control.id, "reason": said.reason, "detail": said.detail, "cure": said.control.cure}
                for said in message.violations
            ],
        }
        for message in messages
    ]
    return json_text({"apiVersion": "kubectl-harden/v1", "kind": "RejectionReport", "messages": entries}) + "\n"

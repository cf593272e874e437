"""What is rejected, and what cures it, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from kubectl_harden.cluster.command import Commands
from kubectl_harden.live.propose import Proposal
from kubectl_harden.live.rejections import Rejected, named
from kubectl_harden.model import Problem
from kubectl_harden.pod_security.messages import POD_SECURITY, Message
from kubectl_harden.reports.check import problem_json
from kubectl_harden.reports.fix import planned_json
from kubectl_harden.reports.goals import origin_words, policy_json
from kubectl_harden.reports.live import diff, proposal_notes
from kubectl_harden.reports.terminal import counted, json_text, paint, printable, width, wrapped

__all__ = ["message_json", "message_text", "rejected_json", "rejected_text", "since", "target"]


_TRUNCATED: Final = (
    "the text ends before the message does (an event holds 1,024 characters): there may be more violations. "
    "To see them all: kubectl harden rejected"
)


def rejected_text(found: Rejected, proposal: Proposal | None, commands: Commands) -> Iterator[str]:
    """Yield a workload whose pods are refused: since when, why, and the diff that fixes it, with its command."""
    columns = width()
    name = paint(named(found), "strong")
    yield f"{name}: {counted(found.missing, 'pod')} missing{since(found.since)}\n"
    if found.live.owner:
        yield f"  made by {printable(found.live.owner)}\n"
    if found.rejecter != POD_SECURITY:
        yield f"  refused by {paint(found.rejecter, 'bad')}, not by Pod Security admission\n"
        yield wrapped(found.message, 4, columns) + "\n\n"
        return
    if found.stale:
        words = "was refused by Pod Security admission, and has been mended since: its controller tries again by itself"
        yield wrapped(words, 2, columns) + "\n\n"
        return
    for checked in found.checked:
        if checked.violations:
            yield f'  violates PodSecurity "{checked.policy}"{origin_words(checked.policy)}:\n'
            for violation in checked.violations:
                detail = f" ({violation.detail})" if violation.detail else ""
                reason = paint(violation.reason, "bad")
                if len(violation.reason) + len(detail) + 4 <= columns:
                    yield f"    {reason}{printable(detail)}\n"
                else:
                    yield f"    {reason}\n" + wrapped(violation.detail, 8, columns) + "\n"
    if proposal is not None:
        yield "\n" + diff(proposal)
        yield from proposal_notes(proposal._replace(planned=_only_left(proposal)))
        if proposal.patch and proposal.refusal is None:
            command = commands.harden("fix", target(found), "--apply", namespace=found.live.namespace)
            yield f"  to make this change: {paint(command, 'strong')}\n"
    yield "\n"


def _only_left(proposal: Proposal) -> tuple[Any, ...]:
    """Return the plans of which something is left; their risks are shown before they are applied."""
    return tuple(item._replace(plan=item.plan._replace(steps=())) for item in proposal.planned if item.plan.remaining)


def target(found: Rejected) -> str:
    """Return ``deployment/web``, as a command line names it."""
    resource = found.live.resource
    group = f".{resource.group}" if resource.group not in ("", "apps", "batch") else ""
    return f"{resource.kind.lower()}{group}/{found.live.name}"


def since(text: str) -> str:
    """Return `` since 14:03:22 (5m ago)``."""
    try:
        began = datetime.fromisoformat(text)
    except ValueError:
        return ""
    seconds = int((datetime.now(UTC) - began).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f" since {text} ({seconds // size}{unit} ago)"
    return f" since {text} ({max(seconds, 0)}s ago)"


def rejected_json(found: Sequence[tuple[Rejected, Proposal | None]], problems: Sequence[Problem]) -> str:
    """Return the report of live rejections."""
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
                "violations": [
                    {"check": v.check, "reason": v.reason, "detail": v.detail}
                    for checked in rejected.checked
                    for v in checked.violations
                ],
                "plans": [planned_json(item, item.policy) for item in proposal.planned] if proposal else [],
            }
        )
    head = {"apiVersion": "kubectl-harden/v1", "kind": "RejectionReport"}
    return json_text({**head, "rejections": entries, "errors": [problem_json(item) for item in problems]}) + "\n"


def message_text(message: Message) -> Iterator[str]:
    """Yield the explanation of a pasted message."""
    columns = width()
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

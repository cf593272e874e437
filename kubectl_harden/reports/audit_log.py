"""Pods that an audit log shows, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kubectl_harden.cluster.command import Commands
from kubectl_harden.evidence.audit_log import LogSpan
from kubectl_harden.live.audited import Traced, policy_of
from kubectl_harden.live.find import places
from kubectl_harden.pod_security.policy import NEWEST
from kubectl_harden.reports.terminal import paint, printable, wrapped
from kubectl_harden.times import rfc3339
from kubectl_harden.words import counted, first_of

__all__ = ["audit_json", "audit_notes", "audit_text", "period", "unaudited_json", "unaudited_notes", "unseen_notes"]

_NAMED: Final = 5
_MINUTE: Final = 60


def audit_text(found: Sequence[Traced], span: LogSpan, commands: Commands, *, columns: int) -> Iterator[str]:
    """Yield the violating pods that were created: equal violations once, then their workloads, and what to do."""
    if not found:
        return
    yield "\n" + paint(f"Pods that were created or refused, from the audit log{period(span)}:", "strong") + "\n"
    groups: dict[tuple[str, str], list[Traced]] = {}
    for item in found:
        groups.setdefault((item.creation.policy, item.creation.words), []).append(item)
    for (policy, words), members in groups.items():
        yield f'  violates PodSecurity "{printable(policy)}":\n'
        yield wrapped(printable(words), 6, columns, meaning="bad") + "\n"
        for item in members:
            made = item.creation
            what = counted(made.times, "debug container" if _debugs(item) else "pod")
            what = f"{what} {made.done}" if made.refused or not made.changed else _changes(made.times)
            since = "" if made.times == 1 else f" since {rfc3339(made.first)},"
            told = f": {what}{since} last at {rfc3339(made.last)}"
            yield wrapped(printable(told), 4, columns, head=f"{made.namespace}: {_whose(item)}") + "\n"
            yield from (wrapped(f"→ {printable(line)}", 6, columns) + "\n" for line in _advice(item, commands))
        if any(item.state in ("gone", "unknown") for item in members):
            cures = dict.fromkeys(said.control.cure for item in members for said in item.creation.violations)
            yield "    if you cannot edit it here, whoever creates it has to\n"
            yield from (wrapped(f"– {cure}", 6, columns) + "\n" for cure in cures)
    yield "\n"


def _debugs(item: Traced) -> bool:
    return item.creation.resource.endswith("/ephemeralcontainers")


def _changes(times: int) -> str:
    return "1 pod changed" if times == 1 else f"pods changed {times:,} times"


def period(span: LogSpan) -> str:
    """Return `` from … to …``, the time that a log covers; nothing where that is not known."""
    first, last = span.first, span.last
    return "" if first is None or last is None else f" from {rfc3339(first)} to {rfc3339(last)}"


def _whose(item: Traced) -> str:
    made = item.creation
    if item.target:
        return item.target
    if made.owner is not None:
        return f"{made.owner[0]} {made.owner[1]}"
    more = ", …" if made.times > len(made.names) and not made.changed else ""
    names = f" ({', '.join(made.names)}{more})" if made.names else ""
    return f"by {made.user or 'an unknown user'}{names}"


def _advice(item: Traced, commands: Commands) -> Iterator[str]:
    made = item.creation
    by = f"{made.user or 'an unknown user'}, {made.agent or 'an unknown program'}"
    if item.state == "fixed":
        yield f"its template meets {made.policy} now"
    elif item.state == "violates":
        # What is enforced may ask for less than what is audited.
        policy = policy_of(made.policy, NEWEST)
        pinned = () if made.policy.endswith(":latest") else ("--policy-version", policy.version)
        yield commands.harden("fix", item.target, "--level", policy.level, *pinned, namespace=made.namespace)
    elif item.candidates:
        names = first_of(item.candidates, _NAMED)
        yield f"the log does not say which of these created it, and each of them would: {names}"
    elif item.target and not made.rest:
        yield f"its template meets {made.policy} and is older than this: something changes its pods at admission"
    elif _debugs(item):
        yield f"{by}: kubectl debug --profile=restricted adds containers that meet the level"
    else:
        yield f"{'it is gone; ' if item.state == 'gone' else ''}change what creates it ({by})"


def audit_notes(span: LogSpan) -> Iterator[str]:
    """Yield what a person should know about the log, other than what is lost of it: what it cannot show."""
    if not span.evaluations:
        yield (
            "the audit log has no pod that admission judged: whether its audit policy leaves pods out is not known "
            "(they are needed at the level Metadata)"
        )
    if span.left_out_files:
        names = first_of(span.left_out_files, _NAMED)
        yield f"not read, since not named like a log: {names} (--audit-log may be repeated)"
    ahead = span.untimely - span.timeless
    if ahead:
        verb = "has" if ahead == 1 else "have"
        yield f"{counted(ahead, 'event')} of the audit log {verb} a time that cannot be right"


def unaudited_notes(span: LogSpan, since: Mapping[str, float | None]) -> Iterator[str]:
    """Yield in which namespaces the log cannot show what violates the level; ``since`` is as of ``audited_since``."""
    never, later = _unaudited(span, since)
    yield from unseen_notes(never)
    if later:
        told = first_of([f"{name} since {rfc3339(at)}" for name, at in later.items()], _NAMED)
        yield (
            "the audit log does not show what violated before the level was audited or enforced, as far as is known: "
            f"{told}"
        )


def unseen_notes(namespaces: Sequence[str]) -> Iterator[str]:
    """Yield that the log cannot show what violates the level in namespaces."""
    if namespaces:
        what = "the level is neither audited nor enforced there"
        yield f"the audit log does not show every violation{places(namespaces)}: {what}, as far as labels tell"


def unaudited_json(span: LogSpan, since: Mapping[str, float | None] | None) -> dict[str, object]:
    """Return the same for programs; null where the namespaces could not be read."""
    if since is None:
        return {"unaudited": None, "auditedSince": None}
    never, later = _unaudited(span, since)
    return {"unaudited": never, "auditedSince": {name: rfc3339(at) for name, at in later.items()}}


def _unaudited(span: LogSpan, since: Mapping[str, float | None]) -> tuple[list[str], dict[str, float]]:
    """Return the namespaces without the level, and those that had none when the log begins."""
    begun = (span.first or 0) + _MINUTE
    never = [name for name, at in since.items() if at is None]
    return never, {name: at for name, at in since.items() if at is not None and at >= begun}


def audit_json(found: Sequence[Traced], span: LogSpan, others: int) -> dict[str, object]:
    """Return the same for programs; times are RFC 3339."""
    first, last = span.first, span.last
    return {
        "from": None if first is None else rfc3339(first),
        "to": None if last is None else rfc3339(last),
        "events": span.events,
        "podsJudged": span.evaluations,
        "unreadable": span.unreadable + len(span.cut_files),
        "foreign": span.foreign,
        "untimely": span.untimely,
        "leftOut": others,
        "created": [_created(item) for item in found],
    }


def _created(item: Traced) -> dict[str, object]:
    made = item.creation
    owner = None if made.owner is None else {"kind": made.owner[0], "name": made.owner[1]}
    return {
        "namespace": made.namespace,
        "resource": made.resource,
        "owner": owner,
        "workload": item.target or None,
        "candidates": list(item.candidates),
        "state": item.state,
        "user": made.user,
        "agent": made.agent,
        "policy": made.policy,
        "refused": made.refused,
        "changed": made.changed,
        "violations": [
            {"check": said.control.id, "reason": said.reason, "detail": said.detail} for said in made.violations
        ],
        "unread": made.rest,
        "count": made.times,
        "first": rfc3339(made.first),
        "last": rfc3339(made.last),
        "names": list(made.names),
    }

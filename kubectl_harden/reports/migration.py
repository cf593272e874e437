"""A survey and what a migration did, for programs (JSON) and for tickets (Markdown)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kubectl_harden.field_path import pointer
from kubectl_harden.json_values import mapping
from kubectl_harden.migration.migrate import Migrated
from kubectl_harden.migration.model import Aim, Blocker, NamespaceSurvey, Soak, Survey, Surveyed
from kubectl_harden.model import LADDER, RISKS, Problem
from kubectl_harden.pod_security.in_force import InForce
from kubectl_harden.pod_security.namespace_labels import MODES
from kubectl_harden.reports.audit_log import audit_json
from kubectl_harden.reports.entries import problem_json
from kubectl_harden.reports.live import next_write_json
from kubectl_harden.reports.markdown import markdown_code, markdown_text
from kubectl_harden.reports.matrix import STATES, causes, enforced, held_back, reached
from kubectl_harden.reports.origin import origin_json, origin_words

__all__ = ["joined_json", "markdown", "report_json"]


def report_json(found: Survey, aim: Aim, done: Sequence[Migrated], problems: Sequence[Problem]) -> dict[str, Any]:
    """Return a MigrationReport."""
    outcomes = {item.name: item for item in done}
    counts = {state: sum(item.state == state for item in found.namespaces) for state in STATES}
    ended: dict[str, int] = {}
    for item in done:
        ended[item.state] = ended.get(item.state, 0) + 1
    return {
        "apiVersion": "kubectl-harden/v1",
        "kind": "MigrationReport",
        "target": {"level": aim.level, "version": aim.version},
        "namespaces": [_namespace(item, outcomes.get(item.name)) for item in found.namespaces],
        **_audit_log(found, aim.soak),
        "errors": [problem_json(problem) for problem in problems],
        "summary": {
            "namespaces": len(found.namespaces),
            **counts,
            "workloads": sum(len(item.workloads) for item in found.namespaces),
            "wouldBreak": sum(workload.breaks for item in found.namespaces for workload in item.workloads),
            "toFix": sum(len(item.to_fix) for item in found.namespaces),
            **({"outcomes": ended} if done else {}),
        },
    }


def joined_json(
    reports: Iterable[tuple[str, Mapping[str, object] | None]], problems: Iterable[Problem]
) -> dict[str, object]:
    """Return one MigrationReport of several clusters, whose entries name their cluster; None is of one that failed."""
    namespaces: list[object] = []
    clusters: list[object] = []
    for name, report in reports:
        of_all = {} if report is None or "upgrade" not in report else {"upgrade": report["upgrade"]}
        clusters.append({"cluster": name, "summary": None if report is None else report["summary"], **of_all})
        entries = None if report is None else report["namespaces"]
        namespaces += [{"cluster": name, **mapping(item)} for item in entries] if isinstance(entries, list) else []
    return {
        "apiVersion": "kubectl-harden/v1",
        "kind": "MigrationReport",
        "clusters": clusters,
        "namespaces": namespaces,
        "errors": [problem_json(problem) for problem in problems],
    }


def _audit_log(found: Survey, soak: Soak | None) -> dict[str, object]:
    if soak is None:
        return {}
    traced = [item for one in found.namespaces for item in soak.traced.get(one.name, ())]
    return {"auditLog": {**audit_json(traced, soak.span, soak.others), "soakSeconds": soak.seconds}}


def _namespace(item: NamespaceSurvey, done: Migrated | None) -> dict[str, object]:
    levels = {level: sum(workload.now == level for workload in item.workloads) for level in reversed(LADDER)}
    out: dict[str, Any] = {
        "name": item.name,
        "uid": item.uid,
        "labels": dict(item.labels),
        "inForce": in_force_json(item.in_force),
        "labelsManagedBy": [manager.name for manager in item.managers],
        **({"labelsFile": item.labels_file} if item.labels_file else {}),
        **origin_json(item.origin),
        "state": item.state,
        "goal": {"level": item.goal.level, "version": str(item.goal).partition(":")[2]},
        "meets": item.now,
        "reaches": reached(item),
        "levels": levels,
        "barePods": item.bare_pods,
        "violatingPods": len(item.pods),
        **({"toEvict": list(item.to_evict)} if item.to_evict else {}),
        "workloads": [_workload(workload) for workload in item.workloads],
        "blockers": [_blocker(blocker) for blocker in item.blockers],
        "server": {
            "asked": item.server.asked,
            **({"why": item.server.why} if item.server.why else {}),
            "warnings": list(item.server.warnings),
            **({"agrees": item.server.agrees} if item.server.asked else {}),
            **({"expected": list(item.server.expected)} if item.server.asked and not item.server.agrees else {}),
        },
    }
    if done is not None:
        out["outcome"] = {
            "state": done.state,
            "message": done.message,
            "labels": dict(done.labels or {}),
            "blockers": [_blocker(blocker) for blocker in done.blockers],
            "workloads": [
                {"name": outcome.proposal.name, "state": outcome.state, "message": outcome.message}
                for outcome in done.outcomes
            ],
            **({"readyPods": done.ready[0], "pods": done.ready[1]} if done.ready is not None else {}),
        }
    return out


def in_force_json(now: InForce) -> dict[str, object]:
    """Return the policies in force by mode, where each comes from, and whether the namespace is exempt."""
    out: dict[str, object] = {"exempt": now.exempt == "namespace"}
    for mode in MODES:
        policy = now.modes.get(mode)
        origin = "not known" if mode in now.unknown else "cluster default" if mode in now.defaults else "label"
        out[mode] = {"policy": str(policy) if policy is not None else "privileged", "origin": origin}
    return out


def _workload(item: Surveyed) -> dict[str, object]:
    proposal = item.proposal
    edits = [edit for planned in proposal.planned for edit in planned.plan.edits]
    risks = {risk: sum(edit.risk == risk for edit in edits) for risk in RISKS}
    held_back = [edit for planned in proposal.planned for edit in planned.plan.held_back]
    return {
        "apiVersion": proposal.live.resource.api_version,
        "kind": proposal.live.resource.kind,
        "name": proposal.live.name,
        "uid": proposal.live.uid,
        "level": item.now,
        "after": item.after,
        "team": item.team,
        "owner": proposal.live.owner,
        "managedBy": [manager.name for manager in proposal.managers],
        "nextWrite": next_write_json(proposal),
        "edits": [pointer(edit.path) for edit in edits],
        "risks": {risk: count for risk, count in risks.items() if count},
        "heldBack": [{"path": pointer(edit.path), "risk": edit.risk, "why": edit.why} for edit in held_back],
        "notApplicable": proposal.refusal,
        **({"atAdmission": proposal.by_policy} if proposal.by_policy else {}),
        **origin_json(proposal.origin),
    }


def _blocker(blocker: Blocker) -> dict[str, object]:
    return {
        "object": blocker.subject,
        "check": blocker.check,
        "cause": blocker.cause,
        "what": blocker.what,
        "why": blocker.why,
        "choices": list(blocker.choices),
        "commands": list(blocker.commands),
        "owner": blocker.owner,
        "team": blocker.team,
    }


def markdown(found: Survey, aim: Aim, done: Sequence[Migrated]) -> Iterator[str]:
    """Yield a report for a pull request or a ticket."""
    goal = "the highest level they can reach" if aim.level == "highest" else aim.level
    yield f"# Namespaces on their way to {goal}\n\n"
    counts = {state: sum(item.state == state for item in found.namespaces) for state in STATES}
    yield ", ".join(f"{counts[state]:,} {words}" for state, (_, _, words) in STATES.items() if counts[state]) + ".\n\n"
    outcomes = {item.name: item for item in done}
    heads = ["Namespace", "State", "Enforces", "Meets", "Reaches", "Workloads", "Fixes", "Held back by"]
    if done:
        heads.insert(2, "Outcome")
    yield "| " + " | ".join(heads) + " |\n"
    yield "|" + " --- |" * len(heads) + "\n"
    for state, (mark, _, words) in STATES.items():
        for item in found.namespaces:
            if item.state != state:
                continue
            cells = [f"{mark} {words}", enforced(item), item.now, reached(item),
                     f"{len(item.workloads):,}", f"{len(item.to_fix):,}", held_back(item) or "–"]  # fmt: skip
            if done:
                ended = outcomes.get(item.name)
                cells.insert(1, ended.state if ended is not None else "–")
            yield f"| `{markdown_code(item.name)}` | {' | '.join(map(markdown_text, cells))} |\n"
    counted_causes = causes(found.namespaces)
    if counted_causes:
        yield "\n## What holds them back\n\n| Cause | Objects | Namespaces |\n| --- | ---: | ---: |\n"
        for cause, objects, namespaces in counted_causes:
            yield f"| {markdown_text(cause)} | {objects:,} | {namespaces:,} |\n"
        yield "\n"
        for item in found.namespaces:
            for blocker in item.blockers:
                words = blocker.subject + (f" (team {blocker.team})" if blocker.team else "")
                words += f": {blocker.what}" + (f": {blocker.why}" if blocker.why else "")
                yield f"- [ ] `{markdown_code(item.name)}` {markdown_text(words)}\n"
                yield from (f"  - {markdown_text(command)}\n" for command in blocker.commands)
                if blocker.origin:
                    yield f"  - from {markdown_text(origin_words(blocker.origin))}\n"
    failed = [item for item in done if item.state in ("failed", "drifted", "stopped")]
    if failed:
        yield "\n## What went wrong\n\n"
        for ended in failed:
            words = ended.message or (ended.blockers[0].what if ended.blockers else "")
            yield f"- `{markdown_code(ended.name)}` {ended.state}: {markdown_text(words)}\n"

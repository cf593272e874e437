"""What is to be done for the Namespaces of files, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kubectl_harden.field_path import pointer
from kubectl_harden.manifests.namespace_plans import Aim, HeldBack, Migration, NamespacePlan
from kubectl_harden.model import LADDER, Source
from kubectl_harden.plan_model import Planned
from kubectl_harden.pod_security.in_force import in_force
from kubectl_harden.pod_security.namespace_labels import MODES, PREFIX, pod_security_labels, rank
from kubectl_harden.pod_security.policy import NEWEST
from kubectl_harden.reports.entries import identity_json, problem_json, source_json
from kubectl_harden.reports.states import STATES, State, counts_of, legend, levels_words
from kubectl_harden.reports.terminal import level_text, object_name, paint, place, printable, wrapped
from kubectl_harden.words import counted

__all__ = ["details", "report_json", "summary", "table", "unplaced_note"]

_LEVEL: Final = 10
_NAMED: Final = 3


def table(found: Migration, *, columns: int) -> Iterator[str]:
    """Yield the table of Namespaces, a line each; one that is held back has a second one."""
    if not found.namespaces:
        return
    head = f"{'ENFORCES':<{_LEVEL}}  {'MEETS':<{_LEVEL}}  {'REACHES':<{_LEVEL}}  WORKLOADS  EDITS"
    yield paint(f"  {head}  NAMESPACE", "strong") + "\n"
    for state, (mark, meaning, _) in STATES.items():
        for item in found.namespaces:
            if item.state != state:
                continue
            levels = "  ".join(map(_padded, (enforced(item), item.now, item.after)))
            edits = f"{len(item.edited):>5,}" if item.edited else "    –"
            yield f"{paint(mark, meaning)} {levels}  {len(item.workloads):>9,}  {edits}  {printable(item.name)}\n"
            causes = Counter(cause for cause, _ in dict.fromkeys((held.cause, held.subject) for held in item.held_back))
            if causes:
                words = ", ".join(f"{cause} ({count})" for cause, count in causes.items())
                yield wrapped(f"held back from {item.target.level} by {words}", 4, columns) + "\n"
    yield legend(item.state for item in found.namespaces)


def _padded(level: str | None) -> str:
    return level_text(level) + " " * (_LEVEL - len(level)) if level is not None else f"{'–':<{_LEVEL}}"


def enforced(item: NamespacePlan) -> str | None:
    """Return the lowest level that the labels of a Namespace's objects enforce, None where one of them has none."""
    levels = [one.labels.get(f"{PREFIX}enforce") for one in item.declared]
    known = [level for level in LADDER if level in levels]
    return None if None in levels else min(known, key=rank, default=None)


def details(item: NamespacePlan, *, columns: int, labels: bool = False) -> Iterator[str]:
    """Yield what holds a Namespace back, object by object, with its place; with ``labels`` what its objects have."""
    for one, wanted in zip(item.declared, item.labels, strict=True) if labels else ():
        now = _labels_line(pod_security_labels(one.labels))
        becomes = f"; to set: {_labels_line(wanted)}" if wanted else ""
        yield "\n" + wrapped(f"{place(one.source)}: labels {now}{becomes}", 0, columns) + "\n"
    if not item.held_back:
        return
    yield f"\n{paint(item.name, 'strong')} is held back from {item.target.level} by\n"
    by_subject: dict[str, list[HeldBack]] = {}
    for held in item.held_back:
        by_subject.setdefault(held.subject, []).append(held)
    for subject, listed in by_subject.items():
        if subject:
            yield f"  {paint(subject, 'strong')}\n"
        for held in listed:
            where = f"{place(held.source)}: " if held.source is not None else ""
            yield wrapped(f"{where}{held.what}", 4, columns, meaning="bad") + "\n"
            for why in dict.fromkeys(held.why.split("; ")) if held.why else ():
                yield wrapped(why, 6, columns) + "\n"
            for choice in held.choices:
                yield wrapped("– " + choice, 6, columns) + "\n"


def _labels_line(labels: Any) -> str:
    return ", ".join(f"{key.removeprefix(PREFIX)}={text}" for key, text in labels.items()) or "none"


def unplaced_note(unplaced: Iterable[Planned]) -> str:
    """Return the note on workloads that name no namespace, or nothing where there are none."""
    names = [f"{object_name(item.identity)} ({place(item.identity.source)})" for item in unplaced]
    if not names:
        return ""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    head = "what names no namespace may be deployed into any of these, is not edited, and holds none back"
    return f"{head}: {', '.join(names[:_NAMED])}{more}"


def summary(found: Migration, aim: Aim, *, written: bool) -> str:
    """Return the last line for people."""
    if not found.namespaces:
        return "no Namespaces found in these files"
    goal = "the highest level that their workloads allow" if aim.level == "highest" else aim.level
    labels = ("raised by labels",) * 2 if written else ("needs only labels", "need only labels")
    words: dict[State, tuple[str, str]] = {
        "done": (f"at {goal} already",) * 2,
        "ready": labels,
        "fixable": ("reached by edits of workloads",) * 2,
        "blocked": ("held back",) * 2,
    }
    states = counts_of((item.state for item in found.namespaces), words)
    if aim.level == "highest" and len(found.namespaces) > 1:
        states += f" ({levels_words(item.after or item.now or LADDER[0] for item in found.namespaces)})"
    workloads = sum(len(item.workloads) for item in found.namespaces)
    edited = sum(len(item.edited) for item in found.namespaces)
    line = f"{counted(len(found.namespaces), 'Namespace')}, {counted(workloads, 'workload')}: {states}"
    if found.files:
        done = "edited" if written else "to edit"
        of = f"{counted(edited, 'workload')} in " if edited else ""
        line += f"; {of}{counted(len(found.files), 'file')} {done}" + ("" if written else "; --write makes the edits")
    return f"{line}. Files do not show what else runs in their namespaces; migrate without -f asks the cluster"


# -- JSON --------------------------------------------------------------------------------------------------


def report_json(found: Migration, aim: Aim, *, written: bool) -> dict[str, Any]:
    """Return a MigrationReport of files; what is only known of a cluster is not in it."""
    counts = Counter(item.state for item in found.namespaces)
    return {
        "apiVersion": "kubectl-harden/v1",
        "kind": "MigrationReport",
        "target": {"level": aim.level, "version": aim.version},
        "written": written,
        "namespaces": [_namespace(item, found) for item in found.namespaces],
        "unplaced": [identity_json(item.identity) | {"level": item.plan.before} for item in found.unplaced],
        "notes": [problem_json(note) for note in found.notes],
        "errors": [problem_json(problem) for problem in found.problems],
        "summary": {
            "namespaces": len(found.namespaces),
            **{state: counts[state] for state in STATES},
            "workloads": sum(len(item.workloads) for item in found.namespaces),
            "toFix": sum(len(item.edited) for item in found.namespaces),
            "files": len(found.files),
            "errors": len(found.problems),
        },
    }


def _namespace(item: NamespacePlan, found: Migration) -> dict[str, Any]:
    levels = {level: sum(workload.plan.before == level for workload in item.workloads) for level in reversed(LADDER)}
    return {
        "name": item.name,
        "objects": [
            {
                "source": source_json(one.source),
                "labels": pod_security_labels(one.labels),
                "inForce": _in_force(one.labels),
                "labelEdits": dict(wanted),
            }
            for one, wanted in zip(item.declared, item.labels, strict=True)
        ],
        "state": item.state,
        "goal": {"level": item.goal.level, "version": str(item.goal).partition(":")[2]},
        "meets": item.now,
        "reaches": item.after,
        "levels": levels,
        "workloads": [_workload(workload, edited=workload in item.edited) for workload in item.workloads],
        "blockers": [_held_back(held) for held in item.held_back],
        **({"enforceNotWritten": True} if item.name in found.not_raised else {}),
    }


def _in_force(labels: Any) -> dict[str, Any]:
    """Return the policy of each mode, and where it comes from: without a label, only an API server can tell."""
    now = in_force(labels, NEWEST, {})
    out: dict[str, Any] = {}
    for mode in MODES:
        policy = now.modes.get(mode)
        origin = "not known" if mode in now.unknown else "label"
        out[mode] = {"policy": str(policy) if policy is not None else "privileged", "origin": origin}
    return out


def _workload(item: Planned, *, edited: bool) -> dict[str, Any]:
    plan = item.plan
    risks = Counter(edit.risk for edit in plan.edits)
    return {
        **identity_json(item.identity),
        "level": plan.before,
        "after": plan.after,
        "edited": edited,
        "edits": [pointer(edit.path) for edit in plan.edits],
        "risks": dict(risks),
        "heldBack": [{"path": pointer(edit.path), "risk": edit.risk, "why": edit.why} for edit in plan.held_back],
    }


def _held_back(held: HeldBack) -> dict[str, Any]:
    return {
        "object": held.subject,
        **({"source": source_json(held.source)} if isinstance(held.source, Source) else {}),
        "check": held.check,
        "cause": held.cause,
        "what": held.what,
        "why": held.why,
        "choices": list(held.choices),
    }

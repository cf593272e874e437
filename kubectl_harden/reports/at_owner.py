"""Custom resources that workloads are made from, and changes of them, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from kubectl_harden.field_path import field_path
from kubectl_harden.json_values import ABSENT
from kubectl_harden.live.at_owner import AtOwner, set_fields
from kubectl_harden.live.operator_fields import Field
from kubectl_harden.live.propose import Proposal
from kubectl_harden.reports.terminal import paint, wrapped

__all__ = ["owner_json", "owner_notes"]

_LONGEST: Final = 120
_WHOLE: Final = ("pod template", "pod spec", "containers by name")
"""Shapes that may hold more than security settings: their values are not shown."""


def owner_notes(
    found: AtOwner, commands: tuple[str, str], others: Sequence[str] = (), *, columns: int
) -> Iterator[str]:
    """Yield what a person should know about the custom resource that a workload is made from.

    ``commands`` change it ("" where that is being done), and have a policy change the workload's pods at admission.
    ``others`` are workloads that are made from it, too.
    """
    head = f"{found.name} ({found.api_version})".removesuffix(" ()")
    parts = [f"{field_path(field.path)} ({field.shape}, {_value(field)})" for field in found.fields if not field.free]
    if parts:
        yield _line("owner  ", "strong", f"{head} has {'; '.join(parts)}", columns)
    free = [field_path(field.path) for field in found.fields if field.free]
    if free:
        words = f"{head} takes anything in {', '.join(free)}: what its operator makes of it is not in the schema. "
        words += f"If it has the shape that its name suggests, --at-owner --owner-field {free[0]} tries it"
        yield _line("owner  ", "strong", words, columns)
    if found.change is None:
        words = f"{head}: {found.problem}. At admission a policy makes the edits: {commands[1]}"
        yield _line("owner  ", "warn", words, columns)
    elif found.change.refusal is not None:
        yield _line("owner  ", "warn", f"{head} cannot be changed: {found.change.refusal}", columns)
    elif not found.change.patch:
        words = f"{head} already says so, but its operator does not act on it"
        yield _line("owner  ", "warn", f"{words}. At admission a policy makes the edits: {commands[1]}", columns)
    else:
        command = f": {commands[0]}" if commands[0] else ""
        yield _line("owner  ", "strong", f"{_deeds(found.change)}{command}", columns)
        if others:
            words = f"{', '.join(others)}: also made from it, may change with it, and is not followed"
            yield _line("others ", "warn", words, columns)
        for text in found.change.warnings:
            yield _line("warning", "warn", text, columns)


def _line(label: str, meaning: str, words: str, columns: int) -> str:
    return f"  {paint(label, meaning)} " + wrapped(words, 10, columns).lstrip() + "\n"


def _value(field: Field) -> str:
    if field.value is ABSENT:
        return "not set"
    return "set" if field.shape in _WHOLE else _shown(field.value)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _deeds(change: Proposal) -> str:
    fields = set_fields(change)
    gone = [path for path, value in fields if value is ABSENT]
    values = [f"{path} to {_shown(value)}" for path, value in fields if value is not ABSENT]
    parts = [f"{verb} {', '.join(names)}" for verb, names in (("sets", values), ("takes out", gone)) if names]
    return f"a change of {change.name} {' and '.join(parts)}"


def owner_json(found: AtOwner | None) -> dict[str, object]:
    """Return what a FixPlan's workload says about the custom resource that it is made from, nothing without one."""
    if found is None:
        return {}
    fields = [
        {"path": field_path(field.path), "shape": field.shape, "set": field.value is not ABSENT, "free": field.free}
        | ({"value": field.value} if field.value is not ABSENT and field.shape not in _WHOLE else {})
        for field in found.fields
    ]
    out: dict[str, object] = {"object": found.name, "apiVersion": found.api_version, "fields": fields}
    change = found.change
    if change is not None:
        out["patch"] = list(change.patch)
    problem = found.problem or (change.refusal if change is not None else "")
    return {"atOwner": {**out, **({"problem": problem} if problem else {})}}

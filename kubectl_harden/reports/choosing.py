"""What ``fix -i`` shows of edits before it asks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Edit, Identity
from kubectl_harden.planning.field_edits import edited
from kubectl_harden.reports.terminal import object_name, paint, place, printable, risk_text, wrapped
from kubectl_harden.yaml_text.tree import dump

__all__ = ["heading", "of_object", "question"]

_MEANINGS: Final = {"-": "bad", "+": "good", "@": "place"}


def heading(identity: Identity) -> Iterator[str]:
    """Yield which object the next questions are about."""
    where = place(identity.source)
    yield f"\n{paint(object_name(identity), 'strong')}{f'  {where}' if where else ''}\n"


def of_object(identity: Identity, value: Any, edits: Sequence[Edit]) -> list[tuple[str, str]]:
    """Return a diff of an object as YAML, as (meaning, line), for one that has no lines of a file."""
    spec = {"spec": value["spec"]} if isinstance(value, dict) and "spec" in value else value
    changed = edited(spec, [edit._replace(path=(*identity.pod_path, *edit.path)) for edit in edits])
    lines = difflib.unified_diff(dump(spec).splitlines(), dump(changed).splitlines(), lineterm="", n=3)
    return [(_MEANINGS.get(line[:1], ""), line) for line in list(lines)[2:]]


def question(
    identity: Identity, edits: Sequence[Edit], lines: Iterable[tuple[str, str]], *, columns: int
) -> Iterator[str]:
    """Yield the lines that edits change, old and new, else their fields, with the risk and the evidence."""
    yield "\n"
    shown = [f"{paint(line, meaning) if meaning else printable(line)}\n" for meaning, line in lines]
    yield from shown or (line for edit in edits for line in _field(identity, edit))
    edit = edits[0]
    asked = f"({edit.companion}) " if edit.companion else ""
    yield f"  {risk_text(edit.risk, 7)} " + wrapped(asked + edit.why, 10, columns).lstrip() + "\n"
    yield from (wrapped("– " + offer, 10, columns) + "\n" for offer in edit.offers)


def _field(identity: Identity, edit: Edit) -> Iterator[str]:
    field = pointer((*identity.pod_path, *edit.path))
    if edit.op == "remove":
        yield f"  {paint(f'- {field}', 'bad')}\n"
        return
    value = dump(edit.value).removesuffix("...\n").rstrip("\n")
    first, *others = [f"+ {field}: {value}"] if "\n" not in value else [f"+ {field}:", *value.split("\n")]
    yield f"  {paint(first, 'good')}\n"
    yield from (f"      {paint(line, 'good')}\n" for line in others)

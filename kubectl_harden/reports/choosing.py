"""What ``fix -i`` shows of an edit before it asks."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Edit, Identity
from kubectl_harden.reports.terminal import object_name, paint, place, risk_text, wrapped
from kubectl_harden.yaml_text.tree import dump

__all__ = ["heading", "question"]


def heading(identity: Identity) -> Iterator[str]:
    """Yield which object the next questions are about."""
    where = place(identity.source)
    yield f"\n{paint(object_name(identity), 'strong')}{f'  {where}' if where else ''}\n"


def question(identity: Identity, edit: Edit, *, columns: int) -> Iterator[str]:
    """Yield an edit as a diff of its field, with its risk and the evidence."""
    field = pointer((*identity.pod_path, *edit.path))
    if edit.op == "remove":
        yield f"\n  {paint(f'- {field}', 'bad')}\n"
    else:
        value = dump(edit.value).removesuffix("...\n").rstrip("\n")
        first, *others = [f"+ {field}: {value}"] if "\n" not in value else [f"+ {field}:", *value.split("\n")]
        yield f"\n  {paint(first, 'good')}\n"
        yield from (f"      {paint(line, 'good')}\n" for line in others)
    asked = f"({edit.companion}) " if edit.companion else ""
    yield f"  {risk_text(edit.risk, 7)} " + wrapped(asked + edit.why, 10, columns).lstrip() + "\n"
    yield from (wrapped("– " + offer, 10, columns) + "\n" for offer in edit.offers)

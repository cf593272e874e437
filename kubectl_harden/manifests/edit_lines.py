"""The lines of a file that an edit changes, for a person who is asked about it."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_harden.errors import EditError, InputError
from kubectl_harden.model import Edit, Identity, Source, Splice
from kubectl_harden.objects import held_by
from kubectl_harden.planning.field_edits import edited, in_object
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.documents import readable
from kubectl_harden.yaml_text.editor import edit_document

__all__ = ["edit_lines"]


def edit_lines(identity: Identity, edits: Sequence[Edit]) -> tuple[str, list[Splice]]:
    """Return a file's text, and the splices that make edits of a pod template in it; none where they cannot be shown.

    The edits are relative to the pod template, and made in the unchanged file.
    """
    source = identity.source
    if not isinstance(source, Source) or source.file == "-":
        return "", []
    try:
        text = read_text(source.file)
        document = next(one for one in readable(text) if one.index == source.document)
        goal = _goal(document.value, source.item, identity, edits)
        return text, edit_document(document, goal)
    except (InputError, EditError, LookupError, StopIteration):
        return "", []


def _goal(value: object, item: int | None, identity: Identity, edits: Sequence[Edit]) -> object:
    """Return a document's value with the edits. Raises LookupError where the pod template is not found."""
    if item is None:
        location = next((one for one in locate(value, {}) or () if one.path == identity.pod_path), None)
        if location is None:
            raise LookupError(identity.pod_path)
        return edited(value, in_object(value, location, edits))
    held = held_by(value)
    if held is None or not isinstance(value, dict):
        raise LookupError(item)
    key, items = held
    return {**value, key: [*items[:item], _goal(items[item], None, identity, edits), *items[item + 1 :]]}

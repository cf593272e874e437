"""The file that a chart's values go into, and its change."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from kubectl_harden.json_values import copied
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.manifests.value_candidates import merged
from kubectl_harden.model import Splice
from kubectl_harden.plan_model import FileFix
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.documents import Document, documents, only_document
from kubectl_harden.yaml_text.editor import edit_document
from kubectl_harden.yaml_text.tree import dump

__all__ = ["added", "edited", "values_file"]


def values_file(chart: Chart, out: str | None) -> str | None:
    """Return the file that values go into: the one asked for, the last one on the command line, or the chart's own.

    None where the chart is an archive, which is not edited.
    """
    if out is not None or chart.values:
        return out or chart.values[-1]
    return os.path.join(chart.path, "values.yaml") if os.path.isdir(chart.path) else None


def edited(file: str, values: Mapping[str, Any]) -> FileFix:
    """Return the change of a values file that adds values. Raises InputError, and EditError where it is not proved."""
    text = read_text(file) if os.path.exists(file) else ""
    return FileFix(file, text, tuple(added(text, values)), (), ())


def added(text: str, values: Mapping[str, object]) -> Sequence[Splice]:
    """Return the splices that add values to a text. Raises InputError, and EditError where they are not proved."""
    if all(isinstance(found, Document) and found.value is None for found in documents(text)):
        # No values yet, or comments only.
        start = "" if not text or text.endswith("\n") else "\n"
        return [(len(text), len(text), start + dump(values))]
    document = only_document(text)
    goal = copied(document.value)
    merged(goal, values)
    return edit_document(document, goal)

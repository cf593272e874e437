"""What a chart says about its values and its hooks: comments, its schema, and what only ``helm test`` runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kubectl_harden.manifests.chart_files import ChartFiles
from kubectl_harden.manifests.discovery import Found
from kubectl_harden.model import Path
from kubectl_harden.objects import annotation
from kubectl_harden.yaml_text.documents import Document, readable

__all__ = ["only_tests", "said"]

_HOOK: Final = "helm.sh/hook"
_TESTS: Final = frozenset({"test", "test-success", "test-failure"})
_LONGEST: Final = 240
_MARK: Final = re.compile(r"^#+\s?(--\s)?|@(param|section|default|schema|raw)\b\s*(\S+\s)?(\[[^\]]*\]\s*)?")


def only_tests(rendered: Iterable[Found]) -> frozenset[tuple[str, str]]:
    """Return kind and name of the objects that a chart creates only for ``helm test``.

    https://helm.sh/docs/topics/chart_tests/
    """
    return frozenset(
        (str(value.get("kind")), str(metadata.get("name")))
        for one in rendered
        if one.text is not None and _HOOK in one.text
        for value in (document.value for document in readable(one.text))
        if isinstance(value, dict) and isinstance(metadata := value.get("metadata"), dict) and _is_test(value)
    )


def _is_test(value: Any) -> bool:
    hooks = annotation(value, _HOOK)
    return isinstance(hooks, str) and {hook.strip() for hook in hooks.split(",")} <= _TESTS


def said(charts: Iterable[ChartFiles], paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield what charts say about values, by the dotted path of each: the comment above it, or its schema's
    description.
    """
    listed = list(charts)
    for path in paths:
        for chart in listed:
            inner = path[len(chart.path) :]
            words = _said_by(chart, inner) if path[: len(chart.path)] == chart.path and inner else ""
            if words:
                yield ".".join(map(str, path)), words
                break


def _said_by(chart: ChartFiles, path: Path) -> str:
    document = next((one for one in readable(chart.values) if isinstance(one.value, dict)), None)
    for end in range(len(path), 0, -1):
        words = _comment(document, chart.values, path[:end]) if document is not None else ""
        words = words or _description(chart.schema, path[:end])
        if words:
            return words if len(words) <= _LONGEST else words[:_LONGEST].rsplit(" ", 1)[0] + " …"
    return ""


def _comment(document: Document, text: str, path: Path) -> str:
    """Return the comment right above a key, without its marks; "" where the key does not exist."""
    offset = document.offset_of(path)
    start = text.rfind("\n", 0, offset) + 1
    key = str(path[-1])
    if not text.startswith((key, f'"{key}"', f"'{key}'"), offset) or text[start:offset].strip():
        return ""
    lines: list[str] = []
    for line in reversed(text[:start].splitlines()):
        bare = line.strip()
        if not bare.startswith("#") or len(line) - len(line.lstrip()) != offset - start:
            break
        about = _MARK.sub("", bare).strip()
        # Values that are commented out are not a description.
        if about and not re.match(r"[\w.-]+:(\s|$)|- |\w+://", about):
            lines.insert(0, about)
        elif lines:
            break
    return " ".join(lines)


def _description(schema: str, path: Path) -> str:
    value: Any = next((one.value for one in readable(schema)), None) if schema else None
    for key in path:
        properties = value.get("properties") if isinstance(value, dict) else None
        value = properties.get(key) if isinstance(properties, dict) else None
    words = value.get("description") if isinstance(value, dict) else None
    return " ".join(words.split()) if isinstance(words, str) else ""

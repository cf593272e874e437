"""Values of a Helm release, for people: their diff, and what an upgrade with them does."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubectl_harden.json_values import copied
from kubectl_harden.reports.terminal import paint, printable, wrapped
from kubectl_harden.yaml_text.tree import dump

__all__ = ["release_notes", "values_diff"]


def values_diff(release: str, before: Mapping[str, object], added: Mapping[str, object]) -> str:
    """Return the unified diff of the values that users have given a release: ``before``, and with what is ``added``.

    Only what changes is in it: the other values may hold secrets.
    """
    shared = _shared(before, added)
    old = dump(shared).splitlines() if shared else []
    new = dump(_joined(shared, added)).splitlines()
    lines = difflib.unified_diff(old, new, f"live/{release}", f"fixed/{release}", lineterm="", n=len(new))
    meanings = {"-": "bad", "+": "good", "@": "place"}
    out = []
    for index, line in enumerate(lines):
        meaning = "strong" if index < 2 else meanings.get(line[:1], "")
        out.append(paint(line, meaning) if meaning else printable(line))
    return "\n".join(out) + "\n"


def _shared(values: Mapping[str, object], like: Mapping[str, object]) -> dict[str, Any]:
    """Return the part of values that others have, too."""
    return {
        key: _shared(value, other) if isinstance(value, dict) and isinstance(other, dict) else value
        for key, other in like.items()
        if key in values
        for value in (values[key],)
    }


def _joined(values: Mapping[str, object], added: Mapping[str, object]) -> dict[str, Any]:
    out: dict[str, Any] = copied(dict(values))
    for key, value in added.items():
        there = out.get(key)
        out[key] = _joined(there, value) if isinstance(there, dict) and isinstance(value, dict) else copied(value)
    return out


def release_notes(lines: Sequence[tuple[str, str, str]], *, columns: int) -> Iterator[str]:
    """Yield what a person should know about a release, as (label, meaning, words)."""
    for label, meaning, words in lines:
        yield f"  {paint(f'{label:<7}', meaning)} " + wrapped(words, 10, columns).lstrip() + "\n"

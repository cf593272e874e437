"""Unified diffs that ``git apply`` takes."""

from __future__ import annotations

import difflib
import os

from kubectl_harden.render.terminal import paint, printable

__all__ = ["unified"]

_CONTEXT = 3


def unified(file: str, before: str, after: str, *, colour: bool, escape: bool = False) -> str:
    """Return the unified diff of a file's text, empty where nothing changed.

    Lines end at line feeds only: a carriage return stays part of its line. ``escape`` writes control
    characters (but tabs) so that no terminal acts on them.
    """
    old, new = before.split("\n"), after.split("\n")
    groups = _groups(old, new)
    if not groups:
        return ""
    name = "stdin" if file == "-" else _name(file)
    out = [paint(f"--- a/{name}", "strong", colour), paint(f"+++ b/{name}", "strong", colour)]
    if escape:
        old, new = [_escaped(line) for line in old], [_escaped(line) for line in new]
    for group in groups:
        out.extend(_hunk(group, old, new, colour))
    return "\n".join(out) + "\n"


def _escaped(line: str) -> str:
    return "\t".join(printable(part) for part in line.removesuffix("\r").split("\t"))


def _name(file: str) -> str:
    relative = os.path.relpath(file)
    return printable(file.lstrip("/") if relative.startswith("..") else relative)


def _groups(old: list[str], new: list[str]) -> list[list[tuple[str, int, int, int, int]]]:
    """Return difflib's grouped opcodes, comparing only what lies between the common ends."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    if head == len(old) == len(new):
        return []
    start = max(0, head - _CONTEXT)
    spare = max(0, tail - _CONTEXT)
    matcher = difflib.SequenceMatcher(
        None, old[start : len(old) - spare], new[start : len(new) - spare], autojunk=False
    )
    return [
        [(tag, i1 + start, i2 + start, j1 + start, j2 + start) for tag, i1, i2, j1, j2 in group]
        for group in matcher.get_grouped_opcodes(_CONTEXT)
    ]


def _hunk(group: list[tuple[str, int, int, int, int]], old: list[str], new: list[str], colour: bool) -> list[str]:
    lines: list[tuple[str, str, bool]] = []
    for tag, i1, i2, j1, j2 in group:
        if tag == "equal":
            lines.extend((" ", old[i], i == len(old) - 1) for i in range(i1, i2))
        else:
            lines.extend(("-", old[i], i == len(old) - 1) for i in range(i1, i2))
            lines.extend(("+", new[j], j == len(new) - 1) for j in range(j1, j2))
    # The piece behind the last line feed is a line only where it is not empty.
    lines = [line for line in lines if not (line[2] and not line[1])]
    removed = sum(sign != "+" for sign, _, _ in lines)
    added = sum(sign != "-" for sign, _, _ in lines)
    header = f"@@ -{_range(group[0][1], removed)} +{_range(group[0][3], added)} @@"
    out = [paint(header, "place", colour)]
    for sign, text, unended in lines:
        meaning = {"-": "bad", "+": "good"}.get(sign)
        out.append(paint(sign + text, meaning, colour) if meaning else sign + text)
        if unended:
            out.append("\\ No newline at end of file")
    return out


def _range(start: int, count: int) -> str:
    if count == 1:
        return str(start + 1)
    return f"{start + 1 if count else start},{count}"

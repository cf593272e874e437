"""Unified diffs that ``git apply`` takes."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kubectl_harden.model import Splice
from kubectl_harden.reports.terminal import UNPRINTABLE
from kubectl_harden.text_files import leads_out
from kubectl_harden.yaml_text.editor import spliced

__all__ = ["unified"]

_CONTEXT = 3
_MEANINGS = {"-": "bad", "+": "good", " ": ""}

_FAR: Final = 500
"""The most changes in one place for which the smallest diff is searched: more would take too long."""

_Block = tuple[int, int, list[str]]
"""The first old line, the line after the last one, and the new lines."""


def unified(file: str, before: str, splices: Sequence[Splice]) -> Iterator[tuple[str, str]]:
    """Yield the unified diff that splices make of a file's text as (meaning, line), nothing where there are none.

    Lines end at line feeds only: a carriage return stays part of its line. ``output.patch`` writes them.
    """
    if not splices:
        return
    old = _split(before)
    name = "stdin" if file == "-" else _name(file)
    # A file without text is a new one.
    yield "strong", f"--- {_quoted(f'a/{name}') if before else '/dev/null'}"
    yield "strong", f"+++ {_quoted(f'b/{name}')}"
    moved = 0
    for hunk in _near(_blocks(before, splices, old)):
        lines = list(_lines(hunk, old))
        start = max(0, hunk[0][0] - _CONTEXT)
        removed = sum(sign != "+" for sign, _ in lines)
        added = sum(sign != "-" for sign, _ in lines)
        yield "place", f"@@ -{_range(start, removed)} +{_range(start + moved, added)} @@"
        moved += sum(len(new) - (last - first) for first, last, new in hunk)
        for sign, text in lines:
            yield _MEANINGS[sign], sign + text.removesuffix("\n")
            if not text.endswith("\n"):
                yield "", "\\ No newline at end of file"


def _lines(hunk: list[_Block], old: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (sign, text) for the lines of a hunk."""
    position = max(0, hunk[0][0] - _CONTEXT)
    for first, last, new in hunk:
        yield from ((" ", text) for text in old[position:first])
        yield from (("-", text) for text in old[first:last])
        yield from (("+", text) for text in new)
        position = last
    yield from ((" ", text) for text in old[position : position + _CONTEXT])


def _split(text: str) -> list[str]:
    """Return the lines of a text, each with its line feed; the last one may have none."""
    *lines, rest = text.split("\n")
    return [*(line + "\n" for line in lines), *([rest] if rest else [])]


def _blocks(before: str, splices: Sequence[Splice], old: list[str]) -> Iterator[_Block]:
    """Yield each run of lines that changes, in order."""
    for near in _near(_runs(before, splices, old)):
        gone = {line for first, last, _ in near for line in old[first:last]}
        # Where no line is both removed and added, the diff cannot be smaller.
        if gone.isdisjoint(line for _, _, new in near for line in new):
            yield from near
            continue
        first, last = near[0][0], near[-1][1]
        lines: list[str] = []
        position = first
        for start, end, new in near:
            lines += old[position:start] + new
            position = end
        found = _compared(old[first:last], lines)
        yield from near if found is None else ((first + a, first + b, lines[c:d]) for a, b, c, d in found)


def _runs(before: str, splices: Sequence[Splice], old: list[str]) -> list[_Block]:
    """Return the blocks of lines that splices change, without the lines that stay; adjacent ones are merged."""
    starts = [0]
    for line in old:
        starts.append(starts[-1] + len(line))
    if not before.endswith("\n"):
        starts[-1] += 1  # What comes behind a line that nothing ends goes on with it.
    parts: list[tuple[int, int, list[Splice]]] = []
    for splice in _joined(splices):
        start, end, new = splice
        first, last = bisect_right(starts, start) - 1, bisect_right(starts, end) - 1
        # The line after a splice does not change where the splice ends a line.
        if starts[last] != end or not (new.endswith("\n") or (not new and starts[first] == start)):
            last = min(last + 1, len(old))
        if parts and (first < parts[-1][1] or first == parts[-1][1] == len(old)):
            parts[-1] = (parts[-1][0], max(last, parts[-1][1]), [*parts[-1][2], splice])
        else:
            parts.append((first, last, [splice]))
    blocks: list[_Block] = []
    for first, last, made in parts:
        begin, end = starts[first], starts[last]
        text = spliced(before[begin:end], [(s - begin, e - begin, new) for s, e, new in made])
        lines = _split(text)
        head, tail = _common(old[first:last], lines)
        block = first + head, last - tail, lines[head : len(lines) - tail]
        if blocks and block[0] == blocks[-1][1]:
            blocks[-1] = (blocks[-1][0], block[1], blocks[-1][2] + block[2])
        elif block[0] < block[1] or block[2]:
            blocks.append(block)
    return blocks


def _joined(splices: Iterable[Splice]) -> Iterator[Splice]:
    """Yield splices, with those merged between which nothing stays."""
    last: Splice | None = None
    for start, end, new in splices:
        if last is None:
            last = (start, end, new)
        elif last[1] == start:
            last = (last[0], end, last[2] + new)
        else:
            yield last
            last = (start, end, new)
    if last is not None:
        yield last


def _near(blocks: Iterable[_Block]) -> Iterator[list[_Block]]:
    """Group blocks whose contexts touch."""
    near: list[_Block] = []
    for block in blocks:
        if near and block[0] - near[-1][1] > 2 * _CONTEXT:
            yield near
            near = []
        near.append(block)
    if near:
        yield near


def _common(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """Return how many lines at the start, and at the end, are the same."""
    shorter = min(len(old), len(new))
    head = tail = 0
    while head < shorter and old[head] == new[head]:
        head += 1
    while tail < shorter - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return head, tail


def _compared(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]] | None:
    """Return the fewest lines that turn one list into another, as spans of both (Myers, An O(ND) Difference Algorithm).

    None where that takes too many changes.
    """
    # How far each diagonal (lines of the old less lines of the new) gets, after each further change.
    reached = {1: 0}
    steps = []
    for changes in range(min(len(old) + len(new), _FAR) + 1):
        steps.append(reached.copy())
        for diagonal in range(-changes, changes + 1, 2):
            down = diagonal == -changes or (
                diagonal != changes and reached.get(diagonal - 1, -1) < reached.get(diagonal + 1, -1)
            )
            x = reached[diagonal + 1] if down else reached[diagonal - 1] + 1
            while x < len(old) and 0 <= x - diagonal < len(new) and old[x] == new[x - diagonal]:
                x += 1
            reached[diagonal] = x
            if x >= len(old) and x - diagonal >= len(new):
                return _way_back(steps, len(old), len(new))
    return None


def _way_back(steps: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int, int, int]]:
    """Return what changes, as spans of the old and of the new lines, from what each step has reached."""
    spans: list[tuple[int, int, int, int]] = []
    for changes in range(len(steps) - 1, 0, -1):
        reached, diagonal = steps[changes], x - y
        down = diagonal == -changes or (
            diagonal != changes and reached.get(diagonal - 1, -1) < reached.get(diagonal + 1, -1)
        )
        before = diagonal + 1 if down else diagonal - 1
        a = reached[before]
        c = a - before
        b, d = (a, c + 1) if down else (a + 1, c)
        if spans and (b, d) == spans[-1][::2]:
            spans[-1] = (a, spans[-1][1], c, spans[-1][3])
        else:
            spans.append((a, b, c, d))
        x, y = a, c
    return spans[::-1]


def _name(file: str) -> str:
    relative = os.path.relpath(file)
    return file.lstrip("/") if leads_out(relative) else relative


_ESCAPES: Final = {"\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", '"': '"', "\\": "\\"}
_TO_QUOTE: Final = re.compile(f'[{UNPRINTABLE}"\\\\]')


def _quoted(name: str) -> str:
    """Return a name as git writes it in a patch (git, quote.c): quoted where it has special characters.

    A tab follows an unquoted name with a space (git, diff.c).
    """
    if _TO_QUOTE.search(name) is None:
        return f"{name}\t" if " " in name else name

    def escaped(match: re.Match[str]) -> str:
        letter = _ESCAPES.get(match[0])
        return f"\\{letter}" if letter else "".join(f"\\{byte:03o}" for byte in os.fsencode(match[0]))

    return f'"{_TO_QUOTE.sub(escaped, name)}"'


def _range(start: int, count: int) -> str:
    if count == 1:
        return str(start + 1)
    return f"{start + 1 if count else start},{count}"

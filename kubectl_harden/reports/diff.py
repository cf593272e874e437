"""Unified diffs that ``git apply`` takes."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from kubectl_harden.model import Splice
from kubectl_harden.reports.terminal import printable
from kubectl_harden.yaml_text.editor import spliced

__all__ = ["unified"]

_CONTEXT = 3
_MEANINGS = {"-": "bad", "+": "good", " ": ""}

_Block = tuple[int, int, list[str]]
"""The first old line, the line behind the last one, and the new lines."""


def unified(file: str, before: str, splices: Sequence[Splice]) -> Iterator[tuple[str, str]]:
    """Yield the unified diff that splices make of a file's text as (meaning, line), nothing where there are none.

    Lines end at line feeds only: a carriage return stays part of its line. ``output.patch`` writes them.
    """
    if not splices:
        return
    old = before.split("\n")
    name = "stdin" if file == "-" else _name(file)
    # A file that has no text yet is a new one.
    source = f"a/{name}" if before else "/dev/null"
    yield "strong", f"--- {source}"
    yield "strong", f"+++ b/{name}"
    moved = 0
    for hunk in _hunks(_blocks(before, splices)):
        lines = list(_lines(hunk, old))
        start = max(0, hunk[0][0] - _CONTEXT)
        removed = sum(sign != "+" for sign, _, _ in lines)
        added = sum(sign != "-" for sign, _, _ in lines)
        yield "place", f"@@ -{_range(start, removed)} +{_range(start + moved, added)} @@"
        moved += sum(len(new) - (last - first) for first, last, new in hunk)
        for sign, text, unended in lines:
            yield _MEANINGS[sign], sign + text
            if unended:
                yield "", "\\ No newline at end of file"


def _hunks(blocks: Iterable[_Block]) -> Iterator[list[_Block]]:
    """Gather blocks whose contexts touch."""
    hunk: list[_Block] = []
    for block in blocks:
        if hunk and block[0] - hunk[-1][1] > 2 * _CONTEXT:
            yield hunk
            hunk = []
        hunk.append(block)
    yield hunk


def _lines(hunk: list[_Block], old: list[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield (sign, text, whether no line feed ends it) for the lines of a hunk."""
    end = len(old)
    position = max(0, hunk[0][0] - _CONTEXT)
    pieces: list[tuple[str, str, bool]] = []
    for first, last, new in hunk:
        pieces.extend((" ", old[index], index == end - 1) for index in range(position, first))
        pieces.extend(("-", old[index], index == end - 1) for index in range(first, last))
        pieces.extend(("+", text, last == end and index == len(new) - 1) for index, text in enumerate(new))
        position = last
    pieces.extend((" ", old[index], index == end - 1) for index in range(position, min(end, position + _CONTEXT)))
    # The piece behind the last line feed is a line only where it is not empty.
    return (piece for piece in pieces if piece[1] or not piece[2])


def _blocks(before: str, splices: Sequence[Splice]) -> Iterator[_Block]:
    """Yield each run of lines that changes."""
    starts = [0, *(match.end() for match in re.finditer("\n", before)), len(before) + 1]
    runs: list[tuple[int, int, list[Splice]]] = []
    for splice in splices:
        first, last = bisect_right(starts, splice[0]) - 1, bisect_right(starts, splice[1])
        if runs and first <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(last, runs[-1][1]), [*runs[-1][2], splice])
        else:
            runs.append((first, last, [splice]))
    for first, last, parts in runs:
        begin, end = starts[first], starts[last] - 1
        old = before[begin:end].split("\n")
        new = spliced(before[begin:end], [(s - begin, e - begin, text) for s, e, text in parts]).split("\n")
        # A piece that no line feed ends is another line than one with the same text and a line feed.
        at_end = last == len(starts) - 1
        head = 0
        while head < min(len(old), len(new)) and old[head] == new[head]:
            if at_end and (head == len(old) - 1) != (head == len(new) - 1):
                break
            head += 1
        tail = 0
        while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
            tail += 1
        yield first + head, last - tail, new[head : len(new) - tail]


def _name(file: str) -> str:
    relative = os.path.relpath(file)
    return printable(file.lstrip("/") if relative.startswith("..") else relative)


def _range(start: int, count: int) -> str:
    if count == 1:
        return str(start + 1)
    return f"{start + 1 if count else start},{count}"

"""Work, counted the same on every machine: lines of Python that run, and steps of a backtracking regular expression."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from types import FrameType
from typing import Any

__all__ = ["lines", "steps"]


def lines(function: Callable[[], object]) -> int:
    """Return how many lines of Python a call runs, each turn of a loop counted."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def steps(pattern: re.Pattern[str], text: str) -> int:
    """Return how many comparisons a backtracking matcher makes to find all matches of a pattern in a text."""
    matcher = _Matcher(text, pattern.flags)
    parsed = list(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
    position = 0
    while position <= len(text):
        end = next(matcher.sequence(parsed, 0, position), None)
        position = position + 1 if end is None or end == position else end
    return matcher.steps


class _Matcher:
    """Walks a parsed pattern as Python's own matcher does, in Python, and counts."""

    def __init__(self, text: str, flags: int) -> None:
        self.text = text
        self.flags = flags
        self.steps = 0

    def sequence(self, items: list[Any], index: int, position: int) -> Iterator[int]:
        """Yield each end of a match of the items from an index on, in the order in which they are tried."""
        if index == len(items):
            yield position
            return
        for end in self.item(items[index], position):
            yield from self.sequence(items, index + 1, end)

    def item(self, item: Any, position: int) -> Iterator[int]:
        self.steps += 1
        code, argument = item
        if code is op.BRANCH:
            for branch in argument[1]:
                yield from self.sequence(list(branch), 0, position)
        elif code is op.SUBPATTERN:
            yield from self.sequence(list(argument[3]), 0, position)
        elif code is op.ATOMIC_GROUP:
            yield from self._first(self.sequence(list(argument), 0, position))
        elif code in (op.ASSERT, op.ASSERT_NOT):
            direction, inner = argument
            found = next(self.sequence(list(inner), 0, position if direction > 0 else max(position - 1, 0)), None)
            if (found is not None and (direction > 0 or position > 0)) == (code is op.ASSERT):
                yield position
        elif code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            low, high, inner = argument
            ends = self._repeated(list(inner), low, int(high), position, lazy=code is op.MIN_REPEAT)
            yield from self._first(ends) if code is op.POSSESSIVE_REPEAT else ends
        elif code is op.AT:
            if self._at(argument, position):
                yield position
        elif position < len(self.text) and self._is(code, argument, self.text[position]):
            yield position + 1

    @staticmethod
    def _first(ends: Iterator[int]) -> Iterator[int]:
        end = next(ends, None)
        if end is not None:
            yield end

    def _repeated(self, inner: list[Any], low: int, high: int, position: int, *, lazy: bool) -> Iterator[int]:
        # Ends are followed by hand, since a row of them is as long as the text.
        ends = [position]
        turns = [iter(())]
        if lazy and low <= 0:
            yield position
        turns.append(self.sequence(inner, 0, position))
        while len(turns) > 1:
            self.steps += 1
            end = next(turns[-1], None) if len(ends) <= high else None
            if end is None or end == ends[-1]:
                turns.pop()
                last = ends.pop()
                if not lazy and len(ends) >= low:
                    yield last
                continue
            ends.append(end)
            if lazy and len(ends) > low:
                yield end
            turns.append(self.sequence(inner, 0, end))

    def _at(self, where: Any, position: int) -> bool:
        if where is op.AT_BEGINNING:
            return position == 0 or bool(self.flags & re.MULTILINE and self.text[position - 1] == "\n")
        if where is op.AT_END:
            rest = self.text[position : position + 2]
            return rest in ("", "\n") or bool(self.flags & re.MULTILINE and rest[0] == "\n")
        if where is op.AT_BEGINNING_STRING:
            return position == 0
        if where is op.AT_END_STRING:
            return position == len(self.text)
        if where is op.AT_BOUNDARY:
            around = self.text[max(position - 1, 0) : position], self.text[position : position + 1]
            before, after = (bool(character) and (character.isalnum() or character == "_") for character in around)
            return before != after
        raise NotImplementedError(where)

    def _is(self, code: Any, argument: Any, character: str) -> bool:
        if code is op.LITERAL:
            return ord(character) == argument
        if code is op.NOT_LITERAL:
            return ord(character) != argument
        if code is op.ANY:
            return character != "\n" or bool(self.flags & re.DOTALL)
        if code is op.IN:
            negated = argument[0][0] is op.NEGATE
            return any(self._is(*part, character) for part in argument[negated:]) != negated
        if code is op.RANGE:
            return bool(argument[0] <= ord(character) <= argument[1])
        if code is op.CATEGORY:
            name = {op.CATEGORY_DIGIT: r"\d", op.CATEGORY_SPACE: r"\s", op.CATEGORY_WORD: r"\w",
                    op.CATEGORY_NOT_SPACE: r"\S", op.CATEGORY_NOT_WORD: r"\W", op.CATEGORY_NOT_DIGIT: r"\D"}[argument]  # fmt: skip
            return re.match(name, character) is not None
        raise NotImplementedError(code)

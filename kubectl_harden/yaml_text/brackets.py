"""Edits of collections in brackets, in YAML and JSON: members are added and removed with their commas and comments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import pairwise
from typing import Any

from kubectl_harden.yaml_text.style import Style, render_flow, render_scalar
from kubectl_harden.yaml_text.tree import MAPPING, Node

__all__ = ["Brackets"]

_Member = tuple[int, int]
"""Where a pair or an item starts and ends."""


class Brackets:
    """Makes splices on the collections in brackets of one document."""

    def __init__(self, style: Style, splice: Callable[[int, int, str], None], *, is_json: bool) -> None:
        self.text = style.text
        self.style = style
        self.splice = splice
        self.is_json = is_json
        self.is_compact = is_json and ": " not in self.text

    def edit(self, node: Node, gone: Iterable[Node], added: list[tuple[int, str]]) -> None:
        """Remove members (named by their first node) from brackets, and insert texts.

        Each text comes with the number of members before it.
        """
        members = self._members(node)
        doomed = {child.start for child in gone}
        kept = [index for index, (start, _) in enumerate(members) if start not in doomed]
        if not kept:
            self._refill(node, members, [text for _, text in added])
            return
        open_end = self._comma(members, -1, node) is None
        on_lines = self.style.line_start(members[0][0]) > node.start
        for before in dict.fromkeys(count for count, _ in added):
            texts = [text for count, text in added if count == before]
            place = max((index for index in kept if index < before), default=None)
            if place is None:
                self._put_first(members[kept[0]], texts, on_lines=on_lines)
                continue
            last = place == kept[-1]
            comma = self._comma(members, place, node)
            at = members[place][1] if comma is None else comma + 1
            if on_lines and self.style.ends_line(at):
                if comma is None:
                    self.splice(at, at, ",")
                closing = "" if last and open_end else ","
                self._put_lines(self.style.after_line(at), members[place][0], texts, closing)
                # The comma after the former last member is needed before the new ones.
                if last:
                    open_end = False
            else:
                at = members[place][1]
                self.splice(at, at, "".join(self._separator(node) + text for text in texts))
        self._remove(node, members, kept)
        if open_end and kept[-1] < len(members) - 1:
            comma = self._comma(members, kept[-1], node)
            if comma is not None:
                self.splice(comma, comma + 1, "")

    # -- members -------------------------------------------------------------------------------

    def _members(self, node: Node) -> list[_Member]:
        pairs = node.pairs() if node.kind == MAPPING else ((child, child) for child in node.children)
        return [(first.start, max(first.end, self.style.end(last))) for first, last in pairs]

    def _comma(self, members: list[_Member], index: int, node: Node) -> int | None:
        """Return the offset of the comma after a member, if there is one."""
        at = members[index][1]
        end = members[index + 1][0] if 0 <= index < len(members) - 1 else node.end - 1
        while at < end and self.text[at] != ",":
            at = self.style.line_end(at) if self.text[at] == "#" else at + 1
        return at if at < end else None

    def _separator(self, node: Node) -> str:
        """Return the comma and the blanks that separate members on the same line."""
        members = self._members(node)
        for (_, end), (start, _) in pairwise(members):
            between = self.text[end:start]
            if "\n" not in between and "#" not in between:
                return "," + " " * (len(between) - len(between.rstrip(" ")))
        return "," if self.is_compact else ", "

    # -- edits ---------------------------------------------------------------------------------

    def _refill(self, node: Node, members: list[_Member], texts: list[str]) -> None:
        """Put texts in place of all members."""
        (start, _), end = members[0], members[-1][1]
        comma = self._comma(members, -1, node)
        if self.style.starts_line(start) and self.style.ends_line(end if comma is None else comma + 1):
            after = self.style.after_line(end if comma is None else comma)
            self.splice(self.style.line_start(start), after, "")
            self._put_lines(after, start, texts, "" if comma is None else ",")
        else:
            self.splice(start, end, self._separator(node).join(texts))

    def _put_lines(self, at: int, model: int, texts: list[str], closing: str) -> None:
        """Put texts on lines of their own, indented like the line of another member."""
        indent, newline = self.style.indent(model), self.style.newline(model)
        self.splice(at, at, f",{newline}".join(indent + text for text in texts) + closing + newline)

    def _put_first(self, first: _Member, texts: list[str], *, on_lines: bool) -> None:
        if on_lines and self.style.starts_line(first[0]):
            self._put_lines(self.style.above(first[0]), first[0], texts, ",")
        else:
            self.splice(first[0], first[0], "".join(text + ("," if self.is_compact else ", ") for text in texts))

    def _remove(self, node: Node, members: list[_Member], kept: list[int]) -> None:
        """Remove each run of members that are not kept, with the text between them."""
        stays = set(kept)
        for first in range(len(members)):
            if first in stays or (first > 0 and first - 1 not in stays):
                continue
            last = next((index for index in range(first, len(members)) if index + 1 in stays), len(members) - 1)
            comma = self._comma(members, last, node)
            self._cut(members[first][0], members[last][1] if comma is None else comma + 1)

    def _cut(self, start: int, end: int) -> None:
        """Cut members out: their whole lines where nothing else is on them, or else the blanks on one side, too."""
        line, line_end = self.style.line_start(start), self.style.line_end(end)
        before = line + len(self.text[line:start].rstrip(" \t"))
        behind = line_end - len(self.text[end:line_end].lstrip(" \t"))
        if self.style.ends_line(end) and self.style.starts_line(start):
            self.splice(self.style.line_start(start), self.style.after_line(end), "")
        elif self.style.ends_line(end) or self.text[behind] in "]}":
            self.splice(start if self.style.starts_line(start) else before, end, "")
        else:
            self.splice(start, behind, "")

    # -- texts ---------------------------------------------------------------------------------

    def pair(self, node: Node, name: str, value: object) -> str:
        """Return a pair in the style of the other pairs of a mapping in brackets."""
        quoted = self.is_json or any(key.style == '"' for key, _ in node.pairs())
        key = json.dumps(name, ensure_ascii=False) if quoted else render_scalar(name)
        return key + self._colon(node) + self.value(value, node.end - 1, quoted=quoted)

    def value(self, value: Any, offset: int, *, quoted: bool | None = None) -> str:
        """Return a value for use in brackets at an offset; in JSON of several lines, it takes several lines, too."""
        quoted = self.is_json if quoted is None else quoted
        if self.is_json and "\n" in self.text[:-1] and isinstance(value, dict | list) and value:
            pad = self.style.indent(offset)
            if not self.style.starts_line(offset):
                return json.dumps(value, ensure_ascii=False)
            text = json.dumps(value, ensure_ascii=False, indent=self._step)
            return text.replace("\n", self.style.newline(offset) + pad + self._step)
        if self.is_compact:
            return render_flow(value, quoted=True, comma=",", colon=":")
        return render_flow(value, quoted=quoted)

    @cached_property
    def _step(self) -> str:
        """Return the indentation of the first line that has one."""
        for line in self.text.splitlines():
            content = line.lstrip(" \t")
            if content and content != line:
                return line.removesuffix(content)
        return "  "

    def _colon(self, node: Node) -> str:
        for key, value in node.pairs():
            between = self.text[key.end : value.start]
            if between.strip() == ":" and "\n" not in between:
                return between if between != ":" or self.is_json else ": "
        return ":" if self.is_compact else ": "

"""Writing new YAML and JSON text so that it looks like the text around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from kubectl_harden.yaml_text.scalars import resolve
from kubectl_harden.yaml_text.tree import MAPPING, SCALAR, SEQUENCE, Node

__all__ = ["Style", "render_block", "render_flow", "render_scalar"]

_PLAIN: Final = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*", re.ASCII)


class Style:
    """The lines and the style of one document, in which every line ends with a line break.

    ``step`` is the indentation of a nested mapping, ``dash`` that of a sequence under its key,
    ``flow_lists`` whether lists of scalars are in brackets, and ``flow_quote`` the quotes in them.
    """

    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self.step = 2
        self.dash = 0
        steps: dict[int, int] = {}
        dashes: dict[int, int] = {}
        flow = block = 0
        quotes: list[str] = []
        for key, value in _pairs(root):
            if value.kind == MAPPING and not value.flow and value.children:
                width = self.column(value.children[0].start) - self.column(key.start)
                steps[width] = steps.get(width, 0) + 1
            elif value.kind == SEQUENCE and value.children:
                if not value.flow:
                    width = self.column(value.start) - self.column(key.start)
                    dashes[width] = dashes.get(width, 0) + 1
                if all(item.kind == SCALAR for item in value.children):
                    flow, block = flow + value.flow, block + (not value.flow)
                    quotes.extend((item.style or "") for item in value.children if value.flow)
        if steps:
            self.step = max(steps, key=lambda width: (steps[width], -width))
        if dashes:
            self.dash = max(dashes, key=lambda width: (dashes[width], -width))
        self.flow_lists = flow > block
        self.flow_quote = max(("", '"', "'"), key=quotes.count) or None

    def column(self, offset: int) -> int:
        """Return the column of an offset, as YAML counts it."""
        start = self.line_start(offset)
        return offset - start - (1 if start == 0 and self.text[:1] == "\ufeff" else 0)

    def line_start(self, offset: int) -> int:
        """Return the offset of the first character of a line."""
        return self.text.rfind("\n", 0, offset) + 1

    def line_end(self, offset: int) -> int:
        """Return the offset of a line's end, before its line break."""
        end = self.text.find("\n", offset)
        if end < 0:
            return len(self.text)
        return end - 1 if end > 0 and self.text[end - 1] == "\r" else end

    def after_line(self, offset: int) -> int:
        """Return the offset after a line's break."""
        end = self.text.find("\n", offset)
        return len(self.text) if end < 0 else end + 1

    def newline(self, offset: int) -> str:
        """Return the line break of a line."""
        return self.text[self.line_end(offset) : self.after_line(offset)] or "\n"

    def indent(self, offset: int) -> str:
        """Return the white space at the start of the line."""
        line = self.text[self.line_start(offset) : self.line_end(offset)]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def starts_line(self, offset: int) -> bool:
        """Whether only white space is before an offset on its line."""
        return not self.text[self.line_start(offset) : offset].strip("\ufeff \t")

    def ends_line(self, offset: int) -> bool:
        """Whether at most a comment is after an offset on its line."""
        rest = self.text[offset : self.line_end(offset)].lstrip(" \t")
        return not rest or rest.startswith("#")

    def above(self, offset: int) -> int:
        """Return the start of a line, or of the comments right above it with the same indentation."""
        indent = self.indent(offset)
        start = self.line_start(offset)
        while start > 0:
            before = self.line_start(start - 1)
            if not self.text.startswith(indent + "#", before):
                break
            start = before
        return start

    def below(self, offset: int, column: int) -> int:
        """Return the start of the line after a block that ends at an offset, and after the comments that belong to it.

        Comments indented at least to ``column`` belong to it, unless more content with that indentation follows.
        """
        at = self.after_line(offset)
        own = line = at
        while line < len(self.text):
            content = self.text[line : self.line_end(line)]
            width = len(content) - len(content.lstrip(" "))
            line = self.after_line(line)
            if content[width : width + 1] == "#" and width >= column:
                own = line if width > column and own == at else own
                at = line
            elif content.strip():
                return own if width >= column else at
        return at

    def end(self, node: Node) -> int:
        """Return where a node's content ends, not counting blank lines after a block scalar that mean nothing."""
        while node.kind in (MAPPING, SEQUENCE) and not node.flow and node.children:
            node = node.children[-1]
        if node.kind != SCALAR or node.style not in ("|", ">"):
            return min(node.end, len(self.text))
        header, *lines = self.text[node.start : node.end].split("\n")
        indicator = header.split("#")[0]
        first = next((line for line in lines if line.strip(" \r")), "")
        # With an explicit indentation, blanks may be content: they are left alone.
        indent = 0 if any(digit in indicator for digit in "123456789") else len(first) - len(first.lstrip(" "))
        kept = "+" in indicator
        last = end = node.start + len(header)
        if not lines:  # Its lines do not end with line feeds.
            return min(node.end, len(self.text))
        for line in lines[: None if lines[-1] else -1]:
            end += 1 + len(line)
            if kept or len(line.rstrip("\r")) > indent or line.strip(" \r"):
                last = end
        return last - (self.text[last - 1] == "\r")


def _pairs(root: Node) -> Iterator[tuple[Node, Node]]:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.kind == MAPPING:
            yield from node.pairs()
        if node.kind in (MAPPING, SEQUENCE):
            stack.extend(node.children)


def render_scalar(value: object, quote: str | None = None) -> str:
    """Return a scalar as YAML text, in the given quotes where it is a string."""
    if not isinstance(value, str):
        return json.dumps(value)
    if quote == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if quote is None and _PLAIN.fullmatch(value) and isinstance(resolve(None, value), str):
        return value
    return json.dumps(value, ensure_ascii=not value.isprintable())


def render_flow(value: object, *, quoted: bool, comma: str = ", ", colon: str = ": ") -> str:
    """Return a value on one line; ``quoted`` writes all strings and keys as JSON does."""
    if isinstance(value, dict):
        keys = (_flow_scalar(key, quoted) for key in value)
        items = (render_flow(item, quoted=quoted, comma=comma, colon=colon) for item in value.values())
        return "{" + comma.join(map(colon.join, zip(keys, items, strict=True))) + "}"
    if isinstance(value, list):
        return "[" + comma.join(render_flow(item, quoted=quoted, comma=comma, colon=colon) for item in value) + "]"
    return _flow_scalar(value, quoted)


def _flow_scalar(value: object, quoted: bool) -> str:
    return json.dumps(value, ensure_ascii=False) if quoted else render_scalar(value)


def render_block(value: dict[str, object] | list[object], style: Style) -> list[str]:
    """Return the lines of a block collection, not indented."""
    return _item_lines(value, style) if isinstance(value, list) else _mapping_lines(value, style)


def _pair_lines(key: str, value: object, style: Style) -> list[str]:
    head = render_scalar(key) + ":"
    if isinstance(value, dict) and value:
        return [head, *_indented(_mapping_lines(value, style), style.step)]
    if isinstance(value, list) and value:
        if style.flow_lists and not any(isinstance(item, dict | list) for item in value):
            return [f"{head} [{', '.join(render_scalar(item, style.flow_quote) for item in value)}]"]
        return [head, *_indented(_item_lines(value, style), style.dash)]
    return [f"{head} {render_flow(value, quoted=False)}"]


def _mapping_lines(value: dict[str, object], style: Style) -> list[str]:
    lines = []
    for key, item in value.items():
        lines.extend(_pair_lines(key, item, style))
    return lines


def _item_lines(value: list[object], style: Style) -> list[str]:
    lines = []
    for item in value:
        if isinstance(item, dict) and item:
            first, *rest = _mapping_lines(item, style)
            lines.extend([f"- {first}", *_indented(rest, 2)])
        else:
            lines.append(f"- {render_flow(item, quoted=False)}")
    return lines


def _indented(lines: list[str], width: int) -> list[str]:
    return [" " * width + line for line in lines]

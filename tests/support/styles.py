"""Objects written as YAML or JSON in many hands' styles."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

_COMMENTS = ["# note", "#", "# key: value", '# "quoted"', "# - item", "#: odd"]


class _Writer:
    """Writes block YAML, drawing every free choice."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.step = draw(st.sampled_from([2, 2, 4, 8]))
        self.dash = draw(st.sampled_from([0, 2, 2]))
        self.lines: list[str] = []
        self.shares = draw(st.booleans())
        self.counts: dict[str, int] = {}
        self.anchors: dict[str, str] = {}

    def count(self, value: Any) -> None:
        """Count equal collections, which may share an anchor."""
        if isinstance(value, dict | list) and value:
            key = json.dumps(value)
            self.counts[key] = self.counts.get(key, 0) + 1
            for item in value.values() if isinstance(value, dict) else value:
                self.count(item)

    def anchor(self, value: Any) -> str:
        """Return "", an anchor to define here, or an alias that stands for the value."""
        key = json.dumps(value) if self.shares and isinstance(value, dict | list) and value else ""
        if self.counts.get(key, 0) < 2:
            return ""
        if key in self.anchors:
            return f"*{self.anchors[key]}" if self.chance(2) else ""
        self.anchors[key] = f"a{len(self.anchors)}"
        return f"&{self.anchors[key]}"

    def chance(self, one_in: int) -> bool:
        return bool(self.draw(st.integers(0, one_in - 1)) == 0)

    def scalar(self, value: Any) -> str:
        if isinstance(value, str):
            style = self.draw(st.sampled_from(["plain", "single", "double"]))
            if style == "double" or not value.isprintable():
                return json.dumps(value)
            plain = value[:1].isalpha() and value.replace("-", "").replace("/", "").replace(".", "").isalnum()
            if (
                style == "plain"
                and plain
                and value.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
            ):
                return value
            return "'" + value.replace("'", "''") + "'"
        return json.dumps(value)

    def flow(self, value: Any) -> str:
        if isinstance(value, dict):
            inner = ", ".join(f"{self.scalar(k)}: {self.flow(v)}" for k, v in value.items())
            pad = " " if inner and self.chance(2) else ""
            return "{" + pad + inner + pad + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self.flow(item) for item in value) + "]"
        return self.scalar(value)

    def comment(self, column: int) -> None:
        if self.chance(8):
            self.lines.append(" " * column + self.draw(st.sampled_from(_COMMENTS)))
        if self.chance(12):
            self.lines.append("")

    def trailing(self) -> str:
        return "  " + self.draw(st.sampled_from(_COMMENTS)) if self.chance(10) else ""

    def mapping(self, value: dict[str, Any], column: int, lead: str) -> None:
        """Write pairs; the first line begins with ``lead``, which is as wide as the column."""
        for key, item in value.items():
            if not lead.strip():
                self.comment(column)
            head = lead + self.scalar(key) + ":"
            lead = " " * column
            mark = self.anchor(item)
            if mark.startswith("*"):
                self.lines.append(f"{head} {mark}{self.trailing()}")
                continue
            head += " " + mark if mark else ""
            flat = not isinstance(item, dict | list) or not item
            if flat or (self.size(item) < 5 and self.chance(4)):
                self.lines.append(f"{head} {self.flow(item)}{self.trailing()}")
            else:
                self.lines.append(head + self.trailing())
                if isinstance(item, dict):
                    self.mapping(item, column + self.step, " " * (column + self.step))
                else:
                    self.sequence(item, column + self.dash)

    def sequence(self, value: list[Any], column: int) -> None:
        for item in value:
            self.comment(column)
            lead = " " * column + "- "
            if isinstance(item, dict) and item and not (self.size(item) < 4 and self.chance(5)):
                self.mapping(item, column + 2, lead)
            else:
                self.lines.append(lead + self.flow(item) + self.trailing())

    def size(self, value: Any) -> int:
        if isinstance(value, dict):
            return 1 + sum(map(self.size, value.values()))
        return 1 + sum(map(self.size, value)) if isinstance(value, list) else 1


@st.composite
def yaml_texts(draw: Any, values: st.SearchStrategy[Any]) -> tuple[Any, str]:
    """Return a value and a YAML document that means it."""
    value = draw(values)
    writer = _Writer(draw)
    writer.count(value)
    writer.mapping(value, 0, "")
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    text = newline.join(writer.lines) + (newline if writer.chance(4) is False else "")
    return value, ("\ufeff" if writer.chance(10) else "") + text


@st.composite
def json_texts(draw: Any, values: st.SearchStrategy[Any]) -> tuple[Any, str]:
    """Return a value and a JSON document that means it."""
    value = draw(values)
    indent = draw(st.sampled_from([None, 2, 4, 1]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")])) if indent is None else None
    return value, json.dumps(value, indent=indent, separators=separators) + draw(st.sampled_from(["", "\n"]))

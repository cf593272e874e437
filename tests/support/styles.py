"""Objects written as YAML or JSON in many hands' styles, and changes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from hypothesis import strategies as st

_COMMENTS = ["# note", "#", "# key: value", '# "quoted"', "# - item", "#: odd"]
_RARELY: Final = (8, 10)
_EVERYWHERE: Final = (2, 1)
_ONE_IN: Final = {number: st.integers(0, number - 1) for number in range(1, 13)}


class _Writer:
    """Writes block YAML, drawing every free choice.

    ``marked`` comments are numbered, so that each can be told from all others; anchors are left out then.
    """

    def __init__(self, draw: Any, *, marked: bool = False) -> None:
        self.draw = draw
        self.step = draw(st.sampled_from([2, 2, 4, 8]))
        self.dash = draw(st.sampled_from([0, 2, 2]))
        self.lines: list[str] = []
        self.marked = marked
        self.comments = 0
        self.above_one_in, self.behind_one_in = draw(st.sampled_from([_RARELY, _EVERYWHERE] if marked else [_RARELY]))
        self.shares = not marked and draw(st.booleans())
        self.repeats = draw(st.integers(0, 3)) == 0
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
        return bool(self.draw(_ONE_IN[one_in]) == 0)

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

    def note(self) -> str:
        if self.marked:
            self.comments += 1
            return f"# c{self.comments}."
        return str(self.draw(st.sampled_from(_COMMENTS)))

    def comment(self, column: int) -> None:
        if self.chance(self.above_one_in):
            self.lines.append(" " * column + self.note())
        if self.chance(12):
            self.lines.append(" " * self.draw(st.integers(0, 9)))

    def trailing(self) -> str:
        blanks = " " * self.draw(st.sampled_from([0, 0, 0, 1, 3]))
        return "  " + self.note() if self.chance(self.behind_one_in) else blanks

    def mapping(self, value: dict[str, Any], column: int, lead: str) -> None:
        """Write pairs; the first line begins with ``lead``, which is as wide as the column."""
        for key, item in value.items():
            if not lead.strip():
                self.comment(column)
            head = lead + self.scalar(key) + ":"
            lead = " " * column
            if self.repeats and self.chance(6):
                # kubectl takes the last one.
                self.lines.append(f"{head} {self.draw(st.sampled_from(['1', '{x: y}', '[]']))}{self.trailing()}")
                head = lead + self.scalar(key) + ":"
            mark = self.anchor(item)
            if mark.startswith("*"):
                self.lines.append(f"{head} {mark}{self.trailing()}")
                continue
            self.below(head + " " + mark if mark else head, item, column)

    def below(self, head: str, item: Any, column: int) -> None:
        """Write the value of a pair that stands at a column: behind its key, or in the lines below."""
        if isinstance(item, str) and _fits_block(item) and self.chance(2):
            self.block_scalar(head, item, column)
        elif isinstance(item, dict | list) and not item and self.chance(3):
            self.lines.append(head + self.trailing())
            self.comment(column + self.step)
            self.lines.append(" " * (column + self.step) + self.flow(item) + self.trailing())
        elif not isinstance(item, dict | list) or not item or (self.size(item) < 5 and self.chance(4)):
            self.lines.append(f"{head} {self.flow(item)}{self.trailing()}")
        elif self.chance(10):
            self.brackets(head, item, column)
        else:
            self.lines.append(head + self.trailing())
            if isinstance(item, dict):
                self.mapping(item, column + self.step, " " * (column + self.step))
            else:
                self.sequence(item, column + self.dash)

    def block_scalar(self, head: str, text: str, column: int) -> None:
        body = text.removesuffix("\n")
        kept = body.endswith("\n") or not body.strip("\n")
        sign = "+" if kept else "" if text.endswith("\n") else "-"
        self.lines.append(f"{head} |{sign}{self.trailing()}")
        width = column + self.step
        self.lines += [" " * width + line if line else "" for line in body.split("\n")]
        if not kept and self.chance(3):
            self.lines += [" " * self.draw(st.integers(0, width)), ""]

    def brackets(self, head: str, item: Any, column: int) -> None:
        """Write a collection in brackets, each member on a line of its own."""
        inner = " " * (column + self.step)
        members = [f"{self.scalar(k)}: {self.flow(v)}" for k, v in item.items()] if isinstance(item, dict) else [
            self.flow(one) for one in item
        ]  # fmt: skip
        self.lines.append(head + (" {" if isinstance(item, dict) else " ["))
        for member in members[:-1]:
            self.comment(len(inner))
            self.lines.append(f"{inner}{member},{self.trailing()}")
        self.comment(len(inner))
        self.lines.append(f"{inner}{members[-1]}{self.draw(st.sampled_from(['', ',']))}{self.trailing()}")
        self.lines.append(" " * (column + 1) + ("}" if isinstance(item, dict) else "]"))

    def sequence(self, value: list[Any], column: int) -> None:
        for item in value:
            self.comment(column)
            lead = " " * column + "- "
            if isinstance(item, dict) and item and not (self.size(item) < 4 and self.chance(5)):
                self.mapping(item, column + 2, lead)
            elif isinstance(item, str) and _fits_block(item) and self.chance(2):
                self.block_scalar(lead[:-1], item, column)
            else:
                self.lines.append(lead + self.flow(item) + self.trailing())

    def size(self, value: Any) -> int:
        if isinstance(value, dict):
            return 1 + sum(map(self.size, value.values()))
        return 1 + sum(map(self.size, value)) if isinstance(value, list) else 1

    def text(self) -> str:
        """Return what is written: line ends of one kind or mixed, the last one there or not, blanks behind it."""
        newlines = self.draw(st.sampled_from([["\n"], ["\n"], ["\r\n"], ["\n", "\r\n"]]))
        ends = [newlines[0] if len(newlines) == 1 else self.draw(st.sampled_from(newlines)) for _ in self.lines]
        if self.chance(4):
            ends[-1] = ""
        elif self.chance(6):
            ends[-1] += self.draw(st.sampled_from([" ", "\n", "  \n\n", "\n   "]))
        return "".join(line + end for line, end in zip(self.lines, ends, strict=True))


def _fits_block(text: str) -> bool:
    """Whether a text can stand in a block scalar whose indentation its first line tells."""
    return "\n" in text and text[0] not in " \n" and all(line.isprintable() for line in text.split("\n"))


@st.composite
def yaml_texts(draw: Any, values: st.SearchStrategy[Any], *, marked: bool = False) -> tuple[Any, str]:
    """Return a value and a YAML document that means it."""
    value = draw(values)
    writer = _Writer(draw, marked=marked)
    writer.count(value)
    writer.mapping(value, 0, "")
    return value, ("\ufeff" if writer.chance(10) else "") + writer.text()


@st.composite
def json_texts(draw: Any, values: st.SearchStrategy[Any]) -> tuple[Any, str]:
    """Return a value and a JSON document that means it."""
    value = draw(values)
    indent = draw(st.sampled_from([None, 2, 4, 1]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")])) if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators)
    if draw(st.integers(0, 4)) == 0 and value:
        # A key that is repeated, of which kubectl takes the last one.
        comma, colon = separators or (",", ": ")
        text = "{" + json.dumps(next(iter(value))) + colon + "1" + comma + text[1:]
    return value, text + draw(st.sampled_from(["", "\n"]))


@st.composite
def streams(draw: Any, values: st.SearchStrategy[Any]) -> str:
    """Return a stream of YAML documents, some of them JSON with comments around, some Lists, also of Lists."""
    documents = []
    for _ in range(draw(st.integers(1, 3))):
        several = draw(st.sampled_from([0, 0, 1, 2]))
        value = draw(values)
        if several:
            value = _list([value, draw(values)])
        if several == 2:
            value = _list([value, draw(values), _list([draw(values)])])
        if draw(st.integers(0, 3)) == 0:
            text = draw(json_texts(st.just(value)))[1].rstrip("\n")
            documents.append(text + draw(st.sampled_from(["\n# behind it\n", " # behind it\n", "\n"])))
        else:
            text = draw(yaml_texts(st.just(value)))[1].removeprefix("\ufeff")
            documents.append(text if text.endswith("\n") else text + "\n")
    lead = draw(st.sampled_from(["kind: ConfigMap\napiVersion: v1\n---\n", "# first\n", ""]))
    text = lead + "---\n".join(documents)
    return text.removesuffix("\n") if draw(st.booleans()) else text


def _list(items: list[Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": items}


# -- changes ---------------------------------------------------------------------------------------

_KEYS: Final = ["name", "mode", "user", "items", "yes", "1", "a-b", "level", "add", "drop", "spec"]
_NEW_KEYS: Final = ["new", "other", "third"]
_WORDS: Final = ["0440", "a", "yes", "~", "two words", "1e3", "line\nline\n", "end\n   \n", "x\n\n\n", "#no", "{}"]
_SCALARS: Final = st.sampled_from([*_WORDS, True, None, 0, 288, 1.5])


_KEY: Final = st.sampled_from(_KEYS)
_SEVERAL: Final = st.lists(_KEY, unique=True, max_size=4)
_NAMES: Final = st.lists(
    st.sampled_from([f"item-{number}" for number in range(8)]), unique=True, min_size=1, max_size=5
)
_SHAPE: Final = st.sampled_from(["scalar", "scalar", "scalar", "empty", "mapping", "strings", "objects"])


@st.composite
def trees(draw: Any, depth: int = 3) -> dict[str, Any]:
    """Return a value whose list items can be told apart: objects by their names, or strings."""
    return {key: draw(_values(depth)) for key in draw(_SEVERAL)}


@st.composite
def _values(draw: Any, depth: int) -> Any:
    shape = draw(_SHAPE)
    if shape == "scalar" or not depth:
        return draw(_SCALARS)
    if shape == "empty":
        return draw(st.sampled_from([{}, []]))
    if shape == "mapping":
        return draw(trees(depth - 1))
    names = draw(_NAMES)
    return names if shape == "strings" else [_named(name, draw(trees(depth - 1))) for name in names]


def _named(name: str, item: dict[str, Any]) -> dict[str, Any]:
    others = {key: value for key, value in item.items() if key != "name"}
    return {**others, "name": name} if len(item) % 2 else {"name": name, **others}


TREES: Final = trees().filter(bool)


@st.composite
def changed(draw: Any, value: Any) -> Any:
    """Return another value: keys and items that go and come, also in one list, and scalars that change."""
    if isinstance(value, dict):
        out = {}
        for key, item in value.items():
            fate = "keep" if key == "name" else draw(st.sampled_from(["keep", "keep", "keep", "go", "change"]))
            if fate == "keep":
                out[key] = draw(changed(item)) if isinstance(item, dict | list) else item
            elif fate == "change":
                out[key] = draw(_SCALARS | st.just({}) | st.just(["n"]) | st.just({"n": [1, {"name": "m"}]}))
        new = draw(st.lists(st.sampled_from(_NEW_KEYS), unique=True, max_size=2))
        return {
            **out,
            **{key: draw(_SCALARS | st.just({"n": {"m": 1}}) | st.just([{"name": "n", "m": 1}])) for key in new},
        }
    if isinstance(value, list):
        kept = [draw(changed(item)) if isinstance(item, dict) else item for item in value if draw(st.integers(0, 2))]
        come = draw(st.sampled_from([[], [], ["new"], [{"name": "new", "m": [1]}], ["new", "newer"]]))
        place = draw(st.sampled_from([len(kept), len(kept), 0, len(kept) // 2]))
        return [*kept[:place], *come, *kept[place:]]
    return value


def ends_alike(before: str, after: str) -> bool:
    """Whether the last line has a line end in both texts or in none; a blank line that comes to be the last has none."""
    if before.endswith("\n"):
        return after.endswith("\n")
    return not after.endswith("\n") or any(not line.strip() for line in before.split("\n"))


def owners(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    """Yield the paths of all keys and items of a tree; items are called by their names."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from owners(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            here = (*path, "- " + (item["name"] if isinstance(item, dict) else json.dumps(item)))
            yield here
            yield from owners(item, here)

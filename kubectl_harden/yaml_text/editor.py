"""A document's text, changed so that it means another value: splices where the two differ.

Everything that is not part of a difference keeps its bytes. The result is proved by reading it
again; what cannot be proved is an EditError, and no text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

from kubectl_harden.errors import EditError
from kubectl_harden.field_path import field_path
from kubectl_harden.json_values import align, differences, same
from kubectl_harden.model import Splice
from kubectl_harden.yaml_text.documents import Document, documents
from kubectl_harden.yaml_text.style import Style, render_flow, render_items, render_pair, render_scalar
from kubectl_harden.yaml_text.tree import ALIAS, MAPPING, SCALAR, SEQUENCE, Node, key_of

__all__ = ["edit_document", "prove", "spliced"]

_ABSENT: Final = object()


def edit_document(document: Document, value: Any) -> list[Splice]:
    """Return the splices of the whole text that make a document mean ``value``, in order and without overlap.

    Raises EditError where the change cannot be made or cannot be proved.
    """
    root = document.tree()
    if root is None:
        raise EditError("there is nothing in this document")
    editor = _Editor(document.text, root, is_json=document.is_json)
    editor.note_anchors(root, document.value, value)
    editor.change(root, document.value, value)
    splices = editor.result()
    prove(spliced(document.text, splices), value, [name for _, name in document.repeated])
    return [(document.start + start, document.start + end, text) for start, end, text in splices]


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """Return the text with splices made, given in order and without overlap."""
    out = []
    position = 0
    for start, end, new in splices:
        out.append(text[position:start] + new)
        position = end
    return "".join(out) + text[position:]


def prove(text: str, value: Any, repeated: list[str]) -> None:
    """Raise EditError unless a text is one document that means this value, with just these keys repeated."""
    found = list(documents(text))
    if len(found) != 1 or not isinstance(found[0], Document):
        reason = next((item.message for item in found if not isinstance(item, Document)), "it falls apart")
        raise EditError(f"the edited text cannot be read: {reason}")
    if [name for _, name in found[0].repeated] != repeated:
        raise EditError("the edited text repeats a key")
    if not same(found[0].value, value):
        places = [field_path(difference.path) for difference in differences(value, found[0].value)]
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        raise EditError(f"the edited text means something else than planned in {', '.join(places[:3])}{more}")


class _Editor:
    """Collects splices on one document."""

    def __init__(self, text: str, root: Node, *, is_json: bool) -> None:
        self.text = text
        self.is_json = is_json
        self.style = Style(text, root)
        self.splices: list[Splice] = []
        self.final: dict[int, Any] = {}
        self.is_compact = is_json and ": " not in text

    def result(self) -> list[Splice]:
        """Return all splices, in order and without overlap."""
        ordered: list[Splice] = []
        for start, end, text in sorted(self.splices, key=lambda splice: splice[:2]):
            if not ordered or start >= ordered[-1][1]:
                ordered.append((start, end, text))
            elif start == end:
                # New lines behind a line that goes take its place.
                first, last, kept = ordered[-1]
                if self.text[last - 1] == "\n":
                    text = text.removeprefix(self.style.newline) + self.style.newline
                ordered[-1] = (first, last, kept + text)
            else:
                raise EditError("two edits meet in the same place of the text")
        return ordered

    def splice(self, start: int, end: int, text: str) -> None:
        self.splices.append((start, end, text))

    # -- anchors -------------------------------------------------------------------------------

    def note_anchors(self, node: Node, old: Any, new: Any) -> None:
        """Remember what every anchored node will mean: the value planned for its own place, if any."""
        if node.anchor is not None:
            self.final[id(node)] = new
        # What a merge key overrides may mean something of another type than it says; its anchors are left alone.
        if node.kind == MAPPING and isinstance(old, dict):
            for key, child in node.pairs():
                if not key.is_merge:
                    name = key_of(key)
                    self.note_anchors(
                        child, old.get(name), new.get(name, _ABSENT) if isinstance(new, dict) else _ABSENT
                    )
        elif node.kind == SEQUENCE and isinstance(old, list) and len(old) == len(node.children):
            for i, j in align(old, new if isinstance(new, list) else []):
                if i is not None:
                    self.note_anchors(node.children[i], old[i], _ABSENT if j is None else new[j])

    # -- changes -------------------------------------------------------------------------------

    def change(self, node: Node, old: Any, new: Any) -> None:
        """Make a node that means ``old`` mean ``new``."""
        if node.kind == ALIAS:
            if not same(self.final.get(id(node.children[0]), old), new):
                self.replace(node, new)
        elif node.kind == MAPPING and isinstance(new, dict) and new and node.children:
            self.change_mapping(node, old, new)
        elif node.kind == SEQUENCE and isinstance(new, list) and new and node.children:
            self.change_sequence(node, old, new)
        elif not same(old, new):
            self.replace(node, new)

    def change_mapping(self, node: Node, old: dict[str, Any], new: dict[str, Any]) -> None:
        merges = [(key, value) for key, value in node.pairs() if key.is_merge]
        if not merges and same(old, new) and not self.final:
            return
        own = {key_of(key): (key, value) for key, value in node.pairs() if not key.is_merge}
        merged = self.merged(merges)
        for name in merged.keys() & own.keys():
            # kubectl's parser lets a merge key override what stands before it.
            if own[name][0].start < merges[-1][0].start:
                if not same(merged[name], new.get(name, _ABSENT)):
                    raise EditError(f"{name} is overridden by a merge key behind it")
                del own[name]
        gone = [name for name in own if name not in new]
        if any(name in merged for name in old if name not in new):
            self.expand(merges, {name: new[name] for name in merged if name in new and name not in own})
            merged = {name: new[name] for name in merged if name in new}
        added = [name for name in new if name not in own and not same(merged.get(name, _ABSENT), new[name])]
        for name, (_, value) in own.items():
            if name in new:
                self.change(value, old.get(name), new[name])
        while gone and added:
            name = added.pop(0)
            self.substitute(node, own[gone.pop(0)], name, new[name])
        self.remove_pairs(node, [own[name] for name in gone])
        if added:
            self.add_pairs(node, {name: new[name] for name in added})

    def merged(self, merges: list[tuple[Node, Node]]) -> dict[str, Any]:
        """Return what the merge keys bring in once their anchors are edited."""
        out: dict[str, Any] = {}
        for _, value in merges:
            sources = list(reversed(value.children)) if value.kind == SEQUENCE else [value]
            for source in sources:
                if source.kind != ALIAS:
                    raise EditError("a merge key with a mapping of its own cannot be edited")
                final = self.final.get(id(source.children[0]))
                out.update(final if isinstance(final, dict) else {})
        return out

    def expand(self, merges: list[tuple[Node, Node]], values: dict[str, Any]) -> None:
        """Write out what merge keys bring in, since one of their keys has to go."""
        (first, value), *rest = merges
        if rest or not values:
            raise EditError("a field that has to go comes from a merge key")
        column = self.style.column(first.start)
        self.splice(first.start, self.end(value), self.pairs_text(values, column))

    def change_sequence(self, node: Node, old: list[Any], new: list[Any]) -> None:
        if same(old, new) and not self.final:
            return
        gone = []
        added = []
        pairs = align(old, new)
        for position, (i, j) in enumerate(pairs):
            if i is not None and j is not None:
                self.change(node.children[i], old[i], new[j])
            elif i is not None:
                gone.append(node.children[i])
            elif j is not None:
                if any(later is not None for later, _ in pairs[position + 1 :]):
                    raise EditError("an item cannot be put between others")
                added.append(new[j])
        if node.flow:
            self.remove_flow(node, [(item, item) for item in gone])
        else:
            for item in gone:
                self.remove_item(node, item)
        if added:
            self.add_items(node, added)

    # -- replacing -----------------------------------------------------------------------------

    def replace(self, node: Node, new: Any) -> None:
        """Replace a whole node by the text of a value."""
        end = self.end(node)
        start = self.bare_start(node) if node.kind != ALIAS else node.start
        in_block = not self.is_json and not node.in_flow
        if in_block and isinstance(new, dict | list) and new:
            self.replace_by_block(start, end, new)
        elif node.kind == SCALAR and start == end:
            self.splice(start, end, " " + render_flow(new, quoted=self.is_json))
        elif isinstance(new, dict | list):
            self.splice(start, end, self.flow_text(new, start))
        elif self.is_json:
            self.splice(start, end, json.dumps(new, ensure_ascii=False))
        else:
            quote = node.style if node.style in ("'", '"') else None
            self.splice(start, end, render_scalar(new, quote))

    def replace_by_block(self, start: int, end: int, new: Any) -> None:
        """Write a collection below the key that it belongs to, where a scalar or ``{}`` stood."""
        # Only an empty node, null, {} or an alias is replaced by a collection, and those end their line.
        column = self.style.column(self.line_key(start))
        if isinstance(new, dict):
            lines = self.pairs_text(new, column + self.style.step)
            width = column + self.style.step
        else:
            width = column + self.style.dash
            lines = (self.style.newline + " " * width).join(render_items(new, self.style))
        head = start
        while head > 0 and self.text[head - 1] == " ":
            head -= 1
        self.splice(head, end, "")
        at = self.style.line_end(end)
        self.splice(at, at, self.style.newline + " " * width + lines)

    def line_key(self, offset: int) -> int:
        """Return where the key of a value on this line starts, behind indentation and dashes."""
        start = self.style.line_start(offset)
        while self.text[start : start + 1] in (" ", "\ufeff") or self.text[start : start + 2] == "- ":
            start += 1
        return start

    def bare_start(self, node: Node) -> int:
        """Return where a node's own text starts, behind its anchor (which others may use), tag and comments."""
        start = node.start
        while start < node.end and self.text[start] in "&!#":
            is_comment = self.text[start] == "#"
            while start < node.end and not (self.text[start] == "\n" if is_comment else self.text[start].isspace()):
                start += 1
            while start < node.end and self.text[start].isspace():
                start += 1
        return min(start, node.end)

    def substitute(self, mapping: Node, pair: tuple[Node, Node], name: str, value: Any) -> None:
        """Put another key and value where a pair stands."""
        key, old = pair
        if mapping.flow:
            text = self.flow_pair(mapping, name, value)
        else:
            text = self.pairs_text({name: value}, self.style.column(key.start))
        self.splice(key.start, self.end(old), text)

    # -- removing ------------------------------------------------------------------------------

    def remove_pairs(self, node: Node, gone: list[tuple[Node, Node]]) -> None:
        if not gone:
            return
        if node.flow:
            self.remove_flow(node, gone)
            return
        doomed = {id(key) for key, _ in gone}
        kept = [key for key, _ in node.pairs() if id(key) not in doomed]
        if not kept:
            raise EditError("a mapping would be left empty")
        for key, value in gone:
            start = self.style.line_start(key.start)
            if not self.text[start : key.start].strip("\ufeff "):
                self.remove_lines(start, self.end(value))
            elif key.start < kept[0].start:
                # Behind a dash: the next key that stays moves up, unless a comment is in between.
                following = next(k for k, _ in node.pairs() if k.start > key.start)
                between = self.text[self.style.line_end(self.end(value)) : following.start]
                if id(following) in doomed or "#" in between:
                    dash_end = start + len(self.text[start : key.start].rstrip(" "))
                    self.splice(dash_end, self.style.line_end(self.end(value)), "")
                else:
                    self.splice(key.start, following.start, "")
            else:
                raise EditError("a key does not start its line")

    def remove_item(self, node: Node, item: Node) -> None:
        column = self.dash_column(node)
        start = self.style.line_start(item.start)
        while self.text[start + column : start + column + 1] != "-" or self.text[start : start + column].strip():
            if start <= self.style.line_start(node.start):
                raise EditError("the dash of an item is not at the start of its line")
            start = self.style.line_start(start - 1)
        self.remove_lines(start, self.end(item))

    def dash_column(self, node: Node) -> int:
        return self.style.column(self.bare_start(node))

    def remove_lines(self, start: int, end: int) -> None:
        after = self.style.after_line(end)
        if after == len(self.text) and not self.text.endswith("\n") and start > 0:
            start -= 2 if self.text[start - 2 : start] == "\r\n" else 1
        self.splice(start, after, "")

    def remove_flow(self, node: Node, gone: list[tuple[Node, Node]]) -> None:
        """Take pairs (or items, given twice) out of brackets, with one comma each."""
        if not gone:
            return
        children = node.children
        members = list(node.pairs()) if node.kind == MAPPING else [(child, child) for child in children]
        doomed = {id(first) for first, _ in gone}
        kept = [member for member in members if id(member[0]) not in doomed]
        if not kept:
            self.splice(members[0][0].start, members[-1][1].end, "")
            return
        last_kept = members.index(kept[-1])
        for index, (first, _) in enumerate(members[:last_kept]):
            if id(first) in doomed:
                self.splice(first.start, members[index + 1][0].start, "")
        if last_kept < len(members) - 1:
            self.splice(kept[-1][1].end, members[-1][1].end, "")

    # -- adding --------------------------------------------------------------------------------

    def add_pairs(self, node: Node, values: dict[str, Any]) -> None:
        if node.flow:
            self.add_flow(node, [self.flow_pair(node, name, value) for name, value in values.items()])
            return
        column = self.style.column(node.children[0].start)
        at = self.insertion_point(node, column)
        self.splice(at, at, self.style.newline + " " * column + self.pairs_text(values, column))

    def add_items(self, node: Node, values: list[Any]) -> None:
        if node.flow:
            self.add_flow(node, [self.flow_text(value, node.end - 1) for value in values])
            return
        column = self.dash_column(node)
        at = self.insertion_point(node, column)
        lines = [" " * column + line for line in render_items(values, self.style)]
        self.splice(at, at, "".join(self.style.newline + line for line in lines))

    def insertion_point(self, node: Node, column: int) -> int:
        """Return the end of the last line that belongs to a block: its content, and comments as deep."""
        at = self.style.line_end(self.end(node))
        line = self.style.after_line(at)
        while line < len(self.text):
            content = self.text[line : self.style.line_end(line)]
            stripped = content.lstrip(" ")
            if stripped.startswith("#") and len(content) - len(stripped) >= column:
                at = self.style.line_end(line)
            elif stripped.strip():
                break
            line = self.style.after_line(line)
        return at

    def add_flow(self, node: Node, texts: list[str]) -> None:
        """Put members into brackets, on lines of their own where the members have them."""
        newline = self.style.newline
        last = node.children[-1]
        at = self.end(last)
        first = node.children[0]
        if self.style.line_start(first.start) > node.start:
            indent = self.style.indent(first.start)
            self.splice(at, at, "".join("," + newline + indent + text for text in texts))
        else:
            self.splice(at, at, "".join(self.comma(node) + text for text in texts))

    # -- text ----------------------------------------------------------------------------------

    def pairs_text(self, values: dict[str, Any], column: int) -> str:
        """Return block pairs, indented but for the first line."""
        first_lines = []
        for name, value in values.items():
            first, *rest = render_pair(name, value, column, self.style)
            first_lines.append(self.style.newline.join([first, *rest]))
        return (self.style.newline + " " * column).join(first_lines)

    def flow_pair(self, node: Node, name: str, value: Any) -> str:
        quoted = self.quotes_keys(node)
        key = json.dumps(name, ensure_ascii=False) if quoted else render_scalar(name)
        return key + self.colon(node) + self.flow_text(value, node.end - 1, quoted=quoted)

    def quotes_keys(self, node: Node) -> bool:
        return self.is_json or any(key.style == '"' for key, _ in node.pairs())

    def flow_text(self, value: Any, offset: int, *, quoted: bool | None = None) -> str:
        """Return a value for use in brackets; JSON that stands on many lines continues so."""
        quoted = self.is_json if quoted is None else quoted
        if self.is_json and "\n" in self.text and isinstance(value, dict | list) and value:
            pad = self.style.indent(offset)
            if self.text[self.style.line_start(offset) : offset].strip():
                return json.dumps(value, ensure_ascii=False)
            text = json.dumps(value, ensure_ascii=False, indent=self.json_step)
            return text.replace("\n", self.style.newline + pad + self.json_step)
        if self.is_compact:
            return render_flow(value, quoted=True, comma=",", colon=":")
        return render_flow(value, quoted=quoted)

    @cached_property
    def json_step(self) -> str:
        """Return the indentation of the first line that has one."""
        for line in self.text.splitlines():
            content = line.lstrip(" \t")
            if content and content != line:
                return line.removesuffix(content)
        return "  "

    def comma(self, node: Node) -> str:
        ends = node.children[1::2] if node.kind == MAPPING else node.children
        starts = node.children[2::2] if node.kind == MAPPING else node.children[1:]
        for end, start in zip(ends, starts, strict=False):
            between = self.text[self.end(end) : start.start]
            if "\n" not in between and "#" not in between:
                return "," + " " * (len(between) - len(between.rstrip(" ")))
        return "," if self.is_compact else ", "

    def colon(self, node: Node) -> str:
        for key, value in node.pairs():
            between = self.text[key.end : value.start]
            if between.strip() == ":" and "\n" not in between:
                return between if between != ":" or self.is_json else ": "
        return ":" if self.is_compact else ": "

    def end(self, node: Node) -> int:
        """Return where a node's content ends: for a block scalar, its last line that is not blank."""
        while node.kind in (MAPPING, SEQUENCE) and not node.flow and node.children:
            node = node.children[-1]
        if node.kind == SCALAR and node.style in ("|", ">"):
            body = self.text[node.start : node.end]
            header = body.split("\n", 1)[0]
            kept = "+" in header.split("#")[0]
            return node.start + len(body.removesuffix("\n").removesuffix("\r") if kept else body.rstrip())
        return min(node.end, len(self.text))

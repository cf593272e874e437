"""Editing a document's text so that it means another value: splices where the two values differ.

Everything that is not part of a difference keeps its bytes. A key or an item is removed together with its comments, and
new ones are put on lines of their own. The result is proved by reading it again; where that fails, there is an
EditError and no text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import zip_longest
from typing import Any

from kubectl_harden.errors import EditError
from kubectl_harden.field_path import field_path
from kubectl_harden.json_differences import align, differences
from kubectl_harden.json_values import ABSENT, same
from kubectl_harden.model import Splice
from kubectl_harden.yaml_text.brackets import Brackets
from kubectl_harden.yaml_text.documents import Document, documents
from kubectl_harden.yaml_text.style import Style, render_block, render_flow, render_scalar
from kubectl_harden.yaml_text.tree import ALIAS, MAPPING, SCALAR, SEQUENCE, Node, key_of

__all__ = ["edit_document", "edited_document", "merged", "prove", "spliced"]

_Pair = tuple[Node, Node]


def edit_document(document: Document, value: object) -> list[Splice]:
    """Return the splices of the whole text that make a document mean ``value``, in order and without overlap.

    Raises EditError where the change cannot be made or cannot be proved.
    """
    return edited_document(document, value)[0]


def edited_document(document: Document, value: object) -> tuple[list[Splice], Document]:
    """Return what ``edit_document`` does, and the edited document by itself, as it was read for the proof.

    Raises EditError where the change cannot be made or cannot be proved.
    """
    root = document.tree()
    if root is None:
        raise EditError("there is nothing in this document")
    if not document.is_json and "\r\r\n" in document.text:
        # kubectl removes one carriage return from each line (apimachinery, pkg/util/yaml, LineReader) before the YAML
        # parser sees it, which changes the value of block scalars.
        raise EditError("its lines end in CR CR LF, which kubectl and YAML read differently: make them LF or CR LF")
    editor = _Editor(document.text, root, is_json=document.is_json)
    if "&" in document.text:
        editor.note_anchors(root, document.value, value)
    editor.change(root, document.value, value, None)
    splices = editor.result()
    repeated = [name for _, name in document.repeated]
    proved = prove(spliced(document.text, splices), value, repeated, is_json=document.is_json)
    return [(document.start + start, document.start + end, text) for start, end, text in splices], proved


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """Return the text with splices made, given in order and without overlap."""
    out = []
    position = 0
    for start, end, new in splices:
        out.append(text[position:start] + new)
        position = end
    return "".join(out) + text[position:]


def merged(text: str, splices: Sequence[Splice]) -> Splice:
    """Return one splice of whole lines that does the same as several splices in order."""
    start, end = splices[0][0], splices[-1][1]
    new = spliced(text[:end], splices)[start:]
    if start and end == len(text) and text.endswith("\n") and (new or text[:start]).endswith("\n"):
        # No line begins after the last line feed: it stays, and the one before the splice replaces the last new one.
        start, end = start - 1, end - 1
        new = (text[start] + new)[:-1]
    return start, end, new


def prove(text: str, value: object, repeated: Iterable[str], *, is_json: bool) -> Document:
    """Return the one document that a text is.

    Raises EditError unless it is one document, means this value, and repeats no keys but these.

    ``is_json`` says how kubectl reads it in its place: as JSON, or as YAML that may look like JSON.
    """
    found = list(documents(text, as_json=is_json))
    if len(found) != 1 or not isinstance(found[0], Document):
        reason = next((item.message for item in found if not isinstance(item, Document)), "it is not one document")
        raise EditError(f"the edited text cannot be read: {reason}")
    if Counter(name for _, name in found[0].repeated) - Counter(repeated):
        raise EditError("the edited text repeats a key")
    if not same(found[0].value, value):
        places = [field_path(difference.path) for difference in differences(value, found[0].value)]
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        raise EditError(f"the edited text does not mean what was planned in {', '.join(places[:3])}{more}")
    return found[0]


class _Editor:
    """Collects splices on one document; a last line without a line break is given one if needed."""

    def __init__(self, text: str, root: Node, *, is_json: bool) -> None:
        self.length = len(text)
        if not text.endswith("\n"):
            text += "\r\n" if text.rpartition("\n")[0].endswith("\r") else "\n"
        self.text = text
        self.root = root
        self.is_json = is_json
        self.style = Style(text, root)
        self.brackets = Brackets(self.style, self.splice, is_json=is_json)
        self.splices: list[Splice] = []
        self.final: dict[int, Any] = {}

    def splice(self, start: int, end: int, text: str) -> None:
        if start < end or text:
            self.splices.append((start, end, text))

    def result(self) -> list[Splice]:
        """Return all splices, in order and without overlap."""
        ordered: list[Splice] = []
        splices = sorted(self.splices, key=lambda splice: splice[:2])
        for (start, end, text), following in zip_longest(splices, splices[1:]):
            if ordered and start < ordered[-1][1]:
                raise EditError("two edits meet in the same place of the text")
            if ordered and start == ordered[-1][1]:
                start, _, before = ordered.pop()
                text = before + text
            if not text:
                end = max(end, self._behind_blanks(start, end, following[0] if following else len(self.text)))
            ordered.append((start, end, text))
        return self._unended(ordered)

    def _behind_blanks(self, start: int, end: int, limit: int) -> int:
        """Return the end of a removal, with the blank lines after it that the block scalar before it would absorb."""
        line = end
        while line < limit and not self.text[line : self.style.line_end(line)].strip():
            line = self.style.after_line(line)
        blanks = self.text[end : min(line, limit)]
        sign = self.block_scalars.get(start) if blanks else None
        takes = sign is not None and ("+" in sign or " " in blanks)
        return end + len(blanks) if takes else end

    @cached_property
    def block_scalars(self) -> dict[int, str]:
        """The indicators of the block scalars, by the offset of their end."""
        found = {}
        stack = [self.root]
        while stack:
            node = stack.pop()
            stack.extend(() if node.kind == ALIAS else node.children)
            if node.kind == SCALAR and node.style in ("|", ">"):
                start = self.bare_start(node)
                found[node.end] = self.text[start : self.style.line_end(start)].split()[0]
        return found

    def _unended(self, splices: list[Splice]) -> list[Splice]:
        """Return the splices of a text without a final line break: there is none afterwards either."""
        if self.length == len(self.text) or not splices or splices[-1][1] <= self.length:
            return splices
        *others, (start, _, text) = splices
        if text:
            # For lines after the last one, its missing line break comes first.
            lead = self.text[self.length :] if start > self.length else ""
            start, text = min(start, self.length), lead + text.removesuffix("\n").removesuffix("\r")
        else:
            start = self.style.line_end(start - 1) if start else 0
        return [*others, (start, self.length, text)]

    # -- anchors -------------------------------------------------------------------------------

    def note_anchors(self, node: Node, old: object, new: Any) -> None:
        """Remember what every anchored node will mean: the value planned for its own place, if any."""
        if node.anchor is not None:
            self.final[id(node)] = new
        # What a merge key overrides may mean a value of another type than written; its anchors are left alone.
        if node.kind == MAPPING and isinstance(old, dict):
            for name, (_, child) in _last_pairs(node).items():
                self.note_anchors(child, old.get(name), new.get(name, ABSENT) if isinstance(new, dict) else ABSENT)
        elif node.kind == SEQUENCE and isinstance(old, list) and len(old) == len(node.children):
            for i, j in align(old, new if isinstance(new, list) else []):
                if i is not None:
                    self.note_anchors(node.children[i], old[i], ABSENT if j is None else new[j])

    # -- changes -------------------------------------------------------------------------------

    def change(self, node: Node, old: Any, new: Any, key: Node | None) -> None:
        """Make a node that means ``old`` mean ``new``; ``key`` is that of its pair."""
        if node.kind == ALIAS:
            if not same(self.final.get(id(node.children[0]), old), new):
                self.replace(node, new, key)
        elif node.kind == MAPPING and isinstance(new, dict) and new and node.children:
            self.change_mapping(node, old, new)
        elif node.kind == SEQUENCE and isinstance(new, list) and new and node.children:
            self.change_sequence(node, old, new)
        elif not same(old, new):
            self.replace(node, new, key)

    def change_mapping(self, node: Node, old: dict[str, object], new: dict[str, object]) -> None:
        merges = [(key, value) for key, value in node.pairs() if key.is_merge]
        if not merges and same(old, new) and not self.final:
            return
        own = _last_pairs(node)
        merged = self.merged(merges)
        for name in merged.keys() & own.keys():
            # kubectl's parser lets a merge key override what comes before it.
            if own[name][0].start < merges[-1][0].start:
                if not same(merged[name], new.get(name, ABSENT)):
                    raise EditError(f"{name} is overridden by a merge key after it")
                del own[name]
        unmerged = any(name in merged for name in old if name not in new)
        if unmerged:
            merged = {}  # The pairs from merge keys are written out.
        gone = [pair for pair in node.pairs() if (unmerged if pair[0].is_merge else _goes(key_of(pair[0]), own, new))]
        added = {name: new[name] for name in new if name not in own and not same(merged.get(name, ABSENT), new[name])}
        for name, (key, value) in own.items():
            if name in new:
                self.change(value, old.get(name), new[name], key)
        if node.flow:
            texts = [self.brackets.pair(node, name, value) for name, value in added.items()]
            end = len(node.children) // 2
            if gone or texts:
                self.brackets.edit(node, [key for key, _ in gone], [(end, text) for text in texts])
        else:
            self.change_pairs(node, gone, added)

    def merged(self, merges: list[_Pair]) -> dict[str, object]:
        """Return the pairs that merge keys add once their anchors are edited."""
        out: dict[str, Any] = {}
        for _, value in merges:
            sources = list(reversed(value.children)) if value.kind == SEQUENCE else [value]
            for source in sources:
                if source.kind != ALIAS:
                    raise EditError("a merge key with a mapping of its own cannot be edited")
                final = self.final.get(id(source.children[0]))
                out.update(final if isinstance(final, dict) else {})
        return out

    def change_pairs(self, node: Node, gone: list[_Pair], added: dict[str, object]) -> None:
        """Remove pairs from a block mapping, and put new ones after those that stay."""
        doomed = {id(key) for key, _ in gone}
        kept = [key for key, _ in node.pairs() if id(key) not in doomed]
        first = node.children[0]
        column = self.style.column(first.start)
        lines = render_block(added, self.style)
        # The pair after a dash has no line of its own: a new pair, or the next one, takes its place.
        if not self.style.starts_line(first.start) and id(first) in doomed:
            leading = [pair for pair in gone if not kept or pair[0].start < kept[0].start]
            gone = gone[len(leading) :]
            self.replace_behind_dash(first.start, self.end(leading[-1][1]), column, kept, lines)
            lines = []
        for key, value in gone:
            if not self.style.starts_line(key.start):
                raise EditError("a key does not start its line")
            self.remove_lines(key.start, self.end(value), column + 1)
        if lines:
            at = self.style.below(self.end(node), column)
            self.put_lines(at, lines, column)

    def replace_behind_dash(self, start: int, end: int, column: int, kept: list[Node], lines: list[str]) -> None:
        """Replace the first pairs of an item by new lines, or by the pairs after them."""
        behind = self.style.below(end, column + 1)
        if lines:
            newline = self.style.newline(start) + " " * column
            self.splice(start, self.style.line_end(behind - 1), newline.join(lines))
        elif not self.text[behind : kept[0].start].strip():
            self.splice(start, kept[0].start, "")
        else:
            # A comment in between belongs to what follows.
            line = self.style.line_start(start)
            self.splice(line + len(self.text[line:start].rstrip(" ")), self.style.line_end(behind - 1), "")

    def change_sequence(self, node: Node, old: list[object], new: list[object]) -> None:
        if same(old, new) and not self.final:
            return
        gone: list[Node] = []
        added: list[tuple[int, object]] = []
        count = 0
        for i, j in align(old, new):
            if i is not None:
                count = i + 1
            if i is not None and j is not None:
                self.change(node.children[i], old[i], new[j], None)
            elif i is not None:
                gone.append(node.children[i])
            elif j is not None:
                added.append((count, new[j]))
        if node.flow:
            texts = [(before, self.brackets.value(value, node.end - 1)) for before, value in added]
            if gone or texts:
                self.brackets.edit(node, gone, texts)
        else:
            self.change_items(node, gone, added)

    def change_items(self, node: Node, gone: list[Node], added: list[tuple[int, object]]) -> None:
        """Remove items from a block sequence, and insert new ones, each after a given number of the old ones."""
        column = self.style.column(self.bare_start(node))
        for item in gone:
            self.remove_lines(self.dash(node, item, column), self.end(item), column + 1)
        for before in dict.fromkeys(count for count, _ in added):
            lines = render_block([value for count, value in added if count == before], self.style)
            if before == len(node.children):
                at = self.style.below(self.end(node), column)
            elif before:
                at = self.style.below(self.end(node.children[before - 1]), column + 1)
            else:
                at = self.style.above(self.dash(node, node.children[0], column))
            self.put_lines(at, lines, column)

    def dash(self, node: Node, item: Node, column: int) -> int:
        """Return the offset of the dash of an item, which must be at the start of its line."""
        start = self.style.line_start(item.start)
        while self.text[start + column : start + column + 1] != "-" or self.text[start : start + column].strip(
            "\ufeff "
        ):
            if start <= self.style.line_start(node.start):
                raise EditError("the dash of an item is not at the start of its line")
            start = self.style.line_start(start - 1)
        return start + column

    # -- lines ---------------------------------------------------------------------------------

    def remove_lines(self, start: int, end: int, column: int) -> None:
        """Remove the lines of a block, with the comments after it that are indented at least to a column."""
        self.splice(self.style.line_start(start), self.style.below(end, column), "")

    def put_lines(self, at: int, lines: list[str], column: int) -> None:
        """Insert lines before another, with the line break of the line before them."""
        newline = self.style.newline(max(0, at - 1))
        self.splice(at, at, "".join(" " * column + line + newline for line in lines))

    # -- replacing -----------------------------------------------------------------------------

    def replace(self, node: Node, new: object, key: Node | None) -> None:
        """Replace a whole node by the text of a value."""
        start, last = self.bare_start(node) if node.kind != ALIAS else node.start, self.end(node)
        end = last
        if self.is_json or node.in_flow:
            text = self.brackets.value(new, start) if isinstance(new, dict | list) else self.scalar(node, new)
            self.splice(start, end, text)
            return
        if node.kind == SCALAR and node.style in ("|", ">"):
            # A comment at the end of the line that it starts on stays.
            end = start + len(self.text[start : self.style.line_end(start)].split()[0])
            self.splice(self.style.line_end(start), last, "")
        is_block = node.kind in (MAPPING, SEQUENCE) and not node.flow and node.children
        if isinstance(new, dict | list) and new:
            if is_block:
                self.replace_block_by_block(start, last, new, key)
            else:
                self.replace_by_block(start, end, last, new)
        elif is_block:
            self.replace_block(node, start, render_flow(new, quoted=False), key)
        else:
            text = render_flow(new, quoted=False) if isinstance(new, dict | list) else self.scalar(node, new)
            self.splice(start, end, text if start < end else " " + text)

    def replace_block_by_block(self, start: int, last: int, new: Any, key: Node | None) -> None:
        column = self.style.column(start)
        behind = self.style.below(last, column)
        lines = render_block(new, self.style)
        if not self.style.starts_line(start):
            self.splice(start, self.style.line_end(behind - 1), (self.style.newline(start) + " " * column).join(lines))
            return
        self.splice(self.style.line_start(start), behind, "")
        if key is not None and isinstance(new, dict):
            # Items may be indented as little as their key, pairs may not.
            column = max(column, self.style.column(key.start) + 1)
        self.put_lines(behind, lines, column)

    def scalar(self, node: Node, value: object) -> str:
        """Return a scalar in the quotes of the one that it replaces."""
        if self.is_json:
            return json.dumps(value, ensure_ascii=False)
        return render_scalar(value, node.style if node.style in ("'", '"') else None)

    def replace_by_block(self, start: int, end: int, last: int, new: Any) -> None:
        """Write a collection in place of a scalar, ``{}`` or an alias: there, or on the lines below its key.

        ``last`` is where the content of what it replaces ends.
        """
        if self.style.starts_line(start) and start < end:
            column = self.style.column(start)
            lines = render_block(new, self.style)
            comment = self.text.find("#", end, self.style.line_end(end))
            if comment < 0:
                self.splice(start, end, (self.style.newline(start) + " " * column).join(lines))
            else:
                self.splice(start, comment, "")
                self.put_lines(self.style.after_line(last), lines, column)
            return
        column = self.style.column(self.line_key(start))
        column += self.style.step if isinstance(new, dict) else self.style.dash
        head = start
        while head > 0 and self.text[head - 1] == " ":
            head -= 1
        self.splice(head, end, "")
        self.put_lines(self.style.after_line(last), render_block(new, self.style), column)

    def replace_block(self, node: Node, start: int, text: str, key: Node | None) -> None:
        """Put a text on the line of its key, or after its dash, in place of the block that is below."""
        column = self.style.column(start)
        behind = self.style.below(self.end(node), column)
        if not self.style.starts_line(start):
            self.splice(start, self.style.line_end(behind - 1), text)
        elif key is not None:
            at = self.text.index(":", key.end) + 1
            if start != node.start:
                at = node.start + len(self.text[node.start : start].split("#")[0].rstrip())
            self.splice(at, at, " " + text)
            self.splice(self.style.after_line(at), behind, "")
        else:
            raise EditError("a whole block cannot be replaced here")

    def line_key(self, offset: int) -> int:
        """Return the offset of the key of a value on this line, after indentation and dashes."""
        start = self.style.line_start(offset)
        while self.text[start : start + 1] in (" ", "\ufeff") or self.text[start : start + 2] == "- ":
            start += 1
        return start

    def bare_start(self, node: Node) -> int:
        """Return where a node's own text starts, after its anchor (which others may use), tag and comments."""
        start = node.start
        while start < node.end and self.text[start] in "&!#":
            is_comment = self.text[start] == "#"
            while start < node.end and not (self.text[start] == "\n" if is_comment else self.text[start].isspace()):
                start += 1
            while start < node.end and self.text[start].isspace():
                start += 1
        return min(start, node.end)

    def end(self, node: Node) -> int:
        return self.style.end(node)


def _last_pairs(node: Node) -> dict[str, _Pair]:
    """Return the pairs of a mapping that take effect, by name: of repeated keys, the last one."""
    return {key_of(key): (key, value) for key, value in node.pairs() if not key.is_merge}


def _goes(name: str, own: dict[str, _Pair], new: dict[str, object]) -> bool:
    return name in own and name not in new

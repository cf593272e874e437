"""A text as the stream of documents that kubectl reads in it.

After k8s.io/apimachinery/pkg/util/yaml/decoder.go: a text that starts with "{" is a series of JSON
values, after which YAML may follow; YAML documents end at lines that start with "---". A byte order mark at
the start of the text is not a part of it (cli-runtime, FileVisitor).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, chain
from types import MappingProxyType
from typing import Any, Final

from kubectl_harden.errors import InputError, SyntaxFault, unexpected
from kubectl_harden.model import Path
from kubectl_harden.yaml_text import tree as yaml_tree
from kubectl_harden.yaml_text.tree import ALIAS, MAPPING, SEQUENCE, Node, key_of

__all__ = [
    "SKIPPED",
    "Document",
    "Fault",
    "Lines",
    "documents",
    "only_document",
    "readable",
    "separated",
    "values",
]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
SKIPPED: Final = object()
"""The value of a document that was not built."""

_MAX_DOCUMENT: Final = 32 << 20
"""Characters. The API server accepts 3 MiB in one request; a List may contain several objects."""

# The leading line feed makes the search fast; the first line is tested separately.
_FIRST: Final = re.compile(r"---(.*)")
_SEPARATOR: Final = re.compile(r"\n---(.*)")
_GUESS: Final = 4096
_READ_AHEAD: Final = 4
"""With less than this left after a JSON value, kubectl does not try YAML (consumeWhitespace)."""


class Fault:
    """A document that could not be read; ``offset`` counts characters from the start of the text."""

    __slots__ = ("index", "message", "offset")

    def __init__(self, index: int, offset: int, message: str) -> None:
        self.index = index
        self.offset = offset
        self.message = message


class Document:
    """One document. ``start`` and ``end`` count characters in the whole text.

    ``value`` is what kubectl decodes it to, or SKIPPED. ``repeated`` are the offsets of keys that
    repeat an earlier one, and their names.
    """

    __slots__ = ("_fields", "_root", "end", "index", "is_json", "repeated", "start", "text", "value")

    def __init__(
        self,
        index: int,
        start: int,
        text: str,
        value: Any,
        *,
        root: Node | None = None,
        is_json: bool = False,
        repeated: tuple[tuple[int, str], ...] = (),
    ) -> None:
        self.index = index
        self.start = start
        self.end = start + len(text)
        self.text = text
        self.value = value
        self.is_json = is_json
        self.repeated = repeated
        self._root = root
        self._fields: dict[int, dict[str, tuple[int, Node]]] = {}

    def moved(self, index: int, start: int) -> Document:
        """Return the same document at another place, in a text that contains it unchanged."""
        by = start - self.start
        repeated = tuple((offset + by, name) for offset, name in self.repeated)
        return Document(index, start, self.text, self.value, root=self._root, repeated=repeated)

    def tree(self) -> Node | None:
        """Return the nodes; their offsets count from the start of ``text``."""
        if self._root is None and self.is_json:
            from kubectl_harden.yaml_text import json_tree

            self._root = json_tree.parse(self.text)
        return self._root

    def offset_of(self, path: Path) -> int:
        """Return where a field is in the whole text, or its innermost parent that exists.

        Each mapping is read once, however many calls there are.
        """
        node = self.tree()
        if node is None:
            return self.start
        offset = node.start
        for part in path:
            while node.kind == ALIAS:
                node = node.children[0]
            if isinstance(part, int):
                if node.kind != SEQUENCE or part >= len(node.children):
                    break
                node = node.children[part]
                offset = node.start
            else:
                step = self._fields_of(node).get(part)
                if step is None:
                    break
                offset, node = step
        return self.start + offset

    def _fields_of(self, node: Node) -> Mapping[str, tuple[int, Node]]:
        if node.kind != MAPPING:
            return _EMPTY
        if id(node) not in self._fields:
            # The last of repeated keys counts.
            self._fields[id(node)] = {
                key_of(key): (key.start, value) for key, value in node.pairs() if not key.is_merge
            }
        return self._fields[id(node)]


class Lines:
    """Lines and columns of a text; a byte order mark is not counted."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts: list[int] = []

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column (from 1) of a character offset."""
        if not self._starts:
            first = int(self._text.startswith("\ufeff"))
            self._starts = [first, *accumulate(len(line) + 1 for line in self._text.split("\n"))][:-1]
        offset = max(offset, self._starts[0])
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def place_in_bytes(self, offset: int) -> tuple[int, int]:
        """Return line and column (from 1) of a character offset, in UTF-8 bytes, the byte order mark counted."""
        line, _ = self.place(offset)
        start = self._text.rfind("\n", 0, offset) + 1
        return line, len(self._text[start:offset].encode()) + 1


def documents(
    text: str,
    skip: Callable[[str], bool] = lambda _: False,
    *,
    as_json: bool | None = None,
    known: Mapping[str, Document] = _EMPTY,
) -> Iterator[Document | Fault]:
    """Yield the documents of a text in order; a document that cannot be read yields a Fault.

    kubectl stops at the first fault; here the documents after it follow. YAML documents for whose text ``skip`` returns
    true are not decoded; it must be true only of well-formed text. ``as_json`` says whether the text begins with JSON
    values, where it is a part of another text; otherwise its own beginning decides.

    ``known`` are documents that have been read, by their texts. The text is split as always, but a piece that equals
    one of them is not parsed again, since what a YAML document means depends on its own text alone.
    """
    position = int(text.startswith("\ufeff"))
    index = 0
    fault: SyntaxFault | None = None
    if _may_be_json(text) if as_json is None else as_json:
        # Imported late: few manifests are JSON.
        from kubectl_harden.yaml_text import json_tree

        while True:
            try:
                value, end, repeats = json_tree.decode(text, position)
            except SyntaxFault as error:
                fault = error
                if not text[position:].strip(" \t\n\r"):
                    return
                if index > 1 or len(text) - position < _READ_AHEAD:
                    yield Fault(index, fault.offset, fault.args[0])
                    return
                break
            body = text[position:end]
            offset = len(body) - len(body.lstrip(" \t\n\r"))
            start = position + offset
            repeated = json_tree.repeated_keys(text, start) if repeats else ()
            yield Document(index, start, text[start:end], value, is_json=True, repeated=repeated)
            position = end
            index += 1
        position = _after_white_space(text, position)
    for found in _yaml_documents(text, position, index, skip, known):
        # What begins like JSON and is not valid YAML either was meant as JSON.
        meant_json = fault is not None and isinstance(found, Fault) and found.index == index
        yield Fault(index, fault.offset, fault.args[0]) if fault is not None and meant_json else found


def _may_be_json(text: str) -> bool:
    return text[:_GUESS].removeprefix("\ufeff").lstrip().startswith("{")


def separated(text: str) -> str:
    """Return a text that kubectl reads as YAML: separators are put between JSON values and what follows them."""
    if not _may_be_json(text):
        return text
    from kubectl_harden.yaml_text import json_tree

    out = ""
    position = 0
    for found in documents(text):
        if not isinstance(found, Document) or (not found.is_json and text.startswith("---", found.start)):
            break
        gap = text[position : found.start]
        if found.index:
            gap = gap.rstrip(" \t")
            gap += "---\n" if gap.endswith("\n") else "\n---\n"
        if not found.is_json:
            return out + gap + text[found.start :]
        out += gap + json_tree.as_yaml(found.text)
        position = found.end
    return out + text[position:]


def readable(text: str) -> Iterator[Document]:
    """Yield the documents of a text that can be read."""
    return (found for found in documents(text) if isinstance(found, Document))


def values(text: str) -> Iterator[Any]:
    """Yield the values of the documents of a text that can be read."""
    return (document.value for document in readable(text))


def only_document(text: str) -> Document:
    """Return the one document of a text that is a mapping. Raises InputError where there is none, or more than one."""
    found = [item for item in documents(text) if not isinstance(item, Document) or item.value is not None]
    if len(found) == 1 and isinstance(found[0], Document) and isinstance(found[0].value, dict):
        return found[0]
    fault = next((item for item in found if isinstance(item, Fault)), None)
    raise InputError(fault.message if fault is not None else "this is not one mapping")


def _after_white_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
        if text[position - 1] == "\n":
            break
    return position


def _yaml_documents(
    text: str, position: int, index: int, skip: Callable[[str], bool], known: Mapping[str, Document]
) -> Iterator[Document | Fault]:
    """Split at separators. A separator at the start of a document belongs to it (YAMLReader.Read)."""
    start = position
    # After JSON, the rest of its line counts as a line of its own.
    rest = text[position:] if position else text
    first = _FIRST.match(rest)
    for match in chain([first] if first else (), _SEPARATOR.finditer(rest)):
        here = position + match.start(1) - 3
        trailing = match.group(1).strip()
        if trailing and not trailing.startswith("#"):
            if here > start:
                yield _yaml_document(text, start, here, index, skip, known)
                index += 1
            yield Fault(index, here + 3, f"invalid document separator: --- may not be followed by {trailing}")
        elif here > start:
            yield _yaml_document(text, start, here, index, skip, known)
        else:
            continue
        index += 1
        start = min(position + match.end() + 1, len(text))
    if start < len(text):
        yield _yaml_document(text, start, len(text), index, skip, known)


def _yaml_document(
    text: str, start: int, end: int, index: int, skip: Callable[[str], bool], known: Mapping[str, Document]
) -> Document | Fault:
    if end - start > _MAX_DOCUMENT:
        return Fault(index, start, f"document of {end - start:,} characters; more than {_MAX_DOCUMENT:,} is refused")
    body = text[start:end]
    # kubectl's reader ends every line, the last one too.
    readable = body if body.endswith("\n") else body + "\n"
    try:
        if skip(readable):
            return Document(index, start, body, SKIPPED)
        equal = known.get(body)
        if equal is not None and not equal.is_json and equal.value is not SKIPPED:
            return equal.moved(index, start)
        root = yaml_tree.parse(readable)
        value, repeated = yaml_tree.value_of(root)
    except SyntaxFault as fault:
        return Fault(index, start + min(fault.offset, len(body)), fault.args[0])
    except Exception as error:  # noqa: BLE001 (one document must not end the run)
        return Fault(index, start, unexpected(error).args[0])
    keys = tuple((start + node.start, node.text) for node in repeated)
    return Document(index, start, body, value, root=root, repeated=keys)

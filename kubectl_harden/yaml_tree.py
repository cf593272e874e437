"""YAML text as a tree of nodes with exact spans, and what it means to kubectl.

Meaning follows sigs.k8s.io/yaml (YAMLToJSON), which is go.yaml.in/yaml/v2 and then JSON:
``resolve.go`` for scalars, ``decode.go`` for maps, merge keys, aliases and their limits.
libyaml (PyYAML's C parser) reads the syntax; go.yaml.in/yaml/v2 is a port of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import yaml
from yaml.cyaml import CParser

from kubectl_harden.errors import SyntaxFault
from kubectl_harden.scalars import Unresolvable, json_number, key_text, resolve

__all__ = ["MAX_DEPTH", "Node", "check_syntax", "parse", "value_of"]

MAX_DEPTH: Final = 1000
"""Deeper nesting is refused: no Kubernetes type comes near, and recursion must end."""

SCALAR: Final = 0
MAPPING: Final = 1
SEQUENCE: Final = 2
ALIAS: Final = 3


class Node:
    """One YAML or JSON node.

    ``start`` and ``end`` count characters in the text it was parsed from. The end of a block
    collection is the end of its last child. ``children`` holds key, value, key, value … for a
    mapping, items for a sequence, and the one target for an alias.
    """

    __slots__ = ("anchor", "children", "column", "end", "flow", "kind", "plain", "start", "style", "tag", "text")

    def __init__(self, kind: int, start: int, end: int, column: int) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.column = column
        self.children: list[Node] = []
        self.text = ""
        self.tag: str | None = None
        self.plain = False
        self.style: str | None = None
        self.flow = False
        self.anchor: str | None = None

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        """Yield the key and value nodes of a mapping, in the order of the text."""
        children = iter(self.children)
        return zip(children, children, strict=True)

    @property
    def is_merge(self) -> bool:
        """Whether this mapping key is the merge key ``<<`` (decode.go, isMerge)."""
        return (
            self.kind == SCALAR
            and self.text == "<<"
            and (self.plain or self.tag == "tag:yaml.org,2002:merge")
        )


def _fault(error: yaml.YAMLError) -> SyntaxFault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    offset = mark.index if mark is not None else getattr(error, "position", 0)
    return SyntaxFault(str(problem), offset if isinstance(offset, int) else 0)


def _parser(text: str) -> tuple[CParser, str]:
    """Return a parser of the text, and the character that stands in it for U+FEFF, or "".

    libyaml skips a byte order mark on any line, kubectl's parser only at the start of a document.
    """
    if text.find("\ufeff", 1) < 0:
        return CParser(text), ""
    stand_in = next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)
    return CParser(text[0] + text[1:].replace("\ufeff", stand_in)), stand_in


def check_syntax(text: str) -> None:
    """Raise SyntaxFault unless the first document of the text is well-formed; build nothing."""
    parser, _ = _parser(text)
    try:
        parser.raw_parse()
    except yaml.YAMLError as error:
        raise _fault(error) from None
    finally:
        parser.dispose()


def parse(text: str) -> Node | None:
    """Return the tree of the first document in the text, or None where there is none.

    Raises SyntaxFault for what kubectl cannot parse, and for nesting beyond MAX_DEPTH.
    """
    parser, stand_in = _parser(text)
    try:
        return _build(parser, stand_in)
    except yaml.YAMLError as error:
        raise _fault(error) from None
    finally:
        parser.dispose()


def _build(parser: CParser, stand_in: str) -> Node | None:
    get = parser.get_event
    root: Node | None = None
    stack: list[Node] = []
    anchors: dict[str, Node] = {}
    while True:
        event = get()
        name = type(event).__name__
        if name == "ScalarEvent":
            mark = event.start_mark
            node = Node(SCALAR, mark.index, event.end_mark.index, mark.column)
            node.text = event.value.replace(stand_in, "\ufeff") if stand_in else event.value
            node.tag = event.tag
            node.plain = event.implicit[0]
            node.style = event.style
        elif name == "MappingStartEvent" or name == "SequenceStartEvent":
            mark = event.start_mark
            kind = MAPPING if name == "MappingStartEvent" else SEQUENCE
            node = Node(kind, mark.index, event.end_mark.index, mark.column)
            node.flow = bool(event.flow_style)
        elif name == "MappingEndEvent" or name == "SequenceEndEvent":
            node = stack.pop()
            if node.flow:
                node.end = event.end_mark.index
            elif node.children:
                node.end = node.children[-1].end
            continue
        elif name == "AliasEvent":
            mark = event.start_mark
            node = Node(ALIAS, mark.index, event.end_mark.index, mark.column)
            target = anchors.get(event.anchor)
            if target is None:
                raise SyntaxFault(f"unknown anchor '{event.anchor}' referenced", mark.index)
            node.text = event.anchor
            node.children.append(target)
        elif name == "DocumentEndEvent":
            return root
        elif name == "StreamEndEvent":
            return None
        else:
            continue
        if node.kind != ALIAS and event.anchor is not None:
            node.anchor = event.anchor
            anchors[event.anchor] = node
        if stack:
            stack[-1].children.append(node)
        else:
            root = node
        if node.kind == MAPPING or node.kind == SEQUENCE:
            stack.append(node)
            if len(stack) > MAX_DEPTH:
                raise SyntaxFault(f"nested deeper than {MAX_DEPTH} levels", node.start)


class _Decoder:
    """decode.go's decoder into interface{}, with its limits on aliases."""

    def __init__(self) -> None:
        self.decoded = 0
        self.through_alias = 0
        self.depth = 0
        self.active: set[int] = set()
        self.duplicates: list[Node] = []

    def value(self, node: Node) -> Any:
        self.decoded += 1
        if self.depth:
            self.through_alias += 1
            if (
                self.through_alias > 100
                and self.decoded > 1000
                and self.through_alias / self.decoded > _allowed_ratio(self.decoded)
            ):
                raise SyntaxFault("document contains excessive aliasing", node.start)
        if node.kind == SCALAR:
            return self.scalar(node)
        if node.kind == MAPPING:
            out: dict[Any, Any] = {}
            self.mapping(node, out)
            return out
        if node.kind == SEQUENCE:
            return [self.value(child) for child in node.children]
        return self.alias(node, None)

    def alias(self, node: Node, out: dict[Any, Any] | None) -> Any:
        if id(node) in self.active:
            raise SyntaxFault(f"anchor '{node.text}' value contains itself", node.start)
        if len(self.active) > MAX_DEPTH:
            raise SyntaxFault(f"nested deeper than {MAX_DEPTH} levels", node.start)
        self.active.add(id(node))
        self.depth += 1
        target = node.children[0]
        result = None
        if out is None:
            result = self.value(target)
        else:
            self.decoded += 1
            self.through_alias += 1
            self.mapping(target, out)
        self.depth -= 1
        self.active.discard(id(node))
        return result

    def scalar(self, node: Node) -> Any:
        if node.tag is None and not node.plain:
            return node.text
        try:
            value = resolve(node.tag, node.text)
            return json_number(value) if isinstance(value, float) else value
        except Unresolvable as error:
            raise SyntaxFault(str(error), node.start) from None

    def key(self, node: Node) -> str:
        target = node.children[0] if node.kind == ALIAS else node
        self.decoded += 1
        if target.kind != SCALAR:
            raise SyntaxFault("a mapping or a sequence cannot be a key", node.start)
        return key_text(target.text if target.tag is None and not target.plain else resolve(target.tag, target.text))

    def mapping(self, node: Node, out: dict[Any, Any]) -> None:
        seen: set[Any] = set()
        for key_node, value_node in node.pairs():
            if key_node.is_merge:
                self.merge(value_node, out)
                continue
            try:
                text = self.key(key_node)
            except Unresolvable as error:
                raise SyntaxFault(str(error), key_node.start) from None
            if text in seen:
                self.duplicates.append(key_node)
            seen.add(text)
            out[text] = self.value(value_node)

    def merge(self, node: Node, out: dict[Any, Any]) -> None:
        sources = reversed(node.children) if node.kind == SEQUENCE else (node,)
        for source in sources:
            target = source.children[0] if source.kind == ALIAS else source
            if target.kind != MAPPING:
                raise SyntaxFault("map merge requires map or sequence of maps as the value", source.start)
            self.decoded += 1
            if source.kind == ALIAS:
                self.alias(source, out)
            else:
                self.mapping(target, out)


def _allowed_ratio(decoded: int) -> float:
    if decoded <= 400_000:
        return 0.99
    if decoded >= 4_000_000:
        return 0.10
    return 0.99 - 0.89 * ((decoded - 400_000) / 3_600_000)


def value_of(root: Node | None) -> tuple[Any, list[Node]]:
    """Return what a tree means to kubectl, as JSON types, and the keys that repeat an earlier one.

    kubectl takes the last of duplicate keys. Raises SyntaxFault where kubectl gives an error.
    """
    if root is None:
        return None, []
    decoder = _Decoder()
    try:
        return decoder.value(root), decoder.duplicates
    except RecursionError:
        raise SyntaxFault(f"nested deeper than {MAX_DEPTH} levels", root.start) from None

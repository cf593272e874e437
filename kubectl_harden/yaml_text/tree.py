"""YAML text as a tree of nodes with exact spans, and the value that kubectl decodes it to.

Meaning follows sigs.k8s.io/yaml (YAMLToJSON), which is go.yaml.in/yaml/v2 and then JSON:
``resolve.go`` for scalars, ``decode.go`` for maps, merge keys, aliases and their limits.
libyaml (PyYAML's C parser) reads the syntax; go.yaml.in/yaml/v2 is a port of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, TypeVar

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from kubectl_harden.errors import HardenError, SyntaxFault
from kubectl_harden.yaml_text.scalars import UNSAFE, Unresolvable, json_number, key_text, resolve

try:
    from yaml._yaml import CParser, get_version_string
except ImportError:
    raise HardenError(
        "PyYAML is installed without libyaml, which reads YAML as kubectl does: install PyYAML as a wheel (pip install "
        "--force-reinstall --only-binary PyYAML PyYAML), or build it where libyaml's headers are"
    ) from None

__all__ = [
    "ALIAS",
    "MAPPING",
    "MAX_DEPTH",
    "SCALAR",
    "SEQUENCE",
    "TOO_DEEP",
    "Node",
    "dump",
    "key_of",
    "libyaml_version",
    "parse",
    "top_level",
    "value_of",
]

T = TypeVar("T")

_RETRIES: Final = 100
_READ_AGAIN: Final = 4 << 20
"""The most characters that are parsed again, in all retries of a text together."""
# Patterns that are compiled on demand, which is rare.
_IN_QUOTES: Final = r'(?s:[^"\\]+|\\.)*'
_ESCAPE: Final = r"(?s:\\.)"

MAX_DEPTH: Final = 999
"""Deeper nesting is refused: no Kubernetes type comes near it, and recursion needs a limit. Newer libyaml stops at
1000.
"""

TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"

SCALAR: Final = 0
MAPPING: Final = 1
SEQUENCE: Final = 2
ALIAS: Final = 3


class Node:
    """One YAML or JSON node.

    ``start`` and ``end`` count characters in the text it was parsed from. The end of a block collection is the end of
    its last child. ``children`` holds key, value, key, value … for a mapping, items for a sequence, and the one target
    for an alias. ``plain`` scalars are resolved by their text; ``in_flow`` nodes are in brackets.
    """

    __slots__ = ("anchor", "children", "end", "flow", "in_flow", "kind", "plain", "start", "style", "tag", "text")

    def __init__(self, kind: int, start: int, end: int) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.children: list[Node] = []
        self.text = ""
        self.tag: str | None = None
        self.plain = False
        self.style: str | None = None
        self.flow = False
        self.in_flow = False
        self.anchor: str | None = None

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        """Yield the key and value nodes of a mapping, in the order of the text."""
        children = iter(self.children)
        return zip(children, children, strict=True)

    @property
    def is_merge(self) -> bool:
        """Whether this mapping key is the merge key ``<<`` (decode.go, isMerge)."""
        return self.kind == SCALAR and self.text == "<<" and (self.plain or self.tag == "tag:yaml.org,2002:merge")


def libyaml_version() -> str:
    """Return the version of the library that parses."""
    return str(get_version_string())


def _fault(error: yaml.YAMLError) -> SyntaxFault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if problem == "exceeded maximum nesting depth":
        problem = TOO_DEEP
    offset = mark.index if mark is not None else getattr(error, "position", 0)
    return SyntaxFault(str(problem), offset if isinstance(offset, int) else 0)


def _stand_in(text: str, taken: str) -> str:
    """Return a private-use character that neither text contains."""
    used = {*text, *taken}
    found = next((chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in used), None)
    if found is None:
        raise SyntaxFault("has all private-use characters, which is refused")
    return found


def _events(text: str, use: Callable[[CParser, dict[str, str]], T]) -> T:
    """Give ``use`` a parser that reads the text as kubectl's parser does.

    What libyaml and go.yaml.in/yaml/v2 read differently is replaced by stand-ins of the same length, which ``use``
    gets, to replace them again: U+FEFF after the start of a document (libyaml skips it on any line), the slash of an
    escape in double quotes (which kubectl does not know), a colon at the end of a plain scalar in brackets, and the
    escape of an apostrophe in double quotes (libyaml refuses these two).
    """
    stand_ins: dict[str, str] = {}

    def stand_in(meant: str) -> str:
        mark = next((key for key, value in stand_ins.items() if value == meant), None)
        mark = mark or _stand_in(text, "".join(stand_ins))
        stand_ins[mark] = meant
        return mark

    if "\ufeff" in text:
        text = text.replace("\ufeff", stand_in("\ufeff"))
    if "\\/" in text:
        text = text.replace("\\/", "\\" + stand_in("/"))
    spent = 0
    for _ in range(_RETRIES):
        parser = CParser(text)
        try:
            return use(parser, stand_ins)
        except yaml.YAMLError as error:
            fault = _fault(error)
            at = fault.offset
            if fault.args[0] == "found unexpected ':'" and text[at : at + 1] == ":":
                text = text[:at] + stand_in(":") + text[at + 1 :]
            elif fault.args[0] == "found unknown escape character" and text[at : at + 2] == "\\'":
                text = _with_apostrophes(text, at, stand_in("'") + stand_in(""))
            else:
                raise fault from None
            spent += at
            if spent > _READ_AGAIN:
                raise SyntaxFault("too many colons at the end of text in brackets: quote it", at) from None
        finally:
            parser.dispose()
    raise fault


def _with_apostrophes(text: str, start: int, stand_ins: str) -> str:
    """Return a text with stand-ins for escaped apostrophes from an offset in double quotes to their end."""
    scalar = re.compile(_IN_QUOTES).match(text, start)
    end = scalar.end() if scalar else start
    escapes = re.sub(_ESCAPE, lambda match: stand_ins if match[0] == "\\'" else match[0], text[start:end])
    return text[:start] + escapes + text[end:]


def top_level(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield each key at the top level of a document, with its value where that is a plain or quoted string.

    No tree is built, so it takes a tenth of the time. The text is split before each line that can begin a key, and
    the parser reads each piece on its own: a piece is well-formed only where its brackets and quotes are closed, and
    the next line at column 0 ends every open block. So the pieces together mean the same as the whole.

    Raises SyntaxFault for invalid text, and where only the whole tree can tell what the keys are: anything but one
    block mapping at column 0 whose keys are scalars without tags, anchors and aliases.
    """
    if any(mark in text for mark in _AMBIGUOUS) or ("\r" in text and text.count("\r") != text.count("\r\n")):
        raise SyntaxFault(_UNSURE)
    if text.count("[") + text.count("{") > MAX_DEPTH:
        raise SyntaxFault(_UNSURE)  # Older versions of libyaml take n² time for n nested brackets.
    if "\\/" in text:
        # kubectl's parser does not know this escape in double quotes; regular expressions elsewhere are full of it.
        text = text.replace("\\/", "\\" + _SLASH)
    starts = [match.end() for match in re.finditer(_NEXT_KEY, text)]
    if text.startswith(("---", "#", " ", "\t", "\r", "\n")):
        del starts[:1]  # The text above the first key belongs to it.
    for start, end in pairwise((0, *starts, len(text))):
        key, value = _only_key(text[start:end], first=start == 0)
        yield key.replace(_SLASH, "/"), None if value is None else value.replace(_SLASH, "/")


_UNSURE: Final = "only the whole tree can tell what the keys are"
_UNMARKED: Final = (None, None, None, None)
_SLASH: Final = "\ue000"
"""Stands for a slash after a backslash: libyaml refuses that as an escape, too."""
_AMBIGUOUS: Final = ("\ufeff", "\x85", "\u2028", "\u2029", _SLASH)
"""Byte order marks, line breaks of YAML 1.1 only, and the stand-ins used here."""

# What can begin a key at column 0; "- " there is an item of the key above. The leading line feed makes the search fast.
_NEXT_KEY: Final = r"\n(?=[^ \t\r\n#-]|-[^ \t\r\n])"


def _only_key(text: str, *, first: bool) -> tuple[str, str | None]:
    """Return the key that begins a text, and its value where that is a string. Raises SyntaxFault."""
    parser = CParser(text)
    get: Callable[[], Any] = parser.get_event
    try:
        get(), get()  # The stream and the document begin.
        mapping, key = get(), get()
        if type(mapping) is not MappingStartEvent or mapping.flow_style or type(key) is not ScalarEvent:
            raise SyntaxFault(_UNSURE)
        if (mapping.anchor, mapping.tag, key.anchor, key.tag) != _UNMARKED or not key.value:
            raise SyntaxFault(_UNSURE)
        mark: Any = key.start_mark
        if mark.column if first else mark.index:
            raise SyntaxFault(_UNSURE)
        value = get()
        parser.raw_parse()
    except yaml.YAMLError as error:
        raise _fault(error) from None
    is_text = type(value) is ScalarEvent and value.anchor is None and value.tag is None
    if is_text and value.implicit[0]:
        is_text = isinstance(resolve(None, value.value), str)
    return key.value, value.value if is_text else None


def parse(text: str) -> Node | None:
    """Return the tree of the first document in the text, or None where there is none.

    Raises SyntaxFault for what kubectl cannot parse, and for nesting beyond MAX_DEPTH.
    """
    # kubectl's parser skips up to two byte order marks, and libyaml's offsets do not count them.
    skipped = len(text[:2]) - len(text[:2].lstrip("\ufeff"))
    try:
        return _events(text[skipped:], lambda parser, stand_ins: _build(parser, stand_ins, skipped))
    except SyntaxFault as fault:
        fault.offset += skipped
        raise


def _build(parser: CParser, stand_ins: dict[str, str], skipped: int) -> Node | None:
    get: Callable[[], Any] = parser.get_event
    root: Node | None = None
    stack: list[Node] = []
    anchors: dict[str, Node] = {}
    while True:
        event = get()
        kind_of_event = type(event)
        if kind_of_event is ScalarEvent:
            node = Node(SCALAR, skipped + event.start_mark.index, skipped + event.end_mark.index)
            node.text = event.value
            if stand_ins:
                for mark_in_text, character in stand_ins.items():
                    node.text = node.text.replace(mark_in_text, character)
            node.tag = event.tag
            node.plain = event.implicit[0]
            node.style = event.style
            if "?" in node.text and not event.style and stack and stack[-1].flow:
                # libyaml 0.2 reads on where kubectl's parser finds the indicator of a complex key.
                raise SyntaxFault("did not find expected ',' or ']': quote text with a question mark", node.start)
        elif kind_of_event is MappingStartEvent or kind_of_event is SequenceStartEvent:
            mark = event.start_mark
            kind = MAPPING if kind_of_event is MappingStartEvent else SEQUENCE
            node = Node(kind, skipped + mark.index, skipped + event.end_mark.index)
            node.flow = bool(event.flow_style)
        elif kind_of_event is MappingEndEvent or kind_of_event is SequenceEndEvent:
            node = stack.pop()
            if node.flow:
                node.end = skipped + event.end_mark.index
            elif node.children:
                node.end = node.children[-1].end
            continue
        elif kind_of_event is AliasEvent:
            mark = event.start_mark
            node = Node(ALIAS, skipped + mark.index, skipped + event.end_mark.index)
            target = anchors.get(event.anchor)
            if target is None:
                raise SyntaxFault(f"unknown anchor '{event.anchor}' referenced", mark.index)
            node.text = event.anchor
            node.children.append(target)
        elif kind_of_event is DocumentEndEvent:
            return root
        elif kind_of_event is StreamEndEvent:
            return None
        else:
            continue
        if node.kind != ALIAS and event.anchor is not None:
            node.anchor = event.anchor
            anchors[event.anchor] = node
        if stack:
            stack[-1].children.append(node)
            node.in_flow = stack[-1].flow
        else:
            root = node
        if node.kind == MAPPING or node.kind == SEQUENCE:
            stack.append(node)
            if len(stack) > MAX_DEPTH:
                raise SyntaxFault(TOO_DEEP, node.start - skipped)


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
            out: dict[Any, object] = {}
            self.mapping(node, out)
            return out
        if node.kind == SEQUENCE:
            return [self.value(child) for child in node.children]
        return self.alias(node, None)

    def alias(self, node: Node, out: dict[object, object] | None) -> object:
        if id(node) in self.active:
            raise SyntaxFault(f"anchor '{node.text}' value contains itself", node.start)
        if len(self.active) > MAX_DEPTH:
            raise SyntaxFault(TOO_DEEP, node.start)
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

    def scalar(self, node: Node) -> object:
        if node.tag is None and not node.plain:
            return node.text
        try:
            value = resolve(node.tag, node.text)
            return json_number(value) if isinstance(value, float) else value
        except Unresolvable as error:
            raise SyntaxFault(str(error), node.start) from None

    def mapping(self, node: Node, out: dict[object, object]) -> None:
        seen: set[object] = set()
        for key_node, value_node in node.pairs():
            if key_node.text == "<<" and key_node.is_merge:
                self.merge(value_node, out)
                continue
            self.decoded += 1
            text = key_of(key_node)
            if text in seen:
                self.duplicates.append(key_node)
            seen.add(text)
            out[text] = self.value(value_node)

    def merge(self, node: Node, out: dict[object, object]) -> None:
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


def key_of(node: Node) -> str:
    """Return the JSON key that a mapping's key node means. Raises SyntaxFault for a node that cannot be a key."""
    target = node.children[0] if node.kind == ALIAS else node
    if target.kind != SCALAR:
        raise SyntaxFault("a mapping or a sequence cannot be a key", node.start)
    if target.tag is None and not target.plain:
        return target.text
    try:
        return _plain_key(target.tag, target.text)
    except Unresolvable as error:
        raise SyntaxFault(str(error), node.start) from None


@lru_cache(maxsize=2048)
def _plain_key(tag: str | None, text: str) -> str:
    return key_text(resolve(tag, text))


def value_of(root: Node | None) -> tuple[object, list[Node]]:
    """Return the value that kubectl decodes a tree to, in JSON types, and the keys that repeat an earlier one.

    kubectl takes the last of duplicate keys. Raises SyntaxFault where kubectl gives an error.
    """
    if root is None:
        return None, []
    decoder = _Decoder()
    try:
        return decoder.value(root), decoder.duplicates
    except RecursionError:
        raise SyntaxFault(TOO_DEEP, root.start) from None


def dump(value: object) -> str:
    """Return JSON data as YAML text, keys in their order, strings such that kubectl reads them as strings."""
    text = str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))
    return re.sub(_ESCAPED, _escape, text)


_ESCAPED: Final = f"[{UNSAFE}]"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Dumper(yaml.SafeDumper):
    """Quotes every string that kubectl would not read as one; PyYAML's own rules miss some."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (the name is PyYAML's)
        return True


def _string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\r" in text or re.search(_ESCAPED, text):
        style = '"'
    elif "\n" in text:
        style = "|"
    elif not isinstance(resolve(None, text), str):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)

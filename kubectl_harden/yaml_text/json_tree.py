"""JSON text as a tree of nodes with exact spans, and its value as kubectl decodes it (encoding/json)."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from kubectl_harden.errors import SyntaxFault
from kubectl_harden.yaml_text.scalars import Unresolvable, json_number
from kubectl_harden.yaml_text.tree import MAPPING, MAX_DEPTH, SCALAR, SEQUENCE, TOO_DEEP, Node

__all__ = ["as_yaml", "decode", "parse", "repeated_keys"]

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_TOKEN: Final = re.compile(r'[ \t\n\r]*([{}\[\],:]|"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+)', re.DOTALL)
_ESCAPES: Final = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON value")


def _float(text: str) -> int | float:
    try:
        return json_number(float(text))
    except Unresolvable:
        raise ValueError(f"number {text} is out of range") from None


def decode(text: str, start: int) -> tuple[Any, int, bool]:
    """Decode the JSON value at ``start``.

    Returns the value, the offset after it, and whether a key repeats in it (the last one counts,
    as for kubectl). Raises SyntaxFault, also where nothing is left of the text.
    """
    begin = _skip_space(text, start)
    repeats = False

    def collected(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal repeats
        out = dict(pairs)
        repeats = repeats or len(out) != len(pairs)
        return out

    decoder = json.JSONDecoder(object_pairs_hook=collected, parse_constant=_constant, parse_float=_float)
    try:
        value, end = decoder.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        raise SyntaxFault(error.msg[:1].lower() + error.msg[1:], error.pos) from None
    except RecursionError:
        raise SyntaxFault(TOO_DEEP, begin) from None
    except ValueError as error:
        raise SyntaxFault(str(error), begin) from None
    if "\\u" in text[begin:end]:
        value = _scrub(value)
    return value, end, repeats


def as_yaml(text: str) -> str:
    """Return JSON text without the escapes that kubectl's YAML parser does not know: of a slash, and surrogates."""
    if "\\/" not in text and "\\u" not in text:
        return text
    return _ESCAPES.sub(_without_escape, text)


def _without_escape(match: re.Match[str]) -> str:
    if match[0] == "\\/":
        return "/"
    return str(_scrub(json.loads(f'"{match[0]}"'))) if match[0][2:3] in ("d", "D") else match[0]


def _skip_space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return start if match is None else match.end()


def _scrub(value: object) -> object:
    """Replace lone surrogates as encoding/json does."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_scrub(item) for item in value]
    if isinstance(value, dict):
        return {_scrub(key): _scrub(item) for key, item in value.items()}
    return value


def parse(text: str, start: int = 0) -> Node:
    """Return the tree of the JSON value at ``start`` of a text that ``decode`` accepts."""
    stack: list[Node] = []
    position = start
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            raise SyntaxFault("unexpected end of JSON", position)
        token, position = match.group(1), match.end()
        begin = match.start(1)
        if token in ",:":
            continue
        if token in "}]":
            node = stack.pop()
            node.end = position
        else:
            kind = {"{": MAPPING, "[": SEQUENCE}.get(token, SCALAR)
            node = Node(kind, begin, position)
            node.flow = kind != SCALAR
            if kind == SCALAR:
                node.plain = token[0] != '"'
                node.style = None if node.plain else '"'
                node.text = token if node.plain else json.loads(token, strict=False)
            if stack:
                stack[-1].children.append(node)
                node.in_flow = True
            if kind != SCALAR:
                stack.append(node)
                if len(stack) > MAX_DEPTH:
                    raise SyntaxFault(TOO_DEEP, begin)
                continue
        if not stack:
            return node


def repeated_keys(text: str, start: int) -> tuple[tuple[int, str], ...]:
    """Return the offset and the name of each key that repeats an earlier one in the value at ``start``."""
    found = []
    stack = [parse(text, start)]
    while stack:
        node = stack.pop()
        stack.extend(node.children)
        if node.kind == MAPPING:
            seen: set[str] = set()
            for key, _ in node.pairs():
                if key.text in seen:
                    found.append((key.start, key.text))
                seen.add(key.text)
    return tuple(sorted(found))

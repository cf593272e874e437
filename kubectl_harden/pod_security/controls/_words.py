"""Wording that the controls share, after policy/helpers.go and Go's strconv.Quote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubectl_harden.pod_security.pod import Container

__all__ = ["containers_text", "go_quote", "join_quote", "plural", "setters"]


def join_quote(items: Iterable[str]) -> str:
    """Return ``"a", "b"``."""
    text = '", "'.join(items)
    return f'"{text}"'


def plural(singular: str, several: str, count: int) -> str:
    """Return the singular for a count of exactly one."""
    return singular if count == 1 else several


def containers_text(containers: Sequence[Container]) -> str:
    """Return ``container "a"`` or ``containers "a", "b"``."""
    return f"{plural('container', 'containers', len(containers))} {join_quote(c.name for c in containers)}"


def setters(pod_is_bad: bool, containers: Sequence[Container], *others: str) -> str:
    """Return what sets a field, such as ``pod and container "a"``."""
    parts = ["pod"] if pod_is_bad else []
    if containers:
        parts.append(containers_text(containers))
    return " and ".join([*parts, *others])


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def go_quote(text: str) -> str:
    """Return the text as Go's ``%q`` prints it."""
    import unicodedata

    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char == " " or unicodedata.category(char)[0] in "LMNPS":
            out.append(char)
        elif char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char < " " or char == "\x7f":
            out.append(f"\\x{ord(char):02x}")
        elif ord(char) < 0x10000:
            out.append(f"\\u{ord(char):04x}")
        else:
            out.append(f"\\U{ord(char):08x}")
    return '"' + "".join(out) + '"'

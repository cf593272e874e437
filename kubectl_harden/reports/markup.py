"""HTML without injection: what is not ``Markup`` is text, and is escaped where it is inserted."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from kubectl_harden.reports.terminal import printable

__all__ = ["Markup", "joined", "printable_lines", "tag"]

_VOID = frozenset(("br", "input", "meta", "link"))


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | int | bool | None) -> Markup:
    """Return an element. Children and the values of attributes are escaped, except children that are Markup.

    ``class_`` is the attribute ``class``, ``data_x`` is ``data-x``; what is None or False is left out.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    end = "" if name in _VOID else f"</{name}>"
    return Markup(f"<{name}{shown}>{joined(children)}{end}")


def joined(children: Iterable[str]) -> Markup:
    """Return children one after the other, escaped where they are text."""
    return Markup("".join(child if isinstance(child, Markup) else _escaped(child) for child in children))


def printable_lines(text: str) -> str:
    """Return text with all control characters but line feeds escaped."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(text: str) -> str:
    return escape(printable_lines(text))


def _attribute(key: str, value: str | int | bool) -> str:
    if value is False:
        return ""
    name = key.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_escaped(str(value))}"'

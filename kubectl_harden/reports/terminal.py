"""What all text output shares: safe characters, colour by meaning, lines that fit."""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from typing import Any, Final

import click

from kubectl_harden.model import Identity, LiveSource, Problem, Source
from kubectl_harden.yaml_text.tree import UNSAFE

__all__ = [
    "counted",
    "error_line",
    "json_text",
    "level_text",
    "object_name",
    "paint",
    "place",
    "printable",
    "width",
    "wrapped",
]

# json.dumps itself escapes the control characters of ASCII.
_UNSAFE_IN_JSON: Final = f"[{UNSAFE}\ud800-\udfff]"
_UNSAFE: Final = f"[\x00-\x1f{UNSAFE}\ud800-\udfff]"
_COMMAND: Final = re.compile(r"(?:(?<=: )|^)kubectl .*$")
_STYLES: Final = {
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "warn": {"fg": "yellow"},
    "place": {"fg": "cyan"},
    "strong": {"bold": True},
}


def printable(text: str) -> str:
    """Return text from a file with control characters escaped."""
    if text.isascii() and text.isprintable():
        return text
    return re.sub(_UNSAFE, lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def json_text(value: Any) -> str:
    """Return JSON for people and programs: indented, and without characters that a terminal acts on."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(_UNSAFE_IN_JSON, lambda match: f"\\u{ord(match[0]):04x}", text)


def paint(text: str, meaning: str, colour: bool) -> str:
    """Return the text in the colour of a meaning: good, bad, warn, place, strong."""
    return click.style(text, **_STYLES[meaning]) if colour else text  # type: ignore[arg-type]


def width() -> int:
    """Return the columns to write in: the terminal's, between 60 and 160; 80 without one."""
    for stream in (1, 2):
        try:
            return max(60, min(160, os.get_terminal_size(stream).columns))
        except OSError:
            continue
    return 80


@lru_cache(maxsize=256)
def wrapped(text: str, indent: int, columns: int) -> str:
    """Return the text in lines that fit, each indented; a command at its end stays in one, so that it can be pasted."""
    pad = " " * indent
    if indent + len(text) <= columns:
        return pad + text
    command = _COMMAND.search(text)
    if command is not None:
        head = text[: command.start()].rstrip()
        return (f"{wrapped(head, indent, columns)}\n" if head else "") + f"{pad}{command[0]}"
    import textwrap

    lines = textwrap.wrap(text, max(columns, indent + 20), initial_indent=pad, subsequent_indent=pad,
                          break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return "\n".join(lines) or pad


def place(source: Source | LiveSource, line: int | None = None) -> str:
    """Return ``file:line``, as terminals and editors make it clickable; a live object's owner, or nothing."""
    if isinstance(source, LiveSource):
        return printable(f"made by {source.owner}") if source.owner else ""
    name = "stdin" if source.file == "-" else printable(source.file)
    shown = line or source.line
    return f"{name}:{shown}" if shown else name


def object_name(identity: Identity) -> str:
    """Return ``Deployment shop/web``."""
    name = identity.name or "(no name)"
    full = f"{identity.namespace}/{name}" if identity.namespace else name
    return printable(f"{identity.kind} {full}")


def level_text(level: str, colour: bool) -> str:
    """Return a level in its colour."""
    return paint(level, {"restricted": "good", "baseline": "warn"}.get(level, "bad"), colour)


def counted(count: int, singular: str) -> str:
    """Return ``1 workload`` or ``2 workloads``."""
    return f"{count:,} {singular if count == 1 else singular + 's'}"


def error_line(problem: Problem) -> str:
    """Return a problem as ``file:line:column: message``."""
    if problem.file is None:
        return printable(problem.message)
    name = "stdin" if problem.file == "-" else printable(problem.file)
    parts = [name, *(str(part) for part in (problem.line, problem.column) if part is not None)]
    return f"{':'.join(parts)}: {printable(problem.message)}"

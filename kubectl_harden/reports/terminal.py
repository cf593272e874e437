"""What all text output shares: safe characters, marks for colour, lines that fit."""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from typing import Final, Literal

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Identity, LiveSource, Problem, Risk, Source
from kubectl_harden.yaml_text.scalars import UNSAFE

__all__ = [
    "MARKS",
    "PLAIN",
    "UNLIMITED",
    "UNPRINTABLE",
    "error_line",
    "escaped",
    "json_text",
    "level_text",
    "object_name",
    "paint",
    "place",
    "printable",
    "risk_text",
    "template_of",
    "width",
    "wrapped",
]

MARKS: Final = {"good": "\ufdd1", "bad": "\ufdd2", "warn": "\ufdd3", "place": "\ufdd4", "strong": "\ufdd5"}
"""The mark that begins each meaning's colour: a noncharacter, which no text for interchange holds (Unicode, 23.7)."""

_MEANING_OF: Final = {
    "restricted": "good",
    "baseline": "warn",
    "privileged": "bad",
    "safe": "good",
    "review": "warn",
    "breaks": "bad",
}
"""The colours of levels and risks."""

PLAIN: Final = "\ufdd0"
"""The mark that ends a colour."""

UNPRINTABLE: Final = f"\x00-\x1f{UNSAFE}\ud800-\udfff\ufdd0-\ufdef"
"""What a pattern's brackets hold for what a terminal acts on or hides, and for marks."""

UNLIMITED: Final = sys.maxsize
"""The columns of what is not a terminal."""

_UNPRINTABLE: Final = f"[{UNPRINTABLE}]"
# json.dumps itself escapes the control characters of ASCII.
_UNSAFE_IN_JSON: Final = f"[{UNSAFE}\ud800-\udfff]"
_COMMAND: Final = r"(?:(?<=: )|^)kubectl .*$"


def escaped(match: re.Match[str]) -> str:
    """Return a character as Python writes it between quotes."""
    return match[0].encode("unicode_escape", "surrogatepass").decode()


def printable(text: str) -> str:
    """Return text from elsewhere with all escaped that is not a character to see, line feeds and marks too."""
    if text.isascii() and text.isprintable():
        return text
    return re.sub(_UNPRINTABLE, escaped, text)


def json_text(value: object) -> str:
    """Return JSON for people and programs: indented, and without characters that a terminal acts on."""
    import json  # late: text is asked for more often

    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(_UNSAFE_IN_JSON, lambda match: json.dumps(match[0])[1:-1], text)


def paint(text: str, meaning: str) -> str:
    """Return the text, escaped, in the marks of a meaning: good, bad, warn, place, strong.

    Only what writes to a terminal makes colours of marks, or leaves them out (output.shown).
    """
    return f"{MARKS[meaning]}{printable(text)}{PLAIN}"


def _meaning_of(word: str) -> str:
    """Return the meaning of a level's or a risk's colour; a word that is neither is bad news."""
    return _MEANING_OF.get(word, "bad")


def risk_text(risk: Risk, columns: int) -> str:
    """Return a risk in its colour, padded to a column's width."""
    return paint(f"{risk:<{columns}}", _meaning_of(risk))


def width(stream: Literal[1, 2] = 1) -> int:
    """Return the columns to write stdout (1) or stderr (2) in: those of COLUMNS, or the terminal's up to 160, and at
    least 60. Where the stream is not a terminal nothing is cut or wrapped: programs and logs read lines.
    """
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return max(60, int(told))
    try:
        return max(60, min(160, os.get_terminal_size(stream).columns))
    except OSError:
        return UNLIMITED


@lru_cache(maxsize=256)
def wrapped(text: str, indent: int, columns: int, *, head: str = "", meaning: str = "") -> str:
    """Return the text, escaped, in lines that fit, each indented, and in the marks of a meaning if there is one.

    A command at its end stays in one line, so that it can be pasted. ``head`` stands before it, strong and unbroken.
    Marks take no room: they are put on lines that are whole.
    """
    text, head, pad = printable(text), printable(head), " " * indent
    command = re.search(_COMMAND, text)
    if indent + len(head) + len(text) <= columns:
        lines = [text]
    elif command is not None:
        before = text[: command.start()].rstrip()
        above = pad + _strong(head)
        if before:
            above = f"{wrapped(before, indent, columns, head=head, meaning=meaning)}\n{pad}"
        return above + (paint(command[0], meaning) if meaning else command[0])
    else:
        import textwrap

        room = max(columns - indent, 20)
        lines = textwrap.wrap(text, room, initial_indent=" " * len(head), break_long_words=False,
                              break_on_hyphens=False) or [head]  # fmt: skip
        lines[0] = lines[0][len(head) :]
    return pad + _strong(head) + f"\n{pad}".join(paint(line, meaning) if meaning else line for line in lines)


def _strong(head: str) -> str:
    return paint(head, "strong") if head else ""


def place(source: Source | LiveSource, line: int | None = None) -> str:
    """Return ``file:line``, as terminals and editors make it clickable; a live object's owner, or nothing."""
    if isinstance(source, LiveSource):
        return printable(f"made by {source.owner}") if source.owner else ""
    name = "stdin" if source.file == "-" else printable(source.file)
    shown = line or source.line
    return f"{name}:{shown}" if shown else name


def object_name(identity: Identity) -> str:
    """Return ``Deployment shop/web``, with its cluster before it where there are several."""
    name = identity.name or "(no name)"
    full = f"{identity.namespace}/{name}" if identity.namespace else name
    cluster = f"{identity.cluster}: " if identity.cluster else ""
    return printable(f"{cluster}{identity.kind} {full}")


def template_of(identity: Identity) -> str:
    """Return which pod template of an object is meant, with a blank before it, or "" where that goes without saying."""
    usual = ((), ("template",), ("spec", "template"))
    return "" if identity.pod_path in usual else f" {printable(pointer(identity.pod_path))}"


def level_text(level: str) -> str:
    """Return a level in its colour."""
    return paint(level, _meaning_of(level))


def error_line(problem: Problem) -> str:
    """Return a problem as ``file:line:column: message``, or with its cluster where there are several."""
    if problem.file is None:
        return printable(f"{problem.cluster}: {problem.message}" if problem.cluster else problem.message)
    name = "stdin" if problem.file == "-" else printable(problem.file)
    parts = [name, *(str(part) for part in (problem.line, problem.column) if part is not None)]
    return f"{':'.join(parts)}: {printable(problem.message)}"

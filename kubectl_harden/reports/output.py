"""The only way to write to a terminal: everything is escaped here, so that no caller can forget to.

Whatever a server, a file, a journal or a registry puts into a text, the only control characters that reach a terminal
are the line feeds and tabs of the layout, and the colours that ``paint`` marked. ``line`` and its like take plain words
and escape line feeds, too. Output for programs (``data``, ``patch``) keeps its bytes where it does not go to a
terminal.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, TextIO

import click

from kubectl_harden.model import Problem
from kubectl_harden.reports.terminal import MARKS, PLAIN, UNPRINTABLE, error_line, escaped, printable, width, wrapped

__all__ = [
    "ask",
    "ask_word",
    "coloured",
    "data",
    "error",
    "line",
    "note",
    "note_problems",
    "overwrite",
    "paragraph",
    "patch",
    "patched",
    "report_problems",
    "shown",
    "tell",
    "write",
]

_COLOURS: Final = {"good": "\x1b[32m", "bad": "\x1b[31m", "warn": "\x1b[33m", "place": "\x1b[36m", "strong": "\x1b[1m"}
_RESET: Final = "\x1b[0m"
_COLOUR_OF_MARK: Final = {PLAIN: _RESET, **{mark: _COLOURS[meaning] for meaning, mark in MARKS.items()}}
_UNPRINTABLE: Final = f"(?![\n\t])[{UNPRINTABLE}]"
_LAYOUT: Final = ("\n", "\t", *_COLOUR_OF_MARK)
_ERASE: Final = "\r\x1b[K"


def coloured(stream: TextIO) -> bool:
    """Whether to write colours to a stream: as --color says, else on terminals."""
    context = click.get_current_context(silent=True)
    if context is not None and context.color is not None:
        return context.color
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shown(text: str, *, colour: bool) -> str:
    """Return text that is safe for a terminal: marks become colours or are left out, and the rest is escaped."""
    words = text
    for layout in _LAYOUT:
        words = words.replace(layout, "")
    # Few texts have something to escape: for the others the pattern is not made.
    if not words.isprintable():
        text = re.sub(_UNPRINTABLE, lambda match: match[0] if match[0] in _COLOUR_OF_MARK else escaped(match), text)
    for mark, code in _COLOUR_OF_MARK.items():
        text = text.replace(mark, code if colour else "")
    return text


def _literal(text: str) -> str:
    """Return text without marks that is safe for a terminal."""
    return re.sub(_UNPRINTABLE, escaped, text.replace("\r\n", "\n"))


# -- for people ------------------------------------------------------------------------------------------------


def write(pieces: Iterable[str]) -> None:
    """Write text for people to stdout, piece by piece as they come."""
    colour = coloured(sys.stdout)
    for piece in pieces:
        sys.stdout.write(shown(piece, colour=colour))
    sys.stdout.flush()


def tell(pieces: Iterable[str]) -> None:
    """Write text for people to stderr, after everything that went to stdout before.

    Errors of writing do not stop the work; those of stdout are reported where stdout is written.
    """
    colour = coloured(sys.stderr)
    for piece in pieces:
        with suppress(OSError):
            sys.stdout.flush()
        with suppress(OSError):
            # click makes old Windows consoles show colours.
            click.echo(shown(piece, colour=colour), nl=False, err=True, color=True)


def line(words: str) -> None:
    """Write words to stderr as one line."""
    tell([printable(words) + "\n"])


def note(words: str) -> None:
    """Write to stderr what a person should know."""
    line(f"note: {words}")


def error(words: str) -> None:
    """Write to stderr what went wrong."""
    line(f"error: {words}")


def paragraph(words: str) -> None:
    """Write words to stderr in lines that fit."""
    tell([wrapped(printable(words), 0, width(2)) + "\n"])


def report_problems(problems: Sequence[Problem], since: int = 0) -> int:
    """Write problems to stderr, and return how many there are."""
    for problem in problems[since:]:
        error(error_line(problem))
    return len(problems)


def note_problems(notes: Sequence[Problem], since: int = 0) -> int:
    """Write to stderr what is worth a look in the input but is not an error; return how many notes there are."""
    for item in notes[since:]:
        note(error_line(item))
    return len(notes)


def ask(question: str) -> bool:
    """Ask a person on stderr: yes or no, and no where only Enter is pressed."""
    room = width(2) - len(" [y/N]: ")
    return click.confirm(shown(wrapped(printable(question), 0, room), colour=False), default=False, err=True)


def ask_word(question: str) -> str:
    """Ask a person on stderr, and return what was typed."""
    return str(click.prompt(printable(question), prompt_suffix=" ", err=True))


def overwrite(words: str) -> None:
    """Overwrite the current line of stderr with words; no words clear it."""
    sys.stderr.write(_ERASE + printable(words))
    sys.stderr.flush()


# -- for programs ----------------------------------------------------------------------------------------------


def data(pieces: Iterable[str]) -> None:
    """Write data for programs to stdout: unchanged, or escaped where stdout is a terminal."""
    terminal = sys.stdout.isatty()
    for piece in pieces:
        sys.stdout.write(_literal(piece) if terminal else piece)
    sys.stdout.flush()


def patch(lines: Iterable[tuple[str, str]]) -> None:
    """Write a diff of (meaning, line) to stdout; where that is not a terminal, the lines are unchanged."""
    sys.stdout.write(patched(lines, colour=coloured(sys.stdout), terminal=sys.stdout.isatty()))
    sys.stdout.flush()


def patched(lines: Iterable[tuple[str, str]], *, colour: bool, terminal: bool) -> str:
    """Return a diff of (meaning, line); for a ``terminal`` escaped, also the carriage returns but those at the end."""
    out = []
    for meaning, text in lines:
        told = _literal(text.removesuffix("\r")) if terminal else text
        out.append(f"{_COLOURS[meaning]}{told}{_RESET}\n" if meaning and colour else f"{told}\n")
    return "".join(out)

"""Exit codes, and what every command does with output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from kubectl_harden.model import Problem

__all__ = [
    "INTERRUPTED",
    "OK",
    "REFUSED",
    "UNREADABLE",
    "USAGE",
    "VIOLATIONS",
    "coloured",
    "exit_code",
    "note_problems",
    "report_problems",
    "tell",
]

OK: Final = 0
VIOLATIONS: Final = 1
USAGE: Final = 2
UNREADABLE: Final = 3
REFUSED: Final = 4
INTERRUPTED: Final = 130


def coloured(stream: Any) -> bool:
    """Whether to write colours to a stream: as --color says, else on terminals."""
    context = click.get_current_context(silent=True)
    if context is not None and context.color is not None:
        return context.color
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def report_problems(problems: Sequence[Problem], since: int = 0) -> int:
    """Write problems to stderr, and return how many there are."""
    from kubectl_harden.reports.terminal import error_line

    for problem in problems[since:]:
        click.echo(f"error: {error_line(problem)}", err=True)
    return len(problems)


def note_problems(notes: Iterable[Problem]) -> None:
    """Write to stderr what is worth a look in the input, and is no error."""
    from kubectl_harden.reports.terminal import error_line

    for note in notes:
        click.echo(f"note: {error_line(note)}", err=True)


def tell(pieces: Iterable[str]) -> None:
    """Write pieces of text for people to stderr."""
    for piece in pieces:
        click.echo(piece, nl=False, err=True)


def exit_code(problems: Iterable[Problem], *, left: bool) -> int:
    """Return the exit code: what the cluster refused counts most, then what could not be read, then what is left."""
    kinds = {problem.refused for problem in problems}
    if kinds:
        return REFUSED if True in kinds else UNREADABLE
    return VIOLATIONS if left else OK

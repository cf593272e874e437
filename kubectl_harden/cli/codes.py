"""Exit codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kubectl_harden.model import Problem

__all__ = [
    "INTERRUPTED",
    "OK",
    "REFUSED",
    "UNREADABLE",
    "USAGE",
    "VIOLATIONS",
    "exit_code",
]

OK: Final = 0
VIOLATIONS: Final = 1
USAGE: Final = 2
UNREADABLE: Final = 3
REFUSED: Final = 4
INTERRUPTED: Final = 130


def exit_code(problems: Iterable[Problem], *, left: bool) -> int:
    """Return the exit code: refusals of the cluster come first, then what could not be read, then what is left."""
    kinds = {problem.refused for problem in problems}
    if kinds:
        return REFUSED if True in kinds else UNREADABLE
    return VIOLATIONS if left else OK

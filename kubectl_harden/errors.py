"""The errors of kubectl-harden.

HardenError                 anything that is told to the user in one sentence
├── UsageError              wrong options or arguments (exit code 2)
├── InputError              an input that cannot be read or evaluated (exit code 3)
│   └── SyntaxFault         text that is no valid YAML or JSON, with its place
└── EditError               a planned edit that cannot be proved in the text
"""

from __future__ import annotations

__all__ = ["EditError", "HardenError", "InputError", "SyntaxFault", "UsageError"]


class HardenError(Exception):
    """Base of all errors that end in a message instead of a traceback."""


class UsageError(HardenError):
    """The command line asks for something that does not exist."""


class InputError(HardenError):
    """An input that could not be read, or an object that could not be evaluated.

    ``path`` is the place inside the object (JSON pointer parts), where there is one.
    """

    def __init__(self, message: str, path: tuple[str | int, ...] | None = None) -> None:
        super().__init__(message)
        self.path = path


class SyntaxFault(InputError):
    """Text that is not valid; ``offset`` counts characters from the start of that text."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


class EditError(HardenError):
    """The text could not be edited so that it provably means the planned object."""

"""The errors of kubectl-harden.

HardenError                 anything that is reported to the user in one sentence
├── UsageError              wrong options or arguments (exit code 2)
├── InputError              an input that cannot be read or evaluated (exit code 3)
│   └── SyntaxFault         text that is not valid YAML or JSON, with its place
├── EditError               a planned edit that cannot be made and proved in the text
└── ClusterError            the cluster refused, or could not be reached (exit code 4)
    ├── Unreachable         no answer, half of one, or one that no API server gives
    ├── Unauthorized        401
    ├── NotPermitted        403 of RBAC, with the verb and the resource
    ├── NotFound            404
    ├── Conflict            409, or a failed "test" of a JSON Patch
    ├── Expired             410: a resourceVersion or a continue token is too old
    └── Denied              admission or validation says no
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

__all__ = [
    "DEBUG",
    "ClusterError",
    "Conflict",
    "Denied",
    "EditError",
    "Expired",
    "HardenError",
    "InputError",
    "NotFound",
    "NotPermitted",
    "SyntaxFault",
    "Unauthorized",
    "Unreachable",
    "UsageError",
    "meant",
    "unexpected",
]

DEBUG: Final = "KUBECTL_HARDEN_DEBUG"
"""The environment variable with which errors show their traceback."""


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


class ClusterError(HardenError):
    """The cluster refused, or could not be reached."""


class Unreachable(ClusterError):
    """No answer, half of one, or one that no API server gives.

    ``sent`` tells whether the request may have been carried out.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class Unauthorized(ClusterError):
    """The API server does not know who is asking."""


class NotPermitted(ClusterError):
    """RBAC does not allow this ``verb`` on this ``resource``."""

    def __init__(self, message: str, verb: str, resource: str) -> None:
        super().__init__(message)
        self.verb = verb
        self.resource = resource


class NotFound(ClusterError):
    """The object does not exist."""


class Conflict(ClusterError):
    """Someone else changed the object in between."""


class Expired(ClusterError):
    """The server no longer knows this version: the list or the watch must be started again."""


class Denied(ClusterError):
    """Admission (Pod Security, a webhook, a quota, a policy) or validation refuses the request."""


def meant(word: str, known: Iterable[str]) -> str:
    """Return a question with the known word that was probably meant, for the end of a message, or ""."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


def unexpected(error: Exception) -> InputError:
    """Return an error as a problem of the object or file in hand, so that the run goes on with the others.

    An unexpected error is reported as a bug, with the place in the code.
    """
    if isinstance(error, HardenError):
        return InputError(str(error))
    if isinstance(error, RecursionError):
        return InputError("cannot be evaluated: nested too deeply")
    if isinstance(error, MemoryError):
        return InputError("cannot be evaluated: not enough memory")
    import traceback

    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} at {os.path.basename(last.filename)}:{last.lineno}"
    return InputError(
        f"cannot be evaluated: {where}: {error}; this is a bug in kubectl harden, please report it with the output of "
        "kubectl harden version -o json"
    )

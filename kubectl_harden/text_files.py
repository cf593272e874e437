"""The one way to open text: files as UTF-8, with the place of an error in them, and standard streams."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from kubectl_harden.errors import InputError

__all__ = [
    "STDIN",
    "encoding_of",
    "json_of",
    "leads_out",
    "open_streams",
    "opened",
    "operand",
    "read_json",
    "read_text",
    "text_of",
]

STDIN: Final = "-"
MAX_FILE: Final = 256 << 20
"""Bytes. A file is read as a whole."""


@contextmanager
def opened(name: str, *, regular: bool = False) -> Iterator[BinaryIO]:
    """Give a file ("-" is stdin) to read bytes from. Raises InputError, without the file's name.

    ``regular`` is for files that were not named by a person: a pipe or a device is refused, since it may never end.
    """
    try:
        if name == STDIN:
            yield sys.stdin.buffer
            return
        if regular:
            _refuse_special(name, os.stat(name))
        with open(name, "rb") as file:
            yield file
    except OSError as error:
        raise InputError(error.strerror or str(error)) from None


def read_text(name: str, *, regular: bool = False, most: int = MAX_FILE) -> str:
    """Return a file's text ("-" is stdin), line ends and byte order mark as they are.

    Raises InputError, without the file's name, for what cannot be read as UTF-8 text, or has more than ``most`` bytes;
    see ``opened`` for ``regular``.
    """
    try:
        data = sys.stdin.buffer.read(most + 1) if name == STDIN else _bytes_of(name, most, regular=regular)
    except OSError as error:
        raise InputError(error.strerror or str(error)) from None
    if len(data) > most:
        raise InputError(f"larger than {most >> 20} MiB, which is refused")
    return text_of(data)


_READ: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0)
# A file that became a FIFO in between must not block the run.
_READ_REGULAR: Final = _READ | getattr(os, "O_NONBLOCK", 0)


def _bytes_of(name: str, most: int, *, regular: bool) -> bytes:
    """Return a file's bytes, at most ``most`` + 1 of them. Raises OSError, and InputError as ``opened``."""
    if regular:
        _refuse_special(name, os.stat(name))
    # Python's own buffers take five times as long as a small file.
    handle = os.open(name, _READ_REGULAR if regular else _READ)
    try:
        about = os.fstat(handle)
        if regular:
            _refuse_special(name, about)
        pieces = []
        left = most + 1
        while left and (piece := os.read(handle, min(left, max(about.st_size + 1, 1 << 16)))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
    finally:
        os.close(handle)


def _refuse_special(name: str, about: os.stat_result) -> None:
    # A kernel's files look regular and empty; what they say about the machine does not belong in a report.
    kernel = not about.st_size and os.path.realpath(name).startswith(("/proc/", "/sys/", "/dev/"))
    if kernel or not stat.S_ISREG(about.st_mode):
        raise InputError("this is not a regular file")


def encoding_of(data: bytes) -> str:
    """Return the encoding that a text's byte order mark shows; decoding keeps the mark (cli-runtime, FileVisitor)."""
    return {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(data[:2], "utf-8")


def text_of(data: bytes) -> str:
    """Return bytes decoded as UTF-8, or as UTF-16 where they begin with its byte order mark.

    Raises InputError with the line and column of the first invalid byte.
    """
    encoding = encoding_of(data)
    if b"\0" in data and encoding == "utf-8":
        raise InputError("has NUL bytes: this is a binary file")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        found = f"not valid {encoding[:6].upper().rstrip('-')} (byte 0x{data[error.start]:02x})"
        raise InputError(f"line {line}, column {column}: {found}") from None


def read_json(name: str, *, regular: bool = False) -> object:
    """Return the JSON value of a file. Raises InputError as ``read_text`` and ``json_of`` do."""
    return json_of(read_text(name, regular=regular))


def json_of(text: str) -> Any:
    """Return the JSON value of a text. Raises InputError with the line and column of the error."""
    import json  # late: most runs read none

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})") from None
    except (ValueError, RecursionError):
        # A number with thousands of digits, or endlessly nested brackets.
        raise InputError("not JSON that can be read: it is nested too deeply, or a number is too long") from None


def open_streams() -> None:
    """Open the standard streams that the parent process has closed; they lead to the null device."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest free file descriptor.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def leads_out(relative: str) -> bool:
    """Whether a relative path leads out of its directory; a name that only begins with two dots does not."""
    rest = relative.replace(os.sep, "/")
    while rest.startswith("./"):
        rest = rest[2:].lstrip("/")
    return rest == os.pardir or rest.startswith("../")


def operand(path: str) -> str:
    """Return a path in a form that programs do not take for an option."""
    return os.path.join(os.curdir, path) if path.startswith("-") else path

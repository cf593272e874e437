"""The one way to read a text file: as UTF-8, with the place of what is wrong in it."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from kubectl_harden.errors import InputError

__all__ = ["STDIN", "json_of", "opened", "read_json", "read_text", "text_of"]

STDIN: Final = "-"
MAX_FILE: Final = 256 << 20
"""Bytes; a file is read as a whole."""


@contextmanager
def opened(name: str, *, regular: bool = False) -> Iterator[BinaryIO]:
    """Give a file ("-" is stdin) to read bytes from. Raises InputError, without the file's name.

    ``regular`` is for files that nobody named: a pipe or a device among them is refused, for it may never end.
    """
    try:
        if name == STDIN:
            yield sys.stdin.buffer
            return
        if regular and not stat.S_ISREG(os.stat(name).st_mode):
            raise InputError("this is not a regular file")
        with open(name, "rb") as file:
            yield file
    except OSError as error:
        raise InputError(error.strerror or str(error)) from None


def read_text(name: str, *, regular: bool = False) -> str:
    """Return a file's text ("-" is stdin), line ends and byte order mark as they are.

    Raises InputError, without the file's name, for what cannot be read as UTF-8 text; see ``opened`` for ``regular``.
    """
    with opened(name, regular=regular) as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise InputError(f"larger than {MAX_FILE >> 20} MiB, which is refused")
    return text_of(data)


def text_of(data: bytes) -> str:
    """Return the text that bytes are in UTF-8. Raises InputError with the line and column of the first that is none."""
    if b"\0" in data:
        kind = "UTF-16 text: convert it to UTF-8" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "a binary file"
        raise InputError(f"has NUL bytes: this is {kind}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8", "replace")) + 1
        raise InputError(f"line {line}, column {column}: not valid UTF-8 (byte 0x{data[error.start]:02x})") from None


def read_json(name: str, *, regular: bool = False) -> Any:
    """Return the JSON value of a file. Raises InputError as ``read_text`` and ``json_of`` do."""
    return json_of(read_text(name, regular=regular))


def json_of(text: str) -> Any:
    """Return the JSON value that a text is. Raises InputError with the line and column of what is wrong."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})") from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or brackets in brackets without an end.
        raise InputError("not JSON that anything sensible writes") from None

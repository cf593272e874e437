"""The files of an audit log, which the API server may rotate, compress and delete while they are read.

Source: gopkg.in/natefinch/lumberjack.v2 (``audit.log`` is renamed, compressed into another file, then deleted).
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

from kubectl_harden.errors import InputError
from kubectl_harden.text_files import STDIN, opened

__all__ = ["LogFiles", "files_of"]

_LOG_NAME: Final = re.compile(r"\.(?:log|json|jsonl|ndjson|txt)(?:[.-][\w.:-]+)?(?:\.gz)?$|\.gz$", re.IGNORECASE)
_GZIP: Final = b"\x1f\x8b"
_PACKED: Final = ".gz"
_BEGINNING: Final = 512
"""Bytes: enough to include an event's ID."""


def files_of(directory: str) -> tuple[list[str], list[str]]:
    """Return the log files of a directory, and what else it has. Raises InputError where it cannot be read."""
    try:
        found = sorted(Path(directory).iterdir())
        logs = [str(item) for item in found if item.is_file() and _LOG_NAME.search(item.name)]
    except OSError as error:
        raise InputError(f"{directory}: {error.strerror or error}") from None
    return logs, [str(item) for item in found if str(item) not in logs]


class LogFiles:
    """The files of names, each read once; ``left_out`` is what else the directories have."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._read: set[tuple[int, int]] = set()
        self._beginnings: dict[str, bytes] = {}
        self.left_out: dict[str, None] = {}

    def __iter__(self) -> Iterator[tuple[str, BinaryIO]]:
        """Yield each file and its content, decompressed.

        A directory is listed again until it has nothing new: a file that is rotated meanwhile gets another name. Raises
        InputError for what does not exist or cannot be read, and for a directory without logs.
        """
        for name in self._names:
            if name == STDIN or not os.path.isdir(name):
                yield from self._opened(name)
                continue
            if not files_of(name)[0]:
                raise InputError(f"{name}: no file in this directory is named like a log (audit.log, audit-….log.gz)")
            before = -1
            while before < len(self._read):
                before = len(self._read)
                files, others = files_of(name)
                self.left_out.update(dict.fromkeys(others))
                for file in files:
                    yield from self._opened(file, may_be_gone=True)

    def _opened(self, file: str, *, may_be_gone: bool = False) -> Iterator[tuple[str, BinaryIO]]:
        with ExitStack() as stack:
            try:
                stream = stack.enter_context(opened(file))
            except InputError as error:
                if may_be_gone and not os.path.exists(file):
                    return
                raise InputError(f"{file}: {error}") from None
            if file == STDIN or self._is_new(file, stream):
                yield file, _unpacked(stream)

    def _is_new(self, file: str, stream: BinaryIO) -> bool:
        """Whether a file has not been read yet, not even under another name or before it was compressed."""
        about = os.fstat(stream.fileno())
        identity = about.st_dev, about.st_ino
        if identity in self._read:
            return False
        self._read.add(identity)
        if not stream.seekable():
            return True
        beginning = _beginning(stream)
        if file.endswith(_PACKED) and beginning and self._beginnings.get(file.removesuffix(_PACKED)) == beginning:
            return False
        self._beginnings[file] = beginning
        return True


def _beginning(stream: BinaryIO) -> bytes:
    """Return how a file begins once it is decompressed: its first event has a unique ID."""
    try:
        with suppress(EOFError, zlib.error, gzip.BadGzipFile):
            return _unpacked(stream).read(_BEGINNING)
    finally:
        stream.seek(0)
    return b""


def _unpacked(stream: BinaryIO) -> BinaryIO:
    """Return the content of a stream, which may be compressed whatever its name is."""
    peek = getattr(stream, "peek", None)
    packed = peek is not None and peek(2)[:2] == _GZIP
    return cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if packed else stream

"""Text files: their encoding, and writing them back so that nothing is ever lost or half written."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator

from kubectl_harden.errors import EditError

__all__ = ["encoding_of", "write_change", "write_new", "write_text"]


def encoding_of(data: bytes) -> str:
    """Return the encoding of a text by its byte order mark, which stays in it (cli-runtime, FileVisitor)."""
    return {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(data[:2], "utf-8")


@contextlib.contextmanager
def _beside(target: str, data: bytes) -> Iterator[str]:
    """Give a whole file beside the target, to be moved over it; it is gone afterwards where it was not moved."""
    descriptor, temporary = tempfile.mkstemp(prefix=".kubectl-harden-", dir=os.path.dirname(target))
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def write_new(name: str, text: str) -> None:
    """Write a file of one's own: the old one stays until the new one is whole. Raises EditError."""
    try:
        if os.path.exists(name) and not os.path.isfile(name):
            with open(name, "w") as file:
                file.write(text)
            return
        target = os.path.realpath(name)
        with _beside(target, text.encode()) as temporary:
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
    except OSError as error:
        raise EditError(f"{name}: {error.strerror}; not written") from None


def write_change(name: str, before: str, after: str) -> None:
    """Make a new file where there was no text before, or replace a file's text. Raises EditError."""
    if before or os.path.lexists(name):
        write_text(name, before, after)
    else:
        write_new(name, after)


def write_text(name: str, before: str, after: str) -> None:
    """Replace a file's text atomically; a symlink's target is replaced, encoding, mode and owner are kept.

    Raises EditError, and leaves the file alone, where it has changed since ``before`` was read or
    where it cannot be replaced as it is.
    """
    target = os.path.realpath(name)
    try:
        with open(target, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read()
            encoding = encoding_of(data)
            if data != before.encode(encoding):
                raise EditError(f"{name}: changed since it was read; not written")
        if not os.access(target, os.W_OK):
            raise EditError(f"{name}: the file is read-only; not written")
        with _beside(target, after.encode(encoding)) as temporary:
            shutil.copystat(target, temporary)
            os.utime(temporary)
            made = os.stat(temporary)
            if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
                os.chown(temporary, status.st_uid, status.st_gid)
                os.chmod(temporary, stat.S_IMODE(status.st_mode))
            now = os.stat(target)
            if (now.st_ino, now.st_mtime_ns, now.st_size) != (status.st_ino, status.st_mtime_ns, status.st_size):
                raise EditError(f"{name}: changed since it was read; not written")
            os.replace(temporary, target)
        if os.name == "posix":
            _sync_directory(os.path.dirname(target))
    except OSError as error:
        raise EditError(f"{name}: {error.strerror}; not written") from None


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

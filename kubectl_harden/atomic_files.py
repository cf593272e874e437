"""Writing files so that nothing is ever lost, half written, or written elsewhere."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from typing import Final

from kubectl_harden.errors import EditError
from kubectl_harden.text_files import encoding_of

__all__ = ["write_change", "write_new", "write_text"]


_TEMPORARY: Final = re.compile(r"\.kubectl-harden-[0-9a-f]{16}\.tmp")
_OLD_SECONDS: Final = 10.0
"""Seconds. A younger temporary file may belong to a process that has not locked it yet."""


def _encoded(name: str, text: str, encoding: str = "utf-8") -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        character = f"U+{ord(text[error.start]):04X}"
        raise EditError(f"{name}: {encoding.upper()} has no bytes for the character {character}; not written") from None


def write_new(name: str, text: str) -> None:
    """Write a file that belongs to this program: the old one stays until the new one is complete. Raises EditError.

    The file's mode is kept; a new file has the mode that the umask gives.
    """
    try:
        if os.path.exists(name) and not os.path.isfile(name):
            with open(name, "wb") as file:
                file.write(_encoded(name, text))
            return
        target = os.path.realpath(name)
        status = os.stat(target) if os.path.lexists(target) else None
        if status is not None:
            _refuse_links(name, status)
        with _beside(target, _encoded(name, text), 0o666) as temporary:
            if status is not None:
                os.chmod(temporary, stat.S_IMODE(status.st_mode))
            os.replace(temporary, target)
    except OSError as error:
        raise EditError(f"{name}: {error.strerror}; not written") from None


def write_change(name: str, before: str, after: str, *, inside: str | None = None) -> None:
    """Create a file where ``before`` is empty, else replace a file's text (see write_text). Raises EditError."""
    if before or os.path.lexists(name):
        write_text(name, before, after, inside=inside)
    else:
        _refuse_outside(name, inside)
        write_new(name, after)


def write_text(name: str, before: str, after: str, *, inside: str | None = None) -> None:
    """Replace a file's text atomically; encoding, mode and owner are kept.

    ``inside`` is the directory on the command line that the file was found in: symbolic links must not lead out of it.
    Without it, the file itself was named; where that is a link, its target is replaced.

    Raises EditError, and leaves the file alone, where it has changed since ``before`` was read, has other names (hard
    links, which would keep the old text), or cannot be replaced with the same mode and owner.
    """
    _refuse_outside(name, inside)
    target = os.path.realpath(name)
    try:
        with open(target, "rb", opener=_open_regular) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise EditError(f"{name}: not a regular file; not written")
            data = file.read()
            encoding = encoding_of(data)
            if data != before.encode(encoding, "surrogatepass"):
                raise EditError(f"{name}: changed since it was read; not written")
        _refuse_links(name, status)
        if not os.access(target, os.W_OK):
            raise EditError(f"{name}: the file is read-only; not written")
        with _beside(target, _encoded(name, after, encoding), 0o600) as temporary:
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


def _refuse_outside(name: str, inside: str | None) -> None:
    """Raise EditError for a file that symbolic links place outside of a directory."""
    if inside is None:
        return
    root, target = os.path.realpath(inside), os.path.realpath(name)
    if os.path.commonpath([root, target]) != root:
        raise EditError(
            f"{name}: a symbolic link leads out of {inside}, to {target}; not written (name the file itself)"
        )


def _refuse_links(name: str, status: os.stat_result) -> None:
    """Raise EditError for a file with other names: they would keep the old text."""
    if status.st_nlink > 1:
        others = "another name" if status.st_nlink == 2 else f"{status.st_nlink - 1} other names"
        raise EditError(f"{name}: the file has {others} (hard links), which would keep the old text; not written")


def _open_regular(name: str, flags: int) -> int:
    """Open a file that may be a FIFO by now, without waiting for its other end."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


@contextlib.contextmanager
def _beside(target: str, data: bytes, mode: int) -> Iterator[str]:
    """Give a complete file next to the target, to be moved over it; a file that was not moved is deleted afterwards."""
    directory = os.path.dirname(target)
    _clean(directory)
    temporary = os.path.join(directory, f".kubectl-harden-{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(descriptor, "wb"))
            # Locked until the file is moved: an old file without a lock was left by a killed process.
            with contextlib.suppress(OSError):
                _lock(file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if sys.platform == "win32":  # An open file can be neither moved nor deleted there.
                stack.close()
            yield temporary
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _lock(descriptor: int) -> None:
    """Lock a file until it is closed. Raises OSError where another process has locked it."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_cleaned: set[str] = set()


def _clean(directory: str) -> None:
    """Delete the temporary files that killed processes have left in a directory, once for each directory."""
    if directory in _cleaned:
        return
    _cleaned.add(directory)
    with contextlib.suppress(OSError), os.scandir(directory or ".") as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _delete_abandoned(entry)


def _delete_abandoned(entry: os.DirEntry[str]) -> None:
    """Delete a temporary file of this program that is old and that no process has locked."""
    status = entry.stat(follow_symlinks=False)
    own = sys.platform == "win32" or status.st_uid == os.geteuid()
    if not (stat.S_ISREG(status.st_mode) and own and time.time() - status.st_mtime > _OLD_SECONDS):
        return
    descriptor = os.open(entry.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        _lock(descriptor)
        if sys.platform != "win32":
            os.unlink(entry.path)
    finally:
        os.close(descriptor)
    if sys.platform == "win32":
        os.unlink(entry.path)


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

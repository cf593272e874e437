"""Ctrl-C, SIGTERM and SIGHUP: all of them end a run between two steps, with a report of what it did."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, NoReturn

__all__ = ["calling", "ended_by", "leave", "raising", "raising_again"]

_NUMBERS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_last = [int(signal.SIGINT)]

_Handler = Callable[[int, FrameType | None], object] | int | None
"""A signal handler, as in the module signal."""


def ended_by() -> int:
    """Return the exit code of a run that a signal has ended: 128 and the number of the last one.

    Further signals are ignored from then on: while Python shuts down, they would kill the process.
    """
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
    return 128 + _last[0]


def leave(code: int) -> NoReturn:
    """End with an exit code, and do not wait for other threads: servers may let these wait for minutes.

    Functions registered with atexit, such as removing temporary directories, are called. Worker processes are waited
    for: they end by themselves.
    """
    processes = sys.modules.get("multiprocessing")
    if processes is not None and processes.active_children():
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _install(handler: Callable[[int, FrameType | None], None]) -> dict[int, _Handler]:
    """Have a function called for each of the signals; returns what was called before."""
    before: dict[int, _Handler] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _NUMBERS:
            # A signal that is ignored from the start (nohup) stays ignored.
            now = signal.getsignal(number)
            if now is not signal.SIG_IGN:
                before[number] = now
                signal.signal(number, handler)
    return before


def _restore(before: dict[int, _Handler]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _raise(number: int, _frame: FrameType | None) -> None:
    _last[0] = number
    raise KeyboardInterrupt


def raising() -> None:
    """Have each of the signals raise KeyboardInterrupt from here on."""
    _install(_raise)


@contextmanager
def raising_again() -> Iterator[None]:
    """Have each of the signals raise KeyboardInterrupt for a question to a person, also within ``calling``."""
    before = _install(_raise)
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def calling(told: Callable[[int], None]) -> Iterator[None]:
    """Call ``told`` with a count for each signal, instead of the former handlers.

    After the first one, no signal raises any more: all that is left is to report what was done.
    """
    count = [0]

    def interrupted(number: int, _frame: FrameType | None) -> None:
        _last[0] = number
        count[0] += 1
        told(count[0])

    before = _install(interrupted)
    try:
        yield
    finally:
        if not count[0]:
            _restore(before)

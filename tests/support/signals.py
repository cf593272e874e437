"""Signals, as a process that a person starts in a terminal has them."""

from __future__ import annotations

import signal

__all__ = ["heed_signals"]


def heed_signals() -> None:
    """Have none of the signals ignored that end a command; for ``preexec_fn``.

    Tests that run in the background of a shell ignore Ctrl-C, those under nohup SIGHUP, and would hand that on.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)

"""Answers to the questions of a command at a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Final

from tests.support.signals import heed_signals

_SILENT: Final = 120.0
"""Seconds without a word after which a command is taken to wait for ever."""


def answered(
    command: Sequence[str],
    prompt: bytes,
    answers: Sequence[bytes | signal.Signals],
    environment: Mapping[str, str],
    *,
    output: bool = False,
) -> tuple[int, str]:
    """Run a command at a terminal and answer each prompt, by text or by a signal; returns its code and what is shown.

    Its output goes elsewhere, but with ``output``.
    """
    main, other = pty.openpty()
    process = subprocess.Popen(
        command, stdin=other, stdout=other if output else subprocess.DEVNULL, stderr=other, env=dict(environment),
        preexec_fn=heed_signals,
    )  # fmt: skip
    os.close(other)
    shown, asked = b"", 0
    with contextlib.suppress(OSError):
        while True:
            if not select.select([main], [], [], _SILENT)[0]:
                process.kill()
                raise AssertionError(f"it waits for {_SILENT:.0f} s: {shown.decode()}")
            if not (piece := os.read(main, 4096)):
                break
            shown += piece
            if shown.count(prompt) > asked:
                answer = answers[asked]
                if isinstance(answer, bytes):
                    os.write(main, answer)
                else:
                    # Python does not see a signal that comes between its last look and its wait for a key.
                    time.sleep(0.3)
                    process.send_signal(answer)
                asked += 1
    os.close(main)
    assert asked == len(answers), shown.decode()
    return process.wait(timeout=60), shown.decode()

"""Answers to the questions of a command at a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
from collections.abc import Mapping, Sequence


def answered(
    command: Sequence[str], prompt: bytes, answers: Sequence[bytes | signal.Signals], environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a command at a terminal and answer each prompt, by text or by a signal; returns its code and what is shown."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        command, stdin=other, stdout=subprocess.DEVNULL, stderr=other, env=dict(environment),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    os.close(other)
    shown, asked = b"", 0
    with contextlib.suppress(OSError):
        while piece := os.read(main, 4096):
            shown += piece
            if shown.count(prompt) > asked:
                answer = answers[asked]
                if isinstance(answer, bytes):
                    os.write(main, answer)
                else:
                    process.send_signal(answer)
                asked += 1
    os.close(main)
    assert asked == len(answers), shown.decode()
    return process.wait(timeout=60), shown.decode()

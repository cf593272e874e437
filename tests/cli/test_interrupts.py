"""Ends: what is registered for the end is done, and no thread is waited for."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, threading
from concurrent.futures import ThreadPoolExecutor
from kubectl_harden.cli.interrupts import leave

atexit.register(print, "tidied up")
ThreadPoolExecutor(1).submit(threading.Event().wait)
leave(130)
"""


def test_an_end_tidies_up_and_waits_for_no_thread() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "tidied up\n", "")

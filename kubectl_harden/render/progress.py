"""A live display of what several workloads are doing at the same time; plain lines without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from types import TracebackType
from typing import Any

from kubectl_harden.render.terminal import printable

__all__ = ["Progress"]


class Progress(AbstractContextManager["Progress"]):
    """Shows, on stderr, each workload that is worked on with its latest words. Threads may share it."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._active: dict[str, tuple[str, float]] = {}
        self._lock = Lock()
        self._display: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(file=sys.stderr)
            self._display = Live(console=console, get_renderable=self._table, refresh_per_second=8, transient=True)
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._display.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to a question."""
        if self._display is not None:
            self._display.stop()
        try:
            yield
        finally:
            if self._display is not None:
                self._display.start()

    def report(self, name: str, words: str) -> None:
        """Say what a workload is doing."""
        with self._lock:
            before = self._active.get(name)
            self._active[name] = (words, before[1] if before else time.monotonic())
            if self._display is None and (before is None or before[0] != words):
                sys.stderr.write(f"{printable(name)}: {printable(words)}\n")
                sys.stderr.flush()

    def finish(self, name: str) -> None:
        """Show a workload no longer: it is done with."""
        with self._lock:
            self._active.pop(name, None)
            self._done += 1

    def _table(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            active, done = dict(self._active), self._done
        table = Table.grid(padding=(0, 1))
        for name, (words, since) in active.items():
            table.add_row(
                Spinner("dots"),
                Text(printable(name), style="bold"),
                Text(printable(words)),
                f"{time.monotonic() - since:.0f}s",
            )
        if self._total > 1:
            table.add_row("", Text(f"{done} of {self._total} workloads"), ProgressBar(self._total, done, width=30), "")
        return table

"""A live display of what several workloads or namespaces are doing at the same time; plain lines without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Final

from kubectl_harden.reports.output import coloured, line, overwrite, shown, tell
from kubectl_harden.reports.terminal import printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

__all__ = ["Progress", "Words"]

PATIENCE: Final = 0.5
"""Seconds before something that takes long is shown."""


class Progress(AbstractContextManager["Progress"]):
    """Shows, on stderr, what is worked on with its latest words, and a bar for the whole. Threads may share it.

    ``unit`` is what is counted; ``steps`` tells whether every step is worth a line where there is no terminal.
    """

    def __init__(self, total: int, unit: str = "workloads", *, steps: bool = True) -> None:
        self._total = total
        self._unit = unit
        self._steps = steps
        self._done = 0
        self._active: dict[str, tuple[str, float, int, int]] = {}
        self._lock = Lock()
        self._display: Live | None = None

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
        """Make room on the terminal for a question."""
        if self._display is not None:
            self._display.stop()
        try:
            yield
        finally:
            if self._display is not None:
                self._display.start()

    def report(self, name: str, words: str, done: int = 0, total: int = 0) -> None:
        """Say what is being done with something, and how much of it is done."""
        with self._lock:
            before = self._active.get(name)
            self._active[name] = (words, before[1] if before else time.monotonic(), done, total)
            if self._steps and self._display is None and (before is None or before[0] != words):
                line(f"{name}: {words}")

    def say(self, lines: str) -> None:
        """Write lines that stay, above what is being worked on."""
        if self._display is not None:
            from rich.text import Text

            self._display.console.print(Text.from_ansi(shown(lines.rstrip("\n"), colour=coloured(sys.stderr))))
        else:
            tell([lines])

    def finish(self, name: str, lines: str = "") -> None:
        """Stop showing something: it is done, and these lines say how it ended."""
        if lines:
            self.say(lines)
        with self._lock:
            self._active.pop(name, None)
            self._done += 1

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            active, done = dict(self._active), self._done
        table = Table.grid(padding=(0, 1))
        for name, (words, since, part, whole) in active.items():
            table.add_row(
                Spinner("dots"),
                Text(printable(name), style="bold", overflow="ellipsis", no_wrap=True),
                ProgressBar(whole, part, width=10) if whole else "",
                Text(printable(words), overflow="ellipsis", no_wrap=True),
                f"{time.monotonic() - since:.0f}s",
            )
        if self._total > 1:
            bar = ProgressBar(self._total, done, width=10)
            table.add_row("", Text(f"{done} of {self._total} {self._unit}"), bar, "", "")
        return table


class Words(AbstractContextManager["Words"]):
    """Shows, on a terminal's stderr, what is going on where it lasts longer than a moment. Threads may share it."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._shown = False
        self._lock = Lock()

    def __call__(self, words: str) -> None:
        """Say what is going on."""
        with self._lock:
            if sys.stderr.isatty() and time.monotonic() - self._since > PATIENCE:
                overwrite(f"{words} …")
                self._shown = True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Make room on the terminal for other output; progress waits meanwhile."""
        with self._lock:
            if self._shown:
                overwrite("")
                self._shown = False
            yield

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.paused():
            pass

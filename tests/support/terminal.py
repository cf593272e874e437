"""A real terminal: tmux, which types and shows the screen."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Mapping


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *command: str, environment: Mapping[str, str], columns: int = 100, rows: int = 40) -> None:
        self._name = f"t{uuid.uuid4().hex[:12]}"
        sized = ("COLUMNS", "LINES")
        self._environment = {k: v for k, v in environment.items() if k not in sized} | {"TERM": "xterm-256color"}
        self._tmux("-f", "/dev/null", "new-session", "-d", "-s", "main", "-x", str(columns), "-y", str(rows),
                   *command)  # fmt: skip

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._name, *words],
            env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def type(self, text: str) -> None:
        """Type text as it is."""
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names, such as Tab, Enter, C-c."""
        self._tmux("send-keys", *keys)

    def screen(self, *, escapes: bool = False, joined: bool = False) -> str:
        """Return what stands on the screen; with its colours, or with the lines that it had to break in one."""
        return self._tmux("capture-pane", "-p", *(["-e"] if escapes else []), *(["-J"] if joined else []))

    def wait(self, until: Callable[[str], bool] | str, seconds: float = 60) -> str:
        """Wait for a text on the screen, or for what a function says of the screen."""
        end = time.monotonic() + seconds
        while True:
            screen = self.screen()
            if until in screen if isinstance(until, str) else until(screen):
                return screen
            assert time.monotonic() < end, f"never came; on the screen:\n{screen}"
            time.sleep(0.1)

    def close(self) -> None:
        """End it."""
        subprocess.run(["tmux", "-L", self._name, "kill-server"], capture_output=True, check=False)

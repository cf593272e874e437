"""Draws docs/terminal.svg, the terminal in the README, from what the commands really print: make docs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "terminal.svg"
COMMANDS = (
    "check -f examples/root-by-default/shop.yaml",
    "fix -f examples/root-by-default/shop.yaml",
)
COLUMNS = 88


def printed(arguments: str) -> str:
    """Return what a command prints with its colours, stdout before stderr."""
    command = [Path(sys.executable).with_name("kubectl-harden"), *arguments.split(), "--color", "always"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "80"}, check=False
    )
    return done.stdout + done.stderr


def main() -> None:
    """Write the picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for arguments in COMMANDS:
        console.print(Text(f"$ kubectl harden {arguments}", style="bold"))
        console.print(Text.from_ansi(printed(arguments)))
        console.print()
    # The font is the reader's own: nothing is fetched to show the picture.
    drawn = console.export_svg(title="kubectl harden", theme=MONOKAI, unique_id="harden", clear=False)
    lines = iter(drawn.splitlines(keepends=True))
    kept = []
    for line in lines:
        if "@font-face" in line:
            while "}" not in line:
                line = next(lines)
            continue
        kept.append(line)
    FILE.write_text("".join(kept))


if __name__ == "__main__":
    main()

"""Writes docs/commands.md from the commands' own help: make docs."""

from __future__ import annotations

from pathlib import Path

import click

from kubectl_harden.cli.main import cli

FILE = Path(__file__).with_name("commands.md")
WIDTH = 100


def reference() -> str:
    """Return the reference of all commands in Markdown."""
    out = [
        "# The commands\n",
        "Made from the commands' own help by `make docs`. `kubectl harden COMMAND --help` prints the same.\n",
    ]
    settings = {**cli.context_settings, "max_content_width": WIDTH, "terminal_width": WIDTH}
    top = click.Context(cli, info_name="kubectl harden", **settings)
    out.append(f"```text\n{cli.get_help(top)}\n```\n")
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        if command is not None and not command.hidden:
            inner = click.Context(command, info_name=name, parent=top, **settings)
            out.append(f"## {name}\n\n```text\n{command.get_help(inner)}\n```\n")
    return "\n".join(out)


if __name__ == "__main__":
    FILE.write_text(reference())

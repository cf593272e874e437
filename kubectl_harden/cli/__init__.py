"""The command line: options, wiring, exit codes."""

from kubectl_harden.cli.main import cli, main

__all__ = ["cli", "main"]

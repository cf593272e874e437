"""The command line: options, wiring, exit codes."""

from kubectl_harden.cli.main import cli, complete_for_kubectl, main

__all__ = ["cli", "complete_for_kubectl", "main"]

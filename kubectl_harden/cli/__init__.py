"""The command line: options, wiring, exit codes."""

import gc

# What is loaded and read lives until it is reported: looking for cycles in between only costs time.
gc.set_threshold(1_000_000, 20, 20)

from kubectl_harden.cli.main import cli, complete_for_kubectl, main  # noqa: E402 (loading counts too)

__all__ = ["cli", "complete_for_kubectl", "main"]

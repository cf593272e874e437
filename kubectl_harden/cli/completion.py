"""The command ``completion``, and what kubectl and shells ask on TAB.

kubectl runs an executable ``kubectl_complete-harden`` from the PATH with the words behind "harden", the last of which
is being typed; it prints a line for each proposal, with a tab and a description, and ``:DIRECTIVE`` at the end
(k8s.io/kubectl, pkg/cmd/plugin/plugin_completion.go; the directives are those of github.com/spf13/cobra).
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import click

from kubectl_harden.cli.codes import OK
from kubectl_harden.cli.completing import VARIABLE
from kubectl_harden.cli.options import Command
from kubectl_harden.errors import HardenError, UsageError

__all__ = ["complete", "completion"]

PLUGIN: Final = "kubectl_complete-harden"
FILES, NO_FILES, DIRECTORIES = 0, 4, 16


@click.command(cls=Command, short_help="Complete commands, options and names with TAB.")
@click.argument("shell", required=False, type=click.Choice(("bash", "zsh", "fish")))
@click.option("--install", is_flag=True, help=f"Put {PLUGIN} next to kubectl-harden, where kubectl finds it.")
@click.pass_context
def completion(ctx: click.Context, shell: str | None, install: bool) -> int:
    """Complete commands, options and the names of resources with TAB.

    kubectl completes "kubectl harden" by itself (kubectl 1.26 and later, with its own completion loaded), once
    kubectl_complete-harden is on the PATH: --install puts it there. A Python package installs it.
    With SHELL, print the script that completes the bare name kubectl-harden.

    \b
    Examples:
      # For "kubectl harden"
      kubectl harden completion --install
      # For "kubectl-harden", in this shell and in all new ones
      source <(kubectl-harden completion bash)
      echo 'source <(kubectl-harden completion bash)' >> ~/.bashrc
      kubectl-harden completion zsh > "${fpath[1]}/_kubectl-harden"
      kubectl-harden completion fish > ~/.config/fish/completions/kubectl-harden.fish
    """
    if install == (shell is not None):
        raise UsageError("use --install for kubectl harden, or bash, zsh or fish for kubectl-harden")
    from kubectl_harden.reports.output import data, line

    if install:
        line(f"{_install()} is installed: kubectl completes harden if its own completion is loaded")
        return OK
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    kinds = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    data([kinds[str(shell)](ctx.find_root().command, {}, "kubectl-harden", VARIABLE).source(), "\n"])
    return OK


def _install() -> Path:
    """Write the executable that kubectl looks for into the directory where kubectl-harden is on the PATH."""
    command = shutil.which("kubectl-harden") or os.path.abspath(sys.argv[0])
    directory = os.path.dirname(command)
    if shutil.which("kubectl-harden") is None:
        raise UsageError(f"kubectl-harden is not on the PATH: add {directory} to it")
    windows = os.name == "nt"
    target = Path(directory) / (f"{PLUGIN}.bat" if windows else PLUGIN)
    text = f'@"{command}" __complete %*\r\n' if windows else f'#!/bin/sh\nexec "{command}" __complete "$@"\n'
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_bytes(os.fsencode(text))
        partial.chmod(0o755)
        partial.replace(target)
    except OSError as error:
        raise HardenError(f"{target} cannot be written: {error.strerror}") from None
    return target


@click.command(
    "__complete",
    hidden=True,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def complete(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Print the completions of the last word, as kubectl reads them."""
    from click.shell_completion import ShellComplete

    from kubectl_harden.reports.output import data

    *before, incomplete = words or ("",)
    proposals = ShellComplete(ctx.find_root().command, {}, "kubectl-harden", VARIABLE).get_completions(
        before, incomplete
    )
    directive = NO_FILES
    for proposal in proposals:
        if proposal.type in ("file", "dir"):
            directive = FILES if proposal.type == "file" else DIRECTORIES
        else:
            data([f"{proposal.value}\t{proposal.help}\n" if proposal.help else f"{proposal.value}\n"])
    data([f":{directive}\n"])
    return OK

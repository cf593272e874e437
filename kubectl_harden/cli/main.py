"""The command ``kubectl harden``."""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
from typing import Any, Final

import click

from kubectl_harden import __version__
from kubectl_harden.cli.codes import INTERRUPTED, OK, REFUSED, UNREADABLE, USAGE
from kubectl_harden.cli.commands import COMMANDS
from kubectl_harden.cli.completing import VARIABLE
from kubectl_harden.cli.interrupts import ended_by, leave, raising
from kubectl_harden.cli.options import OUTPUT, KubectlWords
from kubectl_harden.errors import DEBUG, ClusterError, HardenError, UsageError, meant

__all__ = ["cli", "complete_for_kubectl", "main"]

_PLUMBING: Final = frozenset(("completion", "krm", "version"))
_CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Group(KubectlWords, click.Group):
    """Loads and suggests commands, and takes kubectl's options of output before them too."""

    def __init__(self, *arguments: Any, **given: Any) -> None:
        super().__init__(*arguments, **given)
        self.params.extend(OUTPUT)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(ctx), *COMMANDS])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in two groups: what people run, and what serves programs and shells."""
        limit = formatter.width - 6 - max(map(len, self.list_commands(ctx)))
        sections: dict[str, list[tuple[str, str]]] = {"Commands": [], "Plumbing": []}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                title = "Plumbing" if name in _PLUMBING else "Commands"
                sections[title].append((name, command.get_short_help_str(limit)))
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None for an unknown one."""
        return COMMANDS[cmd_name]() if cmd_name in COMMANDS else super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message}{meant(args[0], self.list_commands(ctx))}", ctx) from None


@click.group(cls=_Group, context_settings=_CONTEXT, invoke_without_command=False)
@click.version_option(__version__, prog_name="kubectl-harden", message="%(prog)s %(version)s")
def cli() -> None:
    """Check Kubernetes workloads against the Pod Security Standards, and make the smallest patch that meets
    them.

    \b
    Examples:
      # What does Pod Security admission reject now, and how do I fix it?
      kubectl harden rejected -n shop
      # Fix a live workload: diff, server dry-run, question, patch, watched rollout
      kubectl harden fix deploy/web -n shop --apply
      # How far are all namespaces from restricted, and what holds them back? Take them as far as they can go
      kubectl harden migrate -A --level highest
      kubectl harden migrate -A --level highest --apply
      # Undo it
      kubectl harden undo --last
      # What would Pod Security admission say about these manifests? Fix them
      kubectl harden check -f deploy/
      kubectl harden fix -f deploy/web.yaml --write
      # As a filter
      helm template chart | kubectl harden fix -f - -o yaml | kubectl apply -f -
    """


@cli.command(short_help="Print the version.")
@click.option("-o", "--output", type=click.Choice(("text", "json")), default="text", help="Output format.")
def version(output: str) -> int:
    """Print the version, and the newest policy version that it knows; with -o json what a bug report needs."""
    from kubectl_harden.pod_security.policy import NEWEST
    from kubectl_harden.reports.output import data

    if output == "json":
        import decimal
        import json
        import platform
        import pyexpat
        import ssl
        import zlib

        from kubectl_harden.yaml_text.tree import libyaml_version

        about = {
            "version": __version__,
            "policyVersions": ["v1.0", f"v1.{NEWEST}"],
            "python": platform.python_version(),
            "platform": f"{sys.platform}/{platform.machine()}",
            "frozen": bool(getattr(sys, "frozen", False)),
            "libraries": {
                "cpython": platform.python_version(),
                "openssl": ssl.OPENSSL_VERSION.split()[1],
                "zlib": zlib.ZLIB_RUNTIME_VERSION,
                "expat": pyexpat.EXPAT_VERSION.removeprefix("expat_"),
                "libmpdec": getattr(decimal, "__libmpdec_version__", ""),
                "libyaml": libyaml_version(),
            },
        }
        data([json.dumps(about, indent=2), "\n"])
    else:
        data([f"kubectl-harden {__version__} (Pod Security policy versions v1.0 to v1.{NEWEST})\n"])
    return OK


@cli.command("help", hidden=True)
@click.argument("words", nargs=-1, metavar="[COMMAND]")
@click.pass_context
def show_help(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Show the help of a command, as kubectl help does."""
    from kubectl_harden.reports.output import data

    top = ctx.find_root()
    if words:
        _, command, _ = cli.resolve_command(top, list(words))
        if command is not None:
            top = click.Context(command, info_name=words[0], parent=top)
    data([top.get_help(), "\n"])
    return OK


def main() -> None:
    """Run the command line and exit with its code."""
    code = _run()
    if threading.active_count() == 1:
        # To take apart all that has been loaded takes as long as a small file does.
        leave(code)
    sys.exit(code)


def complete_for_kubectl() -> None:
    """Run as the executable ``kubectl_complete-harden``."""
    sys.argv[1:1] = ["__complete"]
    main()


def _own_name() -> str:
    """Return the command's name in a shell's completion script, or in its help."""
    return "kubectl-harden" if VARIABLE in os.environ else "kubectl harden"


def _say(fault: HardenError) -> None:
    from kubectl_harden.reports.output import error

    _show_traceback()
    error(str(fault))


def _say_usage(error: click.UsageError) -> None:
    """Say what is wrong with the command line in kubectl's form, and what was probably meant."""
    from kubectl_harden.reports.output import line

    message = error.format_message()
    kind = getattr(getattr(error, "param", None), "type", None)
    given = re.search(r"'([^']*)' is not one of", message)
    if isinstance(kind, click.Choice) and given:
        message += meant(given[1], [str(choice) for choice in kind.choices])
    command = error.ctx.command_path if error.ctx is not None else "kubectl harden"
    for words in f"error: {message}\nSee '{command} --help' for usage.".splitlines():
        line(words.expandtabs(4))


def _say_bug(fault: Exception) -> None:
    """Report a bug of the command itself: where it is, and what to do about it."""
    import traceback

    from kubectl_harden.reports.output import error, line

    _show_traceback()
    last = traceback.extract_tb(fault.__traceback__)[-1]
    where = f"{os.path.basename(last.filename)}:{last.lineno}"
    error(f"this is a bug in kubectl harden, not in your input: {type(fault).__name__} at {where}: {fault}")
    line(
        "What was reported as done stays done. Please report it with the output of kubectl harden version -o json; "
        f"{DEBUG}=1 shows the traceback"
    )


def _show_traceback() -> None:
    if os.environ.get(DEBUG):
        import traceback

        from kubectl_harden.reports.output import line

        for words in traceback.format_exc().splitlines():
            line(words)


_CANNOT_WRITE: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))
"""Errors of a full or broken disk where output is printed; named files have their own errors."""


def _leave_stdout() -> None:
    """Discard what is left to write: the interpreter must not complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run() -> int:
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from kubectl_harden.text_files import open_streams

        open_streams()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        raising()
        if VARIABLE in os.environ:
            from kubectl_harden.cli.shells import register

            register()
        result = cli.main(prog_name=_own_name(), standalone_mode=False, complete_var=VARIABLE)
        sys.stdout.flush()
        return ended_by() if result == INTERRUPTED else result if isinstance(result, int) else OK
    except click.exceptions.NoArgsIsHelpError as error:
        from kubectl_harden.reports.output import data

        data([error.ctx.get_help(), "\n"])
        return OK
    except click.UsageError as error:
        _say_usage(error)
        return USAGE
    except UsageError as error:
        _say(error)
        return USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except HardenError as error:
        _say(error)
        return REFUSED if isinstance(error, ClusterError) else UNREADABLE
    except (KeyboardInterrupt, click.Abort):
        from kubectl_harden.reports.output import line

        line("interrupted: what was reported as done stays done; everything else is unchanged")
        leave(ended_by())
    except BrokenPipeError:
        # The reader of the pipe has closed it.
        _leave_stdout()
        return OK
    except Exception as error:  # noqa: BLE001 (a person gets a sentence, and the traceback when asked for)
        if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
            from kubectl_harden.reports.output import error as say

            _leave_stdout()
            say(f"the output is incomplete, since it cannot be written: {error.strerror}")
        else:
            _say_bug(error)
        return UNREADABLE

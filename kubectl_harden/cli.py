"""The command line: options, wiring, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final

import click

from kubectl_harden import __version__
from kubectl_harden.errors import HardenError, UsageError

__all__ = ["cli", "main"]

OK: Final = 0
VIOLATIONS: Final = 1
USAGE: Final = 2
UNREADABLE: Final = 3
INTERRUPTED: Final = 130

_CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Group(click.Group):
    """Suggests the command that was meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message}{_meant(args[0], list(self.commands))}", ctx) from None


def _meant(word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


@click.group(cls=_Group, context_settings=_CONTEXT, invoke_without_command=False)
def cli() -> None:
    """Check Kubernetes workloads against the Pod Security Standards, and make the smallest patch that lifts
    them there.

    \b
    Examples:
      # What would Pod Security admission say of these manifests?
      kubectl harden check -f deploy/
      # Show the smallest fix as a diff, then make it
      kubectl harden fix -f deploy/web.yaml
      kubectl harden fix -f deploy/web.yaml --write
      # As a filter
      helm template chart | kubectl harden fix -f - -o yaml | kubectl apply -f -
    """


def _shared(command: Callable[..., int]) -> Callable[..., Any]:
    """Add the options that say which files and which policy; the command gets ``inputs`` and ``policy``."""
    options = [
        click.argument("names", nargs=-1, metavar="[FILE]..."),
        click.option(
            "-f", "--filename", "files", multiple=True, metavar="FILE|DIR|-", help="File, directory or - for stdin."
        ),
        click.option("-R", "--recursive", is_flag=True, help="Look into the subdirectories of directories."),
        click.option(
            "--level", default="restricted", show_default=True, metavar="LEVEL", help="baseline or restricted."
        ),
        click.option(
            "--policy-version",
            default="latest",
            show_default=True,
            metavar="VERSION",
            help="Policy version, such as v1.30.",
        ),
        click.option(
            "--pod-path",
            "pod_paths",
            multiple=True,
            metavar="KIND.GROUP=/POINTER",
            help="Where a custom resource keeps its pod template.",
        ),
    ]

    @wraps(command)
    def call(
        names: tuple[str, ...],
        files: tuple[str, ...],
        recursive: bool,
        level: str,
        policy_version: str,
        pod_paths: tuple[str, ...],
        **others: Any,
    ) -> int:
        from kubectl_harden.policy import parse_policy

        policy = parse_policy(level, policy_version)
        return command(inputs=_inputs(names, files, recursive, pod_paths), policy=policy, **others)

    wrapped: Callable[..., Any] = call
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def _inputs(names: tuple[str, ...], files: tuple[str, ...], recursive: bool, pod_paths: tuple[str, ...]) -> Any:
    from kubectl_harden.loading import Inputs
    from kubectl_harden.workload import parse_pod_path

    listed = [name for given in files for name in ([given] if os.path.exists(given) else given.split(","))]
    if not listed:
        raise UsageError("name the manifests: -f FILE, -f DIR or -f - for stdin (live workloads are not supported yet)")
    # A shell makes -f a.yaml b.yaml c.yaml of -f *.yaml.
    listed.extend(names)
    paths: dict[tuple[str, str], tuple[str, ...]] = {}
    for text in pod_paths:
        key, pointer = parse_pod_path(text)
        paths[key] = (*paths.get(key, ()), pointer)
    return Inputs(tuple(listed), recursive, paths)


def _colour(stream: Any) -> bool:
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _report_problems(problems: list[Any], since: int = 0) -> int:
    from kubectl_harden.render.terminal import error_line

    for problem in problems[since:]:
        click.echo(f"error: {error_line(problem)}", err=True)
    return len(problems)


@cli.command(short_help="Say what Pod Security admission would say of manifests.")
@_shared
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "wide", "json", "yaml", "name")),
    default="text",
    show_default=True,
    help="Output format.",
)
def check(inputs: Any, policy: Any, output: str) -> int:
    """Evaluate manifests as Pod Security admission would, with its words.

    Every workload is read as the API server would have it, with its defaults. The exit code is 0 when all
    meet the level, 1 when some do not, 3 when something could not be read.

    \b
    Examples:
      kubectl harden check -f deployment.yaml
      kubectl harden check -f manifests/ -R --level baseline
      kustomize build overlay | kubectl harden check -f - -o json
    """
    from kubectl_harden.checking import check_files
    from kubectl_harden.render.check import Tally, render, summary_line
    from kubectl_harden.render.terminal import width, wrapped

    tally = Tally()
    told = 0
    for piece in render(output, check_files(inputs, policy), policy, tally, _colour(sys.stdout)):
        sys.stdout.write(piece)
        if output in ("text", "wide"):
            told = _report_problems(tally.problems, told)
    sys.stdout.flush()
    _report_problems(tally.problems, told)
    if output in ("text", "wide"):
        click.echo(wrapped(summary_line(tally, policy), 0, width()), err=True)
        if tally.violating and output == "text":
            click.echo(f"See the smallest fix: kubectl harden fix {_same_inputs(inputs, policy.level)}", err=True)
    if tally.problems:
        return UNREADABLE
    return VIOLATIONS if tally.violating else OK


def _same_inputs(inputs: Any, level: str) -> str:
    """Return the options that name the same inputs and level again."""
    from kubectl_harden.render.terminal import printable

    names = [f"-f {printable(name)}" for name in inputs.names[:3]]
    if len(inputs.names) > len(names):
        names.append("…")
    return " ".join(
        [*names, *(["-R"] if inputs.recursive else []), *([f"--level {level}"] if level != "restricted" else [])]
    )


@cli.command(short_help="Show or make the smallest change that meets the level.")
@_shared
@click.option(
    "-o",
    "--output",
    type=click.Choice(("diff", "json-patch", "strategic-patch", "kustomize", "yaml", "json")),
    default=None,
    help="Output format. [default: diff]",
)
@click.option("--write", is_flag=True, help="Edit the files in place.")
@click.option("--max-risk", type=click.Choice(("safe", "review", "breaks")), default="review", show_default=True,
              help="The highest risk of edits to make.")  # fmt: skip
@click.option("--only", multiple=True, metavar="CHECK", help="Fix only this control; may be repeated.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Do not fix this control; may be repeated.")
@click.option(
    "--host-path",
    "host_paths",
    multiple=True,
    metavar="NAME=CHOICE",
    help="What becomes of a hostPath volume: emptyDir, pvc:CLAIM, configmap:NAME or remove.",
)
def fix(
    inputs: Any,
    policy: Any,
    output: str | None,
    write: bool,
    max_risk: Any,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    host_paths: tuple[str, ...],
) -> int:
    """Show the smallest change that lifts workloads to the level, or make it.

    Without --write nothing changes: the diff goes to stdout, and what the edits risk and what is left goes to
    stderr. Only the lines that must change do; every other byte stays. The exit code is 0 when nothing is
    left to do, 1 when a diff was shown or something stays below the level, 3 when something could not be read.

    \b
    Examples:
      kubectl harden fix -f deployment.yaml
      kubectl harden fix -f manifests/ -R --write
      kubectl harden fix -f agent.yaml --host-path cache=emptyDir
      helm template chart | kubectl harden fix -f - -o yaml
    """
    from kubectl_harden.fixing import fix_files
    from kubectl_harden.remediate import FixOptions
    from kubectl_harden.render.fix import FixTally, diff, notes, render, summary_line
    from kubectl_harden.render.terminal import width, wrapped

    if write and "-" in inputs.names:
        raise UsageError("--write edits files; to fix stdin use -o yaml")
    options = FixOptions(max_risk, _checks(only, "--only"), _checks(skip, "--skip"), _host_paths(host_paths))
    tally = FixTally()
    people = output is None or output == "diff"

    def results() -> Iterator[Any]:
        for found in fix_files(inputs, policy, options):
            if write and found.splices:
                found = _write(found)
            told = len(tally.problems)
            tally.add(found)
            _report_problems(tally.problems, told)
            yield found

    if people:
        for found in results():
            if output == "diff" or not write:
                sys.stdout.write(diff(found, colour=_colour(sys.stdout), terminal=sys.stdout.isatty()))
                sys.stdout.flush()
            _tell(notes(found, colour=_colour(sys.stderr)))
    else:
        for piece in render(str(output), results(), policy):
            sys.stdout.write(piece)
    sys.stdout.flush()
    if people:
        click.echo(wrapped(summary_line(tally, policy, written=write), 0, width()), err=True)
    if tally.problems:
        return UNREADABLE
    if tally.left or (tally.edited and people and not write):
        return VIOLATIONS
    return OK


def _tell(pieces: Iterator[str]) -> None:
    for piece in pieces:
        click.echo(piece, nl=False, err=True)


def _write(found: Any) -> Any:
    """Write a fixed file back; where that fails nothing of it counts as done."""
    from kubectl_harden.errors import EditError
    from kubectl_harden.model import Problem
    from kubectl_harden.write_back import write_text
    from kubectl_harden.yaml_edit import spliced

    try:
        write_text(found.file, found.before, spliced(found.before, found.splices))
    except EditError as error:
        message = str(error).removeprefix(f"{found.file}: ")
        problem = Problem(found.file, None, None, None, message)
        return found._replace(splices=(), planned=(), objects=(), problems=(*found.problems, problem))
    return found


def _checks(names: tuple[str, ...], option: str) -> frozenset[str]:
    from kubectl_harden.checks import CONTROLS

    known = [control.id for control in CONTROLS]
    listed = [name for given in names for name in given.split(",") if name]
    for name in listed:
        if name not in known:
            raise UsageError(
                f'{option}: unknown check "{name}".{_meant(name, known)} Known: {", ".join(sorted(known))}'
            )
    return frozenset(listed)


def _host_paths(texts: tuple[str, ...]) -> dict[str, Any]:
    from kubectl_harden.model import HostPathChoice

    out = {}
    for text in texts:
        name, separator, choice = text.partition("=")
        action, _, target = choice.partition(":")
        valid = (action in ("emptyDir", "remove") and not target) or (action in ("pvc", "configmap") and target)
        if not separator or not name or not valid:
            raise UsageError(
                f'--host-path "{text}": write NAME=emptyDir, NAME=pvc:CLAIM, NAME=configmap:NAME or NAME=remove'
            )
        out[name] = HostPathChoice(action, target)  # type: ignore[arg-type]
    return out


@cli.command(short_help="Print the version.")
def version() -> int:
    """Print the version, and the newest policy version that it knows."""
    from kubectl_harden.policy import NEWEST

    click.echo(f"kubectl-harden {__version__} (Pod Security policy versions v1.0 to v1.{NEWEST})")
    return OK


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(_run())


def _run() -> int:
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        result = cli.main(prog_name="kubectl harden", standalone_mode=False)
        return result if isinstance(result, int) else OK
    except click.UsageError as error:
        error.show()
        return USAGE
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        return USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except HardenError as error:
        click.echo(f"error: {error}", err=True)
        return UNREADABLE
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: files already named as written stay written, the others are as they were", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted; the interpreter must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK

"""The options that commands share, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.connect import CLUSTER_NAMES, open_cluster
from kubectl_harden.cli.groups import FILE, GLOBAL, Option, grouped, option
from kubectl_harden.errors import UsageError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.manifests.project_file import Project

__all__ = [
    "CLUSTER",
    "CLUSTER_NAMES",
    "NOT_FOR_FIX",
    "OUTPUT",
    "POD_PATH",
    "POLICY",
    "Command",
    "Connect",
    "KubectlWords",
    "cluster_options",
    "pod_paths_of",
    "project_of",
    "repeated",
    "with_options",
]

CLUSTER: Final = (
    option("-n", "--namespace", group="Targets", metavar="NAME", shell_complete=completing.namespaces,
           help="Namespace. [default: that of the context]"),
    option("--kubeconfig", group=GLOBAL, metavar="FILE", type=FILE, help="Path to the kubeconfig."),
    option("--context", group=GLOBAL, metavar="NAME", shell_complete=completing.kubeconfig_names("contexts"),
           help="Context of the kubeconfig."),
    option("--cluster", group=GLOBAL, metavar="NAME", shell_complete=completing.kubeconfig_names("clusters"),
           help="Cluster of the kubeconfig."),
    option("--user", group=GLOBAL, metavar="NAME", shell_complete=completing.kubeconfig_names("users"),
           help="User of the kubeconfig."),
    option("-s", "--server", group=GLOBAL, metavar="URL", help="Address of the API server."),
    option("--token", group=GLOBAL, metavar="TOKEN", help="Bearer token for the API server."),
    option("--as", "as_user", group=GLOBAL, metavar="USER", help="User to impersonate."),
    option("--as-group", "as_groups", group=GLOBAL, multiple=True, metavar="GROUP",
           help="Group to impersonate; repeatable."),
    option("--insecure-skip-tls-verify", "insecure", group=GLOBAL, is_flag=True,
           help="Do not verify the server's certificate."),
    option("--certificate-authority", group=GLOBAL, metavar="FILE", type=FILE,
           help="Certificate authority to trust."),
    option("--request-timeout", group=GLOBAL, default="0", metavar="TIME",
           help="Longest time for one request, such as 30s; 0: five minutes."),
    option("--chunk-size", group=GLOBAL, type=click.IntRange(min=0), default=500, show_default=True, metavar="N",
           help="Objects in each page of a list; 0: all at once."),
    option("--field-manager", group=GLOBAL, default="kubectl-harden", show_default=True, metavar="NAME",
           help="Name of the field manager for changes."),
)  # fmt: skip

POLICY: Final = (
    option("--level", group="Policy", metavar="LEVEL", shell_complete=completing.levels,
           help="baseline or restricted. [default: that of the namespace, or restricted]"),
    option("--policy-version", group="Policy", metavar="VERSION",
           help="Policy version, such as v1.30. [default: that of the namespace, or latest]"),
)  # fmt: skip

POD_PATH: Final = option(
    "--pod-path",
    "pod_paths",
    group="Targets",
    multiple=True,
    metavar="KIND.GROUP=/POINTER",
    help="Where a custom resource keeps its pod template.",
)


def _log_calls(_ctx: click.Context, _parameter: click.Parameter, level: int) -> None:
    if level >= CALLS:
        from kubectl_harden.cluster.call_log import log_calls
        from kubectl_harden.reports.output import line

        log_calls(line, bodies=level >= BODIES)


def _choose_colour(ctx: click.Context, _parameter: click.Parameter, when: str) -> None:
    if when != "auto":
        ctx.color = when == "always"


_GIVEN: Final = click.core.ParameterSource.COMMANDLINE
CALLS: Final = 6
BODIES: Final = 8
"""From these verbosities on, kubectl shows the calls to the API server, and their bodies."""

OUTPUT: Final = (
    Option(["--color"], group=GLOBAL, type=click.Choice(("auto", "always", "never")), default="auto",
           expose_value=False, callback=_choose_colour,
           help="When to use colour. [default: on a terminal, unless NO_COLOR is set]"),
    Option(["-v", "--v"], group=GLOBAL, type=int, metavar="LEVEL", default=0, expose_value=False,
           is_eager=True, callback=_log_calls,
           help="Verbosity: 6 shows the requests to the API server, 8 their contents too."),
)  # fmt: skip


class KubectlWords(click.Command):
    """A command that takes the value of a short option after an equals sign too, as kubectl does: ``-o=json``."""

    def make_parser(self, ctx: click.Context) -> click.parser._OptionParser:
        """Return click's parser, in which short options are treated like long ones."""
        parser = super().make_parser(ctx)
        # Without it each -f costs a start of difflib, too: click looks for a long option, and for what it is like.
        parser._long_opt.update(parser._short_opt)
        return parser


class Command(KubectlWords):
    """A command whose help shows its options in groups, and that refuses options that are also names of files."""

    def __init__(self, *arguments: Any, **given: Any) -> None:
        super().__init__(*arguments, **given)
        self.params.extend(OUTPUT)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse options that are also names of files: hooks and shell patterns pass on whatever files are called."""
        for word in () if ctx.resilient_parsing else args:
            if len(word) > 1 and word.startswith("-") and os.path.lexists(word):
                raise UsageError(f'"{word}" is an option and the name of a file here: for the file write "./{word}"')
            if word == "--":
                break
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in their groups."""
        for title, parameters in grouped(self.get_params(ctx)).items():
            records = [record for one in parameters if (record := one.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


_Option = Callable[[Callable[..., int]], Callable[..., int]]
"""The decorator that adds an option to a command."""


def with_options(options: Sequence[_Option], call: Callable[..., int]) -> Callable[..., int]:
    """Add options to a command, in their order."""
    for add in reversed(options):
        call = add(call)
    return call


class Connect:
    """Opens the cluster that kubectl's global options name, or another context of the same kubeconfig.

    ``given`` are the values of the options, by the names of their parameters.
    """

    def __init__(self, given: dict[str, object]) -> None:
        self.given = given

    def __call__(self) -> Cluster:
        """Return the cluster. Raises ClusterError."""
        return open_cluster(dict(self.given))

    def context(self, name: str) -> Cluster:
        """Return the cluster of a context. Raises ClusterError."""
        return open_cluster({**self.given, "context": name})


def cluster_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add kubectl's global options.

    The command gets ``connect``, which returns the Cluster, and ``namespace`` (None: the context's).
    """

    @wraps(command)
    def call(**given: object) -> int:
        own = {name: given.pop(name) for name in CLUSTER_NAMES}
        return command(connect=Connect(own), **given)

    return with_options(CLUSTER, call)


NOT_FOR_FIX: Final = frozenset(
    (*CLUSTER_NAMES, *(one.name for one in OUTPUT), "all_contexts", "audit_logs", "build", "contexts", "history_dir",
     "known", "output", "show_evidence", "statistics", "team_label", "upgrade_to", "write_known")
)  # fmt: skip
"""The parameters of ``check`` that mean nothing to ``fix``, or something else; how the cluster is reached."""


def repeated(ctx: click.Context) -> tuple[str, ...]:
    """Return the arguments of ``check`` for ``fix``, without the output and how the cluster is reached."""
    words: list[str] = []
    for parameter in ctx.command.params:
        if parameter.name in NOT_FOR_FIX or ctx.get_parameter_source(parameter.name or "") is not _GIVEN:
            continue
        value = ctx.params[parameter.name]
        for one in value if isinstance(value, tuple) else (value,):
            flag = isinstance(parameter, click.Option) and parameter.is_flag
            words += [] if isinstance(parameter, click.Argument) else [parameter.opts[0]]
            words += [] if flag else [str(one)]
    return tuple(words)


def project_of(config: str | None = None) -> Project:
    """Return what a project file says: the named one, or that of the current directory. Raises UsageError."""
    from kubectl_harden.manifests.project_file import FILE, NO_PROJECT, find_project, misnamed, not_obeyed, read_project
    from kubectl_harden.reports.output import note

    if config is not None:
        return read_project(config)
    other = misnamed(os.curdir)
    if other is not None:
        note(f"{os.path.relpath(other)} is not read: a project file is named {FILE}; use --config to name another")
    file = find_project(os.curdir)
    words = not_obeyed(os.curdir) if file is None else None
    if words is not None:
        note(words)
    return read_project(file) if file else NO_PROJECT


def pod_paths_of(texts: tuple[str, ...], project: Project) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the pod paths of --pod-path, and those of a project for other kinds. Raises UsageError."""
    from kubectl_harden.pod_security.pod_templates import parse_pod_path

    paths: dict[tuple[str, str], tuple[str, ...]] = {}
    for text in texts:
        key, pointer = parse_pod_path(text)
        paths[key] = (*paths.get(key, ()), pointer)
    return {**project.pod_paths, **paths}

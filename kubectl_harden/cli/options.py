"""The options that commands share, and what they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from kubectl_harden.cli import completing
from kubectl_harden.errors import UsageError

if TYPE_CHECKING:
    from kubectl_harden.admission import PolicyChoice
    from kubectl_harden.cluster import Cluster
    from kubectl_harden.live import Targets
    from kubectl_harden.loading import Inputs

__all__ = [
    "POD_PATH",
    "Command",
    "LiveInputs",
    "cluster_options",
    "meant",
    "open_cluster",
    "pod_paths_of",
    "seconds",
    "target_options",
    "with_options",
]

_CLUSTER: Final = (
    click.option("-n", "--namespace", metavar="NAME", shell_complete=completing.namespaces,
                 help="Namespace; by default that of the context."),
    click.option("--kubeconfig", metavar="FILE", type=click.Path(), help="Path to the kubeconfig."),
    click.option("--context", metavar="NAME", shell_complete=completing.kubeconfig_names("contexts"),
                 help="Context of the kubeconfig."),
    click.option("--cluster", metavar="NAME", shell_complete=completing.kubeconfig_names("clusters"),
                 help="Cluster of the kubeconfig."),
    click.option("--user", metavar="NAME", shell_complete=completing.kubeconfig_names("users"),
                 help="User of the kubeconfig."),
    click.option("-s", "--server", metavar="URL", help="Address of the API server."),
    click.option("--token", metavar="TOKEN", help="Bearer token for the API server."),
    click.option("--as", "as_user", metavar="USER", help="User to impersonate."),
    click.option("--as-group", "as_groups", multiple=True, metavar="GROUP", help="Group to impersonate; repeatable."),
    click.option("--insecure-skip-tls-verify", "insecure", is_flag=True, help="Do not check the server's certificate."),
    click.option("--certificate-authority", metavar="FILE", type=click.Path(),
                 help="Certificate of the authority to trust."),
    click.option("--request-timeout", default="0", metavar="TIME", help="Longest wait for an answer (30s); 0: none."),
    click.option("--chunk-size", type=click.IntRange(min=0), default=500, show_default=True, metavar="N",
                 help="Objects per page of a list; 0: all at once."),
    click.option("--field-manager", default="kubectl-harden", show_default=True, metavar="NAME",
                 help="Name of the field manager of changes."),
)  # fmt: skip

_POLICY: Final = (
    click.option("--level", metavar="LEVEL", shell_complete=completing.levels,
                 help="baseline or restricted. [default: what the namespace enforces, else restricted]"),
    click.option("--policy-version", metavar="VERSION",
                 help="Policy version, such as v1.30. [default: the namespace's, else latest]"),
)  # fmt: skip

POD_PATH: Final = click.option(
    "--pod-path", "pod_paths", multiple=True, metavar="KIND.GROUP=/POINTER",
    help="Where a custom resource keeps its pod template.",
)  # fmt: skip

_FILES: Final = (
    click.option(
        "-f",
        "--filename",
        "files",
        multiple=True,
        metavar="FILE|DIR|-",
        type=click.Path(allow_dash=True),
        help="File, directory or - for stdin.",
    ),
    click.option("-R", "--recursive", is_flag=True, help="Look into the subdirectories of directories."),
)

_LIVE: Final = (
    click.option("-l", "--selector", default="", metavar="SELECTOR", help="Label selector of live workloads."),
    click.option("-A", "--all-namespaces", is_flag=True, help="Live workloads of all namespaces."),
)

_CLUSTER_NAMES: Final = (
    "kubeconfig", "context", "cluster", "user", "server", "token", "as_user", "as_groups", "insecure",
    "certificate_authority", "request_timeout", "chunk_size", "field_manager",
)  # fmt: skip


class Command(click.Command):
    """A command whose help shows kubectl's global options behind its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in two groups."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                (shared if parameter.name in _CLUSTER_NAMES else own).append(record)
        for title, records in (("Options", own), ("Options of the cluster, as kubectl has them", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class LiveInputs(NamedTuple):
    """Live workloads to work on: in which cluster, which ones, against which policy."""

    cluster: Cluster
    targets: Targets
    choice: PolicyChoice


def with_options(options: tuple[Any, ...], call: Callable[..., Any]) -> Callable[..., Any]:
    """Add options to a command, in their order."""
    for option in reversed(options):
        call = option(call)
    return call


def seconds(text: str, option: str) -> float:
    """Return the seconds of ``30``, ``30s``, ``5m``, ``1h``, ``7d``. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", text)
    if match is None:
        raise UsageError(f'{option} "{text}": write a time such as 30s, 5m or 1h')
    return float(match[1]) * {"ms": 0.001, "m": 60, "h": 3600, "d": 86400}.get(match[2] or "s", 1)


def open_cluster(given: dict[str, Any]) -> Cluster:
    """Return the cluster that the options of ``cluster_options`` name, and take them out. Raises ClusterError."""
    from kubectl_harden.cluster import Cluster
    from kubectl_harden.connection import ClusterOptions, Connection

    own = {name: given.pop(name) for name in _CLUSTER_NAMES}
    timeout = seconds(own.pop("request_timeout"), "--request-timeout")
    chunk, manager = own.pop("chunk_size"), own.pop("field_manager")
    own["as_groups"] = tuple(own["as_groups"])
    if own["as_groups"] and not own["as_user"]:
        raise UsageError("--as-group needs --as")
    return Cluster(Connection(ClusterOptions(**own, timeout=timeout)), chunk=chunk, manager=manager)


def cluster_options(command: Callable[..., int]) -> Callable[..., Any]:
    """Add kubectl's global options.

    The command gets ``connect``, which returns the Cluster, and ``namespace`` (None: the context's).
    """

    @wraps(command)
    def call(**given: Any) -> int:
        own = {name: given.pop(name) for name in _CLUSTER_NAMES}
        return command(connect=lambda: open_cluster(own), **given)

    return with_options(_CLUSTER, call)


def _choice(level: str | None, version: str | None) -> PolicyChoice:
    from kubectl_harden.admission import PolicyChoice
    from kubectl_harden.policy import parse_policy

    parse_policy(level or "restricted", version or "latest")
    return PolicyChoice(level, version)


def target_options(command: Callable[..., int]) -> Callable[..., Any]:
    """Add the options that say which manifests or live workloads, and which policy.

    The command gets ``inputs``: Inputs or LiveInputs; and ``policy``: that for manifests.
    """

    @wraps(command)
    def call(
        names: tuple[str, ...],
        files: tuple[str, ...],
        recursive: bool,
        namespace: str | None,
        all_namespaces: bool,
        selector: str,
        level: str | None,
        policy_version: str | None,
        pod_paths: tuple[str, ...],
        **others: Any,
    ) -> int:
        from kubectl_harden.policy import parse_policy

        policy = parse_policy(level or "restricted", policy_version or "latest")
        paths = pod_paths_of(pod_paths)
        if files:
            if namespace or all_namespaces or selector:
                raise UsageError("-n, -A and -l select live workloads: leave them out, or leave out -f")
            for name in _CLUSTER_NAMES:
                others.pop(name)
            return command(inputs=_inputs(names, files, recursive, paths), policy=policy, **others)
        if recursive:
            raise UsageError("-R looks into directories: name them with -f DIR")
        looks_like_file = next((name for name in names if name == "-" or os.path.isfile(name)), None)
        if looks_like_file is not None:
            raise UsageError(f'"{looks_like_file}" is a file: write -f {looks_like_file}')
        if not (names or namespace or all_namespaces or selector):
            raise UsageError(
                "name what to look at: -f FILE for manifests, TYPE/NAME for a live workload, "
                "-n NAMESPACE or -A for all of them"
            )
        from kubectl_harden.live import parse_targets

        if all_namespaces and namespace:
            raise UsageError("use -n for one namespace or -A for all, not both")
        targets = parse_targets(names, None if all_namespaces else namespace or "", selector, paths)
        cluster = open_cluster(others)
        if targets.namespace == "":
            targets = targets._replace(namespace=cluster.connection.namespace)
        return command(inputs=LiveInputs(cluster, targets, _choice(level, policy_version)), policy=policy, **others)

    argument = click.argument("names", nargs=-1, metavar="[TYPE/NAME]...", shell_complete=completing.resources)
    return with_options((argument, *_FILES, *_LIVE, *_POLICY, POD_PATH, *_CLUSTER), call)


def _inputs(
    names: tuple[str, ...], files: tuple[str, ...], recursive: bool, paths: dict[tuple[str, str], tuple[str, ...]]
) -> Inputs:
    from kubectl_harden.loading import Inputs

    listed = [name for given in files for name in ([given] if os.path.exists(given) else given.split(","))]
    # A shell makes -f a.yaml b.yaml c.yaml of -f *.yaml.
    listed.extend(names)
    return Inputs(tuple(listed), recursive, paths)


def pod_paths_of(texts: tuple[str, ...]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the pod paths of --pod-path. Raises UsageError."""
    from kubectl_harden.workload import parse_pod_path

    paths: dict[tuple[str, str], tuple[str, ...]] = {}
    for text in texts:
        key, pointer = parse_pod_path(text)
        paths[key] = (*paths.get(key, ()), pointer)
    return paths


def meant(word: str, known: list[str]) -> str:
    """Return a question that names the known word that was probably meant, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1)
    return f' Did you mean "{close[0]}"?' if close else ""

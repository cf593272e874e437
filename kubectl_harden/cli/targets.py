"""The inputs of check and fix: files, kustomizations, charts, or live workloads; and the policy to check against."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.clusters import Context, chosen_contexts, contexts_of
from kubectl_harden.cli.connect import CLUSTER_NAMES, open_cluster
from kubectl_harden.cli.groups import FILE, option
from kubectl_harden.cli.options import CLUSTER, POD_PATH, POLICY, pod_paths_of, project_of, with_options
from kubectl_harden.errors import UsageError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.find import Targets
    from kubectl_harden.manifests.namespaces import Surveyed
    from kubectl_harden.manifests.policies import Rules
    from kubectl_harden.manifests.programs import Chart, Program
    from kubectl_harden.manifests.project_file import Project
    from kubectl_harden.manifests.reader import Inputs
    from kubectl_harden.pod_security.policy import PolicyChoice

__all__ = ["FileInputs", "LiveInputs", "left_out", "named_files", "surveyed", "target_options"]


def _once(_ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Return the value of an option that may be given once: the last of several would silently replace the others."""
    if len(values) > 1:
        raise UsageError(f"{parameter.opts[0]} {shlex.join(values)}: give only one; run the command for each of them")
    return values[0] if values else None


_FILES: Final = (
    option("-f", "--filename", "files", group="Targets", multiple=True, metavar="FILE|DIR|-",
           type=click.Path(allow_dash=True), help="File, directory or - for stdin."),
    option("-R", "--recursive", group="Targets", is_flag=True, help="Process directories recursively."),
    option("-k", "--kustomize", "kustomization", group="Targets", metavar="DIR", type=click.Path(file_okay=False),
           multiple=True, callback=_once, help="Directory of a kustomization, which kubectl kustomize builds."),
    option("--helm-chart", "chart", group="Targets", metavar="CHART", type=FILE, multiple=True, callback=_once,
           help="Chart, which helm template renders: a directory, a .tgz, repo/chart or oci://…"),
)  # fmt: skip

_LIVE: Final = (
    option("-l", "--selector", group="Targets", default="", metavar="SELECTOR",
           help="Label selector of live workloads."),
    option("-A", "--all-namespaces", group="Targets", is_flag=True, help="Live workloads of all namespaces."),
)  # fmt: skip

_RARER: Final = (
    option("--build", group="Targets", is_flag=True,
           help="check: also render the charts and kustomizations in the directories."),
    option("--values", group="Targets", multiple=True, metavar="FILE", type=FILE,
           help="Values for the chart; may be repeated."),
    option("--set", "sets", group="Targets", multiple=True, metavar="KEY=VALUE",
           help="Value for the chart, as in helm --set."),
    option("--kube-version", group="Targets", metavar="VERSION",
           help="Kubernetes version to render the chart for."),
    option("--api-versions", group="Targets", multiple=True, metavar="GROUP/VERSION",
           help="API versions to render the chart for; may be repeated."),
    option("--skip-tests", group="Targets", is_flag=True, help="Leave out what only helm test runs."),
    option("--skip-others", group="Targets", is_flag=True,
           help="For pre-commit: the arguments are files; skip those without Kubernetes objects."),
    option("--admission-config", group="Policy", metavar="FILE", type=FILE,
           help="The API server's AdmissionConfiguration, whose defaults and exemptions apply to manifests."),
    option("--config", group="Policy", metavar="FILE", type=FILE,
           help="Project file. [default: .kubectl-harden.yaml here, or in a parent directory of the repository]"),
)  # fmt: skip


class LiveInputs(NamedTuple):
    """Live workloads to work on: in which cluster, which ones, against which policy.

    Where several ``contexts`` are named, each has a cluster of its own.
    """

    only: Cluster | None
    targets: Targets
    choice: PolicyChoice
    contexts: tuple[Context, ...] = ()

    @property
    def cluster(self) -> Cluster:
        """Return the cluster where there is one."""
        if self.only is None:
            raise TypeError("there are several clusters: each context opens its own")
        return self.only

    def of(self, cluster: Cluster) -> LiveInputs:
        """Return the same inputs in one of several clusters."""
        space = cluster.connection.namespace if self.targets.namespace == "" else self.targets.namespace
        return self._replace(only=cluster, targets=self.targets._replace(namespace=space), contexts=())


class FileInputs(NamedTuple):
    """Manifests to work on: what to read, what decides the policy of each, and what the project file says."""

    inputs: Inputs
    rules: Rules
    project: Project
    kustomization: str | None = None
    chart: Chart | None = None
    begun: Program | None = None
    """The rendering of the chart, where it has been begun."""


def surveyed(given: FileInputs, *, origins: bool) -> Surveyed:
    """Return the inputs with what programs build from them, and the policies of the workloads in them.

    With ``origins``, what is built is named by the files that it is built from. Raises InputError.
    """
    from kubectl_harden.manifests.namespaces import survey

    return survey(_with_built(given, origins=origins), given.rules)


def left_out(given: FileInputs, found: Surveyed) -> str:
    """Return which of the named and listed files the project file leaves out, or nothing."""
    from kubectl_harden.words import counted

    return f"{given.project.file} excludes {counted(found.excluded, 'path')}" if found.excluded else ""


def _with_built(given: FileInputs, *, origins: bool) -> Inputs:
    if given.kustomization is None and given.chart is None:
        return given.inputs
    # Imported late: files need none of it.
    from kubectl_harden.manifests import generators as rendering

    if given.kustomization is not None:
        built = rendering.kustomized(given.kustomization) if origins else [rendering.built(given.kustomization)]
    elif given.chart is not None:
        built = rendering.helm_template(given.chart, given.begun)
    return given.inputs._replace(rendered=tuple(built))


def target_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say which manifests or live workloads, and which policy.

    The command gets ``inputs``: FileInputs or LiveInputs; and ``policy``: that for manifests.
    """

    @wraps(command)
    def call(
        names: tuple[str, ...],
        files: tuple[str, ...],
        kustomization: str | None,
        chart: str | None,
        namespace: str | None,
        all_namespaces: bool,
        selector: str,
        level: str | None,
        policy_version: str | None,
        sets: tuple[str, ...],
        kube_version: str | None,
        api_versions: tuple[str, ...],
        skip_tests: bool,
        pod_paths: tuple[str, ...],
        admission_config: str | None,
        config: str | None,
        recursive: bool,
        build: bool,
        values: tuple[str, ...],
        skip_others: bool,
        **others: object,
    ) -> int:
        named = (*files, *names) if skip_others else files
        words = _words_for_helm(sets, kube_version, api_versions, skip_tests=skip_tests)
        if words and not chart:
            raise UsageError(f"{words[0]} is for charts: name one with --helm-chart")
        begun = None
        if chart:
            # Imported late: few runs are about charts.
            from kubectl_harden.cli import charts

            begun = charts.begun(chart, values, namespace or "", words)
        project = project_of(config)
        paths = pod_paths_of(pod_paths, project)
        contexts = chosen_contexts(others)
        if contexts and (named or kustomization or chart):
            raise UsageError("--contexts and --all-contexts are for clusters: leave them out for manifests")
        if named or kustomization or chart:
            _check_combination(named, kustomization, chart, names, live=bool(all_namespaces or selector))
            if namespace and not chart:
                raise UsageError("-n selects live workloads (or a chart's namespace): leave it out")
            for name in CLUSTER_NAMES:
                others.pop(name)
            rules = _rules(_choice(level, policy_version), project, admission_config, namespace or "")
            # The policy at the top of a report names no origin: workloads may have others.
            policy = rules.default()._replace(origin="")
            inputs = _files(
                names,
                files,
                kustomization,
                chart,
                rules,
                paths,
                project,
                words,
                recursive=recursive,
                build=build,
                values=values,
                skip_others=skip_others,
            )
            return command(inputs=inputs._replace(begun=begun), policy=policy, **others)
        if admission_config:
            raise UsageError("--admission-config is for manifests: the cluster itself tells what is in force")
        for given, meaning in (
            (recursive, "-R"),
            (build, "--build"),
            (values, "--values"),
            (skip_others, "--skip-others"),
        ):
            if given:
                raise UsageError(f"{meaning} is for manifests: name them with -f, -k or --helm-chart")
        looks_like_file = next((name for name in names if name == "-" or os.path.isfile(name)), None)
        if looks_like_file is not None:
            raise UsageError(f'"{looks_like_file}" is a file: write -f {shlex.quote(looks_like_file)}')
        if not (names or namespace or all_namespaces or selector):
            raise UsageError(
                "specify manifests with -f FILE, -k DIR or --helm-chart DIR, or live workloads with TYPE/NAME, "
                "-n NAMESPACE or -A"
            )
        from kubectl_harden.live.find import parse_targets
        from kubectl_harden.pod_security.policy import parse_policy

        if all_namespaces and namespace:
            raise UsageError("use -n for one namespace or -A for all, not both")
        policy = parse_policy(level or "restricted", policy_version or "latest")
        targets = parse_targets(names, None if all_namespaces else namespace or "", selector, paths)
        choice = _choice(level, policy_version)
        if contexts:
            own = {name: others.pop(name) for name in CLUSTER_NAMES}
            several = LiveInputs(None, targets, choice, tuple(contexts_of(contexts, own)))
            return command(inputs=several, policy=policy, **others)
        cluster = open_cluster(others)
        return command(inputs=LiveInputs(cluster, targets, choice).of(cluster), policy=policy, **others)

    argument = click.argument("names", nargs=-1, metavar="[TYPE/NAME]...", shell_complete=completing.resources)
    return with_options((argument, *_FILES, *CLUSTER[:1], *_LIVE, *POLICY, *_RARER, POD_PATH, *CLUSTER[1:]), call)


def named_files(given: Iterable[str]) -> list[str]:
    """Return the files and directories that the values of -f stand for: one, several with commas, a pattern, or "-"."""
    from kubectl_harden.manifests.discovery import expanded

    split = [name for value in given for name in ([value] if os.path.exists(value) else value.split(","))]
    return [path for name in split for path in (expanded(name) if name != "-" else [name])]


def _words_for_helm(
    sets: tuple[str, ...], kube_version: str | None, api_versions: tuple[str, ...], *, skip_tests: bool
) -> tuple[str, ...]:
    """Return the options that are helm's own, as words of its command line."""
    words = [word for value in sets for word in ("--set", value)]
    words += ["--kube-version", kube_version] if kube_version else []
    words += [word for value in api_versions for word in ("--api-versions", value)]
    return (*words, *(("--skip-tests",) if skip_tests else ()))


def _choice(level: str | None, version: str | None) -> PolicyChoice:
    from kubectl_harden.pod_security.policy import PolicyChoice

    return PolicyChoice(level, version)


def _rules(options: PolicyChoice, project: Project, admission_config: str | None, release: str) -> Rules:
    """Return what decides the policy of manifests, and note what cannot be known about it. Raises UsageError."""
    from kubectl_harden.manifests.policies import Rules

    rules = Rules(options, _choice(project.level, project.policy_version), release=release)
    if admission_config is None:
        return rules
    # Imported late: few runs have such a file.
    from kubectl_harden.cli.admission_config import load_admission_config, notes_on
    from kubectl_harden.reports.output import note

    config = load_admission_config(admission_config)
    for words in notes_on(config):
        note(words)
    return rules._replace(config=config)


def _check_combination(
    files: tuple[str, ...], kustomization: str | None, chart: str | None, names: tuple[str, ...], *, live: bool
) -> None:
    """Raise UsageError for options of different inputs next to each other."""
    given = [option for option, value in (("-f", files), ("-k", kustomization), ("--helm-chart", chart)) if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} name different inputs: use only one of them")
    if live:
        raise UsageError(f"-A and -l select live workloads: leave them out, or leave out {given[0]}")
    if names and not files:
        raise UsageError(f'"{names[0]}"names a live workload, {given[0]} names manifests: use only one of them')


def _files(
    names: tuple[str, ...],
    files: tuple[str, ...],
    kustomization: str | None,
    chart: str | None,
    rules: Rules,
    paths: dict[tuple[str, str], tuple[str, ...]],
    project: Project,
    words: tuple[str, ...],
    *,
    recursive: bool,
    build: bool,
    values: tuple[str, ...],
    skip_others: bool,
) -> FileInputs:
    from kubectl_harden.manifests.reader import Inputs
    from kubectl_harden.reports.output import note

    if values and not chart:
        raise UsageError("--values is for a chart: name it with --helm-chart")
    if build and (not files or skip_others):
        raise UsageError("--build renders what is in directories: name them by -f, without -k, --helm-chart and hooks")
    if kustomization:
        return FileInputs(Inputs((), pod_paths=paths), rules, project, kustomization)
    if chart:
        from kubectl_harden.cli.charts import opened

        chart_files = opened(chart, values, rules.release, words)
        return FileInputs(Inputs((), pod_paths=paths), rules, project, chart=chart_files)
    listed = named_files(files)
    # A shell makes -f a.yaml b.yaml c.yaml of -f *.yaml; what a hook passes on is always a name, also "-".
    listed.extend(os.path.join(os.curdir, name) if skip_others and name == "-" else name for name in names)
    excluded = project.excluded()
    if project.exclude and all(name != "-" and excluded(name) for name in listed):
        note(f"{project.file} excludes everything that you named")
    inputs = Inputs(tuple(listed), recursive, paths, excluded, skip_others)
    if build:
        from kubectl_harden.manifests.generators import rendered

        inputs = inputs._replace(render=rendered)
    return FileInputs(inputs, rules, project)

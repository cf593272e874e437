"""``migrate`` on several clusters, one after another, and one table and one report of all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kubectl_harden.cli.clusters import opened
from kubectl_harden.cli.codes import INTERRUPTED, exit_code
from kubectl_harden.cli.migrate_results import OUTPUTS, Result, is_left, report_of, sum_up, write_report
from kubectl_harden.cli.migrate_run import Run, run_on
from kubectl_harden.cli.page import about_migration, keep
from kubectl_harden.errors import HardenError, UsageError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.history import History

__all__ = ["migrate_all"]


def migrate_all(
    contexts: Sequence[str],
    connect: Callable[[str], Cluster],
    run: Run,
    output: str,
    report_file: str | None,
    history_dir: str | None,
) -> int:
    """Migrate the clusters of contexts one by one, each with its own question, plan file and page.

    One that fails does not keep the others from their turn; Ctrl-C ends the run. Returns the exit code.
    """
    from kubectl_harden.live.find import problem
    from kubectl_harden.reports.clusters import migrations_table
    from kubectl_harden.reports.migration import joined_json
    from kubectl_harden.reports.output import data, report_problems, write
    from kubectl_harden.reports.terminal import json_text, paint, printable

    if output == "policyreport":
        raise UsageError("-o policyreport is of one cluster: name it by --context")
    files = [_file_of("x", name) for name in contexts]
    if (report_file or run.plan_out) and len(set(files)) < len(files):
        raise UsageError("two contexts would have files of the same name: name them one by one, by --context")
    ended: list[tuple[str, Result | Problem]] = []
    unkept: list[Problem] = []
    interrupted = False
    for context in opened(contexts, connect):
        name = context.name
        if output != "json":
            write([("## " if output == "markdown" else "") + paint(printable(name), "strong") + "\n\n"])
        try:
            if isinstance(context.cluster, HardenError):
                raise context.cluster
            about = about_migration(context.cluster.connection, history_dir, run.selection.names)
            plan_out = run.plan_out and _file_of(run.plan_out, name)
            result, interrupted = run_on(context.cluster, run._replace(plan_out=plan_out))
        except HardenError as error:
            ended.append((name, problem(error)._replace(cluster=name)))
            report_problems([problem(error)._replace(cluster=name)])
            continue
        ended.append((name, result))
        history = None
        if report_file is not None:
            history = write_report(_file_of(report_file, name), result, about)
        if output == "markdown":
            OUTPUTS[output](result)
        sum_up(result)
        unkept += _kept(history, name)
        if interrupted:
            break
    results = [(name, item) for name, item in ended if isinstance(item, Result)]
    problems = [item for _, item in ended if not isinstance(item, Result)]
    problems += [item._replace(cluster=name) for name, result in results for item in result.problems]
    problems += unkept
    if output == "json":
        reports = [(name, report_of(item) if isinstance(item, Result) else None) for name, item in ended]
        data([json_text(joined_json(reports, problems)), "\n"])
    else:
        rows = [(name, item.found if isinstance(item, Result) else None) for name, item in ended]
        write(["\n", *migrations_table(rows)])
    left = any(is_left(result) for _, result in results) or len(ended) < len(contexts)
    return INTERRUPTED if interrupted else exit_code(problems, left=left)


def _kept(history: History | None, name: str) -> list[Problem]:
    """Keep the run of a cluster; returns why that was not possible, which does not keep the others from their turn."""
    from kubectl_harden.live.find import problem
    from kubectl_harden.reports.output import report_problems

    try:
        keep(history)
    except HardenError as error:
        problems = [problem(error)._replace(cluster=name)]
        report_problems(problems)
        return problems
    return []


def _file_of(file: str, context: str) -> str:
    """Return a file's name for a cluster: ``report-prod-eu.html``."""
    path = Path(file)
    return str(path.with_name(f"{path.stem}-{re.sub('[^A-Za-z0-9._-]+', '-', context)}{path.suffix}"))

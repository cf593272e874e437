"""``migrate`` on several clusters: surveyed side by side, migrated one after another, and one table and one report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from click.globals import pop_context, push_context

from kubectl_harden.cli.clusters import Context, contexts_of, side_by_side
from kubectl_harden.cli.codes import INTERRUPTED, exit_code
from kubectl_harden.cli.migrate_results import (
    OUTPUTS,
    Result,
    is_left,
    policy_reports,
    report_of,
    sum_up,
    write_plan_file,
    write_report,
)
from kubectl_harden.cli.migrate_run import INTERRUPTED_WORDS, CarryOut, Findings, Run, found_on, run_on, show_findings
from kubectl_harden.cli.page import about_migration, keep
from kubectl_harden.cli.parallel import Parallel
from kubectl_harden.errors import HardenError, UsageError

if TYPE_CHECKING:
    from kubectl_harden.cli.options import Connect
    from kubectl_harden.migration.migrate import Migrated
    from kubectl_harden.migration.model import NamespaceSurvey, State
    from kubectl_harden.model import Problem
    from kubectl_harden.reports.history import History

__all__ = ["AskedOfAll", "migrate_all"]


class AskedOfAll(NamedTuple):
    """The options for several clusters: the output, the files, and how many ``--apply`` works on at a time."""

    output: str
    report_file: str | None
    history_dir: str | None
    at_once: int


def migrate_all(names: Sequence[str], connect: Connect, run: Run, asked: AskedOfAll) -> int:
    """Survey the clusters of contexts side by side, and migrate them, each with its own plan file and page.

    ``--apply`` surveys and changes one after another, each with its own question; or ``at_once`` of them, without
    questions. A failure does not stop the others; Ctrl-C ends the run. Returns the exit code.
    """
    files = [_file_of("x", name) for name in names]
    if (asked.report_file or run.plan_out) and len(set(files)) < len(files):
        raise UsageError("two contexts would have files of the same name: name them one by one, by --context")
    fleet = _Fleet(run, asked)
    contexts = contexts_of(names, connect.given)
    if run.apply and asked.at_once == 1:
        interrupted = fleet.one_by_one(contexts)
    else:
        found = fleet.surveyed(contexts)
        interrupted = run.apply and fleet.carried_out(found)
    return fleet.told(names, interrupted=interrupted)


class _Fleet:
    """The outcome of each cluster, and what is printed and written about it."""

    def __init__(self, run: Run, asked: AskedOfAll) -> None:
        self._run, self._asked = run, asked
        self._ended: dict[str, Result | Problem] = {}
        self._later: list[Problem] = []
        self._carry_out = CarryOut(run)
        self._between: list[str] = []

    def one_by_one(self, contexts: Sequence[Context]) -> bool:
        """Survey, ask and carry out, cluster by cluster; returns whether Ctrl-C ended it."""
        interrupted = False
        for context in contexts:
            name = context.name
            if self._carry_out.enough:
                break
            self._head(name, "text")
            try:
                run = self._run._replace(plan_out=self._plan_out(name))
                result, interrupted = run_on(context.cluster(), run, self._carry_out, name)
            except HardenError as error:
                self._failed(name, error)
                continue
            self._came_of(name, result)
            if interrupted:
                break
        return interrupted

    def surveyed(self, contexts: Sequence[Context]) -> dict[str, Findings]:
        """Survey side by side, and show what is found in the order of the clusters; return what --apply carries out."""
        from kubectl_harden.reports.output import line
        from kubectl_harden.reports.progress import Words

        said: dict[str, list[str]] = {context.name: [] for context in contexts}
        out: dict[str, Findings] = {}
        with Words() as words:

            def begin(context: Context) -> Iterator[Findings]:
                name = context.name

                def progress() -> AbstractContextManager[Callable[[str], None]]:
                    return nullcontext(lambda text: words(f"{name}: {text}"))

                yield found_on(context.cluster(), self._run, progress, said[name].append)

            for name, found in side_by_side([(context.name, partial(begin, context)) for context in contexts]):
                with words.paused():
                    self._head(name, "text")
                    for text in said[name]:
                        line(text)
                    try:
                        if isinstance(found, HardenError):
                            raise found
                        self._shown(name, found)
                    except HardenError as error:
                        self._failed(name, error)
                        continue
                    if self._run.apply:
                        out[name] = found
        return out

    def carried_out(self, found: dict[str, Findings]) -> bool:
        """Carry out what was found, some clusters at a time; returns whether Ctrl-C ended it."""
        from kubectl_harden.reports.progress import Progress
        from kubectl_harden.reports.terminal import printable

        context = click.get_current_context()
        total = sum(len(self._carry_out.todo(item)) for item in found.values())
        done: dict[str, Result | HardenError] = {}
        with Progress(total, "namespaces", steps=False) as display:

            def work(names: Sequence[str]) -> None:
                # The choice of colours is in click's context, which other threads do not have.
                push_context(context)
                try:
                    for name in names:
                        try:
                            done[name] = self._carry_out(found[name], display, self._pooled, f"{printable(name)}/")[0]
                        except HardenError as error:
                            done[name] = error
                finally:
                    pop_context()

            # Two contexts of one server would change the same namespaces at the same time.
            servers: dict[str, list[str]] = {}
            for name, item in found.items():
                servers.setdefault(item.cluster.connection.server, []).append(name)
            at_a_time = Parallel(self._asked.at_once, self._carry_out.stages, lambda: display.say(INTERRUPTED_WORDS))
            interrupted = at_a_time(servers.values(), work, lambda _: None)
        for name in found:
            result = done[name]
            if isinstance(result, HardenError):
                self._failed(name, result)
            else:
                self._came_of(name, result)
        return interrupted

    def _pooled(
        self,
        items: Sequence[NamespaceSurvey],
        work: Callable[[NamespaceSurvey], Migrated],
        ended: Callable[[Migrated], None],
    ) -> bool:
        """Do the work for each namespace of a cluster, in parallel with other clusters."""
        with ThreadPoolExecutor(self._run.parallel) as pool:
            for future in as_completed([pool.submit(work, item) for item in items]):
                ended(future.result())
        return False

    # -- what is told ------------------------------------------------------------------------------------

    def told(self, contexts: Sequence[str], *, interrupted: bool) -> int:
        """Print what concerns all clusters together; returns the exit code."""
        from kubectl_harden.reports.clusters import migrations_table
        from kubectl_harden.reports.migration import joined_json
        from kubectl_harden.reports.output import data, note, write
        from kubectl_harden.reports.policy_report import joined
        from kubectl_harden.reports.terminal import json_text

        ended = [(name, self._ended[name]) for name in contexts if name in self._ended]
        results = [(name, item) for name, item in ended if isinstance(item, Result)]
        problems = [item for _, item in ended if not isinstance(item, Result)]
        problems += [item._replace(cluster=name) for name, result in results for item in result.problems]
        if self._asked.output == "policyreport":
            data([json_text(joined(self._policy_reports(results))), "\n"])
        problems += self._later
        if self._asked.output == "json":
            reports = [(name, report_of(item) if isinstance(item, Result) else None) for name, item in ended]
            data([json_text(joined_json(reports, problems)), "\n"])
        elif self._asked.output != "policyreport":
            rows = [(name, _states(item) if isinstance(item, Result) else None) for name, item in ended]
            write(["\n", *migrations_table(rows)])
        untouched = [name for name in contexts if name not in self._ended]
        if untouched:
            why = "" if interrupted else ", after as many failures as --max-failures allows"
            note(f"{', '.join(untouched)}: not started{why}")
        if interrupted:
            return INTERRUPTED
        return exit_code(problems, left=bool(untouched) or any(is_left(result) for _, result in results))

    def _head(self, name: str, *outputs: str) -> None:
        """Name a cluster on stdout, above its own output."""
        from kubectl_harden.reports.output import write
        from kubectl_harden.reports.terminal import paint, printable

        output = "text" if self._run.text else self._asked.output
        if output in outputs:
            mark = "## " if output == "markdown" else ""
            write([*self._between, mark + paint(printable(name), "strong") + "\n\n"])
            self._between = ["\n"]

    def _shown(self, name: str, found: Findings) -> None:
        """Show what was found on a cluster, and finish it where there is nothing to carry out."""
        show_findings(found, self._run, name)
        plan_out = self._plan_out(name)
        if plan_out is not None:
            write_plan_file(plan_out, found.survey, found.aim, found.cluster, None, ())
        if not self._run.apply:
            result = Result(found.cluster, found.aim, found.survey, (), found.problems, "", applied=False)
            self._came_of(name, result)

    def _came_of(self, name: str, result: Result) -> None:
        """Report the outcome of a cluster, and write its page; a failure does not stop the others."""
        self._ended[name] = result
        try:
            history = self._page(name, result)
        except HardenError as error:
            history = None
            self._later.append(self._reported(name, error))
        self._head(name, "markdown")
        if self._asked.output == "markdown":
            OUTPUTS["markdown"](result)
        sum_up(result, name)
        try:
            keep(history)
        except HardenError as error:
            self._later.append(self._reported(name, error))

    def _page(self, name: str, result: Result) -> History | None:
        if self._asked.report_file is None:
            return None
        about = about_migration(result.cluster.connection, self._asked.history_dir, self._run.selection.names)
        return write_report(_file_of(self._asked.report_file, name), result, about)

    def _failed(self, name: str, error: HardenError) -> None:
        self._head(name, "markdown")
        self._ended[name] = self._reported(name, error)

    def _reported(self, name: str, error: HardenError) -> Problem:
        from kubectl_harden.live.find import problem
        from kubectl_harden.reports.output import report_problems

        failed = problem(error)._replace(cluster=name)
        report_problems([failed])
        return failed

    def _policy_reports(self, results: Sequence[tuple[str, Result]]) -> Iterator[dict[str, object]]:
        for name, result in results:
            try:
                yield policy_reports(result, name)
            except HardenError as error:
                self._later.append(self._reported(name, error))

    def _plan_out(self, name: str) -> str | None:
        return self._run.plan_out and _file_of(self._run.plan_out, name)


def _states(result: Result) -> list[State]:
    """Return the state of each namespace of a cluster, after the changes."""
    ended = {item.name: item.state for item in result.done}
    states: dict[str | None, State] = {"enforced": "done", "done": "done", "blocked": "blocked"}
    return [states.get(ended.get(item.name), item.state) for item in result.found.namespaces]


def _file_of(file: str, context: str) -> str:
    """Return a file's name for a cluster: ``report-prod-eu.html``."""
    path = Path(file)
    return str(path.with_name(f"{path.stem}-{re.sub('[^A-Za-z0-9._-]+', '-', context)}{path.suffix}"))

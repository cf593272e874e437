"""The command ``rejected``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from kubectl_harden.cli.clusters import Context, chosen_contexts, contexts_of, contexts_options, side_by_side
from kubectl_harden.cli.codes import OK, VIOLATIONS, exit_code
from kubectl_harden.cli.evidence import AUDIT_LOG, audit_log_of
from kubectl_harden.cli.options import Command, Connect, cluster_options
from kubectl_harden.cluster.command import Commands
from kubectl_harden.errors import HardenError, UsageError

if TYPE_CHECKING:
    from kubectl_harden.cli.audit_log import AuditLog
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.audited import Traced
    from kubectl_harden.live.propose import Proposal
    from kubectl_harden.live.refused_pods import Rejected
    from kubectl_harden.live.restarts import Restarts
    from kubectl_harden.model import Problem

__all__ = ["pasted", "rejected"]


@click.command(cls=Command, short_help="Show what admission rejects now, why, and how to fix it.")
@click.argument("source", required=False, metavar="[-]")
@click.option("-A", "--all-namespaces", is_flag=True, help="Look in all namespaces.")
@click.option("-o", "--output", type=click.Choice(("text", "json")), default="text", show_default=True,
              help="Output format.")  # fmt: skip
@AUDIT_LOG
@contexts_options
@cluster_options
def rejected(
    connect: Connect,
    namespace: str | None,
    source: str | None,
    all_namespaces: bool,
    output: str,
    audit_logs: tuple[str, ...],
    contexts: str | None,
    all_contexts: bool,
) -> int:
    """Show the workloads whose pods admission refuses now, each with the diff that fixes it.

    A pod is reported as admitted now only after a dry-run of the pod that its controller would create.

    With "-", read an error, a warning from kubectl, a log or an event from stdin and explain it, without contacting
    a cluster. With --audit-log, also show earlier rejections, even of pods that no longer exist. The exit code is 0
    when nothing is rejected, 1 when something is or was rejected and the cause is not known to be fixed, and 4 when
    the cluster refused.

    \b
    Examples:
      kubectl harden rejected
      kubectl harden rejected -A
      kubectl harden rejected -A --contexts 'prod-*'
      kubectl harden rejected -A --audit-log /var/log/kubernetes/audit/
      kubectl describe rs web-5fc9f4bf66 | kubectl harden rejected -
    """
    if source == "-":
        if audit_logs:
            raise UsageError("- explains a message, and --audit-log is for a cluster: use one of them")
        return pasted(output)
    if source is not None:
        raise UsageError(f'"{source}": name a namespace with -n, or use - to read a message from stdin')
    if namespace and all_namespaces:
        raise UsageError("use -n for one namespace or -A for all, not both")
    names = chosen_contexts({"contexts": contexts, "all_contexts": all_contexts, **connect.given})
    if names:
        if audit_logs:
            raise UsageError("--audit-log is for one cluster: select it with --context")
        return _all(contexts_of(names, connect.given), None if all_namespaces else namespace or "", output)
    audit = audit_log_of(audit_logs)
    cluster = connect()
    return _one(cluster, None if all_namespaces else namespace or cluster.connection.namespace, output, audit)


class _Told(NamedTuple):
    """The rejections of a cluster; ``before`` is what its audit log shows."""

    cluster: Cluster
    found: list[tuple[Rejected, Proposal | None]]
    problems: list[Problem]
    restarts: Restarts
    notes: list[str]
    before: list[Traced]
    absent: bool
    unseen: bool

    @property
    def left(self) -> bool:
        """Whether something is rejected, or was rejected and is not known to be fixed."""
        now = any(not found.stale for found, _ in self.found)
        return now or any(item.state != "fixed" for item in self.before)


def _asked(cluster: Cluster, namespace: str | None, audit: AuditLog | None) -> _Told:
    """Ask a cluster what it rejects. Raises ClusterError."""
    from kubectl_harden.live.find import Finder, Targets
    from kubectl_harden.live.propose import ApplyOptions, propose
    from kubectl_harden.live.rejections import find_rejected
    from kubectl_harden.live.restarts import Restarts, find_restarts
    from kubectl_harden.model import Problem
    from kubectl_harden.planning.options import FixOptions
    from kubectl_harden.pod_security.messages import POD_SECURITY
    from kubectl_harden.pod_security.namespace_labels import PolicyChoice

    finder = Finder(cluster, PolicyChoice(), {})
    problems: list[Problem] = []
    all_found = []
    unseen: list[str] = []
    for found in find_rejected(finder, namespace):
        if isinstance(found, str):
            unseen.append(found)
            continue
        if isinstance(found, Problem):
            problems.append(found)
            continue
        proposal = None
        if found.rejecter == POD_SECURITY and not found.stale and found.template_violates:
            proposal = propose(cluster, found.live, FixOptions(), ApplyOptions(trial=False, rollback=False))
        all_found.append((found, proposal))
    absent = finder.absent(namespace) if namespace is not None and not all_found else None
    problems += [] if absent is None else [absent]
    restarts = find_restarts(finder, namespace) if absent is None else Restarts()
    problems += [] if audit is None else audit.problems()
    before = [] if audit is None else audit.traced(finder, Targets(namespace=namespace), refused=True)
    notes = [*finder.notes, *unseen]
    return _Told(cluster, all_found, problems, restarts, notes, before, absent is not None, bool(unseen))


def _one(cluster: Cluster, namespace: str | None, output: str, audit: AuditLog | None) -> int:
    """Tell of one cluster."""
    from kubectl_harden.reports.output import data
    from kubectl_harden.reports.rejected import rejected_json
    from kubectl_harden.reports.terminal import json_text

    told = _asked(cluster, namespace, audit)
    _tell(told, namespace, output, audit)
    if output == "json":
        history = None if audit is None else audit.json(told.before)
        report = rejected_json(told.found, told.problems, told.restarts, cluster.connection.commands, history)
        data([json_text(report), "\n"])
    return exit_code(told.problems, left=told.left)


def _all(contexts: Sequence[Context], namespace: str | None, output: str) -> int:
    """Report on several clusters, which are asked in parallel; ``namespace`` "" stands for that of each context."""
    from kubectl_harden.live.find import problem
    from kubectl_harden.reports.output import data, report_problems, write
    from kubectl_harden.reports.rejected import joined_json, rejected_json
    from kubectl_harden.reports.terminal import json_text, paint, printable

    def begin(context: Context) -> Iterator[_Told]:
        cluster = context.cluster()
        yield _asked(cluster, _space(cluster, namespace), None)

    runs = [(context.name, partial(begin, context)) for context in contexts]
    problems: list[Problem] = []
    reports: list[tuple[str, dict[str, object]]] = []
    left = False
    for name, told in side_by_side(runs):
        if output == "text":
            write([paint(f"{printable(name)}:", "strong") + "\n"])
        if isinstance(told, HardenError):
            failed = problem(told)._replace(cluster=name)
            report_problems([failed])
            problems.append(failed)
            reports.append((name, rejected_json((), [failed], None, Commands())))
            continue
        told = told._replace(problems=[item._replace(cluster=name) for item in told.problems])
        _tell(told, _space(told.cluster, namespace), output, None, f"{name}: ")
        problems += told.problems
        left = left or told.left
        commands = told.cluster.connection.commands
        reports.append((name, rejected_json(told.found, told.problems, told.restarts, commands)))
    if output == "json":
        data([json_text(joined_json(reports)), "\n"])
    return exit_code(problems, left=left)


def _space(cluster: Cluster, namespace: str | None) -> str | None:
    return cluster.connection.namespace if namespace == "" else namespace


def _tell(told: _Told, namespace: str | None, output: str, audit: AuditLog | None, prefix: str = "") -> None:
    """Print the rejections of a cluster for people, and the messages on stderr in any case, each after a ``prefix``."""
    from kubectl_harden.reports.grouping import grouped_text, rejected_summary
    from kubectl_harden.reports.output import line, note, paragraph, report_problems, tell, write
    from kubectl_harden.reports.rejected import restarts_text
    from kubectl_harden.reports.terminal import width

    commands = told.cluster.connection.commands
    report_problems(told.problems)
    if output == "text":
        write(grouped_text(told.found, commands, columns=width()))
    if audit is not None:
        if output == "text":
            shown = {(found.live.namespace, found.live.target) for found, _ in told.found if not found.stale}
            earlier = [item for item in told.before if (item.creation.namespace, item.target) not in shown]
            audit.show(earlier, told.cluster)
        audit.note()
    for words in told.notes:
        note(prefix + words)
    if told.found:
        paragraph(prefix + rejected_summary(told.found, commands))
    elif not told.absent:
        where = "in any namespace but Kubernetes' own" if namespace is None else f"in namespace {namespace}"
        what = "nothing that can be seen is" if told.problems or told.unseen else "nothing is"
        line(f"{prefix}{what} being rejected {where}")
    if output == "text":
        tell(restarts_text(told.restarts, namespace, commands, columns=width(2)))


def pasted(output: str) -> int:
    """Explain the messages of admission in a text of stdin, as text or JSON; returns the exit code."""
    from kubectl_harden.pod_security.messages import read_messages
    from kubectl_harden.reports.output import data, line, write
    from kubectl_harden.reports.rejected import message_json, message_text
    from kubectl_harden.reports.terminal import width

    if sys.stdin.isatty():
        line("paste the message, then press Ctrl-D:")
    messages = list(read_messages(sys.stdin.buffer.read().decode(errors="replace")))
    if output == "json":
        data([message_json(messages)])
    for message in messages if output == "text" else ():
        write(message_text(message, columns=width()))
    if not messages:
        line("this text has no known rejection message")
    return VIOLATIONS if messages else OK

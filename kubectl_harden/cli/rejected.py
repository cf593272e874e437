"""The command ``rejected``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from kubectl_harden.cli.audit_log import AUDIT_LOG, AuditLog, read
from kubectl_harden.cli.codes import OK, VIOLATIONS, exit_code
from kubectl_harden.cli.options import Command, cluster_options
from kubectl_harden.errors import UsageError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster

__all__ = ["rejected"]


@click.command(cls=Command, short_help="Show what admission is rejecting now, why, and what cures it.")
@click.argument("source", required=False, metavar="[-]")
@click.option("-A", "--all-namespaces", is_flag=True, help="Look into all namespaces.")
@click.option("-o", "--output", type=click.Choice(("text", "json")), default="text", show_default=True,
              help="Output format.")  # fmt: skip
@AUDIT_LOG
@cluster_options
def rejected(
    connect: Callable[[], Cluster],
    namespace: str | None,
    source: str | None,
    all_namespaces: bool,
    output: str,
    audit_logs: tuple[str, ...],
) -> int:
    """Show the workloads whose pods admission refuses now, each with the diff that cures it.

    That a pod would be admitted now is said only after a dry-run of the pod that its controller would make.

    With "-", read a pasted error, a warning of kubectl, a log or an event from stdin, and explain it; no
    cluster is asked. With --audit-log, what was refused before is shown as well, also of pods of which nothing is
    left. The exit code is 0 when nothing is rejected, 1 when something is or was and its cause is not known to
    be fixed, 4 when the cluster refused.

    \b
    Examples:
      kubectl harden rejected
      kubectl harden rejected -A
      kubectl harden rejected -A --audit-log /var/log/kubernetes/audit/
      kubectl describe rs web-5fc9f4bf66 | kubectl harden rejected -
    """
    if source == "-":
        if audit_logs:
            raise UsageError("- explains a message, and --audit-log is of a cluster: give one of them")
        return _pasted(output)
    if source is not None:
        raise UsageError(f'"{source}": name a namespace with -n, or give - to read a message from stdin')
    if namespace and all_namespaces:
        raise UsageError("use -n for one namespace or -A for all, not both")
    audit = read(audit_logs)
    cluster = connect()
    return _live(cluster, None if all_namespaces else namespace or cluster.connection.namespace, output, audit)


def _live(cluster: Cluster, namespace: str | None, output: str, audit: AuditLog | None) -> int:
    from kubectl_harden.live.find import Finder, Targets
    from kubectl_harden.live.propose import ApplyOptions, propose
    from kubectl_harden.live.rejections import find_rejected
    from kubectl_harden.live.restarts import Restarts, find_restarts
    from kubectl_harden.model import Problem
    from kubectl_harden.planning.options import FixOptions
    from kubectl_harden.pod_security.messages import POD_SECURITY
    from kubectl_harden.pod_security.namespace_labels import PolicyChoice
    from kubectl_harden.reports.grouping import grouped_text, rejected_summary
    from kubectl_harden.reports.output import data, line, note, paragraph, report_problems, tell, write
    from kubectl_harden.reports.rejected import rejected_json, restarts_text
    from kubectl_harden.reports.terminal import width

    finder = Finder(cluster, PolicyChoice(), {})
    problems = []
    all_found = []
    unseen: list[str] = []
    for found in find_rejected(finder, namespace):
        if isinstance(found, str):
            unseen.append(found)
            continue
        if isinstance(found, Problem):
            problems.append(found)
            report_problems([found])
            continue
        proposal = None
        if found.rejecter == POD_SECURITY and not found.stale and found.template_violates:
            proposal = propose(cluster, found.live, FixOptions(), ApplyOptions(trial=False, rollback=False))
        all_found.append((found, proposal))
    commands = cluster.connection.commands
    if output == "text":
        write(grouped_text(all_found, commands, columns=width()))
    absent = finder.absent(namespace) if namespace is not None and not all_found else None
    if absent is not None:
        problems.append(absent)
        report_problems([absent])
    restarts = find_restarts(finder, namespace) if absent is None else Restarts()
    before = [] if audit is None else audit.traced(finder, Targets(namespace=namespace), refused=True)
    if audit is not None:
        if output == "text":
            shown = {(found.live.namespace, found.live.target) for found, _ in all_found if not found.stale}
            audit.show([item for item in before if (item.creation.namespace, item.target) not in shown], cluster)
        audit.note()
    for words in (*finder.notes, *unseen):
        note(words)
    if output == "json":
        history = None if audit is None else audit.json(before)
        data([rejected_json(all_found, problems, restarts, commands, history)])
    elif not all_found and absent is None:
        where = "in any namespace but Kubernetes' own" if namespace is None else f"in namespace {namespace}"
        what = "nothing that can be seen is" if problems or unseen else "nothing is"
        line(f"{what} being rejected {where}")
    else:
        paragraph(rejected_summary(all_found, commands))
    if output == "text":
        tell(restarts_text(restarts, namespace, commands, columns=width()))
    left = any(not found.stale for found, _ in all_found) or any(item.state != "fixed" for item in before)
    return exit_code(problems, left=left)


def _pasted(output: str) -> int:
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
        line("no rejection is recognised in this text")
    return VIOLATIONS if messages else OK

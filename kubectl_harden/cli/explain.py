"""The command ``explain``."""

from __future__ import annotations

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.codes import OK
from kubectl_harden.cli.options import Command
from kubectl_harden.errors import UsageError, meant

__all__ = ["explain"]


@click.command(cls=Command, short_help="Explain a control: fields, versions, what it can break, how to fix it.")
@click.argument("check", required=False, shell_complete=completing.topics)
@click.option("-o", "--output", type=click.Choice(("text", "markdown")), default="text", show_default=True,
              help="Output format.")  # fmt: skip
def explain(check: str | None, output: str) -> int:
    """Explain a control of the Pod Security Standards.

    Its fields and their allowed values by policy version, what an attacker has without it, what it can break and
    how that shows, and how to fix it. Without CHECK the controls are listed. "runtime" says what Pod Security
    cannot do, and what stands beside it.

    \b
    Examples:
      kubectl harden explain
      kubectl harden explain runAsNonRoot
      kubectl harden explain runtime
    """
    from kubectl_harden.pod_security import documentation as explaining
    from kubectl_harden.reports.explain import listed, reference, runtime, text
    from kubectl_harden.reports.output import write
    from kubectl_harden.reports.terminal import width

    columns = width()
    items = explaining.explanations()
    by_name = {item.check.lower(): item for item in items}
    if check is not None and check.lower() not in (*by_name, "runtime"):
        known = [*(item.check for item in items), "runtime"]
        raise UsageError(f'unknown check "{check}".{meant(check, known)} To list them: kubectl harden explain')
    if output == "markdown":
        pieces = reference(items if check is None else [by_name[check.lower()]] if check != "runtime" else [])
    elif check is None:
        pieces = listed(items, columns=columns)
    elif check.lower() == "runtime":
        pieces = runtime(columns=columns)
    else:
        pieces = text(by_name[check.lower()], columns=columns)
    write(pieces)
    return OK

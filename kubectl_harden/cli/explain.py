"""The command ``explain``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from kubectl_harden.cli import completing
from kubectl_harden.cli.codes import OK
from kubectl_harden.cli.options import Command
from kubectl_harden.errors import UsageError, meant

if TYPE_CHECKING:
    from kubectl_harden.pod_security.documentation import Explanation

__all__ = ["explain"]


@click.command(cls=Command, short_help="Explain a control: fields, versions, what it can break, how to fix it.")
@click.argument("check", required=False, shell_complete=completing.topics)
@click.option("-o", "--output", type=click.Choice(("text", "markdown")), default="text", show_default=True,
              help="Output format.")  # fmt: skip
def explain(check: str | None, output: str) -> int:
    """Explain a control of the Pod Security Standards.

    Shows its fields and their allowed values by policy version, what an attacker gains without it, what it can break
    and how that shows, and how to fix it. Without CHECK, lists the controls. "runtime" shows what Pod Security
    cannot do, and what helps with the rest. You can also name a control by what admission says: its reason, in quotes.
    With "-", explains an error, a warning, a log or an event that is pasted or piped into it, as rejected - does.

    \b
    Examples:
      kubectl harden explain
      kubectl harden explain runAsNonRoot
      kubectl harden explain "unrestricted capabilities"
      kubectl describe rs web-5fc9f4bf66 | kubectl harden explain -
      kubectl harden explain runtime
    """
    from kubectl_harden.pod_security import documentation as explaining
    from kubectl_harden.reports.explain import listed, reference, runtime, text
    from kubectl_harden.reports.output import write
    from kubectl_harden.reports.terminal import width

    if check == "-":
        from kubectl_harden.cli.rejected import pasted

        if output != "text":
            raise UsageError("a pasted message is explained as text: leave out -o, or use rejected - -o json")
        return pasted(output)
    columns = width()
    items = explaining.explanations()
    of_runtime = check is not None and check.lower() == "runtime"
    found = list(items) if check is None else [] if of_runtime else _found(check, items)
    if output == "markdown":
        pieces = reference(found)
    elif of_runtime:
        pieces = runtime(columns=columns)
    elif len(found) == 1:
        pieces = text(found[0], columns=columns)
    else:
        pieces = listed(found, columns=columns)
    write(pieces)
    return OK


def _found(words: str, items: Iterable[Explanation]) -> list[Explanation]:
    """Return the control of an id, or those with this reason or edit, in any letter case. Raises UsageError."""
    from kubectl_harden.pod_security.control_names import controls_named

    by_id = {item.check: item for item in items}
    found = [by_id[control.id] for control in controls_named(words)]
    if not found:
        known = [*by_id, "runtime"]
        raise UsageError(f'unknown check "{words}".{meant(words, known)} To list them: kubectl harden explain')
    return found

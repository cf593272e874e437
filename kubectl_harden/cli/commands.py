"""The commands, by name: only the one that runs is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import click

__all__ = ["COMMANDS"]


def _check() -> click.Command:
    from kubectl_harden.cli.check import check

    return check


def _completion() -> click.Command:
    from kubectl_harden.cli.completion import completion

    return completion


def _explain() -> click.Command:
    from kubectl_harden.cli.explain import explain

    return explain


def _fix() -> click.Command:
    from kubectl_harden.cli.fix import fix

    return fix


def _krm() -> click.Command:
    from kubectl_harden.cli.krm import krm

    return krm


def _migrate() -> click.Command:
    from kubectl_harden.cli.migrate import migrate

    return migrate


def _rejected() -> click.Command:
    from kubectl_harden.cli.rejected import rejected

    return rejected


def _undo() -> click.Command:
    from kubectl_harden.cli.undo import undo

    return undo


def _complete() -> click.Command:
    from kubectl_harden.cli.completion import complete

    return complete


COMMANDS: Final[dict[str, Callable[[], click.Command]]] = {
    "check": _check,
    "completion": _completion,
    "explain": _explain,
    "fix": _fix,
    "krm": _krm,
    "migrate": _migrate,
    "rejected": _rejected,
    "undo": _undo,
    "__complete": _complete,
}
"""What imports and returns each command."""

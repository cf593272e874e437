"""What the page says about a run, and the runs that --history keeps."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from kubectl_harden.cli.groups import FILE, option
from kubectl_harden.cli.options import repeated
from kubectl_harden.cli.targets import FileInputs, LiveInputs

if TYPE_CHECKING:
    from kubectl_harden.cluster.command import Commands
    from kubectl_harden.cluster.connection import Connection
    from kubectl_harden.reports.history import History
    from kubectl_harden.reports.page_model import About

__all__ = ["HISTORY", "TEAM_LABEL", "about_check", "about_migration", "keep", "refuse_history"]

HISTORY: Final = option(
    "--history", "history_dir", group="Output", metavar="DIR", type=FILE,
    help="Keep each run in DIR: the page shows the progress, and what changed since the last run.",
)  # fmt: skip
TEAM_LABEL: Final = option(
    "--team-label", group="Output", default="team", show_default=True, metavar="KEY",
    help="The label that names the team of a workload, for -o html.",
)  # fmt: skip
_SHORT: Final = 80
_LONGEST: Final = 1000
"""Longest text in a heading, and longest command: a shell pattern may have named thousands of files."""


def about_check(inputs: FileInputs | LiveInputs, directory: str | None, team_label: str) -> About:
    """Return what the page of a check says about its run. Raises UsageError where the directory cannot be used."""
    return _about(inputs, directory)._replace(team_label=team_label)


def _about(inputs: FileInputs | LiveInputs, directory: str | None) -> About:
    """Return what the page of a check says about its run, without teams."""
    from kubectl_harden.cluster.command import Commands
    from kubectl_harden.reports.page_model import About
    from kubectl_harden.times import rfc3339

    made = rfc3339()
    words = repeated(click.get_current_context())
    if isinstance(inputs, FileInputs):
        command = Commands().harden("fix", *words)
        history = _history(directory, f"check {_scope()}")
        where = shlex.join(words)
        return About(
            where if len(where) <= _SHORT else "", made, {}, command if len(command) <= _LONGEST else "", history
        )
    if inputs.contexts:
        names = ", ".join(context.name for context in inputs.contexts)
        clusters: Mapping[str, Commands] = {context.name: context.commands for context in inputs.contexts}
        return About(names, made, clusters, history=_history(directory, f"check {_scope()} in {names}"))
    connection = inputs.cluster.connection
    history = _history(directory, f"check {_scope()} on {connection.server}")
    return About(_place(connection), made, {"": connection.commands}, history=history)


def about_migration(connection: Connection, directory: str | None, names: tuple[str, ...]) -> About:
    """Return what the page of a migration says about its run, of namespaces by ``names`` if any are named.

    Raises UsageError where the directory cannot be used.
    """
    from kubectl_harden.reports.page_model import About
    from kubectl_harden.times import rfc3339

    which = shlex.join(sorted(names)) if names else _scope()
    history = _history(directory, f"migrate {which} on {connection.server}")
    return About(_place(connection), rfc3339(), {"": connection.commands}, history=history)


def refuse_history(directory: str | None) -> None:
    """Raise UsageError for a directory that cannot be used, before anything begins."""
    _history(directory, "")


def keep(history: History | None) -> None:
    """Keep the run, if there is a history. Raises EditError."""
    if history is not None:
        from kubectl_harden.reports.history import save
        from kubectl_harden.reports.output import note

        for words in history.notes:
            note(words)
        save(history)


def _history(directory: str | None, scope: str) -> History | None:
    if directory is None:
        return None
    from kubectl_harden.reports.history import load

    return load(directory, scope)


def _place(connection: Connection) -> str:
    return connection.context or connection.server


def _scope() -> str:
    """Return the words of the command line that say what is checked."""
    context = click.get_current_context()
    words = []
    for name in _SCOPE:
        value = context.params.get(name)
        if value not in (None, "", (), False):
            words += [name, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


_SCOPE: Final = (
    "names", "files", "recursive", "build", "kustomization", "chart", "values", "sets", "selector", "namespace",
    "all_namespaces", "exclude", "exclude_from", "shard",
)  # fmt: skip

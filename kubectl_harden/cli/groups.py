"""The groups of a command's options in its help: an option names its own where it is declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, get_args

import click

__all__ = ["FILE", "GLOBAL", "GROUPS", "Group", "Option", "grouped", "option"]

Group = Literal[
    "Targets",
    "Policy",
    "Output",
    "What to change",
    "Keep it running",
    "Evidence",
    "Rollout",
    "Options",
    "Global options, as in kubectl",
]
GROUPS: Final[tuple[Group, ...]] = get_args(Group)
"""In the order of the help; within a group, options come as they are declared, the everyday ones first."""
GLOBAL: Final = GROUPS[-1]


FILE: Final = click.Path()
"""The one type for options that name a file: click translates the name of every instance."""


class Option(click.Option):
    """An option that knows its group."""

    def __init__(self, *arguments: Any, group: Group, **given: Any) -> None:
        super().__init__(*arguments, **given)
        self.group: Group = group


_Added = Callable[[Callable[..., int]], Callable[..., int]]


def option(*names: str, group: Group, **given: Any) -> _Added:
    """Return the decorator that adds an option of a group to a command; the rest is as in click.option."""
    return click.option(*names, cls=Option, group=group, **given)


def group_of(parameter: click.Parameter) -> Group:
    """Return the group of an option; those that click adds are global, others that name none are "Options"."""
    if isinstance(parameter, Option):
        return parameter.group
    return GLOBAL if "--help" in parameter.opts else "Options"


def grouped(parameters: Iterable[click.Parameter]) -> dict[Group, list[click.Parameter]]:
    """Return the options by group, in the order of the help."""
    found: dict[Group, list[click.Parameter]] = {group: [] for group in GROUPS}
    for parameter in parameters:
        if isinstance(parameter, click.Option):
            found[group_of(parameter)].append(parameter)
    return {group: options for group, options in found.items() if options}

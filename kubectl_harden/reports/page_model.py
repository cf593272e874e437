"""What the page shows, for any command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kubectl_harden.cluster.command import Commands
from kubectl_harden.reports.history import History

__all__ = ["About", "Cell", "Chart", "Page", "Part", "Reason", "Space", "Workload"]


class About(NamedTuple):
    """What a page says about its run: where and when it was made, the runs before it, and how commands are written.

    ``commands`` are those of each cluster, by its context where there are several, else by "". ``fix`` is the command
    that fixes all of the input, where it is files. ``team_label`` is the label that names the team of a workload.
    """

    where: str = ""
    made: str = ""
    commands: Mapping[str, Commands] = {}
    fix: str = ""
    history: History | None = None
    team_label: str = "team"


class Reason(NamedTuple):
    """Why something is where it is: ``head`` names the control, or what else it is, ``what`` says what is wrong.

    ``cause`` is what it is counted by, where it holds a namespace back. ``excused`` says that it does not count.
    """

    head: str
    what: str
    why: str = ""
    choices: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    excused: str = ""
    cause: str = ""


class Workload(NamedTuple):
    """A workload: the level that it meets, that after what is planned, and why; ``before``, if a run has changed it.

    ``short`` says why in a few words, ``text`` in a sentence. ``controls`` are those that it violates, ``causes`` what
    holds it back, ``edits`` a diff of the edited fields.
    """

    name: str
    level: str
    after: str
    state: str = ""
    team: str = ""
    owner: str = ""
    short: str = ""
    text: str = ""
    controls: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    risk: str = ""
    outcome: str = ""
    edits: str = ""
    edits_words: str = ""
    edit_notes: tuple[str, ...] = ()
    before: str = ""


class Cell(NamedTuple):
    """What a column shows of a namespace, and ``key`` to sort by where that is not the text."""

    text: str
    key: int | str | None = None
    number: bool = False
    after: str = ""


class Space(NamedTuple):
    """A namespace: the lowest level of its workloads now and after, what is enforced before and after, and why.

    ``reasons`` are those of the namespace itself, and of what is none of its workloads.
    """

    name: str
    cells: tuple[Cell, ...]
    workloads: tuple[Workload, ...]
    cluster: str = ""
    level: str = ""
    after: str = ""
    state: str = ""
    team: str = ""
    enforces: str = ""
    enforces_after: str = ""
    causes: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class Chart(NamedTuple):
    """A bar: ``unit`` says whether namespaces or workloads are counted, ``field`` by which of their data.

    ``values`` are the data's values with the class of their colour and their words.
    """

    title: str
    unit: str
    field: str
    values: tuple[tuple[str, str, str], ...]


class Part(NamedTuple):
    """A part of the page that one command adds: words, and a diff."""

    title: str
    words: Sequence[str] = ()
    diff: str = ""


class Page(NamedTuple):
    """The whole page. ``columns`` are the heads of the cells of its namespaces, ``problems`` what was not checked.

    ``hint`` is the command that fixes all of the input, where there is one.
    """

    command: str
    title: str
    spaces: tuple[Space, ...]
    columns: tuple[str, ...]
    charts: tuple[Chart, ...]
    where: str = ""
    made: str = ""
    summary: str = ""
    hint: str = ""
    footer: str = ""
    problems: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    history: History | None = None

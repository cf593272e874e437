"""The history of runs: a small JSON file each, in a directory that the user names.

A run has the level of each workload that it saw, by cluster and namespace, and what the namespaces enforce; nothing
else of them. Other files in the directory are left alone, and noted.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from kubectl_harden.atomic_files import write_new
from kubectl_harden.errors import EditError, InputError, UsageError
from kubectl_harden.json_values import json_line
from kubectl_harden.model import LADDER
from kubectl_harden.text_files import read_json

__all__ = ["Change", "History", "Run", "Seen", "Summary", "changes", "history_of", "load", "save", "summary_of"]

_KIND: Final = "RunSummary"
_API: Final = "kubectl-harden/v1"
_LEVELS: Final = frozenset(LADDER)


class Seen(NamedTuple):
    """A workload as a run saw it: the level that it met, and its team."""

    level: str
    team: str = ""


Key = tuple[str, str, str]
"""The cluster (by its context where there are several), the namespace and the name of a workload."""


class Run(NamedTuple):
    """A run: when it was (UTC, ``2026-11-28T21:15:00Z``), its scope, and what it saw.

    ``scope`` is the command with its targets: only runs of one scope are compared. ``enforced`` is what namespaces
    enforce, by cluster and name. ``problems`` counts what could not be read: with problems, a missing workload may
    still exist.
    """

    made: str
    scope: str
    workloads: Mapping[Key, Seen]
    enforced: Mapping[tuple[str, str], str] = {}
    problems: int = 0


class Summary(NamedTuple):
    """The counts of a run: how many workloads met each level, by team."""

    made: str
    problems: int
    levels: Mapping[str, Counter[str]]


class History(NamedTuple):
    """A directory of runs: those of this scope, the oldest first, and what a person should know about it.

    ``last`` is the run to compare with: the last one that could read everything, else the last. ``now`` is the run that
    is made, once it is.
    """

    directory: str
    scope: str
    runs: tuple[Summary, ...] = ()
    last: Run | None = None
    notes: tuple[str, ...] = ()
    now: Run | None = None


class Change(NamedTuple):
    """A workload that differs from the run before; a level is empty where it did not exist."""

    key: Key
    before: str
    after: str

    @property
    def kind(self) -> str:
        """What kind of change it is: better, worse, new or gone."""
        if not self.before or not self.after:
            return "gone" if self.before else "new"
        levels: tuple[str, ...] = LADDER
        return "better" if levels.index(self.after) > levels.index(self.before) else "worse"


def changes(before: Run, now: Run) -> Iterator[Change]:
    """Yield the workloads whose level changed, and those that are new or gone."""
    nothing = Seen("")
    for key in sorted({*before.workloads, *now.workloads}):
        old, new = before.workloads.get(key, nothing).level, now.workloads.get(key, nothing).level
        if old != new:
            yield Change(key, old, new)


def summary_of(run: Run) -> Summary:
    """Return the counts of a run."""
    levels: dict[str, Counter[str]] = {}
    for seen in run.workloads.values():
        levels.setdefault(seen.team, Counter())[seen.level] += 1
    return Summary(run.made, run.problems, levels)


def history_of(directory: str, scope: str, runs: Iterable[Run]) -> History:
    """Return the history of runs as they are read; of all but one, only counts are kept."""
    summaries: list[Summary] = []
    last: Run | None = None
    for run in runs:
        summaries.append(summary_of(run))
        if last is None or (not run.problems, run.made) >= (not last.problems, last.made):
            last = run
    return History(directory, scope, tuple(sorted(summaries, key=lambda one: one.made)), last)


def load(directory: str, scope: str) -> History:
    """Return the runs of a directory, which is made if it is not there. Raises UsageError where it cannot be used."""
    try:
        os.makedirs(directory, exist_ok=True)
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise UsageError(f"--history {directory}: {error.strerror}") from None
    notes: list[str] = []
    others = 0

    def own() -> Iterator[Run]:
        nonlocal others
        for name in names:
            file = os.path.join(directory, name)
            try:
                run = _run(read_json(file, regular=True))
            except InputError as error:
                notes.append(f"{file} is not a run that --history kept, and is left alone: {error.args[0]}")
                continue
            if run.scope == scope:
                yield run
            else:
                others += 1

    history = history_of(directory, scope, own())
    if others and not history.runs:
        of = "1 run" if others == 1 else f"{others:,} runs"
        notes.append(f"{directory} has {of} of other inputs, with which this one is not compared")
    return history._replace(notes=tuple(notes))


def save(history: History) -> str:
    """Keep the run of now, and return its file. Raises EditError."""
    run = history.now
    if run is None:
        raise EditError(f"{history.directory}: there is no run to keep")
    stamp = run.made.replace("-", "").replace(":", "")
    file = os.path.join(history.directory, f"{stamp}-{secrets.token_hex(3)}.json")
    write_new(file, json_line(_value(run)) + "\n")
    return file


def _value(run: Run) -> dict[str, object]:
    spaces: dict[tuple[str, str], dict[str, object]] = {}
    for (cluster, namespace, name), seen in run.workloads.items():
        found = spaces.setdefault((cluster, namespace), {})
        found[name] = [seen.level, seen.team] if seen.team else [seen.level]
    for key in run.enforced:
        spaces.setdefault(key, {})
    listed = [
        {
            **({"cluster": cluster} if cluster else {}),
            "namespace": namespace,
            **({"enforces": run.enforced[cluster, namespace]} if (cluster, namespace) in run.enforced else {}),
            "workloads": workloads,
        }
        for (cluster, namespace), workloads in sorted(spaces.items())
    ]
    head = {"apiVersion": _API, "kind": _KIND, "made": run.made, "scope": run.scope}
    return {**head, "problems": run.problems, "namespaces": listed}


def _run(value: object) -> Run:
    """Return a run of its JSON value. Raises InputError for anything else."""
    if not isinstance(value, dict) or value.get("kind") != _KIND or value.get("apiVersion") != _API:
        raise InputError(f"it has not kind {_KIND} of {_API}")
    made, scope, problems, listed = (value.get(key) for key in ("made", "scope", "problems", "namespaces"))
    if not isinstance(made, str) or not isinstance(scope, str) or not isinstance(listed, list):
        raise InputError("made, scope or namespaces are not what they should be")
    if not isinstance(problems, int) or len(made) != len("2026-11-28T21:15:00Z"):
        raise InputError("problems or made are not what they should be")
    workloads: dict[Key, Seen] = {}
    enforced: dict[tuple[str, str], str] = {}
    for item in listed:
        space = item if isinstance(item, dict) else {}
        cluster, namespace = str(space.get("cluster", "")), str(space.get("namespace", ""))
        if isinstance(space.get("enforces"), str):
            enforced[cluster, namespace] = space["enforces"]
        found = space.get("workloads")
        if not isinstance(found, dict):
            raise InputError("a namespace has no workloads")
        for name, seen in found.items():
            workloads[cluster, namespace, name] = _seen(name, seen)
    return Run(made, scope, workloads, enforced, problems)


def _seen(name: str, value: object) -> Seen:
    words = value if isinstance(value, list) and all(isinstance(word, str) for word in value) else []
    if not 1 <= len(words) <= 2 or words[0] not in _LEVELS:
        raise InputError(f"the level of {name} is not one")
    return Seen(*words)

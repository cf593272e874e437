"""Runs that are kept, and what is between them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kubectl_harden.errors import UsageError
from kubectl_harden.reports.history import Change, History, Run, Seen, changes, history_of, load, save, summary_of

RUN = Run(
    "2026-11-28T21:15:00Z",
    "check -A on https://a",
    {("", "shop", "Deployment web"): Seen("baseline", "sales"), ("prod", "", "Pod x"): Seen("restricted")},
    {("", "shop"): "–", ("", "empty"): "restricted"},
    2,
)


def kept(directory: Path, run: Run) -> str:
    return save(History(str(directory), run.scope, now=run))


def test_a_run_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    file = kept(tmp_path, RUN)
    history = load(str(tmp_path), RUN.scope)
    assert (history.runs, history.last, history.notes) == ((summary_of(RUN),), RUN, ())
    assert summary_of(RUN).levels == {"sales": {"baseline": 1}, "": {"restricted": 1}}
    assert os.path.basename(file).startswith("20261128T211500Z-")
    assert os.listdir(tmp_path) == [os.path.basename(file)]


def test_runs_are_in_the_order_of_their_times_and_none_replaces_another(tmp_path: Path) -> None:
    later = RUN._replace(made="2026-11-29T01:00:00Z")
    for run in (later, RUN, RUN):
        kept(tmp_path, run)
    assert load(str(tmp_path), RUN.scope).runs == tuple(map(summary_of, (RUN, RUN, later)))


def test_a_run_of_another_input_is_told_and_not_compared(tmp_path: Path) -> None:
    kept(tmp_path, RUN)
    history = load(str(tmp_path), "check -n shop on https://a")
    assert history.runs == ()
    assert history.notes == (f"{tmp_path} has 1 run of other inputs, with which this one is not compared",)
    kept(tmp_path, RUN._replace(scope="check -n shop on https://a"))
    history = load(str(tmp_path), "check -n shop on https://a")
    assert (len(history.runs), history.notes) == (1, ())


DAMAGED = {
    "cut.json": json.dumps({"apiVersion": "kubectl-harden/v1", "kind": "RunSummary"})[:-5],
    "other.json": '{"kind": "Pod"}',
    "list.json": "[]",
    "notes.txt": "to do",
    "binary": "\0\1",
    "level.json": json.dumps(
        {"apiVersion": "kubectl-harden/v1", "kind": "RunSummary", "made": RUN.made, "scope": RUN.scope, "problems": 0,
         "namespaces": [{"namespace": "a", "workloads": {"Pod x": ["<script>"]}}]}
    ),
    "time.json": json.dumps(
        {"apiVersion": "kubectl-harden/v1", "kind": "RunSummary", "made": "soon", "scope": RUN.scope, "problems": 0,
         "namespaces": []}
    ),
}  # fmt: skip


def test_damaged_and_foreign_files_are_told_and_left_alone(tmp_path: Path) -> None:
    for name, text in DAMAGED.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    kept(tmp_path, RUN)
    history = load(str(tmp_path), RUN.scope)
    assert history.runs == (summary_of(RUN),)
    assert len(history.notes) == len(DAMAGED) + 2
    for name in (*DAMAGED, "directory", "fifo"):
        file = tmp_path / name
        assert any(
            note.startswith(f"{file} is not a run that --history kept, and is left alone: ") for note in history.notes
        )
    assert {name: (tmp_path / name).read_text() for name in DAMAGED} == DAMAGED


def test_the_directory_is_made_and_a_file_is_refused(tmp_path: Path) -> None:
    load(str(tmp_path / "a" / "b"), "")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--history .*file: File exists"):
        load(str(tmp_path / "file"), "")


def test_a_run_is_compared_with_the_last_that_could_read_everything() -> None:
    whole, part = RUN._replace(problems=0), RUN._replace(made="2026-11-29T01:00:00Z")
    assert history_of("", "", (whole, part)).last == whole
    assert history_of("", "", (part, whole)).last == whole
    assert history_of("", "", (part,)).last == part
    assert history_of("", "", (part, RUN)).last == part
    assert history_of("", "", ()).last is None


def test_what_changed() -> None:
    def run(**levels: str) -> Run:
        return Run("", "", {("", "a", name): Seen(level) for name, level in levels.items()})

    found = list(changes(run(up="baseline", down="restricted", same="baseline", gone="baseline"),
                         run(up="restricted", down="privileged", same="baseline", new="privileged")))  # fmt: skip
    assert {change.key[2]: change.kind for change in found} == {
        "up": "better", "down": "worse", "gone": "gone", "new": "new",
    }  # fmt: skip
    assert Change(("", "a", "down"), "restricted", "privileged") in found

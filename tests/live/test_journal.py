"""The journal: nothing is lost, and a line that was cut short is no change."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kubectl_harden.errors import HardenError, InputError, UsageError
from kubectl_harden.live.journal import (
    Journal,
    Run,
    cut_off,
    journal_directory,
    last_run,
    mark_undone,
    note_later,
    read_run,
    runs,
    unfollowed,
)

WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "resource": "deployments",
    "namespace": "shop",
    "name": "web",
    "uid": "u",
}
FORTH = [{"op": "add", "path": "/a", "value": "ä\n"}]
BEFORE: dict[str, object] = {}
AFTER = {"/a": "ä\n"}
BACK = [{"op": "test", "path": "/a", "value": "ä\n"}, {"op": "remove", "path": "/a"}]


OWNED = {"manager": "a", "operation": "Apply", "apiVersion": "v1", "lost": {"f:a": {}}, "gained": {}}


def _unexpected(run: Run) -> None:
    raise AssertionError(run.trouble)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_what_is_written_is_read() -> None:
    journal = Journal(command="fix", server="https://x")
    assert not journal.used
    for ending in (journal.done, journal.failed, journal.undone, None):
        change = journal.begin(WEB, FORTH, BACK, BEFORE, AFTER, complete=False, ownership=[OWNED])
        if ending == journal.done:
            journal.done(change, BACK)
        elif ending is not None:
            ending(change, "why")  # type: ignore[arg-type]
    run = read_run(journal.run)
    assert [change.state for change in run.changes] == ["applied", "failed", "undone", "begun"]
    first = run.changes[0]
    assert first[1:] == (WEB, FORTH, BACK, BEFORE, AFTER, False, False, "applied", False, [OWNED], False, None)
    assert (first.name, first.recreated, run.about["command"]) == ("Deployment shop/web", False, "fix")


def test_what_a_run_has_created_has_its_uid_once_it_is_there() -> None:
    journal = Journal()
    change = journal.begin({**WEB, "uid": ""}, [], [], {}, AFTER, created=True)
    (begun,) = read_run(journal.run).changes
    assert (begun.created, begun.state, begun.object["uid"]) == (True, "begun", "")
    journal.done(change, [], "7")
    (made,) = read_run(journal.run).changes
    assert (made.created, made.state, made.object["uid"]) == (True, "applied", "7")


def test_what_a_write_did_to_the_owners_may_be_known_after_it() -> None:
    journal = Journal()
    journal.done(journal.begin(WEB, FORTH, BACK, BEFORE, AFTER), BACK, ownership=[OWNED])
    (found,) = read_run(journal.run).changes
    assert (found.ownership, found.inverse) == ([OWNED], BACK)


def test_recreated_objects_are_kept_whole() -> None:
    journal = Journal()
    change = journal.begin(WEB, [], [], {"spec": 1}, {"spec": 2}, recreated=True)
    journal.done(change, [], "new-uid")
    (found,) = read_run(journal.run).changes
    assert (found.recreated, found.before, found.after, found.object["uid"]) == (
        True,
        {"spec": 1},
        {"spec": 2},
        "new-uid",
    )


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_cut_short_anywhere(cut: int) -> None:
    journal = Journal()
    journal.done(journal.begin(WEB, FORTH, BACK, BEFORE, AFTER), BACK)
    path = journal_directory() / f"{journal.run}.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    (change,) = read_run(journal.run).changes
    assert change.state == ("applied" if cut == 1 else "begun")
    # What is noted behind the torn line is read.
    mark_undone(journal.run, [change.id])
    assert read_run(journal.run).changes[0].state == "undone"


def test_the_last_run_is_one_with_something_in_force() -> None:
    with pytest.raises(UsageError, match="nothing to undo"):
        last_run(_unexpected)
    first = Journal()
    first.done(first.begin(WEB, FORTH, BACK, BEFORE, AFTER), BACK)
    second = Journal()
    second.failed(second.begin(WEB, FORTH, BACK, BEFORE, AFTER), "no")
    undo = Journal(undoes="x")
    undo.done(undo.begin(WEB, FORTH, BACK, BEFORE, AFTER), BACK)
    assert last_run(_unexpected).id == first.run
    assert len(list(runs())) == 3
    (journal_directory() / "junk.jsonl").write_text("no journal\n[1]\n")
    told: list[Run] = []
    assert last_run(told.append).id == first.run
    assert [run.id for run in told] == ["junk"]


def test_nothing_is_begun_without_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(HardenError, match="the journal cannot be written"):
        Journal().begin(WEB, FORTH, BACK, BEFORE, AFTER)


def test_an_unknown_run() -> None:
    with pytest.raises(UsageError, match='no run "x"'):
        read_run("x")


def test_what_no_run_has_seen_the_end_of() -> None:
    first, second = Journal(), Journal()
    seen = first.begin(WEB, FORTH, BACK, BEFORE, AFTER)
    first.done(seen, BACK)
    assert [run for run, _ in unfollowed().values()] == [first.run]
    cut_off = second.begin({**WEB, "uid": "v"}, FORTH, BACK, BEFORE, AFTER)
    assert {uid: run for uid, (run, _) in unfollowed().items()} == {"u": first.run, "v": second.run}
    first.followed(seen, "ready")
    assert list(unfollowed()) == ["v"]
    mark_undone(second.run, [cut_off])
    assert unfollowed() == {}


def test_namespaces_are_named_without_a_slash() -> None:
    journal = Journal()
    journal.begin({**WEB, "kind": "Namespace", "namespace": "", "name": "shop"}, FORTH, BACK, BEFORE, AFTER)
    assert read_run(journal.run).changes[0].name == "Namespace shop"


ODD = {"/a": "ü\u2028\x85 \U0001f600 \ud800"}
"""Characters of several bytes, at which text is cut or taken for a line's end, and one that UTF-8 cannot hold."""


def _a_run() -> tuple[str, Path]:
    journal = Journal(command="fix", server="https://x", context="ü")
    journal.done(journal.begin(WEB, FORTH, BACK, BEFORE, ODD), BACK)
    return journal.run, journal_directory() / f"{journal.run}.jsonl"


def test_any_text_is_written_and_read() -> None:
    run, _ = _a_run()
    (change,) = read_run(run).changes
    assert (change.after, change.state) == (ODD, "applied")


def test_cut_short_at_any_byte() -> None:
    run, path = _a_run()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    for kept in range(len(b"".join(lines))):
        path.write_bytes(b"".join(lines)[:kept])
        found = read_run(run)
        whole = [end <= kept for end in (len(b"".join(lines[: count + 1])) - 1 for count in range(3))]
        assert [change.state for change in found.changes] == (
            ["applied"] if whole[2] else ["begun"] if whole[1] else []
        )
        mark_undone(run, [change.id for change in found.changes])
        assert all(change.state == "undone" for change in read_run(run).changes)


@pytest.mark.parametrize(
    "line",
    [
        b'{"event": "begin", "change": "1", "object"\n',
        b"\xff\xfe\n",
        b"\0\0\0\n",
        b"[" * 100_000 + b"\n",
        b"[]\n",
        b'{"event": "followed", "change": "9"}\n',
        b'{"event": "begin", "change": []}\n',
        b'{"event": "begin", "change": "1", "object": {}, "operations": [], "inverse": [], "before": {}, "after": {}}\n',
    ],
)
def test_a_damaged_line_concerns_its_run_only(line: bytes) -> None:
    first, _ = _a_run()
    second, path = _a_run()
    head, begin, end = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(head + line + begin + end)
    with pytest.raises(InputError, match=rf"{second}\.jsonl:2: this line of the journal is damaged"):
        read_run(second)
    assert {run.id: bool(run.trouble) for run in runs()} == {first: False, second: True}
    told: list[Run] = []
    assert last_run(told.append).id == first
    assert [run.id for run in told] == [second]
    assert {run for run, _ in unfollowed().values()} == {first}
    told.clear()
    assert list(cut_off("https://x", told.append)) == []
    assert [run.id for run in told] == [second]


def test_a_full_disk_leaves_no_half_line(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal()
    first = journal.begin(WEB, FORTH, BACK, BEFORE, AFTER)
    real = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return real(file, data[:-5])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(HardenError, match="No space left"):
            journal.begin(WEB, FORTH, BACK, BEFORE, AFTER)
    journal.done(first, BACK)
    assert [change.state for change in read_run(journal.run).changes] == ["applied"]


# -- a disk that is full --------------------------------------------------------------------------------------

FULL = """
import json, os, resource, sys
import os
import subprocess
import sys
from pathlib import Path
from kubectl_harden.errors import HardenError
from kubectl_harden.live.journal import Journal, journal_directory, mark_undone, read_run

target = {"apiVersion": "apps/v1", "kind": "Deployment", "resource": "deployments", "namespace": "shop",
          "name": "web", "uid": "u"}
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
room = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
refused = torn = 0
for size in range(0, 1_000, 3):
    journal = Journal(command="fix")
    states = []
    room(size)
    try:
        for _ in range(3):
            try:
                change = journal.begin(target, [{"op": "add", "path": "/a", "value": "x" * 50}], [], {}, {})
            except HardenError as error:
                assert "; nothing is changed without it" in str(error), error
                refused += 1
                break
            states.append("begun")
            journal.done(change, [])
            if journal.trouble is None:
                states[-1] = "applied"
            else:
                torn += 1
    finally:
        room(hard)
    path = journal_directory() / f"{journal.run}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    assert all(line.endswith(b"\\n") and json.loads(line) for line in lines), (size, lines)
    assert journal.used == path.exists() == bool(lines), size
    assert [change.state for change in (read_run(journal.run).changes if lines else ())] == states, size
    # When there is room again, what comes next is read, too.
    change = journal.begin(target, [], [], {}, {})
    journal.followed(change, "ready")
    assert [change.state for change in read_run(journal.run).changes] == [*states, "begun"], size
    room(path.stat().st_size + size % 50)
    try:
        mark_undone(journal.run, [change])
        undone = True
    except HardenError:
        undone = False
    finally:
        room(hard)
    assert read_run(journal.run).changes[-1].state == ("undone" if undone else "begun"), size
    path.unlink()
assert refused > 100 and torn > 10, (refused, torn)
print("told the truth")
"""


def test_a_full_disk_at_any_byte(tmp_path: Path) -> None:
    """A file may not grow beyond a limit of the kernel's: writes are short there, and then fail, as on a full disk."""
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", FULL], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "told the truth\n"), done.stderr


def test_halves_of_characters_are_written_down() -> None:
    """JSON can name them, and no UTF-8 has them."""
    journal = Journal()
    journal.begin(WEB, FORTH, BACK, {"/a": "\ud800"}, {"/a": "\U0001f600"})
    (change,) = read_run(journal.run).changes
    assert (change.before, change.after) == ({"/a": "\ud800"}, {"/a": "\U0001f600"})


def test_the_order_of_runs_is_not_the_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks are set back: the last run is the one that began last."""
    for moment in (2_000_000_000, 1_500_000_000, 1_500_000_000, 1_000_000_000):
        with monkeypatch.context() as patched:
            patched.setattr("time.time", lambda moment=moment: moment)
            journal = Journal()
            journal.done(journal.begin(WEB, FORTH, BACK, BEFORE, AFTER), BACK)
        assert last_run(_unexpected).id == journal.run
    assert [run.about["number"] for run in runs()] == [4, 3, 2, 1]


def test_runs_that_begin_together_have_an_order() -> None:
    def one(_number: int) -> str:
        journal = Journal()
        journal.begin(WEB, FORTH, BACK, BEFORE, AFTER)
        return journal.run

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(24)))
    assert [run.about["number"] for run in runs()] == list(range(24, 0, -1))


def test_recreations_of_a_run_that_lives_are_not_cut_off() -> None:
    journal = Journal(server="https://x")
    change = journal.begin({**WEB, "kind": "Pod"}, [], [], {}, {}, recreated=True)
    assert list(cut_off("https://x", _unexpected)) == []
    run = journal.run
    os.close(journal._file)  # type: ignore[arg-type]
    assert [(found, one.id) for found, one in cut_off("https://x", _unexpected)] == [(run, change)]
    assert list(cut_off("https://y", _unexpected)) == []
    note_later(run, change, "applied", inverse=[], uid="new")
    assert list(cut_off("https://x", _unexpected)) == []
    assert read_run(run).changes[0].object["uid"] == "new"

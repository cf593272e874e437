"""The journal: nothing is lost, and a line that was cut short is no change."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_harden.errors import HardenError, UsageError
from kubectl_harden.live.journal import Journal, journal_directory, last_run, mark_undone, read_run, runs, unfollowed

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
    assert first[1:] == (WEB, FORTH, BACK, BEFORE, AFTER, False, False, "applied", False, [OWNED])
    assert (first.name, first.recreated, run.about["command"]) == ("Deployment shop/web", False, "fix")


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
        last_run()
    first = Journal()
    first.done(first.begin(WEB, FORTH, BACK, BEFORE, AFTER), BACK)
    second = Journal()
    second.failed(second.begin(WEB, FORTH, BACK, BEFORE, AFTER), "no")
    undo = Journal(undoes="x")
    undo.done(undo.begin(WEB, FORTH, BACK, BEFORE, AFTER), BACK)
    assert last_run().id == first.run
    assert len(list(runs())) == 3
    (journal_directory() / "junk.jsonl").write_text("no journal\n[1]\n")
    assert last_run().id == first.run


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

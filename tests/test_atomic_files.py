"""Nothing is lost or half written."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kubectl_harden import atomic_files
from kubectl_harden.errors import EditError

ROOT = Path(__file__).parents[1]


def test_a_file_that_changed_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("changed")
    with pytest.raises(EditError, match="changed since it was read; not written"):
        atomic_files.write_text(str(file), "read", "new")
    assert file.read_text() == "changed"


def test_a_change_while_writing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("old")
    real = os.fsync

    def intrude(descriptor: int) -> None:
        file.write_text("theirs")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", intrude)
    with pytest.raises(EditError, match="changed since it was read; not written"):
        atomic_files.write_text(str(file), "old", "new")
    assert file.read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_a_failed_write_leaves_the_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EditError, match="No space left on device; not written"):
        atomic_files.write_text(str(file), "old", "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


# -- links ------------------------------------------------------------------------------------------------


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def rest(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_link_that_leads_out_of_the_directory_is_not_written_through(tmp_path: Path) -> None:
    home, tree = tmp_path / "home", tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    home.mkdir()
    (home / "profile").write_text("old")
    for link, target in (
        ("direct", home / "profile"),
        ("chain", Path("direct")),
        ("sub/up", Path("../../home/profile")),
    ):
        (tree / link).symlink_to(target)
        with pytest.raises(EditError, match=r"a symbolic link leads out of .*tree, to .*profile; not written"):
            atomic_files.write_text(str(tree / link), "old", "new", inside=str(tree))
        with pytest.raises(EditError, match="a symbolic link leads out"):
            atomic_files.write_change(str(tree / link), "old", "new", inside=str(tree))
    (tree / "dangling").symlink_to(home / "new")
    (tree / "away").symlink_to(home)
    for name in ("dangling", "away/new"):
        with pytest.raises(EditError, match="a symbolic link leads out"):
            atomic_files.write_change(str(tree / name), "", "new", inside=str(tree))
    assert (home / "profile").read_text() == "old"
    assert rest(home) == ["profile"]


def test_a_link_that_was_named_or_stays_inside_is_written_through(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside.yaml", tmp_path / "tree"
    tree.mkdir()
    outside.write_text("old")
    (tree / "named").symlink_to(outside)
    atomic_files.write_text(str(tree / "named"), "old", "new")
    assert (outside.read_text(), (tree / "named").is_symlink()) == ("new", True)
    (tree / "a").write_text("old")
    (tree / "b").symlink_to("a")
    (tmp_path / "other").symlink_to(tree)
    atomic_files.write_text(str(tmp_path / "other" / "b"), "old", "new", inside=str(tmp_path / "other"))
    assert ((tree / "a").read_text(), (tree / "b").is_symlink()) == ("new", True)


@pytest.mark.parametrize("names", [1, 2])
def test_hard_links_are_not_broken(tmp_path: Path, names: int) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("old")
    for index in range(names):
        (tmp_path / f"other-{index}").hardlink_to(file)
    words = "another name" if names == 1 else "2 other names"
    for call in (
        lambda: atomic_files.write_text(str(file), "old", "new"),
        lambda: atomic_files.write_new(str(file), "new"),
    ):
        with pytest.raises(EditError, match=f"the file has {words} .hard links., which would keep the old text"):
            call()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}
    assert file.stat().st_nlink == names + 1


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(EditError, match="not a regular file; not written"):
        atomic_files.write_text(str(tmp_path / "a.yaml"), "old", "new")


# -- modes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_new_files_honour_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        atomic_files.write_new(str(tmp_path / "new"), "text")
        atomic_files.write_change(str(tmp_path / "change"), "", "text", inside=str(tmp_path))
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "new") == mode_of(tmp_path / "change") == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o755, 0o400])
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "report"
    for write in (
        lambda: atomic_files.write_new(str(file), "new"),
        lambda: atomic_files.write_text(str(file), "old", "new"),
    ):
        file.unlink(missing_ok=True)
        file.write_text("old")
        file.chmod(mode)
        if not os.access(file, os.W_OK):
            continue
        write()
        assert (mode_of(file), file.read_text()) == (mode, "new")


# -- what a kill leaves -------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from kubectl_harden import atomic_files
real = os.replace
def replace(source, target):
    print(os.path.basename(source), flush=True)
    STEP
os.replace = replace
atomic_files.write_text(sys.argv[1], "old", "new")
"""


def writing(file: Path, step: str) -> subprocess.Popen[str]:
    """Start a process that writes a file, up to the moment before it is moved into its place."""
    return subprocess.Popen(
        [sys.executable, "-c", KILLED.replace("STEP", step), str(file)],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def age(file: Path) -> None:
    os.utime(file, (1, 1))


def test_the_next_run_deletes_what_a_kill_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("old")
    process = writing(file, "os.kill(os.getpid(), signal.SIGKILL)")
    name = process.communicate()[0].strip()
    assert process.returncode == -signal.SIGKILL
    assert rest(tmp_path) == sorted([name, "a.yaml"])
    age(tmp_path / name)
    for other in (".kubectl-harden-baseline", ".kubectl-harden-0123456789abcdef", ".kubectl-harden.yaml", f"x{name}"):
        (tmp_path / other).write_text("a file of someone's")
        age(tmp_path / other)
    monkeypatch.setattr(atomic_files, "_cleaned", set())
    atomic_files.write_text(str(file), "old", "new")
    assert name not in rest(tmp_path)
    assert len(rest(tmp_path)) == 5


def test_what_a_process_holds_or_is_new_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text("old")
    other.write_text("old")
    process = writing(file, "sys.stdin.readline(); real(source, target)")
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    age(tmp_path / name)
    fresh = tmp_path / ".kubectl-harden-0123456789abcdef.tmp"
    fresh.write_text("of a process that has not locked it yet")
    monkeypatch.setattr(atomic_files, "_cleaned", set())
    atomic_files.write_text(str(other), "old", "new")
    assert {name, fresh.name} <= set(rest(tmp_path))
    process.communicate("go\n")
    assert (process.returncode, file.read_text()) == (0, "new")


def test_a_link_with_the_name_of_a_temporary_file_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dear").write_text("dear")
    age(tmp_path / "dear")
    (tmp_path / ".kubectl-harden-0123456789abcdef.tmp").symlink_to("dear")
    monkeypatch.setattr(atomic_files, "_cleaned", set())
    atomic_files.write_new(str(tmp_path / "new"), "text")
    assert (tmp_path / "dear").read_text() == "dear"
    assert (tmp_path / ".kubectl-harden-0123456789abcdef.tmp").is_symlink()

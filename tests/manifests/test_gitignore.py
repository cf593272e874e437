"""A walk through a repository leaves out what git leaves out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_harden.manifests.discovery import find_files
from tests.support.command import REJECTED, run

NAMES = st.sampled_from(["a", "b", "c.d", "x"])
PATHS = st.lists(NAMES, min_size=0, max_size=3).map(lambda parts: "/".join([*parts, "f.yaml"]))
WORDS = st.sampled_from(
    ["a", "b", "/a", "a/", "*", "*/", "*.yaml", "f.yaml", "a/b", "**/b", "a/**", "x/f.yaml", "c.*", "[ab]", "/*/b"]
)
LINES = st.tuples(st.sampled_from(["", "", "!"]), WORDS).map("".join)
FILES = st.dictionaries(st.sampled_from(["", "a", "a/b", "b", "x"]), st.lists(LINES, min_size=1, max_size=3), max_size=3)  # fmt: skip


def git(directory: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True, text=True).stdout


def walked(directory: Path) -> set[str]:
    found = find_files([str(directory)], recursive=True, excluded=lambda _file: False)
    return {str(Path(item.file).relative_to(directory)) for item in found.files if item.listed}


@settings(max_examples=60, deadline=None)
@given(paths=st.lists(PATHS, min_size=1, max_size=6, unique=True), ignores=FILES, exclude=st.lists(LINES, max_size=1))
def test_as_git_lists(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], ignores: dict[str, list[str]], exclude: list[str]
) -> None:
    root = tmp_path_factory.mktemp("repository")
    git(root, "init", "-q")
    (root / ".git" / "info").mkdir(exist_ok=True)
    (root / ".git" / "info" / "exclude").write_text("".join(f"{line}\n" for line in exclude))
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(REJECTED)
    for directory, lines in ignores.items():
        (root / directory).mkdir(parents=True, exist_ok=True)
        (root / directory / ".gitignore").write_text("".join(f"{line}\n" for line in lines))
    listed = set(git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0"))
    assert walked(root) == {path for path in listed if path.endswith(".yaml")}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("build/\n/local.yaml\n")
    for name in ("web.yaml", "local.yaml", "build/web.yaml", "deploy/local.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(REJECTED)
    return tmp_path


def test_what_is_left_out_is_counted(repository: Path) -> None:
    done = run("check", "-f", ".", "-R", "-o", "name", cwd=repository)
    assert len(done.stdout.splitlines()) == 2
    assert b"note: .: left out by .gitignore: directory 1, file 1" in done.stderr


def test_what_is_named_is_read_all_the_same(repository: Path) -> None:
    for names in (["-f", "build", "-R"], ["-f", "local.yaml"]):
        done = run("check", *names, "-o", "name", cwd=repository)
        assert done.stdout == b"deployment.apps/web\n"
        assert b"left out" not in done.stderr


def test_it_counts_for_recursion_in_repositories_only(repository: Path) -> None:
    assert len(run("check", "-f", ".", "-o", "name", cwd=repository).stdout.splitlines()) == 2
    (repository / ".git").rename(repository / "git")
    assert len(run("check", "-f", ".", "-R", "-o", "name", cwd=repository).stdout.splitlines()) == 4

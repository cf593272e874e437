"""Checkouts as real git makes them: their remotes, branches, worktrees, and what is not committed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.manifests.checkout import (
    checkout_of,
    directory_in,
    is_committed,
    link_out,
    matching,
    same_repository,
)

URL = "https://git.example.com/org/fleet"


def git(directory: Path, *arguments: str) -> None:
    names = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", directory, *names, *arguments], check=True, capture_output=True)


def repository(directory: Path, url: str = URL) -> Path:
    directory.mkdir()
    git(directory, "init", "-q", "-b", "main")
    git(directory, "remote", "add", "origin", url)
    (directory / "apps").mkdir()
    (directory / "apps" / "web.yaml").write_text("a: 1\n")
    git(directory, "add", ".")
    git(directory, "commit", "-qm", "first")
    return directory


@pytest.mark.parametrize(
    "other",
    [
        "https://git.example.com/org/fleet.git",
        "https://GIT.example.com/org/fleet/",
        "https://robot:token@git.example.com:8443/org/fleet.git",
        "git@git.example.com:org/fleet.git",
        "ssh://git@git.example.com:2222/org/fleet",
        "ssh://git.example.com/org/fleet.git/",
    ],
)
def test_one_repository_has_many_urls(other: str) -> None:
    assert same_repository(URL, other)


@pytest.mark.parametrize(
    "other",
    [
        "https://git.example.com/org/fleet2",
        "https://git.example.com/other/fleet",
        "https://git.example.org/org/fleet",
        "/org/fleet",
        "file:///org/fleet",
        "https://git.example.com/org",
        "",
    ],
)
def test_others_are_others(other: str) -> None:
    assert not same_repository(URL, other)
    assert same_repository("/srv/fleet.git", "file:///srv/fleet")


def test_remotes_and_branch(tmp_path: Path) -> None:
    root = repository(tmp_path / "fleet")
    git(root, "remote", "add", "fork", "git@git.example.com:me/fleet.git")
    found = checkout_of(str(root / "apps"))
    assert found.root == os.path.realpath(root)
    assert found.remotes == (URL, "git@git.example.com:me/fleet.git")
    assert (found.branch, found.named) == ("main", "")
    git(root, "checkout", "-q", "--detach")
    assert checkout_of(str(root)).branch == ""


def test_a_worktree_has_its_own_branch_and_the_remotes_of_all(tmp_path: Path) -> None:
    root = repository(tmp_path / "fleet")
    git(root, "worktree", "add", "-q", "-b", "fix", str(tmp_path / "tree"))
    found = checkout_of(str(tmp_path / "tree"))
    assert (found.root, found.remotes, found.branch) == (os.path.realpath(tmp_path / "tree"), (URL,), "fix")
    file = tmp_path / "tree" / "apps" / "web.yaml"
    assert is_committed(found, str(file)) is True
    file.write_text("a: 2\n")
    assert is_committed(found, str(file)) is False


def test_what_is_not_committed(tmp_path: Path) -> None:
    root = repository(tmp_path / "fleet")
    for number in range(40):
        (root / "apps" / f"{'x' * number}.yaml").write_text(f"{number}\n")
    git(root, "add", ".")
    found = checkout_of(str(root))
    for number in range(40):
        assert is_committed(found, str(root / "apps" / f"{'x' * number}.yaml")) is True
    (root / "apps" / "new.yaml").write_text("")
    assert is_committed(found, str(root / "apps" / "new.yaml")) is False
    git(root, "update-index", "--index-version", "4")
    assert is_committed(found, str(root / "apps" / "web.yaml")) is None
    (root / ".git" / "index").write_bytes(b"DIRC\0\0\0\2\0\0\0\x09x")
    assert is_committed(found, str(root / "apps" / "web.yaml")) is None


def test_two_checkouts_of_one_repository_are_both_named(tmp_path: Path) -> None:
    one, two = repository(tmp_path / "one"), repository(tmp_path / "two", "git@git.example.com:org/fleet.git")
    found = [checkout_of(str(one)), checkout_of(str(two))]
    with pytest.raises(UsageError, match=r"/one and .*/two are both checkouts"):
        matching(found, URL)
    named = checkout_of(f"{URL}={two}")
    assert matching([found[0], named], URL) == named
    # The same directory twice is one.
    assert matching([found[0], checkout_of(str(one / "apps"))], URL) == found[0]
    assert matching(found, "https://git.example.com/org/other") is None


def test_a_name_makes_any_directory_a_checkout(tmp_path: Path) -> None:
    found = checkout_of(f"oci://ghcr.io/org/fleet={tmp_path}")
    assert (found.root, found.named) == (os.path.realpath(tmp_path), "oci://ghcr.io/org/fleet")
    assert found.serves("oci://ghcr.io/org/fleet")
    assert not found.serves(URL)


@pytest.mark.parametrize(
    ("text", "words"),
    [("missing", "there is no directory"), (f"{URL}=missing", "there is no directory"), (".", "not in a git repo")],
)
def test_what_is_no_checkout(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        checkout_of(text)


def test_without_a_remote_it_has_to_be_named(tmp_path: Path) -> None:
    root = repository(tmp_path / "fleet")
    git(root, "remote", "remove", "origin")
    with pytest.raises(UsageError, match="git knows no remotes"):
        checkout_of(str(root))
    (root / ".git" / "config").unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        checkout_of(str(root))


def test_a_submodule_is_a_repository_of_its_own(tmp_path: Path) -> None:
    root = repository(tmp_path / "fleet")
    repository(root / "lib", "https://git.example.com/org/lib")
    with pytest.raises(InputError, match="/lib is a repository of its own"):
        directory_in(checkout_of(str(root)), "lib/apps")


def test_paths_stay_inside(tmp_path: Path) -> None:
    root = repository(tmp_path / "fleet")
    found = checkout_of(str(root))
    assert directory_in(found, "./apps") == os.path.realpath(root / "apps")
    assert directory_in(found, "/apps/") == os.path.realpath(root / "apps")
    assert directory_in(found, "") == found.root
    (root / "link").symlink_to(root / "apps")
    (tmp_path / "out").mkdir()
    (root / "out").symlink_to(tmp_path / "out")
    for path, words in (
        ("../out", "leads out"),
        ("apps/../../out", "leads out"),
        ("link", "symbolic link"),
        ("out", "symbolic link"),
        ("missing", "has no directory"),
        ("apps/web.yaml", "has no directory"),
    ):
        with pytest.raises(InputError, match=words):
            directory_in(found, path)


def test_links_that_lead_out_of_a_checkout(tmp_path: Path) -> None:
    chart = tmp_path / "fleet" / "chart"
    chart.mkdir(parents=True)
    (chart.parent / "shared.yaml").write_text("")
    (chart / "inside.yaml").symlink_to("../shared.yaml")
    assert link_out(str(chart), str(chart.parent)) == ""
    (tmp_path / "secrets").mkdir()
    (chart / "templates").symlink_to(tmp_path / "secrets")
    assert link_out(str(chart), str(chart.parent)) == str(chart / "templates")

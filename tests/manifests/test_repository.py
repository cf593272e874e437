"""Where a repository begins: what lies above it is not looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_harden.manifests.repository import ancestors, is_repository, kustomizations, upwards


@pytest.mark.parametrize("root", ["", "a", "a/b", "a/b/c"])
@pytest.mark.parametrize("mark", ["directory", "file"])
def test_upwards_ends_at_the_root_of_the_repository(tmp_path: Path, root: str, mark: str) -> None:
    """A worktree and a submodule have a file ``.git`` (git, gitrepository-layout)."""
    below = tmp_path / "a" / "b" / "c"
    below.mkdir(parents=True)
    top = tmp_path / root
    if mark == "directory":
        (top / ".git").mkdir()
    else:
        (top / ".git").write_text("gitdir: elsewhere\n")
    assert is_repository(str(top))
    found = list(upwards(str(below)))
    assert found[0] == str(below)
    assert found[-1] == str(top)
    assert found == list(ancestors(str(below)))[: len(found)]


def test_outside_of_repositories_it_is_the_directory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(map(is_repository, ancestors(str(tmp_path)))):
        pytest.fail("the temporary directory is in a repository")
    monkeypatch.chdir(tmp_path)
    assert list(upwards(".")) == [str(tmp_path)]


def test_ancestors_end_at_the_root_of_the_file_system(tmp_path: Path) -> None:
    found = list(ancestors(str(tmp_path)))
    assert (found[0], found[-1]) == (str(tmp_path), tmp_path.anchor)
    assert [str(Path(one).parent) for one in found[:-1]] == found[1:]


def test_kustomizations_come_in_the_order_in_which_kustomize_looks_for_them(tmp_path: Path) -> None:
    (tmp_path / "Kustomization").mkdir()
    assert kustomizations(str(tmp_path)) == kustomizations("") == []
    for name in ("kustomization.yml", "kustomization.yaml"):
        (tmp_path / name).write_text("")
    found = [str(tmp_path / "kustomization.yaml"), str(tmp_path / "kustomization.yml")]
    assert kustomizations(str(tmp_path)) == found

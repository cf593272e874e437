"""What --write may touch: the tree that was named, and nothing by way of it."""

from __future__ import annotations

from pathlib import Path

from tests.support.command import GOOD, REJECTED, run


def test_a_tree_with_links_that_lead_out_of_it(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside.yaml"
    tree.mkdir()
    (tree / "a.yaml").write_text(REJECTED)
    outside.write_text(REJECTED)
    (tree / "b.yaml").symlink_to(outside)
    (tree / "c.yaml").symlink_to("../tree/d.yml")
    (tree / "d.yml").write_text(REJECTED.replace("name: web", "name: other"))
    for names in (("tree",), ("./tree/",), (str(tree),), (".", "-R"), ("tree", "-f", "tree/a.yaml")):
        (tree / "a.yaml").write_text(REJECTED)
        result = run("fix", "-f", *names, "--write", cwd=tmp_path)
        if names[0] == ".":
            assert result.returncode == 0, result.stderr  # All of it lies in what was named.
            assert outside.read_text() != REJECTED
            outside.write_text(REJECTED)
            continue
        told = " ".join(result.stderr.decode().split())
        assert result.returncode == 3, told
        assert "b.yaml: a symbolic link leads out of" in told
        assert outside.read_text() == REJECTED
        assert (tree / "a.yaml").read_text() != REJECTED
    named = run("fix", "-f", "tree/b.yaml", "--write", cwd=tmp_path)
    assert named.returncode == 0, named.stderr
    assert outside.read_text() != REJECTED
    assert (tree / "b.yaml").is_symlink()


def test_a_file_with_two_names(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(REJECTED)
    (tmp_path / "b.txt").hardlink_to(tmp_path / "a.yaml")
    (tmp_path / "c.yaml").write_text(GOOD)
    result = run("fix", "-f", "a.yaml", "-f", "c.yaml", "--write", cwd=tmp_path)
    assert result.returncode == 3
    assert b"a.yaml: the file has another name (hard links)" in result.stderr
    assert (tmp_path / "a.yaml").read_text() == (tmp_path / "b.txt").read_text() == REJECTED

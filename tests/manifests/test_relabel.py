"""Labels of Namespace objects in files: found where they stand, and set without another byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.relabel import labelled_in, relabelling
from kubectl_harden.manifests.source import Spot, Tree, fix_file, fix_overlay, tree_of
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.yaml_text.editor import spliced
from tests.support.control_plane import executable

WANTED = {"shop": {"pod-security.kubernetes.io/warn": "restricted"}}
SHOP = """\
# Who sells?
apiVersion: v1
kind: Namespace
metadata: {name: shop}   # one line
"""
OTHER = """\
---
apiVersion: v1
kind: Namespace
metadata:
  name: other
  labels: {a: "b"}
"""


@pytest.fixture(autouse=True)
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubectl of the tests is the one on the PATH."""
    directory = tmp_path / "programs"
    directory.mkdir()
    (directory / "kubectl").symlink_to(executable("kubectl"))
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def tree(root: Path, **files: str) -> Tree:
    for name, text in files.items():
        path = root / "files" / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tree_of(str(root / "files"), str(root / "files"), {}, recursive=True)


def test_a_plain_file(tmp_path: Path) -> None:
    found = labelled_in(tree(tmp_path, a__shop=OTHER + SHOP.replace("# Who", "---\n# Who")), "shop")
    file = str(tmp_path / "files/a/shop.yaml")
    assert (found.name, found.spot, found.labels) == ("shop", Spot(file=file), {})
    assert labelled_in(tree(tmp_path), "other").labels == {"a": "b"}
    fixed = fix_file(file, [], FixOptions(), {}, relabelling(WANTED))
    after = spliced(fixed.before, fixed.splices)
    assert fixed.problems == ()
    assert after.startswith(OTHER)
    assert "pod-security.kubernetes.io/warn: restricted" in after
    assert "# one line" in after and "# Who sells?" in after
    Path(file).write_text(after)
    assert labelled_in(tree(tmp_path), "shop").labels == WANTED["shop"]
    # What is there already is no change.
    assert fix_file(file, [], FixOptions(), {}, relabelling(WANTED)).splices == ()


def test_items_of_a_list(tmp_path: Path) -> None:
    listed = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: shop\n"
    found = labelled_in(tree(tmp_path, all=listed), "shop")
    fixed = fix_file(found.spot.file, [], FixOptions(), {}, relabelling(WANTED))
    assert spliced(fixed.before, fixed.splices).startswith(listed)
    assert fixed.splices


def test_a_kustomization_gets_a_patch(tmp_path: Path) -> None:
    """Not where the transformer gives the Namespace its name: a patch that finds nothing is never written."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "kustomization.yaml").write_text("resources: [namespace.yaml]\n")
    (base / "namespace.yaml").write_text(SHOP.replace("name: shop", "name: to-be-named"))
    made = tree(tmp_path, kustomization="namespace: shop\nresources: [../base]\n")
    with pytest.raises(InputError, match="outside of the checkout"):
        labelled_in(made, "shop")
    made = tree_of(str(tmp_path), str(tmp_path / "files"), {}, recursive=True)
    found = labelled_in(made, "shop")
    assert found.spot == Spot(overlay=str(tmp_path / "files"))
    overlay = fix_overlay(found.spot.overlay, [], FixOptions(), {}, relabelling(WANTED))
    (problem,) = overlay.problems
    assert (overlay.files, problem.message.startswith("not patched")) == ((), True)
    (base / "namespace.yaml").write_text(SHOP)
    overlay = fix_overlay(found.spot.overlay, [], FixOptions(), {}, relabelling(WANTED))
    assert overlay.problems == ()
    texts = {os.path.basename(one.file): spliced(one.before, one.splices) for one in overlay.files}
    assert sorted(texts) == ["harden-namespace-shop.yaml", "kustomization.yaml"]
    assert "pod-security.kubernetes.io/warn: restricted" in texts["harden-namespace-shop.yaml"]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"one": OTHER}, "its manifest is not in the files below ."),
        ({"one": SHOP, "two": SHOP}, "2 objects of the files have this name"),
        ({"one": SHOP.replace("name: shop", "name: shop, labels: [a]")}, "its labels are not a mapping"),
        (
            {"one": SHOP.replace("name: shop", 'name: shop, labels: {pod-security.kubernetes.io/enforce: "${LEVEL}"}')},
            "pod-security.kubernetes.io/enforce",
        ),
    ],
)
def test_what_cannot_be_labelled_is_told(files: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told.replace("$", "[$]")):
        labelled_in(tree(tmp_path, **files), "shop")

"""The manifest of a HelmRelease in files and kustomizations: found there, and edited without another change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.errors import EditError, InputError
from kubectl_harden.json_values import copied
from kubectl_harden.manifests.manager_manifest import Held, held_in, write_together
from kubectl_harden.manifests.source import NOBODY, Sought, tree_of
from kubectl_harden.plan_model import FileFix
from kubectl_harden.yaml_text.editor import spliced
from kubectl_harden.yaml_text.tree import parse, value_of

SHOP = Sought("helm.toolkit.fluxcd.io", "HelmRelease", "apps", "shop", NOBODY)
TEXT = """\
# one
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: shop}
spec:
  interval: 1m   # often
"""


@pytest.fixture(autouse=True)
def path(programs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs)


def held(root: Path, sought: Sought = SHOP, live: object = None, at: str = "") -> Held:
    return held_in(tree_of(str(root), str(root / at), {}, recursive=True), sought, live)


def with_value(value: dict[str, Any]) -> dict[str, Any]:
    goal: dict[str, Any] = copied(value)
    goal.setdefault("spec", {}).setdefault("values", {})["a"] = 1
    return goal


def edited(found: Held) -> dict[str, str]:
    return {Path(one.file).name: spliced(one.before, one.splices) for one in found.edited(with_value)}


def test_a_plain_file_among_other_documents(tmp_path: Path) -> None:
    other = TEXT.replace("name: shop", "name: other")
    (tmp_path / "all.yaml").write_text(f"{other}---\n{TEXT}")
    assert edited(held(tmp_path)) == {"all.yaml": f"{other}---\n{TEXT}  values:\n    a: 1\n"}


def test_the_file_of_a_kustomization(tmp_path: Path) -> None:
    (tmp_path / "release.yaml").write_text(TEXT)
    (tmp_path / "kustomization.yaml").write_text("resources: [release.yaml]\nnamePrefix: my-\nnamespace: apps\n")
    found = held(tmp_path, SHOP._replace(name="my-shop"))
    assert found.overlay == str(tmp_path)
    assert edited(found) == {"release.yaml": f"{TEXT}  values:\n    a: 1\n"}


def overlay(root: Path, more: str = "") -> None:
    for name in ("base", "prod"):
        (root / name).mkdir()
    (root / "base" / "release.yaml").write_text(TEXT)
    (root / "base" / "kustomization.yaml").write_text("resources: [release.yaml]\n")
    (root / "prod" / "kustomization.yaml").write_text(f"resources: [../base]\n{more}")


def test_a_base_for_others_stays(tmp_path: Path) -> None:
    overlay(tmp_path)
    made = edited(held(tmp_path, at="prod"))
    assert sorted(made) == ["harden-helmrelease-shop.yaml", "kustomization.yaml"]
    assert value_of(parse(made["harden-helmrelease-shop.yaml"]))[0]["spec"] == {"values": {"a": 1}}


def test_a_patch_that_is_there_is_the_place(tmp_path: Path) -> None:
    overlay(tmp_path, "patches: [{path: values.yaml}]\n")
    patch = TEXT.replace("interval: 1m   # often", "values: {b: 2}   # of production")
    (tmp_path / "prod" / "values.yaml").write_text(patch)
    made = edited(held(tmp_path, at="prod"))
    assert made == {"values.yaml": patch.replace("{b: 2}", "{b: 2, a: 1}")}


def test_variables_have_the_values_of_the_cluster(tmp_path: Path) -> None:
    file = tmp_path / "release.yaml"
    file.write_text(TEXT + "  values:\n    m: 1\n    t: ${T}\n")
    live = {"spec": {"values": {"t": "x"}}}
    found = held(tmp_path, SHOP._replace(substitutes=True), live)
    assert found.value["spec"]["values"] == {"m": 1, "t": "x"}
    assert edited(found)["release.yaml"] == TEXT + "  values:\n    m: 1\n    t: ${T}\n    a: 1\n"
    file.write_text(TEXT + "  values:\n    a: ${T}\n")
    found = held(tmp_path, SHOP._replace(substitutes=True), {"spec": {"values": {"a": "x"}}})
    with pytest.raises(EditError, match=r"holds a \$\{VAR\} that others replace"):
        edited(found)
    with pytest.raises(InputError, match="no value is known"):
        held(tmp_path, SHOP._replace(substitutes=True), {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TEXT + "sops: {version: '3'}\n", "encrypted by SOPS, and left alone"),
        (f"{TEXT}---\n{TEXT}", "is 2 times in the files"),
        (TEXT.replace("shop", "other"), "HelmRelease apps/shop is not in the files"),
        (TEXT.replace("name: shop", "name: shop, namespace: other"), "HelmRelease apps/shop is not in the files"),
    ],
)
def test_what_is_not_one_place(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "release.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        held(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out.yaml").write_text(TEXT)
    (tmp_path / "in" / "release.yaml").symlink_to(tmp_path / "out.yaml")
    with pytest.raises(InputError, match="symbolic links, which are not followed"):
        held(tmp_path / "in")


def test_all_files_are_written_or_none(tmp_path: Path) -> None:
    first, new, last = (tmp_path / name for name in ("first", "new", "last"))
    first.write_text("1")
    last.write_text("changed since")
    changes = [FileFix(str(first), "1", ((0, 1, "2"),), (), ()), FileFix(str(new), "", ((0, 0, "n"),), (), ())]
    with pytest.raises(EditError, match="changed since"):
        write_together((one, str(tmp_path)) for one in [*changes, FileFix(str(last), "3", ((0, 1, "4"),), (), ())])
    assert (first.read_text(), new.exists(), last.read_text()) == ("1", False, "changed since")
    write_together((one, str(tmp_path)) for one in changes)
    assert (first.read_text(), new.read_text()) == ("2", "n")

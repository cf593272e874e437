"""Where an object is edited in the files of a directory, and what of it cannot be known from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.json_values import same
from kubectl_harden.manifests.source import Sought, Spot, fix_file, fix_overlay, resolved, spot_of, tree_of
from kubectl_harden.model import Policy
from kubectl_harden.origin_model import FilesTaken
from kubectl_harden.planning.options import FixOptions

RESTRICTED = Policy("restricted", 37, "latest")
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web}]
"""
SOUGHT = Sought("apps", "Deployment", "shop", "web", RESTRICTED)


def spot(root: Path, sought: Sought = SOUGHT, *, recursive: bool = True) -> Spot:
    return spot_of(tree_of(str(root), str(root), {}, recursive=recursive), sought, {})[0]


@pytest.mark.parametrize(
    ("head", "sought", "is_it"),
    [
        ("metadata: {name: web}", SOUGHT, True),
        ("metadata: {name: web, namespace: shop}", SOUGHT, True),
        ("metadata: {name: web, namespace: other}", SOUGHT, False),
        ("metadata: {name: web, namespace: other}", SOUGHT._replace(anywhere=True), True),
        ("metadata: {name: webs}", SOUGHT, False),
        ("metadata: {name: web}", SOUGHT._replace(kind="StatefulSet"), False),
        ("metadata: {name: web}", SOUGHT._replace(group="example.com"), False),
        ("metadata: {name: 'w${x}'}", SOUGHT, False),
        ("metadata: {name: 'w${x}'}", SOUGHT._replace(substitutes=True), True),
        ("metadata: {name: 'v${x}'}", SOUGHT._replace(substitutes=True), False),
        ("metadata: {name: web, namespace: '${where}'}", SOUGHT._replace(substitutes=True), True),
        ("metadata: {name: 'w.b${x}'}", SOUGHT._replace(substitutes=True), False),
    ],
)
def test_which_object_is_the_one(head: str, sought: Sought, is_it: bool, tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(WEB.replace("metadata: {name: web}", head))
    if is_it:
        assert spot(tmp_path, sought) == Spot(file=str(file))
    else:
        with pytest.raises(InputError, match="it is not in the files below"):
            spot(tmp_path, sought)


def test_what_lies_below_counts_where_it_is_taken(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (below / "web.yaml").write_text(WEB)
    assert spot(tmp_path) == Spot(file=str(below / "web.yaml"))
    with pytest.raises(InputError, match="it is not in the files"):
        spot(tmp_path, recursive=False)


def test_what_is_left_out_does_not_count(tmp_path: Path) -> None:
    for name in ("old", "web"):
        (tmp_path / f"{name}.yaml").write_text(WEB)
    for taken in (FilesTaken(exclude="old*"), FilesTaken(by_flux=True, ignore="old.yaml")):
        tree = tree_of(str(tmp_path), str(tmp_path), {}, recursive=True, taken=taken)
        assert spot_of(tree, SOUGHT, {})[0] == Spot(file=str(tmp_path / "web.yaml"))
    (tmp_path / "kustomization.yaml").write_text("resources: [gone.yaml]\n")
    taken = FilesTaken(by_flux=True, ignore="kustomization.yaml\nold.yaml")
    tree = tree_of(str(tmp_path), str(tmp_path), {}, recursive=True, taken=taken)
    assert (tree.overlays, tree.files) == ((), (str(tmp_path / "web.yaml"),))


def test_two_that_may_be_it_are_both_named(tmp_path: Path) -> None:
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(WEB)
    with pytest.raises(InputError, match=r"one\.yaml and two\.yaml"):
        spot(tmp_path)


def test_what_is_committed_elsewhere_does_not_count(tmp_path: Path) -> None:
    below = tmp_path / "lib"
    below.mkdir()
    (below / "web.yaml").write_text(WEB)
    (below / ".git").write_text("gitdir: elsewhere\n")
    with pytest.raises(InputError, match="it is not in the files"):
        spot(tmp_path)


def test_parts_of_charts_are_not_manifests(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("name: web\n")
    (tmp_path / "web.yaml").write_text(WEB)
    with pytest.raises(InputError, match="it is not in the files"):
        spot(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "secret.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nsops:\n  version: '3'\n",
            "encrypted by SOPS",
        ),
        ("main.jsonnet", "{}", "Jsonnet, which is not judged"),
        ("broken.yaml", "a: [\n", "broken.yaml: not read"),
    ],
)
def test_where_it_may_be_is_told(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        spot(tmp_path)


def test_only_the_one_object_is_edited(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(f"{WEB}---\n{WEB.replace('web', 'api')}")
    found = fix_file(str(file), [SOUGHT], FixOptions(), {})
    assert [item.identity.name for item in found.planned] == ["web"]
    assert found.splices
    assert max(start for start, _, _ in found.splices) <= len(WEB)
    assert file.read_text() == found.before


def test_no_edit_replaces_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    sought = SOUGHT._replace(substitutes=True)
    text = WEB.replace("image: web", "image: web, securityContext: {seccompProfile: {type: '${profile}'}}")
    file.write_text(text)
    found = fix_file(str(file), [sought], FixOptions(), {})
    assert (found.splices, found.planned) == ((), ())
    assert "holds a ${VAR} that others replace" in found.problems[0].message
    # Where nobody replaces it, it is text like any other.
    assert fix_file(str(file), [SOUGHT], FixOptions(), {}).splices


def test_a_variable_has_the_value_of_the_live_object() -> None:
    written = {"a": "${A}", "list": [{"name": "x", "image": "i:${V}"}, {"name": "y", "v": "1"}], "b": {"c": "$C"}}
    live = {"a": 3, "list": [{"name": "injected"}, {"name": "y", "v": "2"}, {"name": "x", "image": "i:7"}]}
    expected = {"a": 3, "list": [{"name": "x", "image": "i:7"}, {"name": "y", "v": "1"}], "b": {"c": "$C"}}
    made, unknown = resolved(written, live)
    assert same(made, expected)
    assert unknown == []
    _, unknown = resolved({"args": ["${A}", "b"], "x": "${X}", "y": "${Y}"}, {"args": ["a"], "x": {"no": "text"}})
    assert unknown == [("args", 0), ("x",), ("y",)]


def test_an_overlay_gets_patches_for_the_one_object(
    tmp_path: Path, programs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs)
    (tmp_path / "web.yaml").write_text(f"{WEB}---\n{WEB.replace('web', 'api')}")
    (tmp_path / "kustomization.yaml").write_text("resources: [web.yaml]\nnamespace: shop\n")
    assert spot(tmp_path) == Spot(overlay=str(tmp_path))
    found = fix_overlay(str(tmp_path), [SOUGHT], FixOptions(), {})
    assert [item.identity.name for item in found.planned] == ["web"]
    assert [Path(file.file).name for file in found.files] == ["harden-deployment-web.yaml", "kustomization.yaml"]
    assert [identity.name for identity, _, _ in found.objects] == ["web"]
    with pytest.raises(InputError, match="it is not in the files"):
        spot(tmp_path, SOUGHT._replace(namespace="other"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resources: [https://example.com/a.yaml]\n", "nothing is fetched"),
        ("resources: [github.com/org/repo]\n", "nothing is fetched"),
        ("resources: [org/repo]\n", "not in the checkout"),
        ("resources: ['git@example.com:org/repo?ref=v1']\n", "nothing is fetched"),
        ("generators: [https://example.com/a.yaml]\n", "nothing is fetched"),
        ("resources: [..]\n", "outside of the checkout"),
        ("a: [\n", "no kustomization that can be read"),
    ],
)
def test_a_kustomization_is_built_from_the_checkout_alone(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "kustomization.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        spot(tmp_path / "in")

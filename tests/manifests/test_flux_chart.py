"""What a HelmRelease gives a chart: values of others in their order, its own last, and where each can be edited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.flux_chart import Reference, flux_chart, with_values_files
from kubectl_harden.manifests.managed_chart import ManagedChart
from kubectl_harden.manifests.manager_manifest import held_in
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.manifests.source import NOBODY, Sought, tree_of
from kubectl_harden.yaml_text.tree import parse, value_of

SHOP = Sought("helm.toolkit.fluxcd.io", "HelmRelease", "apps", "shop", NOBODY)
RELEASE = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: shop, namespace: apps}\nspec:\n"


def made(root: Path, spec: str, cluster: dict[Reference, str] | None = None) -> ManagedChart:
    (root / "release.yaml").write_text(RELEASE + spec)
    held = held_in(tree_of(str(root), str(root), {}, recursive=True), SHOP, {})
    return flux_chart(held, "HelmRelease apps/shop", Chart("chart"), (cluster or {}).get)


def layers(found: ManagedChart) -> list[Any]:
    return [layer.values for layer in found.layers]


def test_values_in_the_order_of_flux(tmp_path: Path) -> None:
    (tmp_path / "maps.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: apps}\ndata:\n  values.yaml: |\n    x: 1\n"
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: other}\ndata: {values.yaml: 'x: 9'}\n"
        "---\napiVersion: v1\nkind: Secret\nmetadata: {name: c}\ndata: {prod.yaml: eDogMg==}\n"
    )
    cluster = {Reference("ConfigMap", "b", "values.yaml"): "x: 3\n"}
    entries = (
        "{kind: ConfigMap, name: a}, {kind: ConfigMap, name: b}, {kind: Secret, name: c, valuesKey: prod.yaml},"
        " {kind: Secret, name: none, optional: true}"
    )
    found = made(tmp_path, f"  valuesFrom: [{entries}]\n  values: {{x: 4}}\n", cluster)
    assert layers(found) == [{"x": 1}, {"x": 3}, {"x": 2}, {"x": 4}]
    assert found.preferred == 3
    assert [layer.is_editable for layer in found.layers] == [False, False, False, True]


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("7", 7), ("07", "07"), ("'7'", "7"), ('"a,b"', "a,b"), ("a b", "a b"), ("null", None)],
)
def test_a_value_at_a_path(text: str, value: object, tmp_path: Path) -> None:
    spec = "  valuesFrom: [{kind: Secret, name: a, valuesKey: k, targetPath: b.c}]\n"
    found = made(tmp_path, spec, {Reference("Secret", "a", "k"): text})
    assert layers(found) == [{"b": {"c": value}}, {}]


@pytest.mark.parametrize(
    ("entry", "text", "told"),
    [
        ("{kind: Secret, name: a}", None, "its values do not exist: key values.yaml of Secret a"),
        ("{kind: Secret, name: a}", "- a", "key values.yaml of Secret a: it does not hold values"),
        ("{kind: Secret, name: a, targetPath: 'b[0]'}", "1", "the targetPath b.0. of Secret a is not judged"),
        ("{kind: Secret, name: a, targetPath: b}", "a,b", "more than one word"),
    ],
)
def test_values_that_are_not_known(entry: str, text: str | None, told: str, tmp_path: Path) -> None:
    cluster = {} if text is None else {Reference("Secret", "a", "values.yaml"): text}
    with pytest.raises(InputError, match=told):
        made(tmp_path, f"  valuesFrom: [{entry}]\n", cluster)


def test_what_sops_encrypted_is_asked_of_the_cluster(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: apps}\ndata: {values.yaml: ENC}\nsops: {}\n"
    )
    found = made(
        tmp_path, "  valuesFrom: [{kind: Secret, name: a}]\n", {Reference("Secret", "a", "values.yaml"): "x: 1"}
    )
    assert layers(found) == [{"x": 1}, {}]


@pytest.mark.parametrize(
    ("entry", "file", "is_edited"),
    [("values.yaml=prod.yaml", "prod.yaml", True), ("values.yaml", "values.yaml", True),
     ("values.yaml=below/prod.yaml", "below/prod.yaml", False)],
)  # fmt: skip
def test_the_file_that_a_kustomization_generates_values_from(
    entry: str, file: str, is_edited: bool, tmp_path: Path, programs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs)
    root = tmp_path / "shop"
    (root / "below").mkdir(parents=True)
    (root / file).write_text("x: 1   # one\n")
    (root / "kustomization.yaml").write_text(
        f"resources: [release.yaml]\nconfigurations: [names.yaml]\nconfigMapGenerator: [{{name: a, namespace: apps, files: [{entry}]}}]\n"
    )
    (root / "names.yaml").write_text(
        "nameReference: [{kind: ConfigMap, fieldSpecs: [{path: spec/valuesFrom/name, kind: HelmRelease}]}]\n"
    )
    found = made(root, "  valuesFrom: [{kind: ConfigMap, name: a}]\n")
    assert layers(found) == [{"x": 1}, {}]
    assert found.layers[0].file == (str(root / file) if is_edited else "")


def test_values_files_take_the_place_of_those_of_the_chart(tmp_path: Path) -> None:
    for name, text in (("chart/values.yaml", "a: 1\nb: 1\n"), ("one.yaml", "b: 2\nc: 2\n"), ("two.yaml", "c: 3\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "stage").mkdir()
    chart = Chart(str(tmp_path / "chart"))
    names = ["one.yaml", "two.yaml", "gone.yaml"]
    new = with_values_files(chart, str(tmp_path), names, str(tmp_path / "stage"), missing=True)
    assert value_of(parse(Path(new.path, "values.yaml").read_text()))[0] == {"b": 2, "c": 3}
    assert new.name == chart.path
    (tmp_path / "link.yaml").symlink_to("one.yaml")
    for name, told in (("../x", "outside of the checkout"), ("link.yaml", "symbolic link"), ("gone.yaml", "No such")):
        with pytest.raises(InputError, match=told):
            with_values_files(chart, str(tmp_path), [name], str(tmp_path / "more"), missing=False)

"""What an Application gives a chart: the layers of its values, and what of them cannot be known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.argo_chart import ArgoSource, argo_chart
from kubectl_harden.manifests.generators import helm_documents
from kubectl_harden.manifests.managed_chart import ManagedChart
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.yaml_text.tree import dump, parse, value_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with a chart that shows its values, and another one beside it."""
    root = tmp_path / "fleet"
    for name, text in (
        ("charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n"),
        ("charts/web/values.yaml", "a: chart\nb: chart\n"),
        ("charts/web/prod.yaml", "b: prod\nc: prod\n"),
        ("charts/web/templates/all.yaml", "values: {{ .Values | toJson }}\n"),
        ("envs/all.yaml", "c: envs\n"),
        ("secret.yaml", "a: ENC[AES256_GCM]\nsops: {version: '3'}\n"),
        ("../other/values.yaml", "d: other\n"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "link.yaml").symlink_to("secret.yaml")
    return root


def made(root: Path, helm: dict[str, Any], checkout: bool = True) -> ManagedChart:
    others = {"values": str(root.parent / "other")}
    source = ArgoSource({"helm": helm}, ("spec", "source"), str(root) if checkout else "", others.get)
    return argo_chart("Application argocd/web", source, Chart(str(root / "charts" / "web")), None)


def test_what_comes_last_counts(root: Path, programs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the order of Argo CD, as helm merges it."""
    monkeypatch.setenv("PATH", programs)
    helm = {
        "valueFiles": ["prod.yaml", "/envs/all.yaml", "$values/values.yaml", "gone.yaml"],
        "ignoreMissingValueFiles": True,
        "values": "e: text\n",
        "valuesObject": {"e": "object", "f": "object"},
        "parameters": [{"name": "f", "value": "1"}, {"name": "g", "value": "1", "forceString": True},
                       {"name": "h", "value": "x,y"}],
    }  # fmt: skip
    found = made(root, helm)
    assert [layer.values for layer in found.layers] == [
        {"a": "chart", "b": "chart"}, {"b": "prod", "c": "prod"}, {"c": "envs"}, {"d": "other"},
        {"e": "object", "f": "object"},
    ]  # fmt: skip
    assert found.layers[found.preferred].file == str(root.parent / "other" / "values.yaml")
    assert found.layers[-1].field == ("spec", "source", "helm", "valuesObject")
    files = []
    for number, layer in enumerate(found.layers[1:]):
        (tmp_path / f"{number}.yaml").write_text(dump(layer.values))
        files.append(str(tmp_path / f"{number}.yaml"))
    ((_, text),) = helm_documents(found.chart._replace(values=tuple(files)))
    value = value_of(parse(text))[0]
    assert isinstance(value, dict)
    assert value["values"] == {
        "a": "chart", "b": "prod", "c": "envs", "d": "other", "e": "object", "f": 1, "g": "1", "h": "x,y"
    }  # fmt: skip


def test_values_as_text(root: Path) -> None:
    layer = made(root, {"values": "e: text\n"}).layers[-1]
    assert (layer.values, layer.text, layer.field[-1]) == ({"e": "text"}, True, "values")


@pytest.mark.parametrize(
    ("helm", "told"),
    [
        ({"valueFiles": ["gone.yaml"]}, "gone.yaml: No such file"),
        ({"valueFiles": ["https://127.0.0.1:1/x.yaml"]}, "nothing is fetched"),
        ({"valueFiles": ["$unknown/x.yaml"]}, r"no --source is a checkout of what \$unknown stands for"),
        ({"valueFiles": ["../../../other/values.yaml"]}, "outside of the checkout"),
        ({"valueFiles": ["$values/../fleet/secret.yaml"]}, "outside of the checkout"),
        ({"valueFiles": ["/link.yaml"]}, "through a symbolic link"),
        ({"valueFiles": ["/secret.yaml"]}, "encrypted by SOPS, and left alone"),
        ({"valueFiles": ["envs/*.yaml"]}, "is a pattern"),
        ({"valueFiles": ["values-$ARGOCD_APP_NAME.yaml"]}, "is a pattern"),
        ({"values": "- a"}, "helm.values: it does not hold values"),
        ({"fileParameters": [{"name": "a", "path": "/../../x"}]}, "outside of the checkout"),
    ],
)
def test_what_cannot_be_known(helm: Any, told: str, root: Path) -> None:
    with pytest.raises(InputError, match=told):
        made(root, helm)


def test_what_can_be_done_where_no_value_reaches(root: Path) -> None:
    assert "--write-templates" in made(root, {}).beyond
    beyond = made(root, {}, checkout=False).beyond
    assert "--write-templates" not in beyond
    assert "--at-admission" in beyond
    with pytest.raises(InputError, match="is in the chart, which is not in a checkout"):
        made(root, {"valueFiles": ["prod.yaml"]}, checkout=False)

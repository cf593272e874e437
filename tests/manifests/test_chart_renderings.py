"""Renderings of a chart with settings: each is made once, but for a proof."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kubectl_harden.manifests.chart_renderings import Renderings
from kubectl_harden.manifests.generators import Chart, helm_template
from kubectl_harden.manifests.value_candidates import Setting

EXAMPLE = Path(__file__).parents[2] / "examples" / "helm-chart"
NON_ROOT = Setting(((("podSecurityContext", "runAsNonRoot"), True),))
ROOT_GROUP = Setting(((("podSecurityContext", "runAsGroup"), 0),))
SECRET = 'apiVersion: v1\nkind: Secret\nmetadata: {name: made-up}\nstringData: {password: "{{ randAlphaNum 20 }}"}\n'
REFUSES = '{{ if .Values.podSecurityContext.runAsNonRoot }}{{ fail "this runs as root" }}{{ end }}\n'


@pytest.fixture(params=["helm", "helm4"])
def chart(request: pytest.FixtureRequest, programs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Chart:
    monkeypatch.setenv("PATH", programs)
    monkeypatch.setenv("HELM_BIN", request.param)
    shutil.copytree(EXAMPLE, tmp_path / "chart")
    return Chart(str(tmp_path / "chart"))


def test_what_has_been_rendered_is_kept(chart: Chart) -> None:
    renderings = Renderings(chart, {})
    first, again = renderings.twice(helm_template(chart))
    assert first is again
    assert renderings.count == 1
    one, other, third = renderings.each([[NON_ROOT], [NON_ROOT], [ROOT_GROUP]])
    assert one is other
    assert one != third
    assert one != first
    assert renderings.each([[NON_ROOT]]) == [one]
    assert renderings.count == 3


def test_a_proof_is_rendered_again(chart: Chart) -> None:
    renderings = Renderings(chart, {})
    (before,) = renderings.each([[NON_ROOT]])
    template = Path(chart.path, "templates", "deployment.yaml")
    template.write_text(template.read_text().replace("name: web", "name: other"))
    assert renderings.each([[NON_ROOT]]) == [before]
    proof = renderings.anew([NON_ROOT])
    assert proof is not None
    assert proof != before
    assert renderings.count == 2


def test_what_is_made_up_is_rendered_twice(chart: Chart) -> None:
    Path(chart.path, "templates", "secret.yaml").write_text(SECRET)
    renderings = Renderings(chart, {})
    one, other = renderings.twice(helm_template(chart))
    assert one != other
    assert renderings.count == 2


def test_what_another_chart_renders_is_no_rendering_of_this_one(chart: Chart) -> None:
    one, other = Renderings(chart, {}).twice(())
    assert one == other
    assert one is not other


def test_what_helm_refuses(chart: Chart) -> None:
    Path(chart.path, "templates", "refuses.yaml").write_text(REFUSES)
    renderings = Renderings(chart, {})
    assert [one is None for one in renderings.each([[NON_ROOT], [ROOT_GROUP]])] == [True, False]
    assert "this runs as root" in renderings.said
    assert renderings.anew([NON_ROOT]) is None

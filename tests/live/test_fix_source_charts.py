"""``fix --source`` where a chart makes the workload: values and post-renderers, edited in checkouts, proved by helm.

By the command line alone this tests ``cli/source_charts.py`` and ``live/chart_at_source.py``, too. Flux and Argo CD do
not run here: their objects are real, and what they would do is done by the tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.test_fix_source import Place, delivery, files, kubectl, place, words
from tests.live.test_origin import kustomize_labels
from tests.support.delivery import make
from tests.support.harden import Harden
from tests.support.programs import HELM_3, HELM_4
from tests.support.tools import build

__all__ = ["delivery", "kubectl", "place"]

TEMPLATE = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      {{- with .Values.podSecurityContext }}
      securityContext: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: web
          image: example.com/web:1
          {{- with .Values.securityContext }}
          securityContext: {{- toYaml . | nindent 12 }}
          {{- end }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}"}
data: {replicas: "{{ .Values.replicas }}"}
"""
CLOSED = TEMPLATE.replace(".Values.podSecurityContext", ".Values.no").replace(".Values.securityContext", ".Values.no")
LIVE = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "example.com/web:1"}]}
"""
RELEASE = """\
# The shop.
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: shop
spec:
  interval: 1m
  chart:
    spec:
      chart: ./charts/web   # beside it
      sourceRef: {kind: GitRepository, name: fleet}
  values:
    replicas: 2   # two
"""


@pytest.fixture(autouse=True, params=[HELM_3, HELM_4], ids=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM_BIN", str(build(request.param)))


class Flux:
    """A HelmRelease that a Kustomization applies, and what Flux has made of it."""

    def __init__(self, place: Place, text: str = RELEASE, template: str = TEMPLATE, **spec: Any) -> None:
        self.place = place
        place.git("rm", "-q", "apps/shop/web.yaml")
        chart(place, template)
        self.file = place.write("apps/shop/release.yaml", text)
        place.flux(**spec)
        value = yaml.safe_load(text)
        where = place.namespace.name
        make(place.plane, "HelmRelease", where, "shop", value["spec"], labels=kustomize_labels(where, "apps"))
        live = yaml.safe_load(LIVE)
        live["metadata"]["labels"] = kustomize_labels(where, "shop", "helm")
        place.namespace.create(live)


def chart(place: Place, template: str = TEMPLATE) -> Path:
    place.write("charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n")
    place.write("charts/web/templates/web.yaml", template)
    return place.write("charts/web/values.yaml", "# Of the chart.\nreplicas: 1\n")


def test_the_values_of_a_helm_release(place: Place, harden: Harden) -> None:
    flux = Flux(place)
    before = files(place.root)
    shown = harden("fix", "deploy/web", "--source", str(place.root))
    assert shown.code == 1, shown
    assert files(place.root) == before
    assert "+++ b/apps/shop/release.yaml" in shown.out
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    after = flux.file.read_text()
    assert after.startswith(RELEASE)
    assert yaml.safe_load(after)["spec"]["values"] == {
        "replicas": 2,
        "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    assert [name for name, data in files(place.root).items() if before[name] != data] == ["apps/shop/release.yaml"]
    assert f"Commit and push in {place.root} ({place.url}, branch main): apps/shop/release.yaml" in words(done)
    assert f"Kustomization {place.namespace.name}/apps will carry it out" in words(done)
    again = harden("fix", "deploy/web", "--source", str(place.root))
    assert (again.code, again.out) == (1, ""), again
    assert "its files meet the level by now" in words(again)


def test_post_renderers_where_no_value_reaches(place: Place, harden: Harden) -> None:
    flux = Flux(place, template=CLOSED)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    after = flux.file.read_text()
    assert after.startswith(RELEASE)
    (renderer,) = yaml.safe_load(after)["spec"]["postRenderers"]
    (patch,) = renderer["kustomize"]["patches"]
    assert patch["target"] == {"group": "apps", "kind": "Deployment", "name": "web"}
    assert "runAsNonRoot: true" in patch["patch"]
    again = harden("fix", "deploy/web", "--source", str(place.root))
    assert "its files meet the level by now" in words(again), again


def test_an_application_with_values_files_and_an_object(place: Place, harden: Harden) -> None:
    own = chart(place)
    values = place.write("envs/prod.yaml", "replicas: 2   # two\npodSecurityContext: {fsGroup: 1}\n")
    place.argo(path="charts/web", helm={"valueFiles": ["/envs/prod.yaml"], "releaseName": "shop"})
    place.apply(LIVE, "argo")
    before = own.read_bytes()
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    after = values.read_text()
    assert after.startswith("replicas: 2   # two\n")
    assert yaml.safe_load(after) == {
        "replicas": 2,
        "podSecurityContext": {"fsGroup": 1, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    assert own.read_bytes() == before
    assert f"Application {place.namespace.name}/{place.app} will carry it out" in words(done)

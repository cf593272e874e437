"""``fix --source`` where a chart makes the workload: values and post-renderers, edited in checkouts, proved by helm.

By the command line alone this tests ``cli/source_charts.py`` and ``live/chart_at_source.py``, too. Flux and Argo CD do
not run here: their objects are real, and what they would do is done by the tests.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.test_fix_source import Place, delivery, files, kubectl, place, words
from tests.live.test_origin import kustomize_labels
from tests.support.delivery import make
from tests.support.harden import Harden
from tests.support.programs import HELM_3, HELM_4
from tests.support.tools import Program, build
from tests.support.writers import Writers

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


@pytest.fixture(autouse=True)
def helm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HELM_BIN", str(build(HELM_4)))
    for name in ("HELM_DATA_HOME", "HELM_CONFIG_HOME", "HELM_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "helm"))


class Flux:
    """A HelmRelease that a Kustomization applies, and what Flux has made of it."""

    def __init__(self, place: Place, text: str = RELEASE, template: str = TEMPLATE, **spec: Any) -> None:
        """Make them; ``spec`` is what the Kustomization has besides."""
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


@pytest.mark.parametrize("version", [HELM_3, HELM_4], ids=["helm3", "helm4"])
def test_the_values_of_a_helm_release(
    version: Program, place: Place, harden: Harden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELM_BIN", str(build(version)))
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
    assert f"Kustomization {place.namespace.name}/apps will apply it" in words(done)
    again = harden("fix", "deploy/web", "--source", str(place.root))
    assert (again.code, again.out) == (1, ""), again
    assert "its files meet the level already" in words(again)


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
    assert "its files meet the level already" in words(again), again


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
    assert f"Application {place.namespace.name}/{place.app} will apply it" in words(done)


def installed(place: Place, directory: Path) -> None:
    """Have Helm keep a release, as Flux does."""
    place.namespace.delete("Deployment", "web")
    writers = Writers(place.namespace, directory)
    (writers.chart / "templates" / "web.yaml").write_text(TEMPLATE)
    done = writers.upgrade(4, "--set", "replicas=2")
    assert done.returncode == 0, done.stderr
    labels = kustomize_labels(place.namespace.name, "shop", "helm")
    place.namespace.patch("Deployment", "web", {"metadata": {"labels": labels}})


def test_the_values_object_of_an_application_in_a_checkout(place: Place, harden: Harden) -> None:
    """An app of apps: the manifest of the Application that renders the chart is in the repository itself."""
    chart(place)
    where, child = place.namespace.name, f"{place.app}-web"
    source = {"repoURL": place.url, "path": "charts/web", "targetRevision": "main"}
    spec = {
        "project": "default",
        "destination": {"server": "https://kubernetes.default.svc", "namespace": where},
        "source": {**source, "helm": {"releaseName": "shop", "valuesObject": {"replicas": 2}}},
    }
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": child}}
    place.git("rm", "-q", "apps/shop/web.yaml")
    text = f"# An app.\n{yaml.safe_dump({**head, 'spec': spec}, sort_keys=False)}"
    file = place.write("apps/shop/app.yaml", text)
    place.argo()
    tracking = f"{place.app}:argoproj.io/Application:{where}/{child}"
    notes = {"argocd.argoproj.io/tracking-id": tracking, "argocd.argoproj.io/installation-id": ""}
    make(place.plane, "Application", where, child, spec, annotations=notes)
    live = yaml.safe_load(LIVE)
    tracking = f"{child}:apps/Deployment:{where}/web"
    live["metadata"]["annotations"] = {**notes, "argocd.argoproj.io/tracking-id": tracking}
    place.namespace.create(live)
    before = files(place.root)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    after = yaml.safe_load(file.read_text())
    assert after["spec"]["source"]["helm"]["valuesObject"]["podSecurityContext"]["runAsNonRoot"] is True
    assert all(line in file.read_text().splitlines() for line in text.splitlines())
    assert [name for name, data in files(place.root).items() if before[name] != data] == ["apps/shop/app.yaml"]
    assert f"Application {where}/{place.app} will apply it" in words(done)


def test_the_chart_of_the_release_where_it_is_nowhere_else(place: Place, harden: Harden, tmp_path: Path) -> None:
    text = RELEASE.replace("kind: GitRepository, name: fleet", "kind: HelmRepository, name: charts")
    flux = Flux(place, text.replace("./charts/web   # beside it", "web"))
    make(
        place.plane, "HelmRepository", place.namespace.name, "charts", {"interval": "1m", "url": "https://127.0.0.1:1"}
    )
    before = files(place.root)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, files(place.root)) == (1, before), done
    assert "its chart is neither in a checkout nor in helm's cache, and no release" in words(done)
    installed(place, tmp_path)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    assert "its chart is taken from the release" in words(done)
    assert yaml.safe_load(flux.file.read_text())["spec"]["values"]["podSecurityContext"]["runAsNonRoot"] is True


def test_what_is_not_edited_is_told_as_it_is_to_be_pasted(place: Place, harden: Harden, tmp_path: Path) -> None:
    flux = Flux(place)
    installed(place, tmp_path)
    flux.file.write_text(RELEASE + "sops: {version: '3'}\n")
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 1, done
    assert "apps/shop/release.yaml is encrypted by SOPS, and left alone" in words(done)
    assert "spec.postRenderers of HelmRelease" in words(done)
    flux.file.write_text(RELEASE + "  valuesFrom: [{kind: Secret, name: gone}]\n")
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, "its values do not exist: key values.yaml of Secret gone" in words(done)) == (1, True), done


def test_an_application_without_a_way_for_values(place: Place, harden: Harden) -> None:
    chart(place, CLOSED)
    place.argo(path="charts/web", helm={"parameters": [{"name": "replicas", "value": "2"}], "releaseName": "shop"})
    place.apply(LIVE, "argo")
    before = files(place.root)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert (done.code, files(place.root)) == (1, before), done
    assert "Argo CD patches what it renders with kustomize only where a kustomization takes the chart" in words(done)
    assert "--write-templates" in words(done)
    assert "--at-admission" in words(done)


def test_what_flux_leaves_out_is_not_the_place(place: Place, harden: Harden) -> None:
    flux = Flux(place)
    place.write("apps/shop/old/release.yaml", RELEASE)
    place.write(".sourceignore", "old/\n")
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    assert flux.file.read_text() != RELEASE
    assert (place.root / "apps/shop/old/release.yaml").read_text() == RELEASE


def test_a_chart_of_helms_cache_and_values_of_another_repository(place: Place, harden: Harden, tmp_path: Path) -> None:
    """Sources of an Application: the chart of a Helm repository, and values files as ``$values``."""
    chart(place)
    cache = tmp_path / "helm" / "repository"
    cache.mkdir(parents=True)
    for command in (("package", str(place.root / "charts" / "web"), "-d", str(cache)), ("repo", "index", str(cache))):
        subprocess.run([os.environ["HELM_BIN"], *command], check=True, capture_output=True)
    (cache / "index.yaml").rename(cache / "shop-index.yaml")
    (tmp_path / "helm" / "repositories.yaml").write_text(
        "repositories: [{name: shop, url: 'https://charts.example.com'}]\n"
    )
    place.git("rm", "-qr", "charts")
    values = place.write("envs/prod.yaml", "replicas: 2\n")
    sources = [
        {"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "0.1.0",
         "helm": {"releaseName": "shop", "valueFiles": ["$values/envs/prod.yaml"]}},
        {"repoURL": place.url, "targetRevision": "main", "ref": "values"},
    ]  # fmt: skip
    where = place.namespace.name
    destination = {"server": "https://kubernetes.default.svc", "namespace": where}
    spec = {"project": "default", "destination": destination, "sources": sources}
    make(place.plane, "Application", where, place.app, spec)
    place.apply(LIVE, "argo")
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write", "-o", "json")
    assert done.code == 0, done
    (workload,) = done.json["workloads"]
    assert workload["after"] == "restricted"
    assert workload["atSource"]["files"] == ["envs/prod.yaml"]
    assert workload["atSource"]["repository"] == place.url
    assert workload["atSource"]["written"] is True
    assert values.read_text().startswith("replicas: 2\n")
    assert "podSecurityContext:" in values.read_text()


def test_two_releases_of_one_kustomization(place: Place, harden: Harden) -> None:
    """The second is planned with what was written for the first."""
    flux = Flux(place)
    text = RELEASE.replace("name: shop\n", "name: other\n")
    place.write("apps/shop/other.yaml", text)
    place.write("apps/shop/kustomization.yaml", "resources: [release.yaml, other.yaml]\n")
    where = place.namespace.name
    make(
        place.plane, "HelmRelease", where, "other", yaml.safe_load(text)["spec"], labels=kustomize_labels(where, "apps")
    )
    (flux.place.root / "charts/web/templates/web.yaml").write_text(
        TEMPLATE.replace("name: web\n", "name: {{ .Release.Name }}\n", 1)
    )
    place.namespace.delete("Deployment", "web")
    for name in ("shop", "other"):
        live = yaml.safe_load(LIVE)
        live["metadata"] |= {"name": name, "labels": kustomize_labels(where, name, "helm")}
        place.namespace.create(live)
    done = harden("fix", "-n", where, "--source", str(place.root), "--write")
    assert done.code == 0, done
    assert ["runAsNonRoot" in (place.root / "apps/shop" / name).read_text() for name in ("release.yaml", "other.yaml")] == [
        True, True
    ]  # fmt: skip
    assert "2 workloads: 2 edited at the source" in words(done)

"""``migrate --source``: what goes together, and in which order; as far as each namespace can go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.test_fix_source import WEB, Place, delivery, files, kubectl, place, words
from tests.live.test_fix_source_charts import RELEASE, TEMPLATE, chart
from tests.live.test_migrate_source import NAMESPACE, PREFIX, labels_of, reconcile, settle
from tests.live.test_origin import kustomize_labels
from tests.support.delivery import make
from tests.support.harden import Harden
from tests.support.programs import HELM_4
from tests.support.tools import build

__all__ = ["delivery", "kubectl", "place"]

NAMED = TEMPLATE.replace("name: web\nspec", 'name: "{{ .Release.Name }}"\nspec')
LIVE = WEB.replace("{name: web}", "{name: NAME}").replace("app: web", "app: NAME")


@pytest.fixture(autouse=True)
def helm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM_BIN", str(build(HELM_4)))


def application(place: Place, name: str, **source: Any) -> None:
    spec = {
        "project": "default",
        "destination": {"server": "https://kubernetes.default.svc", "namespace": place.namespace.name},
        "source": {"repoURL": place.url, "targetRevision": "main", **source},
    }
    make(place.plane, "Application", place.namespace.name, name, spec)
    live = yaml.safe_load(LIVE.replace("NAME", name))
    where = place.namespace.name
    tracking = {"argocd.argoproj.io/tracking-id": f"{name}:apps/Deployment:{where}/{name}"}
    live["metadata"] |= {"namespace": where, "annotations": {**tracking, "argocd.argoproj.io/installation-id": ""}}
    place.namespace.create(live)


def test_two_applications_with_one_values_file(place: Place, harden: Harden) -> None:
    """Each is rendered with what the other one needs, too."""
    chart(place, NAMED)
    second = NAMED.replace(".Values.podSec", ".Values.two.podSec").replace(".Values.sec", ".Values.two.sec")
    place.write("charts/other/Chart.yaml", "apiVersion: v2\nname: other\nversion: 0.1.0\n")
    place.write("charts/other/values.yaml", "replicas: 1\ntwo: {}\n")
    place.write("charts/other/templates/web.yaml", second)
    values = place.write("envs/prod.yaml", "replicas: 1   # one\n")
    one, two = f"one-{place.app}", f"two-{place.app}"
    for name, path in ((one, "charts/web"), (two, "charts/other")):
        application(place, name, path=path, helm={"valueFiles": ["/envs/prod.yaml"]})
    settle(place, one, two)
    command = ("migrate", place.namespace.name, "--source", str(place.root))
    shown = harden(*command, "-o", "json")
    (part,) = shown.json["atSource"]["repositories"]
    assert [file["path"] for file in part["files"]] == ["envs/prod.yaml"]
    done = harden(*command, "-o", "json", "--write")
    assert done.code == 1, done
    (part,) = done.json["atSource"]["repositories"]
    assert done.json["atSource"]["rest"] == []
    assert [item["name"].rpartition("/")[2] for item in part["workloads"]] == [one, two]
    assert (done.json["atSource"]["rest"], done.json["atSource"]["waiting"]) == ([], [])
    after = yaml.safe_load(values.read_text())
    assert set(after) == {"replicas", "podSecurityContext", "securityContext", "two"}
    assert values.read_text().startswith("replicas: 1   # one\n")
    # What is told to have been changed is what git sees.
    assert part["files"][0]["diff"].count("\n+") == place.git("diff", "-U0").count("\n+")
    assert "2 written, wait for reconcile" in words(harden(*command))


def test_a_release_and_its_namespace_in_one_file(place: Place, harden: Harden) -> None:
    place.git("rm", "-q", "apps/shop/web.yaml")
    chart(place)
    name = place.namespace.name
    file = place.write("apps/shop/all.yaml", RELEASE + "---\n" + NAMESPACE.format(name))
    place.flux()
    labels = kustomize_labels(name, "apps")
    make(place.plane, "HelmRelease", name, "shop", yaml.safe_load(RELEASE)["spec"], labels=labels)
    patch = {"metadata": {"labels": labels}}
    path = f"/api/v1/namespaces/{name}?fieldManager=kustomize-controller"
    place.plane.request("PATCH", path, patch, kind="application/merge-patch+json")
    live = yaml.safe_load(WEB)
    live["metadata"] |= {"namespace": name, "labels": kustomize_labels(name, "shop", "helm")}
    place.namespace.create(live)
    settle(place, "web")
    done = harden("migrate", name, "--source", str(place.root), "--write", "-o", "json")
    assert (done.code, done.json["atSource"]["rest"]) == (1, []), done
    release, space = yaml.safe_load_all(file.read_text())
    assert release["spec"]["values"]["podSecurityContext"]["runAsNonRoot"] is True
    assert space["metadata"]["labels"] == {f"{PREFIX}warn": "restricted", f"{PREFIX}audit": "restricted"}
    assert file.read_text().startswith(RELEASE.rstrip("\n"))


def test_as_high_as_the_workloads_can_go(place: Place, harden: Harden) -> None:
    """An image that runs as root reaches baseline: that is what its Namespace gets in the file."""
    place.flux()
    name = place.namespace.name
    own = place.write("apps/shop/namespace.yaml", NAMESPACE.format(name))
    text = WEB.replace("    spec:\n", "    spec:\n      hostNetwork: true\n").replace("web:1", "user-none/app:1")
    file = place.write("apps/shop/web.yaml", text)
    reconcile(place)
    settle(place, "web")
    command = ("migrate", name, "--source", str(place.root), "--level", "highest", "--write", "--apply", "--yes")
    strict = harden("migrate", name, "--source", str(place.root))
    assert "an edit would not lift it" in words(strict), strict
    done = harden(*command)
    assert done.code == 1, done
    assert "hostNetwork: true" not in file.read_text()
    assert f"{PREFIX}warn: restricted" in own.read_text() and f"{PREFIX}enforce" not in own.read_text()
    reconcile(place)
    settle(place, "web")
    again = harden(*command)
    assert f"{PREFIX}enforce: baseline" in own.read_text(), again
    assert labels_of(place) == {"warn": "restricted", "audit": "restricted"}
    reconcile(place)
    last = harden(*command)
    assert labels_of(place)["enforce"] == "baseline"
    assert "it would be set" not in words(last) and own.read_text().count(f"{PREFIX}enforce: ") == 1


def test_a_plan_is_proved_again(place: Place, harden: Harden, tmp_path: Path) -> None:
    """Its files are as they were, and the cluster is not."""
    place.flux()
    reconcile(place)
    settle(place, "web")
    plan = tmp_path / "plan.json"
    shown = harden("migrate", place.namespace.name, "--source", str(place.root), "--plan-out", str(plan))
    assert "--write" in words(shown), shown
    before = files(place.root)
    kept = json.loads(plan.read_text())
    (part,) = kept["atSource"]["repositories"]
    assert part["files"][0]["before"].startswith("sha256:") and "+++ b/apps/shop/web.yaml" in part["files"][0]["diff"]
    reconcile(place)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q"},
        "spec": {"hard": {"count/deployments.apps": "1"}},
    }
    place.namespace.create(quota)
    place.namespace.eventually(lambda: place.namespace.get("ResourceQuota", "q").get("status", {}).get("used"))
    refused = harden("migrate", "--plan", str(plan), "--write")
    assert (refused.code, files(place.root)) == (1, before), refused
    assert "the API server refuses what the files would say" in words(refused)
    place.namespace.delete("ResourceQuota", "q")
    elsewhere = tmp_path / "clone"
    place.git("clone", "-q", str(place.root), str(elsewhere))
    done = harden("migrate", "--plan", str(plan), "--source", f"{place.url}={elsewhere}", "--write")
    assert done.code == 1, done
    assert "runAsNonRoot" in (elsewhere / "apps/shop/web.yaml").read_text()
    assert files(place.root) == before

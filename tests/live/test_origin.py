"""Where live objects come from: real releases of Helm, and the objects of Flux and Argo CD as their controllers write them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_custom_resources import create, kinds
from tests.support.control_plane import ControlPlane, Namespace
from tests.support.delivery import install, make
from tests.support.harden import Harden, workload
from tests.support.writers import Writers

__all__ = ["kinds"]

URL = "https://git.example.com/fleet"
SECRET = "hunter2-of-the-values"


@pytest.fixture(scope="module")
def delivery(control_plane: ControlPlane) -> None:
    """The kinds of Flux and Argo CD."""
    install(control_plane)


@pytest.fixture
def other(control_plane: ControlPlane) -> Namespace:
    """A namespace for what delivers: flux-system, or argocd."""
    return Namespace(control_plane, f"t-{uuid.uuid4().hex[:10]}", {})


def marked(name: str, *, labels: dict[str, str] | None = None, **annotations: str) -> dict[str, Any]:
    value = workload("Deployment", name)
    value["metadata"]["labels"] |= labels or {}
    value["metadata"]["annotations"] = annotations
    return value


def kustomize_labels(namespace: str, name: str, system: str = "kustomize") -> dict[str, str]:
    return {f"{system}.toolkit.fluxcd.io/name": name, f"{system}.toolkit.fluxcd.io/namespace": namespace}


def origins(harden: Harden, *arguments: str) -> dict[str, Any]:
    report = harden("check", *(arguments or ("-n", harden.namespace.name)), "-o", "json")
    assert report.code in (0, 1), report
    return {item["name"]: item.get("origin") for item in report.json["workloads"]}


def fleet(plane: ControlPlane, namespace: str, **more: Any) -> None:
    spec = {"interval": "1m", "url": "https://robot:token-of-the-url@git.example.com/fleet", "ref": {"branch": "main"}}
    make(plane, "GitRepository", namespace, "fleet", spec)
    spec = {
        "interval": "1m",
        "prune": True,
        "path": "./apps/shop",
        "sourceRef": {"kind": "GitRepository", "name": "fleet"},
        "postBuild": {
            "substitute": {"tier": "not-shown", "cluster": "not-shown"},
            "substituteFrom": [{"kind": "Secret", "name": "cluster-secrets"}],
        },
    }
    make(plane, "Kustomization", namespace, "apps", spec, **more)


# -- Flux ----------------------------------------------------------------------------------------------


def test_a_kustomization_and_its_repository(
    delivery: None, namespace: Namespace, other: Namespace, harden: Harden
) -> None:
    inventory = {"entries": [{"id": f"{namespace.name}_web_apps_Deployment", "v": "v1"}]}
    fleet(namespace.plane, other.name, status={"inventory": inventory, "lastAppliedRevision": "main@sha1:abc"})
    namespace.create(marked("web", labels=kustomize_labels(other.name, "apps")))
    namespace.create(marked("copy", labels=kustomize_labels(other.name, "apps")))
    namespace.create(marked("lost", labels=kustomize_labels(other.name, "gone")))
    found = origins(harden)
    kustomization, source = found["web"]
    assert kustomization == {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "namespace": other.name,
        "name": "apps",
        "inputs": ["postBuild.substitute cluster, tier", "postBuild.substituteFrom Secret cluster-secrets"],
    }
    assert source["kind"] == "GitRepository"
    place = {
        "url": URL,
        "revision": "main",
        "revisionType": "branch",
        "applied": "main@sha1:abc",
        "path": "./apps/shop",
    }
    assert source["places"] == [place]
    # What was copied with its labels is not applied from there.
    (copy,) = found["copy"]
    assert copy["problem"] == "its inventory does not have this object"
    (lost,) = found["lost"]
    assert lost == {"kind": "Kustomization", "namespace": other.name, "name": "gone", "problem": "it does not exist"}
    line = f"from Kustomization {other.name}/apps with postBuild.substitute cluster, tier, postBuild.substituteFrom "
    line += f"Secret cluster-secrets → GitRepository {other.name}/fleet {URL}@main ./apps/shop"
    for result in (harden("check", "deploy/web", "-o", "wide"), harden("fix", "deploy/web")):
        assert line in " ".join((result.out + result.err).split()), result
    everything = harden("check", "deploy/web", "-o", "html").out
    assert f"GitRepository {other.name}/fleet" in everything
    everything += "".join(
        str(harden(*words)) for words in (("check", "deploy/web", "-o", "yaml"), ("fix", "deploy/web"))
    )
    assert "not-shown" not in everything
    assert "token-of-the-url" not in everything


@pytest.mark.parametrize(
    ("kind", "spec", "place"),
    [
        (
            "OCIRepository",
            {"interval": "1m", "url": "oci://ghcr.io/org/fleet", "ref": {"semver": ">= 1.0.0"}},
            {"url": "oci://ghcr.io/org/fleet", "revision": ">= 1.0.0", "revisionType": "semver", "path": "./a"},
        ),
        (
            "Bucket",
            {"interval": "1m", "endpoint": "minio.example.com", "bucketName": "fleet"},
            {"url": "minio.example.com/fleet", "path": "./a"},
        ),
        (
            "GitRepository",
            {"interval": "1m", "url": "ssh://git@example.com/fleet"},
            {"url": "ssh://git@example.com/fleet", "revision": "master", "revisionType": "branch", "path": "./a"},
        ),
        (
            "GitRepository",
            {"interval": "1m", "url": URL, "ref": {"branch": "main", "tag": "v1", "commit": "0" * 40}},
            {"url": URL, "revision": "0" * 40, "revisionType": "commit", "path": "./a"},
        ),
    ],
)
def test_each_source_of_flux(
    kind: str, spec: Any, place: Any, delivery: None, namespace: Namespace, harden: Harden
) -> None:
    make(namespace.plane, kind, namespace.name, "source", spec)
    reference = {"kind": kind, "name": "source"}
    spec = {"interval": "1m", "prune": True, "path": "./a", "sourceRef": reference}
    make(namespace.plane, "Kustomization", namespace.name, "apps", spec)
    namespace.create(marked("web", labels=kustomize_labels(namespace.name, "apps")))
    assert origins(harden)["web"][1]["places"] == [place]


@pytest.mark.parametrize("helm", [3, 4])
def test_a_helm_release_of_flux(
    helm: int, delivery: None, namespace: Namespace, other: Namespace, harden: Harden, tmp_path: Path
) -> None:
    writers = Writers(namespace, tmp_path)
    done = writers.upgrade(helm, "--set", f"replicas=1,password={SECRET}")
    assert done.returncode == 0, done.stderr
    plane = namespace.plane
    fleet(plane, other.name)
    make(plane, "HelmRepository", namespace.name, "charts", {"interval": "1m", "url": "https://charts.example.com"})
    spec = {
        "interval": "1m",
        "releaseName": "shop",
        "chart": {
            "spec": {"chart": "shop", "version": "0.x", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}
        },
        "values": {"replicas": 1, "password": SECRET},
        "valuesFrom": [{"kind": "Secret", "name": "shop-values", "valuesKey": "prod.yaml"}],
        "postRenderers": [{"kustomize": {"patches": [{"patch": "[]"}]}}],
    }
    make(plane, "HelmRelease", namespace.name, "shop", spec, labels=kustomize_labels(other.name, "apps"))
    labels = kustomize_labels(namespace.name, "shop", "helm")
    namespace.patch("Deployment", "web", {"metadata": {"labels": labels}})
    release, kustomization, source = origins(harden)["web"]
    assert (release["kind"], release["namespace"], release["name"]) == ("HelmRelease", namespace.name, "shop")
    assert release["places"] == [
        {
            "url": "https://charts.example.com",
            "applied": "0.1.0",
            "chart": "shop",
            "version": "0.x",
            "template": "shop/templates/web.yaml",
        }
    ]
    assert release["inputs"] == ["values", "valuesFrom Secret shop-values key prod.yaml", "postRenderers"]
    assert (kustomization["name"], source["places"][0]["url"]) == ("apps", URL)
    told = str(harden("fix", "deploy/web")) + harden("fix", "deploy/web", "-o", "json").out
    assert SECRET not in told
    # In another namespace the release is not found, and the rest of the chain is told all the same.
    patch = {"spec": {"storageNamespace": other.name, "releaseName": "shop"}}
    where = f"/apis/helm.toolkit.fluxcd.io/v2/namespaces/{namespace.name}/helmreleases/shop"
    plane.request("PATCH", where, patch, kind="application/merge-patch+json")
    release, kustomization, _ = origins(harden)["web"]
    assert release["problem"] == f"no release of this name is kept in namespace {other.name}"
    assert release["places"][0]["url"] == "https://charts.example.com"


# -- Helm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("helm", [3, 4])
@pytest.mark.parametrize("driver", ["secret", "configmap"])
def test_a_release_and_the_template_that_made_the_object(
    helm: int,
    driver: str,
    namespace: Namespace,
    harden: Harden,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HELM_DRIVER", driver)
    writers = Writers(namespace, tmp_path)
    below = writers.chart / "charts" / "db"
    (below / "templates").mkdir(parents=True)
    (below / "Chart.yaml").write_text("apiVersion: v2\nname: db\nversion: 3.0.0\n")
    text = (writers.chart / "templates" / "web.yaml").read_text().replace("web", "db").replace(".escalate", ".global")
    (below / "templates" / "db.yaml").write_text(text.replace("{{ .Values.replicas }}", "1"))
    for replicas in (1, 2):
        done = writers.upgrade(helm, "--set", f"replicas={replicas},global=true,password={SECRET}")
        assert done.returncode == 0, done.stderr
    found = origins(harden)
    for name, template in (("web", "shop/templates/web.yaml"), ("db", "shop/charts/db/templates/db.yaml")):
        assert found[name] == [
            {
                "kind": "Helm release",
                "namespace": namespace.name,
                "name": "shop",
                "places": [{"chart": "shop", "version": "0.1.0", "template": template}],
                "inputs": ["values"],
            }
        ]
    result = harden("fix", "deploy/web", "-v", "9")
    line = f"from Helm release {namespace.name}/shop chart shop 0.1.0, shop/templates/web.yaml with values"
    assert line in " ".join(result.err.split()), result
    assert SECRET not in str(result)
    migrated = harden("migrate", namespace.name)
    assert line.replace("from", "from:") in " ".join((migrated.out + migrated.err).split()), migrated
    applied = harden("fix", "deploy/web", "--apply", "--yes", "--even-if-managed", "--no-rollback", "--timeout", "1s")
    assert SECRET not in str(applied) + json.dumps(harden.journal())


def test_a_release_whose_comments_a_post_renderer_took_away(
    namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    script = tmp_path / "without-comments"
    script.write_text("#!/bin/sh\ngrep -v '^#'\n")
    script.chmod(0o755)
    done = Writers(namespace, tmp_path).upgrade(3, "--post-renderer", str(script))
    assert done.returncode == 0, done.stderr
    (link,) = origins(harden)["web"]
    assert link["note"] == "it does not show which template rendered the object"
    assert "template" not in link["places"][0]


def test_a_release_that_failed_and_an_object_that_it_does_not_have(
    namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    writers = Writers(namespace, tmp_path)
    assert writers.upgrade(4).returncode == 0
    chart = writers.chart / "templates" / "more.yaml"
    chart.write_text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: more}\nspec: {}\n")
    assert writers.upgrade(4).returncode != 0
    marks = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": namespace.name}
    namespace.create(marked("stray", **marks))
    found = origins(harden)
    (link,) = found["web"]
    assert (link["places"][0]["template"], link["note"]) == ("shop/templates/web.yaml", "its revision 2 is failed")
    (link,) = found["stray"]
    assert link["problem"] == "the manifest of its revision 1 does not have this object"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"release": "JSUl"}, "its release cannot be read: it is not complete base64"),
        (
            {"release": "SDRzSUFBQUFBQUFBLzZ0V3lreFJzbEpLVEU1TzFWRktUQzVSc2xKS1RFeE8="},
            "its release cannot be read: it is",
        ),
        ({"other": ""}, "its release cannot be read: it does not hold a release"),
        ({"release": "ZXlKdVlXMWxJam9pYjNSb1pYSWlmUT09"}, "what is stored as its release is a different release"),
    ],
    ids=["base64", "cut", "other", "another"],
)
def test_a_release_that_cannot_be_read(data: Any, problem: str, namespace: Namespace, harden: Harden) -> None:
    labels = {"owner": "helm", "name": "shop", "status": "deployed", "version": "1"}
    secret = {"metadata": {"name": "sh.helm.release.v1.shop.v1", "labels": labels}, "type": "helm.sh/release.v1"}
    namespace.plane.request("POST", f"/api/v1/namespaces/{namespace.name}/secrets", {**secret, "data": data})
    namespace.create(marked("web", **{"meta.helm.sh/release-name": "shop"}))
    namespace.create(marked("odd", **{"meta.helm.sh/release-name": "shop,status=x"}))
    found = origins(harden)
    assert found["web"][0]["problem"].startswith(problem)
    assert found["odd"][0]["problem"] == "a Helm release cannot have such a name"
    assert harden("migrate", namespace.name, "-o", "json").code == 1


# -- Argo CD -------------------------------------------------------------------------------------------


def sources(path: str) -> dict[str, Any]:
    return {"repoURL": f"{URL}.git", "path": path, "targetRevision": "main"}


def app(plane: ControlPlane, namespace: str, name: str, source: Any, *, of: str = "", **more: Any) -> dict[str, Any]:
    """Create an Application; ``of`` is the namespace whose Deployment web it lists."""
    status = {"sync": {"status": "Synced", "revision": "abc"}}
    listed = [{"group": "apps", "version": "v1", "kind": "Deployment", "namespace": of, "name": "web"}] if of else []
    kind = {"sources": source} if isinstance(source, list) else {"source": source}
    spec = {"destination": {"server": "https://kubernetes.default.svc"}, "project": "default", **kind}
    return make(plane, "Application", namespace, name, spec, status={**status, "resources": listed}, **more)


def tracking(app_name: str, namespace: str, name: str, kind: str = "apps/Deployment") -> dict[str, str]:
    return {"argocd.argoproj.io/tracking-id": f"{app_name}:{kind}:{namespace}/{name}"}


def test_an_application_in_an_app_of_apps(
    delivery: None, namespace: Namespace, other: Namespace, harden: Harden
) -> None:
    plane, argo, name = namespace.plane, other.name, f"a-{namespace.name}"
    app(plane, argo, f"{name}-root", sources("apps"))
    helm = {"valueFiles": ["$values/prod.yaml"], "valuesObject": {"password": SECRET}}
    chart = {"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "1.2.0", "helm": helm}
    several = [chart, {**sources("values"), "ref": "values"}]
    child = tracking(f"{name}-root", argo, name, "argoproj.io/Application")
    app(plane, argo, name, several, of=namespace.name, annotations=child)
    value = marked("web", **tracking(name, namespace.name, "web"))
    namespace.create(value)
    namespace.create(marked("copied", **tracking(name, namespace.name, "web")))
    namespace.create(marked("pruned", **tracking(name, namespace.name, "pruned")))
    namespace.create(marked("gone", **tracking("nobodys", namespace.name, "gone")))
    found = origins(harden)
    link, root = found["web"]
    assert (link["kind"], link["namespace"], link["name"]) == ("Application", argo, name)
    assert link["places"] == [
        {"url": "https://charts.example.com", "applied": "abc", "chart": "web", "version": "1.2.0"},
        {"url": f"{URL}.git", "revision": "main", "path": "values"},
    ]
    assert link["inputs"] == ["helm.valueFiles $values/prod.yaml", "helm.valuesObject", "its files as $values"]
    assert (root["name"], root["problem"]) == (f"{name}-root", "it does not list this object among its resources")
    assert "is that of another object" in found["copied"][0]["problem"]
    assert found["pruned"][0]["problem"] == "it does not list this object among its resources"
    assert found["gone"][0]["problem"].startswith("this cluster has none with this name")
    assert SECRET not in str(harden("check", "deploy/web", "-o", "wide"))


def test_an_application_of_a_set_in_a_namespace_of_its_own(
    delivery: None, namespace: Namespace, other: Namespace, harden: Harden
) -> None:
    plane, argo = namespace.plane, other.name
    git = {"repoURL": f"{URL}.git", "revision": "HEAD", "directories": [{"path": "apps/*"}]}
    template = {"metadata": {"name": "x"}, "spec": {"project": "default", "destination": {}, "source": sources("x")}}
    made = make(plane, "ApplicationSet", argo, "all", {"generators": [{"git": git}], "template": template})
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "all", "controller": True}
    owner["uid"] = made["metadata"]["uid"]
    app(plane, argo, "shop", sources("apps/shop"), of=namespace.name, ownerReferences=[owner])
    namespace.create(marked("web", **tracking(f"{argo}_shop", namespace.name, "web")))
    link, above = origins(harden)["web"]
    assert link["places"] == [{"url": f"{URL}.git", "revision": "main", "applied": "abc", "path": "apps/shop"}]
    assert (above["kind"], above["inputs"]) == ("ApplicationSet", ["generators git"])
    assert above["places"] == [{"url": f"{URL}.git", "revision": "HEAD", "path": "apps/*"}]


def test_the_common_label_counts_only_where_an_application_lists_the_object(
    delivery: None, namespace: Namespace, other: Namespace, harden: Harden
) -> None:
    name = f"l-{namespace.name}"
    app(namespace.plane, other.name, name, sources("apps"), of=namespace.name)
    for workload_name, instance in (("web", name), ("same", name), ("none", f"{name}-none")):
        namespace.create(marked(workload_name, labels={"app.kubernetes.io/instance": instance}))
    found = origins(harden)
    assert [link["name"] for link in found["web"]] == [name]
    assert (found["same"], found["none"]) == (None, None)


def test_applications_of_one_name(delivery: None, namespace: Namespace, other: Namespace, harden: Harden) -> None:
    name = f"s-{namespace.name}"
    app(namespace.plane, other.name, name, sources("one"), of=namespace.name)
    app(namespace.plane, namespace.name, name, sources("two"))
    namespace.create(marked("web", **tracking(name, namespace.name, "web")))
    namespace.create(marked("other", **tracking(name, namespace.name, "other")))
    found = origins(harden)
    assert found["web"][0]["namespace"] == other.name
    assert found["other"][0]["problem"].startswith("there are several of this name: ")


# -- others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server_side", [False, True])
def test_what_kubectl_applied(server_side: bool, namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    done = Writers(namespace, tmp_path).apply(workload("Deployment", "web"), server_side=server_side)
    assert done.returncode == 0, done.stderr
    namespace.create(workload("Deployment", "nobodys"))
    found = origins(harden)
    note = "the file that it was applied from is not recorded in the cluster"
    assert found == {"web": [{"kind": "kubectl apply", "note": note}], "nobodys": None}
    result = harden("fix", "deploy/web")
    assert "not recorded in the cluster" not in " ".join(result.err.split())
    assert harden("fix", "deploy/web", "-o", "json").json["workloads"][0]["origin"] == found["web"]


def test_the_custom_resource_of_an_operator(
    kinds: None, delivery: None, namespace: Namespace, other: Namespace, harden: Harden
) -> None:
    fleet(namespace.plane, other.name)
    labels = kustomize_labels(other.name, "apps")
    value = {"apiVersion": "example.com/v1alpha1", "kind": "Widget", "metadata": {"name": "db", "labels": labels}}
    made = create(namespace, "example.com", "widgets", {**value, "spec": {"a": 1}})
    owner = {"apiVersion": "example.com/v1alpha1", "kind": "Widget", "name": "db", "uid": made["metadata"]["uid"]}
    for name, more in (("made", {"controller": True}), ("owned", {}), ("gone", {"uid": "another"})):
        value = workload("Deployment", name)
        value["metadata"]["ownerReferences"] = [{**owner, **more}]
        # Operators copy labels of their resources to what they make.
        value["metadata"]["labels"] |= kustomize_labels("copied", "copied")
        namespace.create(value)
    value = workload("Deployment", "unknown")
    value["metadata"]["ownerReferences"] = [{**owner, "kind": "Gadget", "controller": True}]
    namespace.create(value)
    found = origins(harden)
    for name in ("made", "owned"):
        assert [link["kind"] for link in found[name]] == ["Widget", "Kustomization", "GitRepository"]
    assert found["unknown"][0]["problem"] == "the API server has no Gadget (example.com)"
    shown = harden("fix", "deploy/made").err
    assert f"from Widget {namespace.name}/db → Kustomization {other.name}/apps" in " ".join(shown.split())

"""What the objects of Flux and Argo CD tell, whatever they hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.live.origin_links import (
    SourceRef,
    application,
    chart_ref,
    custom_resource,
    helm_release,
    in_inventory,
    in_resources,
    kustomization,
    release_of_flux,
    source_place,
    without_secrets,
)
from kubectl_harden.origin_model import OriginPlace


def named(kind: str, spec: Any, group: str = "", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{group}/v1",
        "kind": kind,
        "metadata": {"namespace": "ns", "name": "x"},
        "spec": spec,
        **more,
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://git.example.com/a/b", "https://git.example.com/a/b"),
        ("https://user:token@git.example.com/a", "https://git.example.com/a"),
        ("https://token@git.example.com/a", "https://git.example.com/a"),
        ("HTTPS://:token@git.example.com/a?private_token=x#y", "HTTPS://git.example.com/a"),
        ("https://git.example.com/a@b", "https://git.example.com/a@b"),
        ("oci://user:token@ghcr.io/a", "oci://ghcr.io/a"),
        ("ssh://git@git.example.com:2222/a", "ssh://git@git.example.com:2222/a"),
        ("ssh://git:password@git.example.com/a", "ssh://git@git.example.com/a"),
        ("git@github.com:org/repo.git", "git@github.com:org/repo.git"),
        ("https://user:to@ken@git.example.com/a", "https://git.example.com/a"),
        ("https://user:to/ken@git.example.com/a", "https://git.example.com/a"),
        ("user:token@minio.example.com/a", "minio.example.com/a"),
        ("minio.example.com:9000/a", "minio.example.com:9000/a"),
        ("https://git.example.com:8443/a@b", "https://git.example.com:8443/a@b"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_what_opens_it(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    ("spec", "release"),
    [
        ({}, ("ns", "x")),
        ({"releaseName": "front"}, ("ns", "front")),
        ({"targetNamespace": "shop"}, ("ns", "shop-x")),
        ({"targetNamespace": "shop", "releaseName": "front", "storageNamespace": "kept"}, ("kept", "front")),
    ],
)
def test_what_flux_calls_a_release_and_where_it_is_kept(spec: Any, release: Any) -> None:
    assert release_of_flux(named("HelmRelease", spec)) == release


def test_where_a_chart_is_fetched_from() -> None:
    reference = {"kind": "OCIRepository", "name": "web"}
    assert chart_ref(named("HelmRelease", {"chartRef": reference}))[1] == SourceRef("OCIRepository", "ns", "web")
    spec = {"chart": "./charts/web", "sourceRef": {"kind": "GitRepository", "name": "fleet"}}
    expected = OriginPlace(chart="./charts/web"), SourceRef("GitRepository", "ns", "fleet")
    assert chart_ref(named("HelmRelease", {"chart": {"spec": spec}})) == expected
    # A HelmChart has the same fields in its spec.
    assert chart_ref(named("HelmChart", spec)) == expected


def test_what_else_goes_into_a_kustomization() -> None:
    spec = {
        "suspend": True,
        "path": "./a",
        "sourceRef": {"apiVersion": "example.com/v1", "kind": "Source", "namespace": "far", "name": "s"},
        "patches": [{}],
        "decryption": {"provider": "sops"},
    }
    link, source, path = kustomization(named("Kustomization", spec))
    assert link.inputs == ("patches", "decryption by sops")
    assert link.note == "suspended: nothing is applied from it for now"
    assert (source, path) == (SourceRef("Source", "far", "s", "example.com"), "./a")


def test_what_else_goes_into_an_application() -> None:
    source = {
        "repoURL": "https://git.example.com/a",
        "path": "a",
        "helm": {"parameters": [{}], "values": "a: 1"},
        "kustomize": {"patches": [{}], "images": ["x"]},
        "directory": {"include": "*.yaml", "jsonnet": {"tlas": [{}]}},
        "plugin": {"name": "cue"},
    }
    inputs = application(named("Application", {"source": source})).inputs
    assert inputs == (
        "helm.values", "helm.parameters", "kustomize.patches", "kustomize.images", "directory.jsonnet",
        "directory.include *.yaml", "plugin cue",
    )  # fmt: skip
    dry = {"repoURL": "https://git.example.com/dry", "targetRevision": "main", "path": "dry"}
    hydrated = application(named("Application", {"source": source, "sourceHydrator": {"drySource": dry}}))
    assert hydrated.places == (OriginPlace("https://git.example.com/dry", "main", path="dry"),)
    assert hydrated.note


def test_what_has_no_list_of_what_it_applied_is_believed() -> None:
    value = named("Deployment", {})
    assert in_inventory(named("Kustomization", {}), value)
    assert in_resources(named("Application", {}), value) is None
    assert in_resources(named("Application", {}, status={"resources": []}), value) is False


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    "chart", "spec", "sourceRef", "chartRef", "ref", "branch", "url", "path", "postBuild", "substitute", "kind", "name",
    "substituteFrom", "values", "valuesFrom", "valuesFiles", "postRenderers", "decryption", "source", "sources", "helm",
    "valueFiles", "kustomize", "directory", "plugin", "sourceHydrator", "drySource", "generators", "git", "files",
    "status", "inventory", "entries", "sync", "revisions", "resources", "artifact", "metadata", "apiVersion", "jsonnet",
    "endpoint", "include", "revision", "directories",
)  # fmt: skip
HOSTILE: st.SearchStrategy[Any] = st.recursive(
    JSON,
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=20,
)
KINDS = st.sampled_from(["Kustomization", "GitRepository", "OCIRepository", "Bucket", "ApplicationSet", "x"])
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "apiVersion": st.just("argoproj.io/v1alpha1") | JSON,
        "kind": KINDS | JSON,
        "metadata": JSON,
        "spec": HOSTILE | st.dictionaries(st.sampled_from(KEYS), HOSTILE, max_size=8),
        "status": HOSTILE,
    },
)


@given(OBJECTS, OBJECTS)
def test_whatever_an_object_holds_is_passed_over(value: dict[str, Any], other: dict[str, Any]) -> None:
    links = [kustomization(value)[0], helm_release(value), application(value), custom_resource(value)]
    places = [*(place for link in links for place in link.places), source_place(value), chart_ref(value)[0]]
    assert all(isinstance(text, str) for place in places for text in place)
    assert all(isinstance(text, str) for link in links for text in (*link[:4], *link.inputs, link.note))
    assert all(isinstance(text, str) for text in release_of_flux(value))
    assert isinstance(in_inventory(value, other), bool)
    assert in_resources(value, other) in (True, False, None)


# Where a password holds both "@" and "/" unescaped nobody can tell where it ends.
PASSWORDS = (
    st.sampled_from("@/")
    .flatmap(lambda without: st.text(st.sampled_from("aZ0-._~!$&'()*+,;=:@/%#? ".replace(without, "")), min_size=1))
    .map(lambda text: f"secret{text}secret")
)


@given(st.sampled_from(["https", "http", "oci", "ssh", "git"]), PASSWORDS)
def test_no_password_is_shown(scheme: str, password: str) -> None:
    assert "secret" not in without_secrets(f"{scheme}://user:{password}@git.example.com/a")

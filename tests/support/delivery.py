"""Flux and Argo CD, as far as they are objects: their own definitions, and objects as they write them.

Argo CD is taken in the newest version whose module the Go of the tests takes. The module of Flux' helm-controller that
can be had has no definition in it, only types: what is here for HelmRelease takes any spec.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.control_plane import ApiError, ControlPlane
from tests.support.tools import downloaded

__all__ = ["install", "make", "path"]

FLUX = "github.com/fluxcd"
VERSION = "v1.9.6"
ARGO = "github.com/argoproj/argo-cd/v3@v3.5.5"

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_PLURALS = {
    "Kustomization": ("kustomize.toolkit.fluxcd.io", "v1", "kustomizations"),
    "GitRepository": ("source.toolkit.fluxcd.io", "v1", "gitrepositories"),
    "OCIRepository": ("source.toolkit.fluxcd.io", "v1", "ocirepositories"),
    "Bucket": ("source.toolkit.fluxcd.io", "v1", "buckets"),
    "HelmRepository": ("source.toolkit.fluxcd.io", "v1", "helmrepositories"),
    "HelmChart": ("source.toolkit.fluxcd.io", "v1", "helmcharts"),
    "HelmRelease": ("helm.toolkit.fluxcd.io", "v2", "helmreleases"),
    "Application": ("argoproj.io", "v1alpha1", "applications"),
    "ApplicationSet": ("argoproj.io", "v1alpha1", "applicationsets"),
}


def _definitions() -> Iterator[dict[str, Any]]:
    files = [
        *sorted((downloaded(f"{FLUX}/kustomize-controller@{VERSION}") / "config/crd/bases").glob("*.yaml")),
        *sorted((downloaded(f"{FLUX}/source-controller@{VERSION}") / "config/crd/bases").glob("*.yaml")),
        *(downloaded(ARGO) / "manifests/crds" / name for name in ("application-crd.yaml", "applicationset-crd.yaml")),
    ]
    for file in files:
        with file.open() as stream:
            yield yaml.load(stream, yaml.CSafeLoader)
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}}
    version = {"name": "v2", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    names = {"kind": "HelmRelease", "plural": "helmreleases", "singular": "helmrelease", "listKind": "HelmReleaseList"}
    spec = {"group": "helm.toolkit.fluxcd.io", "scope": "Namespaced", "names": names, "versions": [version]}
    yield {"metadata": {"name": "helmreleases.helm.toolkit.fluxcd.io"}, "spec": spec}


def install(plane: ControlPlane) -> None:
    """Have the control plane know the kinds, and serve them; they stay as long as it runs."""
    for definition in _definitions():
        try:
            plane.request("POST", _DEFINITIONS, definition)
        except ApiError as error:
            if error.status != 409:  # Another process of the test run has made it.
                raise
    for kind in _PLURALS:
        deadline = time.monotonic() + 60
        while True:
            try:
                plane.request("GET", path(kind, "default"))
                break
            except ApiError as error:
                # Until its storage is ready the server does not know a kind (404), or asks to wait (429).
                if error.status not in (404, 429) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)


def path(kind: str, namespace: str) -> str:
    """Return the URL path of the objects of a kind in a namespace."""
    group, version, plural = _PLURALS[kind]
    return f"/apis/{group}/{version}/namespaces/{namespace}/{plural}"


def make(plane: ControlPlane, kind: str, namespace: str, name: str, spec: Any, **more: Any) -> dict[str, Any]:
    """Create an object, with labels, annotations or ownerReferences, and a ``status`` as its controller writes it."""
    group, version, _ = _PLURALS[kind]
    status = more.pop("status", None)
    value = {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": name, **more}, "spec": spec}
    made: dict[str, Any] = plane.request("POST", path(kind, namespace), value)
    if status is not None:
        # Applications have no status of their own to write to; the others do.
        below = "" if group == "argoproj.io" else "/status"
        where = f"{path(kind, namespace)}/{name}{below}"
        made = plane.request("PATCH", where, {"status": status}, kind="application/merge-patch+json")
    return made

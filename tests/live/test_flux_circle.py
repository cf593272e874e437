"""The whole circle with Flux' own kustomize-controller: refused, fixed at the source, committed, applied, running.

What source-controller does is played by the tests; everything else is real.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_fix_source import WEB, Place, delivery, kubectl, place, words
from tests.support.control_plane import Namespace
from tests.support.flux import Flux
from tests.support.harden import Harden

__all__ = ["delivery", "kubectl", "place"]

pytestmark = [pytest.mark.nightly, pytest.mark.pod_security(enforce="restricted")]


@pytest.fixture
def flux(delivery: None, namespace: Namespace, tmp_path: Path) -> Iterator[Flux]:
    running = Flux(namespace, tmp_path / "flux")
    yield running
    running.stop()


def files(place: Place) -> tuple[str, dict[str, Any]]:
    return "./apps/shop", {}


def overlay(place: Place) -> tuple[str, dict[str, Any]]:
    place.write("base/web.yaml", WEB)
    place.write("base/kustomization.yaml", "resources: [web.yaml]\n")
    place.write("overlays/prod/kustomization.yaml", "resources: [../../base]   # all\n")
    return "./overlays/prod", {}


def substitutions(place: Place) -> tuple[str, dict[str, Any]]:
    place.write("apps/shop/web.yaml", WEB.replace("web:1", "web:${version}"))
    return "./apps/shop", {"postBuild": {"substitute": {"version": "1"}}}


def commit(place: Place) -> None:
    place.git("add", ".")
    place.git("commit", "-qm", "meet restricted")


def rejected(place: Place, flux: Flux, path: str = "./apps/shop", **spec: Any) -> None:
    """Have Flux apply a path whose Deployment gets no pod."""
    flux.follow(place.url, path, **spec)
    flux.applied(flux.publish(place.root))
    space = place.namespace
    space.eventually(
        lambda: any(
            item["type"] == "ReplicaFailure" for item in space.get("Deployment", "web")["status"].get("conditions", ())
        )
    )
    assert space.pods() == []


@pytest.mark.parametrize("made_of", [files, overlay, substitutions])
def test_refused_fixed_at_the_source_and_running(made_of: Any, place: Place, flux: Flux, harden: Harden) -> None:
    path, spec = made_of(place)
    rejected(place, flux, path, **spec)
    space = place.namespace
    told = harden("rejected")
    assert (told.code, "Deployment" in told.out) == (1, True), told
    refused = harden("fix", "deploy/web", "--apply", "--yes")
    assert refused.code == 1, refused
    assert f"managed by Flux Kustomization {space.name}/apps" in words(refused)
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    assert f"Kustomization {space.name}/apps will apply it" in words(done)
    assert space.pods() == []
    commit(place)
    revision = flux.publish(place.root)
    applied = flux.applied(revision)
    space.eventually(lambda: len(space.ready_pods()) == 1)
    checked = harden("check", "deploy/web", "-o", "json")
    assert checked.code == 0, checked
    (workload,) = checked.json["workloads"]
    assert workload["origin"][1]["places"][0]["applied"] == revision
    again = harden("fix", "deploy/web", "--source", str(place.root))
    assert (again.code, again.out) == (0, ""), again
    # And it stays: the next reconciliation finds nothing to do.
    before, pods = space.get("Deployment", "web"), space.pods()
    later = flux.reconcile()
    now = space.get("Deployment", "web")
    assert later["status"]["lastAppliedRevision"] == revision == applied["status"]["lastAppliedRevision"]
    assert (now["metadata"]["generation"], now["spec"]) == (before["metadata"]["generation"], before["spec"])
    assert [pod["metadata"]["uid"] for pod in space.pods()] == [pod["metadata"]["uid"] for pod in pods]


def test_a_patch_in_the_cluster_is_taken_back_and_one_at_the_source_is_put_back(
    place: Place, flux: Flux, harden: Harden
) -> None:
    """Why the source is the place: what ``fix`` says of Flux, and what Flux does."""
    rejected(place, flux)
    space = place.namespace

    def security() -> Any:
        return space.get("Deployment", "web")["spec"]["template"]["spec"].get("securityContext")

    patched = harden("fix", "deploy/web", "--apply", "--yes", "--even-if-managed")
    assert patched.code == 0, patched
    assert "its next reconciliation reverts the patch" in words(patched)
    assert security()
    flux.reconcile()
    assert not security()
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    commit(place)
    flux.applied(flux.publish(place.root))
    meant = security()
    assert meant["runAsNonRoot"] is True
    space.patch("Deployment", "web", {"spec": {"template": {"spec": {"securityContext": None}}}})
    assert not security()
    flux.reconcile()
    assert security() == meant
    space.eventually(lambda: len(space.ready_pods()) == 1)


@pytest.mark.pod_security
def test_a_migration_goes_on_after_the_commit(place: Place, flux: Flux, harden: Harden) -> None:
    flux.follow(place.url, "./apps/shop")
    flux.applied(flux.publish(place.root))
    space = place.namespace
    space.eventually(lambda: len(space.ready_pods()) == 1)
    migrate = ("migrate", space.name, "--level", "restricted", "--apply", "--yes")

    def enforced() -> Any:
        labels = space.plane.request("GET", f"/api/v1/namespaces/{space.name}")["metadata"]["labels"]
        return labels.get("pod-security.kubernetes.io/enforce")

    held = harden(*migrate)
    assert (held.code, enforced()) == (1, None), held
    done = harden("fix", "deploy/web", "--source", str(place.root), "--write")
    assert done.code == 0, done
    commit(place)
    flux.applied(flux.publish(place.root))
    space.settled("web")
    done = harden(*migrate)
    assert (done.code, enforced()) == (0, "restricted"), done
    flux.reconcile()
    assert (enforced(), len(space.ready_pods())) == ("restricted", 1)

"""``migrate --source``: what holds namespaces back at their managers, changed in checkouts, applied, and enforced.

By the command line alone this tests ``migration/at_source.py`` and ``reports/migrate_source.py``, too. Flux and Argo CD
do not run here: their objects are real, and what they would do is done by ``kubectl apply``.
"""

from __future__ import annotations

import subprocess

import yaml

from tests.live.test_fix_source import Place, delivery, files, kubectl, place, words
from tests.live.test_origin import kustomize_labels
from tests.support.control_plane import executable
from tests.support.harden import Harden

__all__ = ["delivery", "kubectl", "place"]

PREFIX = "pod-security.kubernetes.io/"
NAMESPACE = """\
# Who runs here?
apiVersion: v1
kind: Namespace
metadata:
  name: {}   # the shop
"""


def reconcile(place: Place, path: str = "apps/shop") -> None:
    """Apply a path of the checkout as Flux would, with its labels."""
    directory = place.root / path
    flag = "-k" if (directory / "kustomization.yaml").exists() else "-f"
    command = [str(executable("kubectl")), "--kubeconfig", str(place.plane.kubeconfig)]
    kubectl = subprocess.run([*command, "create", "--dry-run=client", "-o", "yaml", flag, str(directory)],
                             capture_output=True, text=True, check=True)  # fmt: skip
    values = []
    for value in yaml.safe_load_all(kubectl.stdout):
        values += value["items"] if value["kind"] == "List" else [value]
    for value in values:
        metadata = value["metadata"]
        metadata["labels"] = {**(metadata.get("labels") or {}), **kustomize_labels(place.namespace.name, "apps")}
        if value["kind"] != "Namespace":
            metadata["namespace"] = place.namespace.name
        subprocess.run([*command, "apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller",
                        "-f", "-"], input=yaml.safe_dump(value), text=True, check=True, capture_output=True)  # fmt: skip


def enforced(place: Place) -> str | None:
    labels = place.plane.request("GET", f"/api/v1/namespaces/{place.namespace.name}")["metadata"]["labels"]
    found: str | None = labels.get(f"{PREFIX}enforce")
    return found


def settle(place: Place, *names: str) -> None:
    """Wait until the pods of Deployments are those of their templates."""
    for name in names:
        place.namespace.eventually(lambda name=name: rolled_out(place.namespace.get("Deployment", name)))
    place.namespace.eventually(lambda: len(place.namespace.pods()) == len(place.namespace.ready_pods()))


def rolled_out(value: dict[str, object]) -> bool:
    status = value.get("status")
    assert isinstance(status, dict)
    generation = value["metadata"]["generation"]  # type: ignore[index]
    counts = [status.get(key) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration") == generation and counts == [1, 1, 1]


def test_from_the_finding_to_enforce(place: Place, harden: Harden) -> None:
    place.flux()
    reconcile(place)
    settle(place, "web")
    before, name = files(place.root), place.namespace.name
    shown = harden("migrate", name, "--source", str(place.root))
    print(shown.out, shown.err)
    assert shown.code == 1, shown
    assert files(place.root) == before
    assert "+++ b/apps/shop/web.yaml" in shown.out
    assert "--write edits them" in words(shown)
    assert "after that the same command takes it to restricted" in words(shown)
    done = harden("migrate", name, "--source", str(place.root), "--write")
    print(done.out, done.err)
    assert done.code == 1, done
    assert f"Commit and push in {place.root} ({place.url}, branch main): apps/shop/web.yaml." in words(done)
    assert f"Kustomization {name}/apps will carry it out" in words(done)
    assert "runAsNonRoot: true" in (place.root / "apps/shop/web.yaml").read_text()
    assert place.git("log", "--oneline").count("\n") == 1
    again = harden("migrate", name, "--source", str(place.root), "--write", "--apply", "--yes")
    print(again.out, again.err)
    assert again.code == 1, again
    assert "1 written, wait for reconcile" in words(again)
    assert enforced(place) is None
    reconcile(place)
    settle(place, "web")
    last = harden("migrate", name, "--source", str(place.root), "--apply", "--yes")
    print(last.out, last.err)
    assert last.code == 0, last
    assert enforced(place) == "restricted"

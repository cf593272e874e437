"""``migrate --source``: what holds namespaces back at their managers, changed in checkouts, applied, and enforced.

By the command line alone this tests ``migration/at_source.py`` and ``reports/migrate_source.py``, too. Flux and Argo CD
do not run here: their objects are real, and what they would do is done by ``kubectl apply``.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.live.test_fix_source import WEB, Place, delivery, files, kubectl, place, words
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
    assert shown.code == 1, shown
    assert files(place.root) == before
    assert "+++ b/apps/shop/web.yaml" in shown.out
    assert "--write edits them" in words(shown)
    assert "after that the same command takes it to restricted" in words(shown)
    done = harden("migrate", name, "--source", str(place.root), "--write")
    assert done.code == 1, done
    assert f"Commit and push in {place.root} ({place.url}, branch main): apps/shop/web.yaml." in words(done)
    assert f"Kustomization {name}/apps will apply it" in words(done)
    assert "runAsNonRoot: true" in (place.root / "apps/shop/web.yaml").read_text()
    assert place.git("log", "--oneline").count("\n") == 1
    again = harden("migrate", name, "--source", str(place.root), "--write", "--apply", "--yes")
    assert again.code == 1, again
    assert "1 written, wait for reconcile" in words(again)
    assert enforced(place) is None
    reconcile(place)
    settle(place, "web")
    last = harden("migrate", name, "--source", str(place.root), "--apply", "--yes")
    assert last.code == 0, last
    assert enforced(place) == "restricted"


def labels_of(place: Place) -> dict[str, str]:
    found: dict[str, str] = place.plane.request("GET", f"/api/v1/namespaces/{place.namespace.name}")["metadata"][
        "labels"
    ]
    return {key.removeprefix(PREFIX): value for key, value in found.items() if key.startswith(PREFIX)}


@pytest.mark.parametrize("kustomized", [False, True])
def test_labels_go_into_the_file_and_enforce_last(kustomized: bool, place: Place, harden: Harden) -> None:
    """Nothing but the files changes: a label in the cluster would be taken back."""
    place.flux()
    name = place.namespace.name
    own = place.write("apps/shop/namespace.yaml", NAMESPACE.format(name))
    if kustomized:
        place.write("apps/shop/kustomization.yaml", "resources: [web.yaml, namespace.yaml]\n")
    reconcile(place)
    settle(place, "web")
    command = ("migrate", name, "--source", str(place.root), "--write", "--apply", "--yes")
    (survey,) = harden(*command[:4], "-o", "json").json["namespaces"]
    assert survey["labelsFile"] == str(place.root / "apps/shop" / ("" if kustomized else "namespace.yaml")).rstrip("/")
    first = harden(*command)
    assert first.code == 1, first
    changed = place.git("diff", "HEAD") + place.git("ls-files", "--others")
    assert f"{PREFIX}warn: restricted" in "".join(data.decode() for data in files(place.root).values())
    assert "runAsNonRoot" in "".join(data.decode() for data in files(place.root).values())
    assert f"{PREFIX}enforce" not in changed
    assert "is set in" in words(first) and "by a later run: what holds it back comes first" in words(first)
    assert labels_of(place) == {}
    if not kustomized:
        lines = own.read_text().splitlines()
        assert lines[:5] == NAMESPACE.format(name).splitlines()
    again = harden(*command)
    assert (again.code, labels_of(place)) == (1, {}), again
    assert "wait for reconcile" in words(again)
    reconcile(place)
    settle(place, "web")
    assert labels_of(place) == {"warn": "restricted", "audit": "restricted"}
    second = harden(*command)
    assert second.code == 1, second
    assert f"{PREFIX}enforce: restricted" in "".join(data.decode() for data in files(place.root).values())
    assert labels_of(place) == {"warn": "restricted", "audit": "restricted"}
    assert harden.journal() == []
    waits = harden(*command)
    assert waits.code == 1, waits
    assert "its labels are in" in words(waits) and "wait for reconcile" in words(waits)
    reconcile(place)
    assert enforced(place) == "restricted"
    last = harden(*command)
    assert last.code == 0, last
    assert harden.journal() == []


def test_what_is_well_by_hand_only_keeps_enforce_out_of_the_file(place: Place, harden: Harden) -> None:
    """The next reconciliation sets the workload back: its pods would be refused."""
    place.flux()
    name = place.namespace.name
    own = place.write("apps/shop/namespace.yaml", NAMESPACE.format(name))
    reconcile(place)
    settle(place, "web")
    assert harden("fix", "deploy/web", "--apply", "--yes", "--even-if-managed").code == 0
    settle(place, "web")
    done = harden("migrate", name, "--source", str(place.root), "--write")
    assert done.code == 1, done
    assert f"Deployment {name}/web would be set below the level by the next reconciliation" in words(done)
    assert f"{PREFIX}enforce" not in own.read_text()
    assert f"{PREFIX}warn: restricted" in own.read_text()
    assert "runAsNonRoot" in (place.root / "apps/shop/web.yaml").read_text()
    reconcile(place)
    settle(place, "web")
    done = harden("migrate", name, "--source", str(place.root), "--write")
    assert f"{PREFIX}enforce: restricted" in own.read_text(), done


def test_each_part_does_its_own(place: Place, harden: Harden) -> None:
    """A workload that nobody manages, in a namespace that comes from a file, is patched before enforce is set there."""
    place.flux()
    name = place.namespace.name
    own = place.write("apps/shop/namespace.yaml", NAMESPACE.format(name))
    (place.root / "apps/shop/web.yaml").unlink()
    reconcile(place)
    value = yaml.safe_load(WEB)
    value["metadata"]["namespace"] = name
    place.namespace.create(value)
    settle(place, "web")
    shown = harden("migrate", name, "--source", str(place.root))
    assert f"{PREFIX}warn" not in own.read_text()
    assert "its workloads are patched first" in words(shown), shown
    done = harden("migrate", name, "--source", str(place.root), "--write", "--apply", "--yes")
    assert done.code == 1, done
    assert labels_of(place) == {}
    template = place.namespace.get("Deployment", "web")["spec"]["template"]["spec"]
    assert template["securityContext"]["runAsNonRoot"] is True
    assert f"{PREFIX}enforce" not in own.read_text()
    settle(place, "web")
    assert harden("migrate", name, "--source", str(place.root), "--write").code == 1
    assert f"{PREFIX}enforce: restricted" in own.read_text()


def test_a_change_set_for_each_repository(place: Place, harden: Harden, tmp_path: Path) -> None:
    """Two workloads of one file are one diff, whoever applies them; what another program makes is named."""
    place.flux()
    file = place.write("apps/shop/web.yaml", WEB + "---\n" + WEB.replace("web", "api"))
    reconcile(place)
    other = Place(tmp_path / "other", place.plane, place.namespace)
    other.git("mv", "apps/shop/web.yaml", "apps/shop/front.yaml")
    front = other.write("apps/shop/front.yaml", WEB.replace("web", "front"))
    other.argo()
    other.apply(WEB.replace("web", "front"), "argo")
    place.apply(WEB.replace("web", "lost"))
    settle(place, "web", "api", "front", "lost")
    sources = ("--source", str(place.root), "--source", str(other.root))
    plan, page = tmp_path / "plan.json", tmp_path / "report.html"
    shown = harden(
        "migrate", place.namespace.name, *sources, "-o", "json", "--plan-out", str(plan), "--report", str(page)
    )
    assert shown.code == 1, shown
    found = shown.json["atSource"]
    assert found["written"] is False
    assert {tuple(one["urls"]): [file["path"] for file in one["files"]] for one in found["repositories"]} == {
        (place.url,): ["apps/shop/web.yaml"],
        (other.url,): ["apps/shop/front.yaml"],
    }
    name = place.namespace.name
    listed = [item["name"] for one in found["repositories"] for item in one["workloads"]]
    assert sorted(listed) == [f"Deployment {name}/{word}" for word in ("api", "front", "web")]
    (rest,) = found["rest"]
    assert rest["object"] == f"Deployment {name}/lost"
    assert "it is not in the files below apps/shop" in rest["reason"]
    (ahead,) = found["namespaces"]
    assert ahead["heldBackBy"] == [f"Deployment {name}/lost: managed by others"]
    assert "+        runAsNonRoot: true" in page.read_text().replace("\\n", "\n")
    text = file.read_text()
    done = harden("migrate", "--plan", str(plan), "--write")
    assert done.code == 1, done
    assert [part.count("runAsNonRoot: true") for part in file.read_text().split("---\n")] == [1, 1]
    assert "runAsNonRoot: true" in front.read_text()
    assert words(done).count("Commit and push in") == 2
    file.write_text(text + "# mine\n")
    other.git("checkout", ".")
    again = harden("migrate", "--plan", str(plan), "--write")
    assert again.code == 1, again
    assert "differs from the plan: left alone" in words(again)
    assert file.read_text() == text + "# mine\n"
    assert "runAsNonRoot: true" in front.read_text()

"""One ``migrate`` takes what nobody can edit to an enforced level: a StatefulSet that a controller keeps rewriting, a
release of a chart without values, a CronJob of a third party, and an image that needs root."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.test_at_admission import operated
from tests.live.test_at_admission_apply import policies, words
from tests.support.control_plane import ApiError, ControlPlane, Namespace
from tests.support.harden import Harden, workload
from tests.support.nodes import kubelet, nodes, placed
from tests.support.writers import Writers

ROOT = "example.com/user-none/app:1"
CHART = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: app, image: example.com/app:1}]
"""


class Reconciler:
    """A controller that writes the whole spec of its StatefulSet again and again; ``rounds`` counts."""

    def __init__(self, namespace: Namespace, wanted: dict[str, Any]) -> None:
        self.rounds = 0
        self._namespace = namespace
        self._wanted = wanted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        path = self._namespace.path("StatefulSet", self._wanted["metadata"]["name"])
        while not self._stop.wait(0.3):
            try:
                now = self._namespace.plane.request("GET", path)
                now["spec"]["template"] = self._wanted["spec"]["template"]
                self._namespace.plane.request("PUT", f"{path}?fieldManager=db-operator", now)
            except ApiError:
                continue
            self.rounds += 1

    def next_round(self) -> None:
        """Wait until it has read and written once more, from begin to end."""
        before = self.rounds
        self._namespace.eventually(lambda: self.rounds >= before + 2)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def reconciled(namespace: Namespace, wanted: dict[str, Any]) -> Iterator[Reconciler]:
    controller = Reconciler(namespace, wanted)
    try:
        yield controller
    finally:
        controller.stop()


@pytest.fixture
def writers(namespace: Namespace, tmp_path: Path) -> Writers:
    """Helm, with a chart that has no value for anything."""
    made = Writers(namespace, tmp_path)
    (made.chart / "values.yaml").write_text("{}\n")
    (made.chart / "templates" / "web.yaml").write_text(CHART)
    return made


def third_party() -> dict[str, Any]:
    """Return a CronJob that Flux applies from a repository that is another's."""
    value = workload("CronJob", "night")
    value["metadata"]["labels"] |= {
        "kustomize.toolkit.fluxcd.io/name": "vendor",
        "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
    }
    return value


def started(namespace: Namespace, number: int) -> None:
    """Have the CronJob start a Job, as its controller names and makes it."""
    cron = namespace.get("CronJob", "night")
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": "night",
        "uid": cron["metadata"]["uid"],
        "controller": True,
    }
    head = {"apiVersion": "batch/v1", "kind": "Job"}
    metadata = {"name": f"night-{number}", "ownerReferences": [owner]}
    namespace.create({**head, "metadata": metadata, "spec": cron["spec"]["jobTemplate"]["spec"]})


def pods_of(namespace: Namespace, app: str) -> list[dict[str, Any]]:
    return [pod for pod in namespace.pods() if pod["metadata"]["labels"].get("app") == app]


def specs(namespace: Namespace) -> dict[str, Any]:
    kinds = {"db": "StatefulSet", "web": "Deployment", "night": "CronJob", "root": "Deployment"}
    return {name: namespace.get(kind, name)["spec"] for name, kind in kinds.items()}


def labels(namespace: Namespace) -> dict[str, str]:
    value = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")
    return dict(value["metadata"]["labels"])


def test_what_nobody_can_edit_reaches_an_enforced_level(
    namespace: Namespace, harden: Harden, writers: Writers, control_plane: ControlPlane
) -> None:
    mapping = kubelet("v1.37.0", "6.12.9", user_namespaces=True)
    db = operated(workload("StatefulSet", "db", replicas=2))
    with (
        nodes(control_plane, "scenario", mapped_scenario=mapping),
        reconciled(namespace, db) as controller,
    ):
        namespace.create(db, third_party(), workload("Deployment", "root", ROOT, **placed("scenario")))
        installed = writers.upgrade(4)
        assert installed.returncode == 0, installed.stderr
        namespace.eventually(lambda: len(namespace.ready_pods()) == 4)
        controller.next_round()
        before, were = specs(namespace), labels(namespace)

        # Alone, fixes are not enough, and the survey says what is.
        held = harden("migrate", namespace.name, "--level", "restricted", "--user-namespace", "-o", "json")
        (found,) = held.json["namespaces"]
        offers = {
            item["object"].rpartition("/")[2] for item in found["blockers"] if "--at-admission" in str(item["choices"])
        }
        assert (found["state"], offers) == ("blocked", {"db", "web", "night"})

        done = harden(
            "migrate", namespace.name, "--level", "restricted", "--at-admission", "--user-namespace",
            "--apply", "--yes", "--timeout", "90s", "-o", "json",
        )  # fmt: skip
        assert done.code == 0, done.err
        (found,) = done.json["namespaces"]
        assert found["outcome"]["state"] == "enforced", json.dumps(found["outcome"])
        assert labels(namespace)["pod-security.kubernetes.io/enforce"] == "restricted"
        assert len(policies(namespace)) == 6
        now = specs(namespace)
        assert [name for name in now if now[name] != before[name]] == ["root"]
        assert now["root"]["template"]["spec"]["hostUsers"] is False

        # All of it runs, and survives what its writers do next.
        controller.next_round()
        assert writers.upgrade(4, "--set", "again=1").returncode == 0
        started(namespace, 29384756)
        (job,) = namespace.eventually(lambda: pods_of(namespace, "night"))
        assert job["spec"]["securityContext"]["runAsNonRoot"] is True
        old = [pod for pod in namespace.ready_pods() if pod["metadata"]["labels"]["app"] != "night"]
        for pod in old:
            namespace.delete("Pod", pod["metadata"]["name"])
        uids = {pod["metadata"]["uid"] for pod in old}

        def back() -> bool:
            ready = [pod for pod in namespace.ready_pods() if pod["metadata"]["labels"]["app"] != "night"]
            return len(ready) == 4 and uids.isdisjoint(pod["metadata"]["uid"] for pod in ready)

        namespace.eventually(back)
        assert harden("migrate", namespace.name, "--level", "restricted", "--at-admission").code == 0
        checked = harden("check", "sts/db", "-n", namespace.name)
        assert "its new pods do" in words(checked.out) or "its pods do" in words(checked.out), checked

        undone = harden("undo", "--last", "--yes", "--timeout", "90s")
        assert undone.code == 0, undone
        assert policies(namespace) == [] and specs(namespace) == before
        assert labels(namespace) == were
        assert harden("undo", "--last", "--yes").code == 2

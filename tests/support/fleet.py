"""Several namespaces of one test, which a label selects."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any

from tests.support.control_plane import ApiError, ControlPlane, Namespace, is_ready
from tests.support.harden import SAFE, SAFE_CONTAINER, workload

PREFIX = "pod-security.kubernetes.io/"


def safe(value: dict[str, Any]) -> dict[str, Any]:
    """Return a workload with all that ``restricted`` wants."""
    out: dict[str, Any] = json.loads(json.dumps(value))
    spec = out["spec"] if out["kind"] == "Pod" else out["spec"]["template"]["spec"]
    spec.update(SAFE)
    for container in spec["containers"]:
        container["securityContext"] = SAFE_CONTAINER
    return out


def socket_agent(name: str = "agent") -> dict[str, Any]:
    """Return a DaemonSet that mounts the container runtime's socket: no automatic fix exists."""
    value = workload(
        "DaemonSet", name, volumes=[{"name": "socket", "hostPath": {"path": "/run/containerd/containerd.sock"}}]
    )
    container = value["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"] = [{"name": "socket", "mountPath": "/run/containerd/containerd.sock"}]
    return value


def helm(value: dict[str, Any]) -> dict[str, Any]:
    """Return a workload as Helm marks it."""
    marks = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "shop"}
    metadata = {**value["metadata"], "annotations": marks}
    metadata["labels"] = {**metadata.get("labels", {}), "app.kubernetes.io/managed-by": "Helm"}
    return {**value, "metadata": metadata}


class Fleet:
    """Makes namespaces that ``-l SELECTOR`` selects, and removes them; ``named`` marks their names as its own."""

    def __init__(self, plane: ControlPlane, *, named: bool = True) -> None:
        self.plane = plane
        self.id = f"f{uuid.uuid4().hex[:8]}"
        self._prefix = f"{self.id}-" if named else ""
        self.selector = f"fleet={self.id}"
        self.namespaces: dict[str, Namespace] = {}

    def add(
        self, word: str, *objects: dict[str, Any], labels: dict[str, str] | None = None, **pod_security: str
    ) -> Namespace:
        """Make a namespace named after a word, with objects and Pod Security labels."""
        marks = {key.replace("_", "-"): value for key, value in pod_security.items()}
        made = Namespace(self.plane, f"{self._prefix}{word}", marks)
        self._label(made, {"fleet": self.id, **(labels or {})})
        self.namespaces[word] = made
        made.create(*objects)
        return made

    def _label(self, namespace: Namespace, labels: dict[str, str]) -> None:
        patch = {"metadata": {"labels": labels}}
        path = f"/api/v1/namespaces/{namespace.name}?fieldManager=kubectl-label"
        self.plane.request("PATCH", path, patch, kind="application/merge-patch+json")

    def running(self) -> None:
        """Wait until every workload's pods are there and as ready as they will be."""
        for namespace in self.namespaces.values():
            namespace.eventually(lambda namespace=namespace: _settled(namespace))

    def object(self, word: str) -> dict[str, Any]:
        """Return a namespace as an object."""
        found: dict[str, Any] = self.plane.request("GET", f"/api/v1/namespaces/{self.namespaces[word].name}")
        return found

    def levels(self, word: str) -> dict[str, str]:
        """Return the Pod Security labels of a namespace, without their prefix."""
        labels = self.object(word)["metadata"]["labels"]
        return {key.removeprefix(PREFIX): value for key, value in labels.items() if key.startswith(PREFIX)}

    def state(self) -> dict[str, Any]:
        """Return what migrations change: labels and pod templates, by namespace and object."""
        found: dict[str, Any] = {}
        for word, namespace in self.namespaces.items():
            found[word] = self.object(word)["metadata"]["labels"]
            for kind in ("Deployment", "StatefulSet", "DaemonSet", "CronJob"):
                for item in namespace.get(kind)["items"]:
                    found[f"{word}/{kind}/{item['metadata']['name']}"] = item["spec"]
        return found

    def close(self) -> None:
        """Remove the namespaces."""
        for namespace in self.namespaces.values():
            with contextlib.suppress(ApiError):
                self.plane.request("DELETE", f"/api/v1/namespaces/{namespace.name}")


def _settled(namespace: Namespace) -> bool:
    wanted = sum(
        item["spec"].get("replicas", 1)
        for kind in ("Deployment", "StatefulSet")
        for item in namespace.get(kind)["items"]
    )
    wanted += len(namespace.get("DaemonSet")["items"])
    pods = [pod for pod in namespace.pods() if pod["metadata"].get("ownerReferences")]
    return len(pods) >= wanted and all(is_ready(pod) for pod in pods)

"""Nodes beside the one of the control plane, on which pods run that ask for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from tests.support.control_plane import ApiError, ControlPlane

_KEY: Final = "tests/nodes"


def placed(pool: str) -> dict[str, Any]:
    """Return the fields of a pod spec that bring a pod to the nodes of a pool."""
    toleration = {"key": _KEY, "operator": "Equal", "value": pool, "effect": "NoSchedule"}
    return {"nodeSelector": {_KEY: pool}, "tolerations": [toleration]}


@contextmanager
def nodes(plane: ControlPlane, pool: str, **statuses: dict[str, Any]) -> Iterator[None]:
    """Have nodes of a pool, by their names, each with its fields of status; "_" stands for "-" in a name."""
    names = [name.replace("_", "-") for name in statuses]
    try:
        for name, status in zip(names, statuses.values(), strict=True):
            taint = {"key": _KEY, "value": pool, "effect": "NoSchedule"}
            metadata = {"name": name, "labels": {_KEY: pool, "kubernetes.io/hostname": name}}
            plane.request("POST", "/api/v1/nodes", {"metadata": metadata, "spec": {"taints": [taint]}})
            # The simulated kubelet fills in what is not there yet.
            _wait(plane, name)
            kind = "application/merge-patch+json"
            plane.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, kind=kind)
        yield
    finally:
        for name in names:
            with suppress(ApiError):
                plane.request("DELETE", f"/api/v1/nodes/{name}")


def _wait(plane: ControlPlane, name: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        node = plane.request("GET", f"/api/v1/nodes/{name}")
        taints = [taint["key"] for taint in node["spec"].get("taints", ())]
        conditions = {item["type"]: item["status"] for item in node.get("status", {}).get("conditions", ())}
        if conditions.get("Ready") == "True" and taints == [_KEY]:
            return
        time.sleep(0.1)
    raise AssertionError(f"node {name} is not ready")


def kubelet(version: str, kernel: str, *, user_namespaces: bool | None) -> dict[str, Any]:
    """Return what a kubelet reports of its version, its kernel and its runtime."""
    features = {} if user_namespaces is None else {"features": {"userNamespaces": user_namespaces}}
    handlers = [{"name": name, **features} for name in ("", "runc")]
    return {"nodeInfo": {"kubeletVersion": version, "kernelVersion": kernel}, "runtimeHandlers": handlers}

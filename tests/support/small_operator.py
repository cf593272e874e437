"""A small operator: it makes a StatefulSet of each of its custom resources, and takes back what others change there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.support.control_plane import ApiError, ControlPlane, Namespace

__all__ = ["GROUP", "SmallOperator", "define"]

GROUP = "small.example.com"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def define(plane: ControlPlane, kind: str, schema: dict[str, Any]) -> None:
    """Have the control plane know a kind whose ``spec`` has a schema, and serve it; it stays as long as it runs."""
    plural = f"{kind.lower()}s"
    whole = {"type": "object", "properties": {"spec": schema}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": whole}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    spec = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]}
    with suppress(ApiError):  # Another process of the test run has made it.
        plane.request("POST", _DEFINITIONS, {"metadata": {"name": f"{plural}.{GROUP}"}, "spec": spec})
    deadline = time.monotonic() + 60
    while True:
        # The schema is published a moment after the kind is served.
        with suppress(ApiError):
            plane.request("GET", f"/apis/{GROUP}/v1/namespaces/default/{plural}")
            found = plane.request("GET", f"/openapi/v3/apis/{GROUP}/v1")["components"]["schemas"]
            if any(name.endswith(f".{kind}") for name in found):
                return
        assert time.monotonic() < deadline, kind
        time.sleep(0.1)


class SmallOperator:
    """Makes StatefulSets of the resources of one kind in a namespace, again and again.

    ``pod_spec`` returns the spec of the pods for a resource's spec; ``suffix`` is put to the StatefulSet's name.
    """

    def __init__(
        self, namespace: Namespace, kind: str, pod_spec: Callable[[dict[str, Any]], dict[str, Any]], suffix: str = ""
    ) -> None:
        self.namespace = namespace
        self.kind = kind
        self.rounds = 0
        self._pod_spec = pod_spec
        self._suffix = suffix
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def path(self, name: str = "") -> str:
        return f"/apis/{GROUP}/v1/namespaces/{self.namespace.name}/{self.kind.lower()}s" + (f"/{name}" if name else "")

    def create(self, name: str, spec: dict[str, Any], **metadata: Any) -> Any:
        value = {"apiVersion": f"{GROUP}/v1", "kind": self.kind, "metadata": {"name": name, **metadata}, "spec": spec}
        made = self.namespace.plane.request("POST", f"{self.path()}?fieldManager=kubectl-create", value)
        self.namespace.eventually(lambda: self.exists(name))
        return made

    def exists(self, name: str) -> bool:
        with suppress(ApiError):
            self.namespace.get("StatefulSet", f"{name}{self._suffix}")
            return True
        return False

    def spec(self, name: str) -> Any:
        return self.namespace.plane.request("GET", self.path(name))["spec"]

    def settled(self) -> None:
        """Wait until what is there now has been reconciled."""
        before = self.rounds
        self.namespace.eventually(lambda: self.rounds >= before + 2)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            with suppress(ApiError):  # Somebody was faster; the next round sees it.
                for value in self.namespace.plane.request("GET", self.path())["items"]:
                    self._reconcile(value)
            self.rounds += 1

    def _reconcile(self, value: dict[str, Any]) -> None:
        name = f"{value['metadata']['name']}{self._suffix}"
        uid = value["metadata"]["uid"]
        owner = {"apiVersion": f"{GROUP}/v1", "kind": self.kind, "name": value["metadata"]["name"], "uid": uid}
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": self._pod_spec(value["spec"])}
        plane, where = self.namespace.plane, self.namespace.path("StatefulSet")
        query = "?fieldManager=small-operator"
        try:
            made = plane.request("GET", f"{where}/{name}")
        except ApiError as error:
            if error.status != 404:
                raise
            spec = {"serviceName": name, "replicas": 1, "selector": {"matchLabels": labels}, "template": template}
            metadata = {"name": name, "ownerReferences": [{**owner, "controller": True}]}
            body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}
            plane.request("POST", where + query, body)
            return
        made["spec"]["template"] = template
        plane.request("PUT", f"{where}/{name}{query}", made)

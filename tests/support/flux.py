"""Flux' kustomize-controller as it is, and what source-controller would do for it.

source-controller cannot be had as a Go module: its part, a tar.gz of a commit behind HTTP and the ``status.artifact``
that names it, is played here.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.control_plane import Namespace, die_with_parent
from tests.support.delivery import make, path
from tests.support.programs import KUSTOMIZE_CONTROLLER
from tests.support.tools import build

__all__ = ["Flux"]

_MERGE = "application/merge-patch+json"
_REQUESTED = "reconcile.fluxcd.io/requestedAt"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        return


class Flux:
    """A kustomize-controller for the objects of one namespace, and the server of the artifacts that it takes."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self._artifacts = directory / "artifacts"
        self._artifacts.mkdir(parents=True)
        self._log = directory / "kustomize-controller.log"
        handler = partial(_Quiet, directory=str(self._artifacts))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        own = directory / "tmp"
        own.mkdir()
        places = {
            "KUBECONFIG": str(namespace.plane.kubeconfig),
            "RUNTIME_NAMESPACE": namespace.name,
            "TMPDIR": str(own),
        }
        # Kustomizations of other tests stay as they are: nobody applies them.
        flags = ("--watch-all-namespaces=false", "--metrics-addr=0", "--health-addr=0", "--log-level=debug")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [build(KUSTOMIZE_CONTROLLER), *flags],
                stdout=log,
                stderr=log,
                env={**os.environ, **places},
                preexec_fn=die_with_parent,
            )

    def stop(self) -> None:
        """End the controller, which would else put back what is deleted, then the server."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._server.shutdown()
        self._server.server_close()

    def follow(self, url: str, path: str, **spec: Any) -> None:
        """Create a GitRepository ``fleet`` and a Kustomization ``apps`` that applies a path of it here."""
        where = self.namespace
        make(where.plane, "GitRepository", where.name, "fleet",
             {"interval": "1h", "url": url, "ref": {"branch": "main"}})  # fmt: skip
        source = {"kind": "GitRepository", "name": "fleet"}
        about = {"interval": "1h", "prune": True, "path": path, "sourceRef": source, "targetNamespace": where.name}
        make(where.plane, "Kustomization", where.name, "apps", {**about, **spec})

    def publish(self, checkout: Path) -> str:
        """Have the commit that a checkout is at be the artifact of ``fleet``; returns its revision."""
        git = ["git", "-C", str(checkout)]
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
        data = gzip.compress(subprocess.check_output([*git, "archive", "--format=tar", "HEAD"]))
        name = f"{commit}.tar.gz"
        (self._artifacts / name).write_bytes(data)
        artifact = {
            "path": f"gitrepository/{self.namespace.name}/fleet/{name}",
            "url": f"http://127.0.0.1:{self._server.server_address[1]}/{name}",
            "revision": f"main@sha1:{commit}",
            "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
            "size": len(data),
            "lastUpdateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        ready = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": f"stored {name}"}
        ready["lastTransitionTime"] = artifact["lastUpdateTime"]
        status = {"observedGeneration": 1, "artifact": artifact, "conditions": [ready]}
        self._patch("GitRepository", "fleet/status", {"status": status})
        return str(artifact["revision"])

    def applied(self, revision: str) -> dict[str, Any]:
        """Wait until the controller has applied a revision, and return the Kustomization."""
        return self._once(lambda status: status.get("lastAppliedRevision") == revision)

    def reconcile(self) -> dict[str, Any]:
        """Ask for a reconciliation as ``flux reconcile`` does, and wait until it is handled."""
        asked = str(time.time_ns())
        self._patch("Kustomization", "apps", {"metadata": {"annotations": {_REQUESTED: asked}}})
        return self._once(lambda status: status.get("lastHandledReconcileAt") == asked)

    def _once(self, is_so: Any) -> dict[str, Any]:
        plane = self.namespace.plane
        where = f"{path('Kustomization', self.namespace.name)}/apps"
        deadline = time.monotonic() + 90
        while True:
            value: dict[str, Any] = plane.request("GET", where)
            if is_so(value.get("status") or {}):
                return value
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace")[-3000:]
                raise AssertionError(f"kustomize-controller {'ended' if ended else value.get('status')}: {said}")
            time.sleep(0.2)

    def _patch(self, kind: str, name: str, patch: Any) -> None:
        self.namespace.plane.request("PATCH", f"{path(kind, self.namespace.name)}/{name}", patch, kind=_MERGE)

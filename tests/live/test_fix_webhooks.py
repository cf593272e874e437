"""Admission webhooks that change the fix away, add to it, or refuse it."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from tests.support.control_plane import ApiError, Namespace
from tests.support.fleet import safe
from tests.support.harden import Harden, workload

pytestmark = pytest.mark.pod_security(enforce="restricted")


class Webhook:
    """An admission webhook for the Deployments of one namespace, and its new pods; it says ``answer``, ``of_pods``."""

    def __init__(self, namespace: Namespace) -> None:
        self.answer: dict[str, Any] = {"allowed": True}
        self.of_pods: dict[str, Any] = {"allowed": True}
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                said = webhook.of_pods if review["request"]["resource"]["resource"] == "pods" else webhook.answer
                answer = {**said, "uid": review["request"]["uid"]}
                data = json.dumps({**review, "request": None, "response": answer}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._plane = namespace.plane
        self._path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        self._name = f"tests-{namespace.name}"
        url = f"https://127.0.0.1:{self._server.server_port}/"
        bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
        rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
        pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        hook = {
            "name": "mutate.example.com",
            "clientConfig": {"url": url, "caBundle": bundle},
            "rules": [rule, pods],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
        }
        self._plane.request("POST", self._path, {"metadata": {"name": self._name}, "webhooks": [hook]})
        # The API server reads its configurations a moment later: wait until it asks.
        self.answer = {"allowed": False, "status": {"message": "asked"}}
        namespace.create(workload("Deployment", "probe", replicas=0))

        def asks() -> bool:
            try:
                namespace.patch("Deployment", "probe", {"metadata": {"labels": {"a": "b"}}})
            except ApiError as error:
                return "asked" in str(error)
            return False

        namespace.eventually(asks)
        namespace.delete("Deployment", "probe")
        self.answer = {"allowed": True}

    def patch(self, *operations: dict[str, Any]) -> None:
        """Have it change every Deployment."""
        self.answer = _changing(operations)

    def patch_pods(self, *operations: dict[str, Any]) -> None:
        """Have it change every new pod."""
        self.of_pods = _changing(operations)

    def stop(self) -> None:
        self._plane.request("DELETE", f"{self._path}/{self._name}")
        self._server.shutdown()
        self._server.server_close()


def _changing(operations: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    text = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": text}


@pytest.fixture
def webhook(namespace: Namespace) -> Iterator[Webhook]:
    running = Webhook(namespace)
    yield running
    running.stop()


def test_the_fix_is_changed_away(namespace: Namespace, harden: Harden, webhook: Webhook) -> None:
    namespace.create(workload("Deployment", "web"))
    before = namespace.get("Deployment", "web")["spec"]
    webhook.patch({"op": "replace", "path": "/spec/template/spec/securityContext", "value": {"runAsNonRoot": False}})
    result = harden("fix", "deploy/web", "--apply", "--yes")
    words = " ".join(result.err.split())
    assert result.code == 4
    assert "undoes the fix: its own result still violates restricted:latest: runAsNonRoot != true" in words
    assert "seccompProfile" in words
    assert namespace.get("Deployment", "web")["spec"] == before
    assert not harden.state.exists()


def test_what_the_server_changes_beside_the_patch_is_listed(
    namespace: Namespace, harden: Harden, webhook: Webhook
) -> None:
    namespace.create(workload("Deployment", "web"))
    webhook.patch({"op": "add", "path": "/spec/template/metadata/labels/mesh", "value": "on"})
    result = harden("fix", "deploy/web")
    assert 'also sets spec.template.metadata.labels.mesh to "on"' in " ".join(result.err.split())
    assert '+        mesh: "on"' in result.out or "+        mesh: 'on'" in result.out
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    webhook.answer = {"allowed": True}
    # The namespace refuses the pods that run again after it.
    assert harden("undo", "--last", "--yes", "--even-if-refused").code == 1
    assert namespace.get("Deployment", "web")["spec"]["template"]["spec"]["securityContext"] == {}


def test_the_fix_is_refused(namespace: Namespace, harden: Harden, webhook: Webhook) -> None:
    namespace.create(workload("Deployment", "web"))
    webhook.answer = {"allowed": False, "status": {"message": "not on a Saturday"}}
    result = harden("fix", "deploy/web", "--apply", "--yes")
    words = " ".join(result.err.split())
    assert result.code == 4
    assert 'admission webhook "mutate.example.com" denied the request: not on a Saturday' in words


def test_its_warnings_are_shown(namespace: Namespace, harden: Harden, webhook: Webhook) -> None:
    namespace.create(workload("Deployment", "web"))
    webhook.answer = {"allowed": True, "warnings": ['deprecated "annotation", really']}
    result = harden("fix", "deploy/web")
    assert 'warning deprecated "annotation", really' in " ".join(result.err.split())


SIDECAR = {"op": "add", "path": "/spec/containers/-", "value": {"name": "mesh", "image": "example.com/mesh:1"}}


def test_pods_that_are_made_worse_than_their_template(namespace: Namespace, harden: Harden, webhook: Webhook) -> None:
    """A sidecar that a webhook adds violates the level: that is known before anything is written."""
    namespace.label(enforce="privileged")
    namespace.create(workload("Deployment", "web"))
    namespace.eventually(lambda: namespace.ready_pods())
    before = namespace.get("Deployment", "web")["spec"]
    webhook.patch_pods(SIDECAR)
    shown = harden("fix", "deploy/web", "--level", "restricted")
    assert "will still violate it, since an admission webhook or policy changes them" in " ".join(shown.err.split())
    assert 'container "mesh" must set' in " ".join(shown.err.split())
    result = harden("migrate", namespace.name, "-o", "json", "--apply", "--yes")
    (found,) = result.json["namespaces"]
    assert (result.code, found["outcome"]["state"]) == (1, "blocked"), found
    assert "admission webhook" in found["outcome"]["blockers"][0]["what"]
    labels = namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    assert namespace.get("Deployment", "web")["spec"] == before
    # One workload may be lifted all the same; that its pods are not is said, and counts.
    fixed = harden("fix", "deploy/web", "--level", "restricted", "--apply", "--yes")
    assert fixed.code == 1, fixed
    assert namespace.get("Deployment", "web")["spec"] != before


def test_a_template_that_is_well_and_whose_pods_are_not(namespace: Namespace, harden: Harden, webhook: Webhook) -> None:
    """Also what needs no fix is proved: scaled to nothing, no pod of it shows the sidecar."""
    namespace.label(enforce="privileged")
    namespace.create(safe(workload("Deployment", "web", replicas=0)))
    webhook.patch_pods(SIDECAR)
    result = harden("migrate", namespace.name, "-o", "json", "--apply", "--yes")
    (found,) = result.json["namespaces"]
    assert (found["state"], found["outcome"]["state"]) == ("ready", "blocked"), found
    assert "mesh" in found["outcome"]["blockers"][0]["what"]

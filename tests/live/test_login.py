"""Whatever kubectl can log in with.

By the command line alone this tests ``cli/connect.py``, too.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload


@pytest.fixture(autouse=True)
def web(namespace: Namespace) -> None:
    namespace.create(workload("Deployment", "web"))


def test_a_client_certificate(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    issued = namespace.plane.authority.issue_cert(
        "anna.example.com", common_name="anna", organization_name="system:masters"
    )
    certificate = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    key = issued.private_key_pem.bytes()
    configuration = namespace.plane.configuration("")
    configuration["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    harden.use(configuration)
    assert harden("check", "deploy/web").code == 1
    (tmp_path / "client.crt").write_bytes(certificate)
    (tmp_path / "client.key").write_bytes(key)
    # Paths in a kubeconfig count from its own directory.
    configuration["users"][0]["user"] = {"client-certificate": "client.crt", "client-key": "client.key"}
    harden.use(configuration)
    assert harden("check", "deploy/web").code == 1


def test_a_token_file_and_impersonation_of_the_kubeconfig(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(namespace.plane.token)
    configuration = namespace.plane.configuration("")
    configuration["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
    harden.use(configuration)
    assert harden("check", "deploy/web").code == 1
    configuration["users"][0]["user"]["as"] = "nobody-special"
    harden.use(configuration)
    refused = harden("check", "deploy/web")
    assert (refused.code, "not allowed to get deployments.apps" in refused.err) == (4, True)
    configuration["users"][0]["user"]["as-groups"] = ["system:authenticated", "system:masters"]
    harden.use(configuration)
    assert harden("check", "deploy/web").code == 1


def test_options_alone(namespace: Namespace, harden: Harden) -> None:
    plane = namespace.plane
    harden.use({**plane.configuration("wrong"), "current-context": "tests"})
    access = ("--server", plane.server, "--token", plane.token, "-n", namespace.name)
    assert harden("check", "deploy/web", *access).code == 1
    alone = ("--kubeconfig", os.devnull)
    assert harden("check", "deploy/web", *alone).code == 4
    distrusted = harden("check", "deploy/web", *access, "--certificate-authority", "/etc/hostname")
    assert distrusted.code == 4
    assert harden("check", "deploy/web", *access, "--insecure-skip-tls-verify").code == 1


def test_several_kubeconfigs_as_kubectl_merges_them(
    namespace: Namespace, harden: Harden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = namespace.plane

    def configuration(name: str, token: str, **more: Any) -> str:
        value = plane.configuration(token)
        for kind in ("clusters", "users", "contexts"):
            value[kind][0]["name"] = name
        value["contexts"][0]["context"] = {"cluster": name, "user": name, **more}
        path = tmp_path / name
        path.write_text(json.dumps({**value, "current-context": name}))
        return str(path)

    # Of current-context the first counts, and a file that is not there is passed over.
    first = configuration("first", plane.token, namespace=namespace.name)
    second = configuration("second", "wrong")
    both = os.pathsep.join([first, str(tmp_path / "missing"), second])
    environment = {**harden.environment, "KUBECONFIG": both}
    monkeypatch.setattr(Harden, "environment", property(lambda self: environment))
    assert harden("check", "deploy/web").code == 1
    assert "does not accept these credentials" in harden("check", "deploy/web", "--context", "second").err
    assert harden("check", "deploy/web", "--context", "second", "--user", "first", "-n", namespace.name).code == 1
    assert 'no user "x"' in harden("check", "deploy/web", "--user", "x").err
    (tmp_path / "first").write_text("{no yaml")
    broken = harden("check", "deploy/web")
    assert (broken.code, broken.err.startswith("error: the kubeconfig")) == (4, True)


def test_no_kubeconfig(harden: Harden, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = {**harden.environment, "KUBECONFIG": str(tmp_path / "nothing")}
    monkeypatch.setattr(Harden, "environment", property(lambda self: environment))
    result = harden("check", "deploy/web")
    assert result.code == 4
    assert "no cluster is configured: set KUBECONFIG or --kubeconfig" in result.err
    assert harden("undo").code == 0  # Listing runs needs no cluster.


class Tunnel:
    """An HTTP proxy that knows CONNECT."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        tunnel = self

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                tunnel.targets.append(self.path)
                host, _, port = self.path.rpartition(":")
                with socket.create_connection((host, int(port))) as beyond:
                    self.send_response(200)
                    self.end_headers()
                    pair = [self.connection, beyond]
                    while True:
                        for ready in select.select(pair, [], [], 10)[0]:
                            piece = ready.recv(65536)
                            if not piece:
                                return
                            pair[1 - pair.index(ready)].sendall(piece)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_a_proxy_of_the_kubeconfig(namespace: Namespace, harden: Harden) -> None:
    tunnel = Tunnel()
    configuration = namespace.plane.configuration(namespace.plane.token)
    configuration["clusters"][0]["cluster"]["proxy-url"] = tunnel.url
    harden.use(configuration)
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    assert set(tunnel.targets) == {namespace.plane.server.removeprefix("https://")}
    tunnel.server.shutdown()
    tunnel.server.server_close()
    gone = harden("check", "deploy/web")
    assert (gone.code, "cannot be reached" in gone.err) == (4, True)

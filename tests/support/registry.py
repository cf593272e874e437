"""A real image registry on loopback, images in it, and a front that misbehaves on request."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import io
import json
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from kubectl_harden.evidence.registry import Registry, parse_reference
from kubectl_harden.evidence.registry_login import Keyring
from tests.support.tools import Program, build

KINDS = {
    "oci": "application/vnd.oci.image.manifest.v1+json",
    "docker": "application/vnd.docker.distribution.manifest.v2+json",
}
CRANE = Program("crane", "registry", "github.com/google/go-containerregistry/cmd/crane")


class Images:
    """``crane registry serve`` with images that are made on demand."""

    def __init__(self, directory: Path) -> None:
        self._crane = build(CRANE)
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{probe.getsockname()[1]}"
        self._process = subprocess.Popen(
            [self._crane, "registry", "serve", "--address", self.host],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()
        layer = directory / "layer.tar"
        with tarfile.open(layer, "w") as tar:
            content = b"#!/bin/sh\n"
            entry = tarfile.TarInfo("app")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        self._base = f"{self.host}/base:1"
        self._run("append", "--new_layer", str(layer), "--new_tag", self._base)

    def _wait(self) -> None:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(self.host.split(":")[1]))):
                return
            time.sleep(0.05)
        raise RuntimeError("the registry does not serve")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([self._crane, *arguments, "--insecure"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def make(self, name: str, user: str | None = None, *, ports: tuple[str, ...] = ()) -> str:
        """Put an image into the registry, and return its name with the registry's."""
        image = f"{self.host}/{name}"
        changes = ["--user", user] if user is not None else ["--entrypoint", "/app"]
        for port in ports:
            changes += ["--exposed-ports", port]
        self._run("mutate", self._base, "--tag", image, *changes)
        return image

    def index(self, name: str, images: dict[str, str]) -> str:
        """Put an index of images by platform into the registry."""
        target = f"{self.host}/{name}"
        entries = []
        for platform, image in images.items():
            system, _, architecture = platform.partition("/")
            manifest = self._run("manifest", image)
            repository, _, tag = image.partition("/")[2].partition(":")
            digest = self._run("digest", image)
            self.put(name.partition(":")[0], digest, manifest.encode(), json.loads(manifest)["mediaType"])
            for blob in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
                self._mount(name.partition(":")[0], repository, blob["digest"])
            about = {"os": system, "architecture": architecture}
            entries.append(
                {
                    "mediaType": json.loads(manifest)["mediaType"],
                    "digest": digest,
                    "size": len(manifest),
                    "platform": about,
                }
            )
        kind = "application/vnd.oci.image.index.v1+json"
        content = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
        repository, _, tag = name.partition(":")
        self.put(repository, tag, content, kind)
        return target

    def digest(self, image: str) -> str:
        return self._run("digest", image)

    def put(self, repository: str, reference: str, content: bytes, kind: str) -> None:
        """Store a manifest as it is."""
        status = self._request("PUT", f"/v2/{repository}/manifests/{reference}", content, {"Content-Type": kind})
        assert status == 201, status

    def _mount(self, repository: str, source: str, digest: str) -> None:
        self._request("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}", b"", {})

    def put_blob(self, repository: str, content: bytes) -> str:
        """Store a blob, and return its digest."""
        import hashlib

        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        status = self._request("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content, {})
        assert status in (201, 202), status
        return digest

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
        with contextlib.closing(http.client.HTTPConnection(self.host, timeout=10)) as connection:
            connection.request(method, path, body, headers)
            return connection.getresponse().status

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Asked(NamedTuple):
    """A request that the front got."""

    path: str
    authorization: str


Answer = Callable[[http.server.BaseHTTPRequestHandler], bool]


class Front:
    """Stands before a registry: passes requests on, unless ``answer`` has answered them.

    With ``logins`` it wants tokens (Bearer), which it gives at /token to those logins ("": to anyone).
    """

    def __init__(self, registry: Images, *, tls: bool = False, logins: dict[str, str] | None = None) -> None:
        self.asked: list[Asked] = []
        self.answer: Answer = lambda handler: False
        self.logins = logins
        self.registry = registry
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                front.asked.append(Asked(self.path, self.headers.get("Authorization", "")))
                if front.answer(self) or front._token(self):
                    return
                front._pass_on(self)

            do_HEAD = do_GET

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.authority: Path | None = None
        self._ca = trustme.CA() if tls else None
        if self._ca is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def certificates(self, directory: Path) -> str:
        """Write the authority's certificate, and return the file's name."""
        assert self._ca is not None
        path = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(path))
        return str(path)

    def _token(self, handler: http.server.BaseHTTPRequestHandler) -> bool:
        if self.logins is None:
            return False
        given = handler.headers.get("Authorization", "")
        if handler.path.startswith("/token"):
            user, _, password = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
            if self.logins.get(user) != password and not (user == "" and "" in self.logins):
                reply(handler, 401, b"{}")
            else:
                reply(handler, 200, json.dumps({"token": f"for-{user}"}).encode())
            return True
        if given.removeprefix("Bearer for-") in self.logins and given.startswith("Bearer for-"):
            return False
        challenge = f'Bearer realm="https://{self.host}/token",service="tests",scope="repository:base:pull"'
        reply(handler, 401, b"{}", {"WWW-Authenticate": challenge})
        return True

    def _pass_on(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        with contextlib.closing(http.client.HTTPConnection(self.registry.host, timeout=10)) as connection:
            accept = handler.headers.get("Accept", "*/*")
            connection.request(handler.command, handler.path, headers={"Accept": accept})
            response = connection.getresponse()
            body = response.read()
        kept = ("Content-Type", "Docker-Content-Digest")
        headers = {name: value for name in kept if (value := response.headers.get(name))}
        reply(handler, response.status, body, headers)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def reply(
    handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> bool:
    """Answer a request."""
    with contextlib.suppress(OSError):
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
    return True


@contextlib.contextmanager
def fronted(registry: Images, **options: Any) -> Iterator[Front]:
    """Run a front for a while."""
    front = Front(registry, **options)
    try:
        yield front
    finally:
        front.stop()


def registry(tmp_path: Path, config: dict[str, Any] | None = None, **options: Any) -> Registry:
    """Return a client with a cache of its own, which knows the logins of a configuration."""
    return Registry(Keyring(config or {}), **{"cache": str(tmp_path / "cache"), **options})


def config_of(found: Registry, image: str, *secrets: dict[str, Any], seconds: float = 10) -> dict[str, Any]:
    """Return the configuration of an image."""
    return found.config(parse_reference(image), secrets, seconds)[0]

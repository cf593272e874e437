"""A server in the place of an API server: a test writes its answers."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kubectl_harden.cluster.connection import Connection
from kubectl_harden.cluster.kubeconfig import ClusterOptions

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A server whose answers a test writes, and which notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer: Answer = lambda handler: reply(handler, {"minor": "37"})
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.asked.append((f"{self.command} {self.path}", dict(self.headers.items())))
                with contextlib.suppress(OSError):
                    server.answer(self)

            do_GET = do_POST = do_PATCH = _any

            def log_message(self, *arguments: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *arguments: Any) -> None:
                pass  # The client went away.

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def reply(handler: BaseHTTPRequestHandler, value: Any, status: int = 200, **headers: str) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    handler.send_response(status)
    for name, text in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), text)
    handler.end_headers()
    handler.wfile.write(body)


def kubeconfig(directory: Path, url: str, user: str) -> str:
    path = directory / "kubeconfig"
    path.write_text(
        f"""
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users:
- name: u
  user:
{user}
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
current-context: c
"""
    )
    return str(path)


def connected(directory: Path, server: Server, user: str = "    token: t0ken", **options: Any) -> Connection:
    return Connection(ClusterOptions(kubeconfig=kubeconfig(directory, server.url, user), **options))

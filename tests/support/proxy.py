"""A proxy in front of the API server that makes the faults of real networks and busy servers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

import urllib3

from tests.support.control_plane import ControlPlane


class Request(NamedTuple):
    """A request that came by: ``query`` has the first value of each key."""

    method: str
    path: str
    query: dict[str, str]

    @property
    def dry_run(self) -> bool:
        return self.query.get("dryRun") == "All"

    @property
    def is_write(self) -> bool:
        return self.method != "GET" and not self.dry_run


class Fault(NamedTuple):
    """What happens instead of, or around, forwarding.

    ``status`` answers with it; ``cut`` forwards, and breaks off after so many bytes of the answer (-1:
    before any); ``delay`` waits first; ``before`` runs first; ``answer`` writes what is sent in place of all else.
    ``silent`` opens a watch, and lets nothing of it through: ``open`` leaves it open, ``ended`` ends it at once.
    """

    status: int = 0
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    delay: float = 0
    before: Callable[[], None] | None = None
    answer: Callable[[BaseHTTPRequestHandler, Request], None] | None = None
    silent: Literal["", "open", "ended"] = ""


Rule = Callable[[Request], Fault | None]


class FaultProxy:
    """Forwards to a control plane as a user (by token), except where a rule says otherwise."""

    def __init__(self, plane: ControlPlane) -> None:
        self.requests: list[Request] = []
        self.rules: list[Rule] = []
        self.token = ""
        """Sent on for clients that keep theirs back where there is no TLS, as Go's do."""
        self._busy = 0
        self._lock = threading.Lock()
        self._plane = plane
        self._http = urllib3.PoolManager(ca_certs=str(plane.certificate), maxsize=16)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                proxy._handle(self)

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _any

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *arguments: Any) -> None:
                pass  # The client went away.

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._http.clear()

    def times(self, count: int, when: Callable[[Request], bool], fault: Fault) -> None:
        """Make a fault the first so many times that a request fits."""
        left = [count]

        def rule(request: Request) -> Fault | None:
            if left[0] > 0 and when(request):
                left[0] -= 1
                return fault
            return None

        self.rules.append(rule)

    def count(self, when: Callable[[Request], bool]) -> int:
        """Return how many requests that fit came by."""
        return sum(map(when, self.requests))

    def wait_until_idle(self) -> None:
        """Wait until everything that was sent, but watches, has been forwarded and answered."""
        deadline = time.monotonic() + 60
        while self._busy and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not self._busy

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self._busy += 1
        try:
            self._answer(handler)
        finally:
            with self._lock:
                self._busy -= 1

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        request = Request(handler.command, url.path, query)
        self.requests.append(request)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)) or None
        fault = next((found for rule in self.rules if (found := rule(request)) is not None), Fault())
        if fault.delay:
            time.sleep(fault.delay)
        if fault.before is not None:
            fault.before()
        if fault.answer is not None:
            handler.close_connection = True
            fault.answer(handler, request)
            return
        if fault.silent:
            self._be_silent(handler, fault.silent)
            return
        if fault.status:
            reason = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.status}
            data = json.dumps(
                {**reason, "reason": fault.reason, "message": fault.reason or "a fault of the tests"}
            ).encode()
            handler.send_response(fault.status)
            for name, value in (
                *fault.headers,
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(data))),
            ):
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(data)
            return
        self._forward(handler, request, body, fault.cut)

    def _be_silent(self, handler: BaseHTTPRequestHandler, how: str) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        with self._lock:
            self._busy -= 1
        try:
            # Until the client ends it.
            while how == "open" and handler.connection.recv(1):
                pass
        finally:
            with self._lock:
                self._busy += 1

    def _forward(self, handler: BaseHTTPRequestHandler, request: Request, body: bytes | None, cut: int | None) -> None:
        headers = {
            name: value
            for name, value in handler.headers.items()
            if name.lower() not in ("host", "content-length", "accept-encoding", "connection")
        }
        if self.token and "authorization" not in map(str.lower, headers):
            headers["Authorization"] = f"Bearer {self.token}"
        stream = request.query.get("watch") == "1"
        answer = self._http.request(
            request.method,
            self._plane.server + handler.path,
            body=body,
            headers=headers,
            retries=False,
            preload_content=not stream,
        )
        if cut == -1:
            handler.close_connection = True
            handler.connection.close()
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date"):
                handler.send_header(name, value)
        if stream:
            handler.end_headers()
            with self._lock:
                self._busy -= 1
            try:
                for line in answer.stream(4096):
                    handler.wfile.write(line)
                    handler.wfile.flush()
            finally:
                with self._lock:
                    self._busy += 1
            return
        handler.send_header("Content-Length", str(len(answer.data)))
        handler.end_headers()
        handler.wfile.write(answer.data if cut is None else answer.data[:cut])

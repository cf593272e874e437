"""HTTP to an API server: credentials, time limits, and what is said of them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.cluster import connection as module
from kubectl_harden.cluster.api import NAMESPACES, PODS, Cluster
from kubectl_harden.cluster.call_log import LOG, log_calls
from kubectl_harden.cluster.connection import Cancel, Connection
from kubectl_harden.cluster.kubeconfig import ClusterOptions
from kubectl_harden.errors import ClusterError, NotFound, Unreachable
from kubectl_harden.reports.output import line

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
    body = json.dumps(value).encode()
    handler.send_response(status)
    for name, text in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), text)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


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


# -- credentials ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "user", ["    token: |\n      t0ken\n", '    token: "t0ken\\r\\n"', "    tokenFile: TOKEN", '    token: " t0ken "']
)
def test_white_space_around_a_token_is_not_sent(tmp_path: Path, server: Server, user: str) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    connected(tmp_path, server, user.replace("TOKEN", str(tmp_path / "token"))).request("GET", "/version")
    assert server.asked[0][1]["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize("bad", ["SEK\\nRET", "SEK\\r\\nHost: RET", "SEK\\0RET", "SEK\\x1bRET", "SEK\\x7fRET"])
@pytest.mark.parametrize(
    "user", ['    token: "BAD"', '    token: t\n    as: "BAD"', '    token: t\n    as: a\n    as-groups: ["BAD"]']
)
def test_a_credential_that_no_header_can_carry_is_not_shown(
    tmp_path: Path, server: Server, user: str, bad: str
) -> None:
    with pytest.raises(ClusterError, match=r"the credentials cannot be sent: (Authorization|Impersonate)") as error:
        connected(tmp_path, server, user.replace("BAD", bad)).request("GET", "/version")
    assert "SEK" not in str(error.value) and "RET" not in str(error.value)
    assert server.asked == []


def test_names_are_sent_as_client_go_sends_them(tmp_path: Path, server: Server) -> None:
    connected(tmp_path, server, as_user="Zoë ✓", as_groups=("größe",)).request("GET", "/version")
    headers = server.asked[0][1]
    assert headers["Impersonate-User"].encode("latin-1").decode() == "Zoë ✓"
    assert headers["Impersonate-Group"].encode("latin-1").decode() == "größe"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "users: 5",
        "contexts: [1]\ncurrent-context: c",
        "contexts: [{name: c, context: 7}]\ncurrent-context: c",
        "a",
        "current-context: [a]",
    ],
)
def test_a_kubeconfig_of_other_types(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(ClusterError):
        Connection(ClusterOptions(kubeconfig=str(path)))


# -- time limits ----------------------------------------------------------------------------------------


def drip_head(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    drip(handler)


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    drip(handler)


def drip_chunks(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    drip(handler, b"1\r\n \r\n")


def drip_continues(handler: BaseHTTPRequestHandler) -> None:
    drip(handler, b"HTTP/1.1 100 Continue\r\n\r\n")


def drip(handler: BaseHTTPRequestHandler, piece: bytes = b" ") -> None:
    for _ in range(1_000):
        handler.wfile.write(piece)
        handler.wfile.flush()
        time.sleep(0.02)


@pytest.mark.parametrize("answer", [drip_head, drip_body, drip_chunks, drip_continues, lambda handler: time.sleep(20)])
def test_the_limit_is_for_the_whole_request(tmp_path: Path, server: Server, answer: Answer) -> None:
    server.answer = answer
    began = time.monotonic()
    with pytest.raises(Unreachable, match="timed out"):
        connected(tmp_path, server, timeout=0.5).request("GET", "/version")
    assert 0.4 < time.monotonic() - began < 3


def test_the_limit_counts_all_attempts(tmp_path: Path, server: Server) -> None:
    server.answer = lambda handler: reply(handler, {}, 503, Retry_After="1")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="answers 503"):
        connected(tmp_path, server, timeout=2.5).request("GET", "/version")
    assert time.monotonic() - began < 3
    assert len(server.asked) == 3


def test_there_is_a_limit_where_none_is_given(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_REQUEST", 0.5)
    server.answer = drip_body
    with pytest.raises(Unreachable, match="timed out"):
        connected(tmp_path, server).request("GET", "/version")


def test_a_slow_answer_leaves_the_next_request_its_own_time(tmp_path: Path, server: Server) -> None:
    """Both go over one connection."""
    found = connected(tmp_path, server, timeout=1.5)

    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(1)
        reply(handler, {})

    server.answer = slow
    for _ in range(3):
        found.request("GET", "/version")
    assert len(server.asked) == 3


def test_answers_have_a_largest_size(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ANSWER", 1 << 20)
    found = connected(tmp_path, server)
    server.answer = lambda handler: reply(handler, "x" * ((1 << 20) - 2))
    found.request("GET", "/version")
    server.answer = lambda handler: reply(handler, "x" * (1 << 20))
    with pytest.raises(ClusterError, match="GET /version: the answer is larger than 1 MiB"):
        found.request("GET", "/version")


def test_a_line_of_a_watch_has_a_largest_size(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_LINE", 1 << 20)
    server.answer = lambda handler: reply(handler, "x" * (2 << 20))
    with pytest.raises(ClusterError, match="a line is longer than 1 MiB"):
        list(connected(tmp_path, server).lines("/x", {}, 5))


def test_lines_come_whole_however_they_are_cut(tmp_path: Path, server: Server) -> None:
    def pieces(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for piece in (b"on", b"e\ntwo\nth", b"re", b"e\n", b"\n", b"rest"):
            handler.wfile.write(piece)
            time.sleep(0.02)
        handler.close_connection = True

    server.answer = pieces
    assert list(connected(tmp_path, server).lines("/x", {}, 5)) == [b"one", b"two", b"three", b""]


def test_connections_are_probed_while_they_are_silent(tmp_path: Path, server: Server) -> None:
    found = connected(tmp_path, server)
    kept: list[int] = []

    def look(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, {})

    server.answer = look
    real = socket.socket.setsockopt

    class Noting(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            kept.append(arguments[1])
            real(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", Noting)
        found.request("GET", "/version")
    assert {socket.SO_KEEPALIVE, socket.TCP_KEEPIDLE} <= set(kept)


# -- what is asked again ----------------------------------------------------------------------------------


REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.mark.parametrize(
    ("method", "path", "query", "again"),
    [
        ("GET", "/version", {}, True),
        ("POST", REVIEW, {}, True),
        ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, True),
        ("POST", "/api/v1/namespaces/x/pods", {}, False),
        ("POST", "/api/v1/namespaces/x/pods", {"dryRun": "All"}, True),
        ("PATCH", "/apis/authorization.k8s.iox/v1/things", {}, False),
    ],
)
def test_a_lost_answer(
    tmp_path: Path, server: Server, method: str, path: str, query: dict[str, str], *, again: bool
) -> None:
    """What changes nothing is asked again; a write is not."""

    def lose_first(handler: BaseHTTPRequestHandler) -> None:
        if len(server.asked) == 1:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            reply(handler, {})

    server.answer = lose_first
    found = connected(tmp_path, server)
    if again:
        assert found.request(method, path, query, {}).value == {}
    else:
        with pytest.raises(Unreachable) as error:
            found.request(method, path, query, {})
        assert error.value.sent
    assert len(server.asked) == 1 + again


# -- what is told -----------------------------------------------------------------------------------------


def test_calls_are_told_without_what_a_terminal_acts_on(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(LOG.handlers), LOG.propagate, LOG.level
    evil = "\x1b]0;title\x07\nfake line\u202e\u2028\U000e0041\u00ad"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(
            b"HTTP/1.1 200 O\x1b[31mK\r\nContent-Length: %d\r\n\r\n" % len(evil.encode()) + evil.encode()
        )

    server.answer = answer
    try:
        log_calls(line, bodies=True)
        with pytest.raises(Unreachable):
            connected(tmp_path, server).request("GET", "/version")
    finally:
        LOG.handlers[:], LOG.propagate = before[:2]
        LOG.setLevel(before[2])
    told = capsys.readouterr().err
    assert "t0ken" not in told
    assert [line for line in told.splitlines() if not line.isprintable()] == []
    assert "\\x1b]0;title\\x07\\nfake line\\u202e\\u2028\\U000e0041\\xad" in told
    assert len(told.splitlines()) == 2


# -- paths and lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../secrets/x", "a%2fb"])
def test_names_that_lead_elsewhere_are_not_asked_for(tmp_path: Path, server: Server, name: str) -> None:
    found = Cluster(connected(tmp_path, server))
    for call in (
        lambda: found.get(PODS, "x", name),
        lambda: found.patch(PODS, "x", name, [], dry_run=False),
        lambda: found.delete(PODS, "x", name, "uid", dry_run=False),
        lambda: found.get(PODS, name, "x"),
    ):
        with pytest.raises(NotFound, match="can be reached by the name"):
            call()
    assert server.asked == []


def test_a_name_is_one_part_of_the_path(tmp_path: Path, server: Server) -> None:
    with pytest.raises(ClusterError):
        Cluster(connected(tmp_path, server)).get(PODS, "x", "a?b#c é")
    assert server.asked[0][0] == "GET /api/v1/namespaces/x/pods/a%3Fb%23c%20%C3%A9"


def page(token: str, *items: Any) -> dict[str, Any]:
    metadata = {"resourceVersion": "1", **({"continue": token} if token else {})}
    return {"apiVersion": "v1", "kind": "NamespaceList", "metadata": metadata, "items": list(items)}


def named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"u-{name}", "resourceVersion": "1", "creationTimestamp": "t"}}


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        (lambda number: page("same", named(f"n{number}")), "the answers lead back to an earlier page"),
        (lambda number: page("ab"[number % 2], named(f"n{number}")), "the answers lead back to an earlier page"),
        (lambda number: page(f"t{number}"), "100 pages one after another are empty"),
    ],
)
def test_a_list_that_does_not_end(tmp_path: Path, server: Server, pages: Callable[[int], Any], words: str) -> None:
    server.answer = lambda handler: reply(handler, pages(len(server.asked)))
    with pytest.raises(ClusterError, match=f"GET /api/v1/namespaces: the list does not end: {words}"):
        list(Cluster(connected(tmp_path, server)).each(NAMESPACES, None))
    assert len(server.asked) < 110


def test_some_pages_may_be_empty(tmp_path: Path, server: Server) -> None:
    """Where a server filters after it has counted."""
    server.answer = lambda handler: reply(
        handler,
        page(
            f"t{len(server.asked)}" if len(server.asked) < 150 else "",
            *([named(f"n{len(server.asked)}")] * (len(server.asked) % 50 == 0)),
        ),
    )
    assert len(list(Cluster(connected(tmp_path, server)).each(NAMESPACES, None))) == 3


def test_an_empty_list_of_an_old_server(tmp_path: Path, server: Server) -> None:
    """API servers before 1.27 encode an empty slice of Go as null."""
    server.answer = lambda handler: reply(handler, {**page(""), "items": None})
    assert list(Cluster(connected(tmp_path, server)).each(NAMESPACES, None)) == []


def test_a_watch_that_ends_at_once_is_not_made_in_a_storm(tmp_path: Path, server: Server) -> None:
    def ended(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answer = ended
    assert list(Cluster(connected(tmp_path, server)).watch(PODS, "x", "1", 1.5, Cancel())) == []
    assert 2 <= len(server.asked) < 12

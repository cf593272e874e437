"""HTTP to an API server: limits of time and size, and what is asked again.

This is the test of ``cluster/time_limits.py``, too.
"""

from __future__ import annotations

import socket
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.cluster import connection as module
from kubectl_harden.errors import ClusterError, Unreachable
from tests.support.answering_server import Answer, Server, connected, reply


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


def busy(times: int, server: Server, then: Answer) -> Answer:
    """Ask so many times to wait, as priority and fairness does it, and answer then."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if len(server.asked) <= times:
            reply(handler, {"kind": "Status", "message": "Too many requests", "code": 429}, 429, Retry_After="0")
        else:
            then(handler)

    return answer


def test_a_server_that_asks_to_wait_is_asked_until_it_answers(tmp_path: Path, server: Server) -> None:
    server.answer = busy(module.ATTEMPTS + 2, server, lambda handler: reply(handler, {"minor": "37"}))
    assert connected(tmp_path, server).request("GET", "/version").value == {"minor": "37"}
    assert len(server.asked) == module.ATTEMPTS + 3


def test_it_is_asked_no_longer_than_the_limit(tmp_path: Path, server: Server) -> None:
    server.answer = busy(10_000, server, lambda handler: None)
    began = time.monotonic()
    with pytest.raises(Unreachable, match="answers 429: Too many requests"):
        connected(tmp_path, server, timeout=1.5).request("GET", "/version")
    assert time.monotonic() - began < 3


def test_a_write_that_waits_its_turn_is_made_once(tmp_path: Path, server: Server) -> None:
    server.answer = busy(3, server, lambda handler: reply(handler, {"minor": "37"}))
    connected(tmp_path, server).request("POST", "/api/v1/namespaces", None, {})
    assert len(server.asked) == 4


def test_a_watch_waits_its_turn(tmp_path: Path, server: Server) -> None:
    server.answer = busy(2, server, lambda handler: reply(handler, {"type": "ADDED"}))
    assert list(connected(tmp_path, server).lines("/api/v1/pods", {"watch": "1"}, 30)) == []
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

"""Paths, lists and watches of an API server."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from kubectl_harden.cluster.api import NAMESPACES, PODS, Cluster
from kubectl_harden.cluster.connection import Cancel
from kubectl_harden.errors import ClusterError, NotFound
from tests.support.answering_server import Server, connected, reply


def page(token: str, *items: Any) -> dict[str, Any]:
    metadata = {"resourceVersion": "1", **({"continue": token} if token else {})}
    return {"apiVersion": "v1", "kind": "NamespaceList", "metadata": metadata, "items": list(items)}


def named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"u-{name}", "resourceVersion": "1", "creationTimestamp": "t"}}


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../secrets/x", "a%2fb"])
def test_names_that_lead_elsewhere_are_not_asked_for(tmp_path: Path, server: Server, name: str) -> None:
    found = Cluster(connected(tmp_path, server))
    for call in (
        lambda: found.get(PODS, "x", name),
        lambda: found.patch(PODS, "x", name, [], dry_run=False),
        lambda: found.delete(PODS, "x", name, "uid", dry_run=False),
        lambda: found.get(PODS, name, "x"),
    ):
        with pytest.raises(NotFound, match="can have the name"):
            call()
    assert server.asked == []


def test_a_name_is_one_part_of_the_path(tmp_path: Path, server: Server) -> None:
    with pytest.raises(ClusterError):
        Cluster(connected(tmp_path, server)).get(PODS, "x", "a?b#c é")
    assert server.asked[0][0] == "GET /api/v1/namespaces/x/pods/a%3Fb%23c%20%C3%A9"


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
    cancel = Cancel()
    Timer(1.5, cancel).start()
    assert list(Cluster(connected(tmp_path, server)).watch(PODS, "x", "1", cancel)) == []
    assert 2 <= len(server.asked) < 12

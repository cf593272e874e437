"""Watches that many share: who comes late, what is missed, who may not watch, and when they are closed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.cluster import api
from kubectl_harden.cluster import watches as module
from kubectl_harden.cluster.api import PODS, WORKLOADS, Cluster, Resource
from kubectl_harden.cluster.connection import Cancel
from kubectl_harden.cluster.watches import Watches, position
from kubectl_harden.errors import Denied, Expired, NotPermitted, Unreachable
from tests.support.answering_server import Server, connected, reply

DEPLOYMENTS = WORKLOADS[0]


def value(version: int | str) -> dict[str, Any]:
    return {"metadata": {"name": f"p{version}", "uid": f"u{version}", "resourceVersion": str(version)}}


class Source:
    """Where watches get their events from, in the place of an API server."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str, str]] = []
        self.cancels: list[Cancel] = []
        self.comes: queue.Queue[Any] = queue.Queue()
        self.now = "50"

    def watch(
        self, resource: Resource, namespace: str, version: str, cancel: Cancel
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        self.opened.append((resource.plural, namespace, version))
        self.cancels.append(cancel)
        while not cancel.requested():
            try:
                item = self.comes.get(timeout=0.02)
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise item
            yield "MODIFIED", value(item)

    def newest(self, resource: Resource, namespace: str) -> str:
        return self.now


class Listener:
    """Notes what it hears: the versions of events, MISSED and ENDED."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, event: str, found: dict[str, Any]) -> None:
        self.heard.append(found["metadata"]["resourceVersion"] if found else event)

    def hears(self, *words: str) -> None:
        eventually(lambda: len(self.heard) >= len(words))
        assert self.heard == list(words)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def watches(source: Source) -> Iterator[Watches]:
    yield Watches(source.watch, source.newest)
    for cancel in source.cancels:
        cancel()


def test_one_watch_for_a_kind_and_a_namespace(source: Source, watches: Watches) -> None:
    listeners = [Listener() for _ in range(20)]
    for number, listener in enumerate(listeners):
        watches.listen(PODS, "shop", str(10 + number), listener)
    other = Listener()
    watches.listen(DEPLOYMENTS, "shop", "10", other)
    watches.listen(PODS, "other", "10", other)
    eventually(lambda: len(source.opened) == 3)
    assert sorted(source.opened) == [("deployments", "shop", "10"), ("pods", "other", "10"), ("pods", "shop", "10")]


def test_an_event_is_told_to_all_who_listen(source: Source, watches: Watches) -> None:
    one, two, gone = Listener(), Listener(), Listener()
    watches.listen(PODS, "shop", "10", one)
    watches.listen(PODS, "shop", "10", two)
    watches.listen(PODS, "shop", "10", gone)()
    for version in (11, 12):
        source.comes.put(version)
    one.hears("11", "12")
    two.hears("11", "12")
    assert gone.heard == []


def test_who_comes_late_hears_what_came_after_their_version(source: Source, watches: Watches) -> None:
    first, late, latest, older = Listener(), Listener(), Listener(), Listener()
    watches.listen(PODS, "shop", "10", first)
    # Of one more digit: they are compared as numbers.
    for version in (90, 98, 102):
        source.comes.put(version)
    first.hears("90", "98", "102")
    watches.listen(PODS, "shop", "95", late)
    watches.listen(PODS, "shop", "102", latest)
    watches.listen(PODS, "shop", "9", older)
    source.comes.put(103)
    late.hears("98", "102", "103")
    latest.hears("103")
    # The watch began at 10: nobody knows what was before.
    older.hears("MISSED", "103")
    assert len(source.opened) == 1


def test_so_many_events_are_kept_and_no_more(source: Source, watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT", 3)
    first, missed, whole = Listener(), Listener(), Listener()
    watches.listen(PODS, "shop", "10", first)
    for version in range(11, 16):
        source.comes.put(version)
    first.hears(*map(str, range(11, 16)))
    watches.listen(PODS, "shop", "11", missed)
    watches.listen(PODS, "shop", "12", whole)
    source.comes.put(16)
    missed.hears("MISSED", "16")
    whole.hears("13", "14", "15", "16")


def test_nothing_is_kept_of_before_the_last_one_has_left(source: Source, watches: Watches) -> None:
    first, missed, whole = Listener(), Listener(), Listener()
    leave = watches.listen(PODS, "shop", "10", first)
    source.comes.put(11)
    source.comes.put(12)
    first.hears("11", "12")
    leave()
    watches.listen(PODS, "shop", "11", missed)
    watches.listen(PODS, "shop", "12", whole)
    source.comes.put(13)
    missed.hears("MISSED", "13")
    whole.hears("13")


def test_all_ask_where_a_watch_has_expired(source: Source, watches: Watches) -> None:
    one, two, late = Listener(), Listener(), Listener()
    watches.listen(PODS, "shop", "10", one)
    watches.listen(PODS, "shop", "10", two)
    source.comes.put(11)
    source.comes.put(Expired("too old"))
    source.comes.put(51)
    one.hears("11", "MISSED", "51")
    two.hears("11", "MISSED", "51")
    assert source.opened == [("pods", "shop", "10"), ("pods", "shop", "50")]
    watches.listen(PODS, "shop", "40", late)
    late.hears("MISSED")


@pytest.mark.parametrize(("error", "again"), [(Unreachable("no"), True), (Denied("no"), True),
                                              (NotPermitted("no", "watch", "pods"), False)])  # fmt: skip
def test_who_cannot_watch_is_told(source: Source, watches: Watches, error: Exception, again: bool) -> None:
    """What RBAC forbids is not asked for again; what went wrong may be better by the next workload."""
    one, two, later = Listener(), Listener(), Listener()
    leaves = [watches.listen(PODS, "shop", "10", one), watches.listen(PODS, "shop", "10", two)]
    source.comes.put(error)
    one.hears("ENDED")
    two.hears("ENDED")
    for leave in leaves:
        leave()
    watches.listen(PODS, "shop", "12", later)
    if again:
        eventually(lambda: len(source.opened) == 2)
        source.comes.put(13)
        later.hears("13")
    else:
        later.hears("ENDED")
        assert len(source.opened) == 1


def test_a_fault_of_our_own_ends_it_as_well(source: Source, watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    listener = Listener()
    watches.listen(PODS, "shop", "10", listener)
    source.comes.put(KeyError("x"))
    listener.hears("ENDED")


def test_versions_that_cannot_be_compared_are_not_relied_on(source: Source, watches: Watches) -> None:
    assert [position(text) for text in ("12", "", "0x1", "1.5", "²", "9" * 31)] == [12, None, None, None, None, None]
    early, late = Listener(), Listener()
    watches.listen(PODS, "shop", "opaque", early)
    early.hears("ENDED")
    assert source.opened == []
    watches.listen(PODS, "shop", "10", late)
    source.comes.put("opaque")
    late.hears("ENDED")


def test_the_next_workload_takes_a_watch_over_and_the_last_one_closes_it(
    source: Source, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 1.0)
    one, two = Listener(), Listener()
    watches.listen(PODS, "shop", "10", one)()
    leave = watches.listen(PODS, "shop", "11", two)
    time.sleep(1.5)
    source.comes.put(12)
    two.hears("12")
    assert not source.cancels[0].requested()
    leave()
    eventually(source.cancels[0].requested)
    watches.listen(PODS, "shop", "12", one)
    eventually(lambda: len(source.opened) == 2)


def test_a_watch_that_is_told_to_wait_loses_nothing(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Priority and fairness (429 with Retry-After) is no failure: here a single one would end the watch."""
    monkeypatch.setattr(api, "_WATCH_FAILURES", 0)
    pod = {"metadata": {"name": "p", "namespace": "shop", "uid": "u", "resourceVersion": "11",
                        "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}  # fmt: skip

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if len(server.asked) < 3:
            reply(handler, {"kind": "Status", "message": "Too many requests", "code": 429}, 429, Retry_After="1")
            return
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b'{"type": "ADDED", "object": %s}\n' % str(pod).replace("'", '"').encode())
        handler.wfile.flush()
        time.sleep(3)

    server.answer = answer
    listener = Listener()
    Cluster(connected(tmp_path, server)).watches.listen(PODS, "shop", "10", listener)
    listener.hears("11")
    assert [line.split("&")[1] for line, _ in server.asked] == ["resourceVersion=10"] * 3


def test_all_are_closed_at_the_end() -> None:
    source, first, second = Source(), Listener(), Listener()
    watches = Watches(source.watch, source.newest)
    watches.listen(PODS, "x", "10", first)
    watches.listen(DEPLOYMENTS, "x", "10", second)
    eventually(lambda: len(source.opened) == 2)
    watches.close()
    assert [cancel.requested() for cancel in source.cancels] == [True, True]
    assert (first.heard, second.heard) == (["ENDED"], ["ENDED"])

"""Servers that answer what no API server answers: an error in one sentence, in bounded time, whatever is asked."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.harden import Harden, Result, workload
from tests.support.hostile import ANSWERS
from tests.support.proxy import Fault, FaultProxy, Request

COMMANDS: Final = {
    "check": ("check", "-n", "NAMESPACE"),
    "check all": ("check", "-A"),
    "fix": ("fix", "deploy/web"),
    "rejected": ("rejected",),
    "migrate": ("migrate", "-A"),
}
LIMIT: Final = ("--request-timeout", "2s")
SECONDS: Final = 60.0


def about(request: Request) -> str:
    """Return what a request asks for, without the names of namespaces."""
    return f"{request.method} {re.sub(r'/namespaces/[^/]+', '/namespaces/NS', request.path)}"


def run(harden: Harden, words: tuple[str, ...]) -> tuple[Result, float]:
    began = time.monotonic()
    words = tuple(harden.namespace.name if word == "NAMESPACE" else word for word in words)
    return harden(*words, *LIMIT), time.monotonic() - began


def assert_said(result: Result, took: float, *, whole: bool, what: str = "") -> None:
    said = " ".join(result.err.split())
    assert took < SECONDS, (what, took, result)
    assert "bug" not in said, (what, result)
    assert "no workloads found" not in said + result.out, (what, result)
    assert "\x1b" not in result.err, (what, result)
    # What is not needed (the nodes, the quotas) is a note, and the rest is done.
    assert result.code in ((3, 4) if whole else (3, 4, 0, 1)), (what, result)
    if what.startswith("PATCH /api/v1/namespaces/NS:"):
        return  # A second opinion on a plan, which stands without it.
    if what.startswith("GET /metrics:"):
        return  # A count that is told where there is one; what is asked for stands without it.
    told = " ".join((result.err + result.out).split())
    # A 422 to a patch is what the API server answers where a value that the patch tests is another one by now.
    assert re.search(
        r"is this an API server|cannot be reached|answers 500|HTTP status|not json|changed by others 5 times",
        told,
        re.IGNORECASE,
    ), (what, result)


def requests_of(harden: Harden, proxy: FaultProxy, command: str) -> list[str]:
    """Return what a command asks for, each once."""
    proxy.rules.clear()
    proxy.requests.clear()
    run(harden, COMMANDS[command])
    return list(dict.fromkeys(map(about, proxy.requests)))


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane without other tests' objects: what is asked of the whole cluster is about ours alone."""
    running = ControlPlane(tmp_path_factory.mktemp("hostile"))
    yield running
    running.stop()


@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_that_answers_all_alike(harden: Harden, proxy: FaultProxy, name: str) -> None:
    command = list(COMMANDS)[list(ANSWERS).index(name) % len(COMMANDS)]
    proxy.rules.append(lambda request: Fault(answer=ANSWERS[name]))
    assert_said(*run(harden, COMMANDS[command]), whole=True)


def hostile_to(harden: Harden, proxy: FaultProxy, command: str, asked: str, name: str) -> None:
    proxy.rules.clear()
    proxy.rules.append(lambda request: Fault(answer=ANSWERS[name]) if about(request) == asked else None)
    assert_said(*run(harden, COMMANDS[command]), whole=False, what=f"{asked}: {name}")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_answers_one_question_so(harden: Harden, proxy: FaultProxy, command: str) -> None:
    """Each question of each command, with a different one of the answers."""
    harden.namespace.create(workload("Deployment", "web"), workload("StatefulSet", "db"))
    harden.namespace.settled("web")
    names = [name for name in ANSWERS if name not in ("endless", "dripping head", "100 Continue for ever")]
    first = list(COMMANDS).index(command) * 7
    for index, asked in enumerate(requests_of(harden, proxy, command)):
        hostile_to(harden, proxy, command, asked, names[(first + index) % len(names)])


@pytest.mark.nightly
@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_answers_any_question_so(harden: Harden, proxy: FaultProxy, command: str, name: str) -> None:
    harden.namespace.create(workload("Deployment", "web"), workload("StatefulSet", "db"))
    harden.namespace.settled("web")
    for asked in requests_of(harden, proxy, command):
        hostile_to(harden, proxy, command, asked, name)

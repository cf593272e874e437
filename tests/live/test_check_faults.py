"""``check`` where logins, servers and networks fail, each against the real API server."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request


def lists(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith("/deployments") and "watch" not in request.query


# -- who is asking ------------------------------------------------------------------------------------


def test_an_expired_token(namespace: Namespace, harden: Harden) -> None:
    harden.use(namespace.plane.configuration("expired"))
    result = harden("check", "deploy/web")
    assert (result.code, result.err) == (
        4, "error: the API server does not accept these credentials (expired?): log in again\n"
    )  # fmt: skip


def test_a_credential_plugin(namespace: Namespace, harden: Harden) -> None:
    namespace.create(workload("Deployment", "web"))
    configuration = namespace.plane.configuration("")
    credential = {
        "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
        "status": {"token": namespace.plane.token},
    }  # fmt: skip
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Never"}
    for script, code in ((f"echo '{json.dumps(credential)}'", 1), ("echo 'no session: run login' >&2; exit 3", 4)):
        configuration["users"][0]["user"] = {"exec": {**plugin, "args": ["-c", script]}}
        harden.use(configuration)
        result = harden("check", "deploy/web")
        assert result.code == code, result
    assert "error: no credentials" in result.err
    assert "no session: run login" in result.err


def test_a_token_that_expires_is_asked_for_again(
    namespace: Namespace, harden: Harden, proxy: FaultProxy, tmp_path: Any
) -> None:
    namespace.create(workload("Deployment", "web"))
    proxy.times(1, lambda request: request.path == "/version", Fault(401, "Unauthorized"))
    assert harden("check", "deploy/web").code == 1


# -- servers in trouble -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(namespace: Namespace, harden: Harden, proxy: FaultProxy, status: int) -> None:
    namespace.create(*(workload("Deployment", f"web-{index}") for index in range(5)))
    proxy.times(2, lists, Fault(status, "TooManyRequests", (("Retry-After", "0"),)))
    report = harden("check", "-n", namespace.name, "-o", "json", "--chunk-size", "2").json
    assert len(report["workloads"]) == 5
    assert report["errors"] == []


def test_retry_after_is_waited_for(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"))
    proxy.times(
        1, lambda request: request.path.endswith("/web"), Fault(429, "TooManyRequests", (("Retry-After", "2"),))
    )
    began = time.monotonic()
    assert harden("check", "deploy/web").code == 1
    assert time.monotonic() - began > 2


def test_a_server_that_stays_in_trouble(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(workload("Deployment", "web"), workload("StatefulSet", "db"))
    proxy.times(99, lists, Fault(503, "ServiceUnavailable", (("Retry-After", "0"),)))
    result = harden("check", "-n", namespace.name)
    assert result.code == 4
    assert "listing deployments.apps: GET /apis/apps/v1/" in result.err
    assert "answers 503" in result.err
    assert "StatefulSet" in result.out


def test_an_expired_list_begins_anew_and_nothing_comes_twice(
    namespace: Namespace, harden: Harden, proxy: FaultProxy
) -> None:
    namespace.create(*(workload("Deployment", f"web-{index}") for index in range(6)))
    proxy.times(2, lambda request: lists(request) and "continue" in request.query, Fault(410, "Expired"))
    report = harden("check", "-n", namespace.name, "-o", "json", "--chunk-size", "2").json
    assert sorted(item["name"] for item in report["workloads"]) == [f"web-{index}" for index in range(6)]
    assert report["errors"] == []


def test_a_connection_cut_in_the_middle_of_a_list(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    namespace.create(*(workload("Deployment", f"web-{index}") for index in range(3)))
    proxy.times(2, lists, Fault(cut=700))
    report = harden("check", "-n", namespace.name, "-o", "json").json
    assert (len(report["workloads"]), report["errors"]) == (3, [])
    proxy.times(99, lists, Fault(cut=700))
    broken = harden("check", "deploy", "-n", namespace.name)
    assert broken.code == 4
    assert "cannot be reached" in broken.err


def test_a_slow_server(namespace: Namespace, harden: Harden, proxy: FaultProxy) -> None:
    proxy.times(99, lambda request: request.path == "/version", Fault(delay=5))
    began = time.monotonic()
    result = harden("check", "deploy/web", "--request-timeout", "200ms")
    assert result.code == 4
    assert "timed out" in result.err
    assert time.monotonic() - began < 20


def test_no_server_at_all(harden: Harden) -> None:
    result = harden("check", "deploy/web", "--server", "http://127.0.0.1:9")
    assert result.code == 4
    assert "cannot be reached: " in result.err
    assert "refused" in result.err

"""Answers that no API server gives: of portals, proxies, broken servers and attackers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from tests.support.proxy import Request

Answer = Callable[[BaseHTTPRequestHandler, Request], None]

METADATA: Final = {"name": "x", "namespace": "x", "uid": "u", "resourceVersion": "1",
                   "creationTimestamp": "2026-01-01T00:00:00Z"}  # fmt: skip


def _kind(request: Request) -> tuple[str, str]:
    """Return the apiVersion and kind that belong to a path, as far as the tests ask for it."""
    parts = request.path.strip("/").split("/")
    version = "/".join(parts[1:3]) if parts[0] == "apis" else "v1"
    words = {"deployments": "Deployment", "statefulsets": "StatefulSet", "daemonsets": "DaemonSet", "pods": "Pod",
             "cronjobs": "CronJob", "jobs": "Job", "replicasets": "ReplicaSet", "podtemplates": "PodTemplate",
             "replicationcontrollers": "ReplicationController", "events": "Event", "namespaces": "Namespace",
             "resourcequotas": "ResourceQuota", "nodes": "Node"}  # fmt: skip
    plural = next((part for part in reversed(parts) if part in words), "pods")
    return version, words[plural]


def _is_list(request: Request) -> bool:
    return request.method == "GET" and _kind(request)[1].lower() in request.path.rsplit("/", 1)[-1]


def _send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def _json(make: Callable[[Request, str, str], Any], status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        _send(handler, json.dumps(make(request, *_kind(request))).encode(), status, **headers)

    return answer


def _raw(body: bytes, status: int = 200, **headers: str) -> Answer:
    return lambda handler, request: _send(handler, body, status, **headers)


def _list(items: Any, **metadata: str) -> Answer:
    def make(request: Request, version: str, kind: str) -> Any:
        if not _is_list(request):
            return {"apiVersion": version, "kind": kind, "metadata": items}
        value = {"apiVersion": version, "kind": f"{kind}List", "metadata": metadata}
        return value if items == "missing" else {**value, "items": items}

    return _json(make)


def _object(**fields: Any) -> Answer:
    """Return an answer of one object, or of a list with it."""

    def make(request: Request, version: str, kind: str) -> Any:
        value = {"metadata": METADATA, "spec": {}, "status": {}, **fields}
        if _is_list(request):
            return {
                "apiVersion": version,
                "kind": f"{kind}List",
                "metadata": {"resourceVersion": "1"},
                "items": [value],
            }
        return {"apiVersion": version, "kind": kind, **value}

    return _json(make)


def _endless(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """Send 50 MB at once, and then a byte now and then for a minute."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b'{"kind": "')
    for _ in range(50):
        handler.wfile.write(b"x" * (1 << 20))
    _drip(handler)


def _dripping_head(handler: BaseHTTPRequestHandler, request: Request) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip(handler)


def _drip(handler: BaseHTTPRequestHandler) -> None:
    for _ in range(120):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.5)


def _continues(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """Say 100 Continue for a minute."""
    for _ in range(600):
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        handler.wfile.flush()
        time.sleep(0.1)


def _cut_chunk(handler: BaseHTTPRequestHandler, request: Request) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"kind": "List"')


def _again(request: Request, version: str, kind: str) -> Any:
    metadata = {"resourceVersion": "1", "continue": "again"}
    return {
        "apiVersion": version,
        "kind": f"{kind}List" if _is_list(request) else "Odd",
        "metadata": metadata,
        "items": [],
    }


ANSWERS: Final[dict[str, Answer]] = {
    "redirect": _json(lambda *_: {"items": []}, 302, Location="http://127.0.0.1:9/login"),
    "empty object": _raw(b"{}"),
    "nothing": _raw(b""),
    "null": _raw(b"null"),
    "a list of JSON": _raw(b"[]"),
    "list without items": _list("missing", resourceVersion="1"),
    "items null": _list(None),
    "items an object": _list({"a": 1}, resourceVersion="1"),
    "item a number": _list([7], resourceVersion="1"),
    "item null": _list([None], resourceVersion="1"),
    "metadata null": _object(metadata=None),
    "metadata a list": _object(metadata=[]),
    "uid a number": _object(metadata={**METADATA, "uid": 7}),
    "labels a list": _object(metadata={**METADATA, "labels": ["a"]}),
    "owner a text": _object(metadata={**METADATA, "ownerReferences": ["a"]}),
    "spec a text": _object(spec="text", metadata={**METADATA, "uid": 7.5}),
    "endless": _endless,
    "dripping head": _dripping_head,
    "100 Continue for ever": _continues,
    "continue again": _json(_again),
    "chunk cut": _cut_chunk,
    "invalid UTF-8": _raw(b'{"kind": "\xff\xfe"}'),
    "5,000 deep": _raw(b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
    "300 deep": _raw(b'{"a":' * 300 + b"1" + b"}" * 300),
    "5,000 digits": _raw(b'{"a": ' + b"1" * 5_000 + b"}"),
    "NaN": _raw(b'{"a": NaN}'),
    "HTML": _raw(b"<html><body>Log in</body></html>", Content_Type="text/html"),
    "HTML 500": _raw(b"<html>\x1b[2J</html>", 500, Content_Type="text/html", Retry_After="\u00b2"),
    "Status Failure": _json(lambda *_: {"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": "no"}),
    "Status of odd types": _json(lambda *_: {"kind": "Status", "message": {}, "reason": [], "details": "x"}, 422),
    "wrong kind": _json(lambda *_: {"apiVersion": "v1", "kind": "ConfigMap", "metadata": METADATA}),
    "wrong list": _json(lambda *_: {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {}, "items": []}),
    "kind a list": _json(lambda *_: {"apiVersion": ["v1"], "kind": ["Pod"], "metadata": METADATA}),
    "gzip": _raw(b"\x1f\x8b\x08\x00" + b"\x00" * 64, Content_Encoding="gzip"),
}

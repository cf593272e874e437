"""Lists in pages, and of most objects only the metadata; also what ``cluster/resources.py`` calls them."""

from __future__ import annotations

import random
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kubectl_harden.cluster.api import PODS, Cluster
from kubectl_harden.errors import ClusterError, Expired
from kubectl_harden.objects import controller_of
from tests.support.answering_server import Server, connected, reply
from tests.support.protobuf import encoded

PARTIAL = "as=PartialObjectMetadataList"


class Pods:
    """Pods of an API server, in pages; ``knows`` tells what it does when it is asked for metadata alone.

    A number of ``expires`` is the request after which tokens have expired, once.
    """

    def __init__(self, server: Server, made: list[bool], knows: str = "yes", expires: int = 0) -> None:
        self.items = [self._pod(index, is_made=is_made) for index, is_made in enumerate(made)]
        self.knows = knows
        self.expires = expires
        self.whole: list[int] = []
        self.partial: list[int] = []
        self.named: list[str] = []
        self._asked = 0
        server.answer = self._answer

    @staticmethod
    def _pod(index: int, *, is_made: bool) -> dict[str, Any]:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": True}
        metadata = {"name": f"p{index}", "namespace": "x", "uid": f"u{index}", "resourceVersion": "1",
                    "creationTimestamp": "t", "managedFields": [{"manager": "m"}],
                    **({"ownerReferences": [owner]} if is_made else {})}  # fmt: skip
        return {"metadata": metadata, "spec": {"containers": [{"name": "c"}]}}

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self._asked += 1
        url = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        start, size = int(query.get("continue", "0")), int(query["limit"])
        if start and self._asked == self.expires:
            status = {"kind": "Status", "apiVersion": "v1", "reason": "Expired", "message": "too old", "code": 410}
            reply(handler, status, 410)
            return
        if "fieldSelector" in query:
            assert url.path == "/api/v1/namespaces/x/pods"
            name = query["fieldSelector"].removeprefix("metadata.name=")
            self.named.append(name)
            reply(handler, self._list([item for item in self.items if item["metadata"]["name"] == name], ""))
            return
        partial = PARTIAL in handler.headers["Accept"]
        if partial and self.knows == "refuses":
            reply(handler, {"kind": "Status", "apiVersion": "v1", "reason": "NotAcceptable", "code": 406}, 406)
            return
        items = self.items[start : start + size]
        following = str(start + size) if start + size < len(self.items) else ""
        if partial and self.knows == "protobuf":
            self.partial.append(start)
            assert handler.headers["Accept"].startswith("application/vnd.kubernetes.protobuf;")
            reply(handler, encoded([item["metadata"] for item in items], more=following))
            return
        if partial and self.knows == "yes":
            self.partial.append(start)
            heads = [{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
                     for item in items]  # fmt: skip
            answer = self._list(heads, following)
            reply(handler, {**answer, "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"})
            return
        self.whole.append(start)
        reply(handler, self._list(items, following))

    @staticmethod
    def _list(items: list[Any], following: str) -> dict[str, Any]:
        metadata = {"resourceVersion": "1", **({"continue": following} if following else {})}
        return {"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": items}


def naked(value: dict[str, Any]) -> bool:
    return controller_of(value) is None


def picked(cluster: Cluster) -> list[dict[str, Any]]:
    """Return what nobody made; each is whole."""
    found = list(cluster.picked(PODS, None, naked))
    assert all(value["kind"] == "Pod" and value["spec"]["containers"] for value in found)
    return found


def names(found: list[dict[str, Any]]) -> list[str]:
    return sorted(value["metadata"]["name"] for value in found)


@pytest.mark.parametrize("knows", ["protobuf", "yes", "ignores", "refuses"])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_picked_is_what_a_whole_list_has(tmp_path: Path, server: Server, seed: int, knows: str) -> None:
    choice = random.Random(seed)
    share = choice.choice([0.0, 0.02, 0.2, 0.7, 1.0])
    made = [choice.random() >= share for _ in range(choice.randrange(1, 80))]
    pods = Pods(server, made, knows, expires=choice.choice([0, 0, 3, 5]))
    cluster = Cluster(connected(tmp_path, server), chunk=choice.choice([3, 8, 20]))
    found = picked(cluster)
    assert names(found) == names([item for item in pods.items if naked(item)])
    assert found == [value for value in cluster.each(PODS, None) if naked(value)]


def test_a_page_with_none_that_is_wanted_is_read_as_metadata(tmp_path: Path, server: Server) -> None:
    pods = Pods(server, [True] * 20 + [False] + [True] * 19)
    assert names(picked(Cluster(connected(tmp_path, server), chunk=5))) == ["p20"]
    # The second page is on its way before the first is looked at.
    assert (pods.whole, pods.partial, pods.named) == ([0, 5], [10, 15, 20, 25, 30, 35], ["p20"])


def test_many_of_a_page_are_read_with_their_page(tmp_path: Path, server: Server) -> None:
    pods = Pods(server, [True] * 60 + [False] * 10 + [True] * 50)
    assert len(picked(Cluster(connected(tmp_path, server), chunk=20))) == 10
    assert (pods.whole, pods.partial, pods.named) == ([0, 20, 60], [40, 60, 80, 100], [])


def test_where_many_are_wanted_all_is_read_once(tmp_path: Path, server: Server) -> None:
    pods = Pods(server, [True, False] * 20)
    assert len(picked(Cluster(connected(tmp_path, server), chunk=5))) == 20
    assert (pods.partial, pods.named) == ([], [])
    assert pods.whole == list(range(0, 40, 5))


def test_one_that_is_gone_when_it_is_read_is_left_out(tmp_path: Path, server: Server) -> None:
    pods = Pods(server, [True] * 20 + [False] + [True] * 5)

    def wanted(value: dict[str, Any]) -> bool:
        if naked(value):
            pods.items.pop(20)
        return naked(value)

    assert list(Cluster(connected(tmp_path, server), chunk=5).picked(PODS, None, wanted)) == []


def test_a_list_whose_tokens_always_expire_ends(tmp_path: Path, server: Server) -> None:
    pods = Pods(server, [True] * 40)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        pods.expires = pods._asked + 1 if "continue=10" in handler.path else 0
        pods._answer(handler)

    server.answer = answer
    with pytest.raises(Expired):
        picked(Cluster(connected(tmp_path, server), chunk=5))


def test_metadata_that_has_not_its_shape_is_no_answer(tmp_path: Path, server: Server) -> None:
    pods = Pods(server, [True] * 40)
    pods.items[22]["metadata"]["ownerReferences"] = [{"kind": 7}]
    with pytest.raises(ClusterError, match=r"the answer is not .*ownerReferences\[0\]"):
        picked(Cluster(connected(tmp_path, server), chunk=5))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:-40], "not Kubernetes' protobuf: a message is cut|longer"),
        (lambda text: text[:4], "there is no list in it"),
        (lambda text: text.replace(b"PartialObject", b"SomethingElse"), "not a list of"),
        (lambda text: text.replace(b"p12", b""), "protobuf"),
    ],
)
def test_protobuf_of_something_else_is_no_answer(tmp_path: Path, server: Server, change: Any, words: str) -> None:
    pods = Pods(server, [True] * 40, "protobuf")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "continue=10" in handler.path:
            reply(handler, change(encoded([item["metadata"] for item in pods.items[10:15]], more="15")))
        else:
            pods._answer(handler)

    server.answer = answer
    with pytest.raises(ClusterError, match=words):
        picked(Cluster(connected(tmp_path, server), chunk=5))


@pytest.mark.parametrize("status", [400, 403, 404, 503])
def test_a_refusal_in_protobuf_is_asked_for_again_in_json(tmp_path: Path, server: Server, status: int) -> None:
    pods = Pods(server, [True] * 40, "protobuf")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "continue=10" in handler.path and PARTIAL in handler.headers["Accept"]:
            reply(handler, encoded([]) + b"\x1b[2J", status, Retry_After="0")
        elif "continue=10" in handler.path:
            reply(handler, {"kind": "Status", "apiVersion": "v1", "message": "so it is", "code": status}, status)
        else:
            pods._answer(handler)

    server.answer = answer
    with pytest.raises(ClusterError, match="so it is" if status < 500 else "answers 503: HTTP status 503$"):
        picked(Cluster(connected(tmp_path, server), chunk=5))

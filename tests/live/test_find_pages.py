"""How much is read to find workloads: metadata where that tells enough, and no list twice."""

from __future__ import annotations

from typing import Any

from tests.support.harden import Harden, workload
from tests.support.proxy import FaultProxy


def test_pages_of_which_only_metadata_is_read_change_no_verdict(harden: Harden) -> None:
    namespace = harden.namespace
    namespace.create(
        workload("Deployment", "web", replicas=12, hostNetwork=True),
        *(workload("Pod", name, hostPID=True) for name in ("a", "m", "z")),
        workload("Job", "once", image="example.com/app:1"),
    )
    namespace.eventually(lambda: len(namespace.pods()) == 16)

    def found(*words: str) -> list[Any]:
        result = harden("check", "-n", namespace.name, "-o", "json", *words)
        return [{**item, "source": item["source"]["uid"]} for item in result.json["workloads"]]

    at_once = found()
    assert [item["name"] for item in at_once] == ["web", "once", "a", "m", "z"]
    assert [found("--chunk-size", size) for size in ("2", "5")] == [at_once, at_once]


def test_pods_are_listed_once_where_what_made_them_asks_for_them(harden: Harden, proxy: FaultProxy) -> None:
    namespace = harden.namespace
    namespace.create(
        workload("Deployment", "web", replicas=2, hostNetwork=True),
        *(workload("Pod", f"bare-{number}", hostPID=True) for number in range(3)),
    )
    namespace.eventually(lambda: len(namespace.pods()) == 5)
    found = harden("check", "-n", namespace.name)
    assert "4 workloads: 4 below restricted" in found.err
    assert all(f"Pod {namespace.name}/bare-{number}" in found.out for number in range(3))
    path = f"/api/v1/namespaces/{namespace.name}/pods"
    assert proxy.count(lambda request: request.method == "GET" and request.path == path) == 1

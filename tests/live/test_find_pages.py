"""How much is read to find workloads: metadata where that tells enough, and no list twice."""

from __future__ import annotations

import json
from typing import Any

from kubectl_harden.cluster.protobuf import metadata_list
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


READ = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences")
FORM = "application/{};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def test_an_api_server_says_the_same_in_both(harden: Harden) -> None:
    namespace, plane = harden.namespace, harden.namespace.plane
    namespace.create(workload("Deployment", "web", replicas=2), workload("Job", "once"), workload("Pod", "bare"))
    namespace.eventually(lambda: len(namespace.pods()) == 4)
    for path in ("/api/v1/pods", "/apis/apps/v1/replicasets", "/apis/batch/v1/jobs", "/api/v1/namespaces"):
        value, items = metadata_list(plane.raw(f"{path}?limit=3", FORM.format("vnd.kubernetes.protobuf")))
        expected = json.loads(plane.raw(f"{path}?limit=3", FORM.format("json")))
        assert (value["apiVersion"], value["kind"]) == (expected["apiVersion"], expected["kind"])
        assert value["metadata"].keys() == expected["metadata"].keys() - {"remainingItemCount"}
        read = [{key: item["metadata"][key] for key in READ if key in item["metadata"]} for item in expected["items"]]
        for item in read:
            for owner in item.get("ownerReferences", ()):
                owner.pop("blockOwnerDeletion", None)
        assert [item["metadata"] for item in items] == read

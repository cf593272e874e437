"""How much is read to find workloads: metadata where that tells enough, and no list twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.cluster.protobuf import metadata_list
from tests.support.control_plane import ControlPlane
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
        # Of the same moment: others write meanwhile.
        same = f"resourceVersion={value['metadata']['resourceVersion']}&resourceVersionMatch=Exact"
        expected = json.loads(plane.raw(f"{path}?limit=3&{same}", FORM.format("json")))
        assert (value["apiVersion"], value["kind"]) == (expected["apiVersion"], expected["kind"])
        assert value["metadata"].keys() == expected["metadata"].keys() - {"remainingItemCount"}
        read = [{key: item["metadata"][key] for key in READ if key in item["metadata"]} for item in expected["items"]]
        for item in read:
            for owner in item.get("ownerReferences", ()):
                owner.pop("blockOwnerDeletion", None)
        assert [item["metadata"] for item in items] == read


def arrays_of_objects_with_metadata(schemas: dict[str, Any], name: str) -> Iterator[str]:
    """Yield the places below a schema, through all it refers to, of arrays whose items have metadata."""
    seen: set[str] = set()

    def properties(schema: dict[str, Any]) -> set[str]:
        """Return the names of a schema's own fields."""
        own = set(schema.get("properties", ()))
        for part in (*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
            own |= properties(part)
        return own | properties(schemas[reference(schema)]) if "$ref" in schema else own

    def below(schema: dict[str, Any], place: str) -> Iterator[str]:
        if "items" in schema and "metadata" in properties(schema["items"]):
            yield place
        if "$ref" in schema and reference(schema) not in seen:
            seen.add(reference(schema))
            yield from below(schemas[reference(schema)], reference(schema))
        for key in ("allOf", "anyOf", "oneOf"):
            for part in schema.get(key, ()):
                yield from below(part, place)
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                yield from below(schema[key], f"{place}[]")
        for field, value in schema.get("properties", {}).items():
            yield from below(value, f"{place}.{field}")

    yield from below({"$ref": f"#/components/schemas/{name}"}, "")


def reference(schema: dict[str, Any]) -> str:
    return str(schema["$ref"].removeprefix("#/components/schemas/"))


def check_pods_of(plane: ControlPlane) -> None:
    """A pod that is not wanted is passed over up to the next metadata, which must be the next pod's."""
    schemas = plane.request("GET", "/openapi/v3/api/v1")["components"]["schemas"]
    assert not list(arrays_of_objects_with_metadata(schemas, "io.k8s.api.core.v1.Pod"))
    # What is found where there are some: a list of pods, and one that a StatefulSet has inside.
    assert list(arrays_of_objects_with_metadata(schemas, "io.k8s.api.core.v1.PodList")) == [
        "io.k8s.api.core.v1.PodList.items"
    ]
    apps = plane.request("GET", "/openapi/v3/apis/apps/v1")["components"]["schemas"]
    assert list(arrays_of_objects_with_metadata(apps, "io.k8s.api.apps.v1.StatefulSet")) == [
        "io.k8s.api.apps.v1.StatefulSetSpec.volumeClaimTemplates"
    ]
    # In the order of the API's type: metadata ends with managedFields, and names come before them.
    pod = plane.raw("/api/v1/pods?limit=1", "application/json").partition(b'"items":[')[2]
    head, _, rest = pod.partition(b',"managedFields":[')
    assert pod.startswith(b'{"metadata":{"name":') and {*json.loads(head + b"}}")["metadata"]} >= set(READ[:4])
    assert b'}]},"spec":{' in rest and b',"status":{' in rest


def test_no_list_in_a_pod_holds_objects_with_metadata(harden: Harden) -> None:
    harden.namespace.create(workload("Pod", "bare"))
    check_pods_of(harden.namespace.plane)


@pytest.mark.nightly
@pytest.mark.parametrize("minor", [30, 34])
def test_no_list_in_an_older_servers_pod_holds_objects_with_metadata(minor: int, tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path, controllers=False, minor=minor)
    try:
        plane.request("POST", "/api/v1/namespaces/default/pods", workload("Pod", "bare"))
        check_pods_of(plane)
    finally:
        plane.stop()

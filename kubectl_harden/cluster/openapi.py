"""The schemas that the API server publishes (OpenAPI v3), which every authenticated user may read.

Source: kubernetes.io/docs/concepts/overview/kubernetes-api; the role system:discovery allows /openapi/*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kubectl_harden.cluster.answers import checked
from kubectl_harden.cluster.api import Cluster, Resource
from kubectl_harden.json_values import mapping

__all__ = ["schema_of"]

_KIND: Final = "x-kubernetes-group-version-kind"


def schema_of(cluster: Cluster, resource: Resource) -> Mapping[str, object]:
    """Return the schema of a resource's objects, empty where the server publishes none. Raises ClusterError."""
    path = f"/openapi/v3/apis/{resource.group}/{resource.version}"
    value = checked(cluster.connection.request("GET", path).value, ("", "OpenAPI"), f"GET {path}")
    wanted = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    for schema in mapping(mapping(value.get("components")).get("schemas")).values():
        marks = mapping(schema).get(_KIND)
        if isinstance(marks, list) and wanted in marks:
            return mapping(schema)
    return {}

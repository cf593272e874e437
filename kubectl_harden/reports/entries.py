"""The JSON of an object, and of what could not be read, in all reports."""

from __future__ import annotations

from typing import Any

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Identity, LiveSource, Problem, Source

__all__ = ["identity_json", "problem_json", "source_json"]


def source_json(source: Source | LiveSource) -> dict[str, Any]:
    """Return a source as in reports."""
    if isinstance(source, LiveSource):
        live = {"uid": source.uid, "resourceVersion": source.resource_version}
        return {**live, "owner": source.owner} if source.owner else live
    out: dict[str, object] = {"file": source.file, "document": source.document, "line": source.line}
    if source.item is not None:
        out["item"] = source.item
    return out


def identity_json(identity: Identity) -> dict[str, object]:
    """Return the JSON of an object in all reports."""
    return {
        "source": source_json(identity.source),
        **({"cluster": identity.cluster} if identity.cluster else {}),
        "apiVersion": identity.api_version,
        "kind": identity.kind,
        "namespace": identity.namespace,
        "name": identity.name,
        "podPath": pointer(identity.pod_path),
    }


def problem_json(problem: Problem) -> dict[str, object]:
    """Return an entry of ``errors``."""
    return {
        "file": problem.file,
        "document": problem.document,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        **({"cluster": problem.cluster} if problem.cluster else {}),
    }

"""Kubeconfigs of several clusters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged(configurations: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return one kubeconfig of several, each of one cluster, with a context of its name for each; the first is current."""
    out: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for name, made in configurations.items():
        out["clusters"].append({**made["clusters"][0], "name": name})
        out["users"].append({**made["users"][0], "name": name})
        out["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
    return {**out, "current-context": next(iter(configurations))}

"""Plans as patches that other tools take: JSON Patch, strategic merge patch, Kustomize."""

from __future__ import annotations

import re

from kubectl_harden.model import Identity
from kubectl_harden.objects import group_version
from kubectl_harden.plan_model import Plan
from kubectl_harden.planning.json_patch import operations
from kubectl_harden.planning.merge_patch import merge_patch
from kubectl_harden.reports.terminal import json_text
from kubectl_harden.yaml_text.tree import dump

__all__ = ["json_patch", "kustomize", "strategic"]


def _target(identity: Identity) -> dict[str, str]:
    group, version = group_version(identity.api_version)
    target = {
        "group": group,
        "version": version,
        "kind": identity.kind,
        "name": identity.name,
    }
    if identity.namespace:
        target["namespace"] = identity.namespace
    return target


def json_patch(objects: list[tuple[Identity, list[Plan]]]) -> str:
    """Return a JSON list of ``{"target": …, "patch": […]}``, one for each object."""
    patches = [
        {"target": _target(identity), "patch": [op for plan in plans for op in operations(plan.edits)]}
        for identity, plans in objects
    ]
    return json_text(patches) + "\n"


def kustomize(objects: list[tuple[Identity, list[Plan]]]) -> str:
    """Return a Kustomize Component whose patches carry the plans out."""
    patches = []
    for identity, plans in objects:
        target = {key: value for key, value in _target(identity).items() if value}
        # Kustomize reads name and namespace as regular expressions that must match as a whole.
        for key in ("name", "namespace"):
            if key in target:
                target[key] = re.escape(target[key]).replace("\\-", "-")
        operations_ = [op for plan in plans for op in operations(plan.edits)]
        patches.append({"target": target, "patch": dump(operations_)})
    head = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
    return dump({**head, "patches": patches})


def strategic(objects: list[tuple[Identity, object, object]]) -> str:
    """Return merge patches of (identity, old object, new object), as YAML documents."""
    return "---\n".join(dump(merge_patch(identity, old, new)) for identity, old, new in objects)

"""Plans as patches that other tools take: JSON Patch, strategic merge patch, Kustomize."""

from __future__ import annotations

import re
from typing import Any, Final

from kubectl_harden.model import Identity, Plan
from kubectl_harden.remediate import operations
from kubectl_harden.render.terminal import json_text
from kubectl_harden.values import same
from kubectl_harden.yaml_tree import dump

__all__ = ["json_patch", "kustomize", "strategic"]

# Lists that a strategic merge patch merges by a key (patchMergeKey in k8s.io/api/core/v1/types.go).
_MERGE_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
_BUILT_IN_GROUPS: Final = frozenset(("", "apps", "batch", "extensions"))


def _target(identity: Identity) -> dict[str, str]:
    group, slash, version = identity.api_version.partition("/")
    target = {
        "group": group if slash else "",
        "version": version or group,
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


def strategic(objects: list[tuple[Identity, Any, Any]]) -> str:
    """Return strategic merge patches of (identity, old object, new object), as YAML documents.

    For custom resources, which know no strategic merge, each is a JSON merge patch (RFC 7386).
    """
    documents = []
    for identity, old, new in objects:
        metadata = {"name": identity.name}
        if identity.namespace:
            metadata["namespace"] = identity.namespace
        group, slash, _ = identity.api_version.partition("/")
        merges = (group if slash else "") in _BUILT_IN_GROUPS
        patch = _difference(old, new, merges)
        head = {"apiVersion": identity.api_version, "kind": identity.kind}
        if isinstance(patch.get("metadata"), dict):
            metadata.update(patch.pop("metadata"))
        documents.append(dump({**head, "metadata": metadata, **patch}))
    return "---\n".join(documents)


def _difference(old: dict[str, Any], new: dict[str, Any], merges: bool) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if key not in new:
            out[key] = None
        elif key not in old or not same(before, after):
            if isinstance(before, dict) and isinstance(after, dict):
                out[key] = _difference(before, after, merges)
            elif merges and key in _MERGE_KEYS and _keyed(before, _MERGE_KEYS[key]) and _keyed(after, _MERGE_KEYS[key]):
                out[key] = _merged_list(before, after, _MERGE_KEYS[key])
            elif merges and key in _MERGE_KEYS and isinstance(after, list):
                out[key] = [{"$patch": "replace"}, *after]
            else:
                out[key] = after
    return out


def _keyed(items: Any, key: str) -> bool:
    """Whether every item of a list has a key of its own."""
    if not isinstance(items, list) or not all(isinstance(item, dict) and key in item for item in items):
        return False
    return len({item[key] for item in items}) == len(items)


def _merged_list(old: Any, new: Any, key: str) -> list[dict[str, Any]]:
    before = {item[key]: item for item in old}
    after = {item[key]: item for item in new}
    out = []
    for name, item in before.items():
        if name not in after:
            out.append({"$patch": "delete", key: name})
        elif not same(item, after[name]):
            out.append({key: name, **_difference(item, after[name], True)})
    return [*out, *(item for name, item in after.items() if name not in before)]

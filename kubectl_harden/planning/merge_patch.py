"""Changes of an object as a strategic merge patch, or as a JSON merge patch where its kind supports only that.

The keys that lists are merged by are those of k8s.io/api/core/v1/types.go (patchMergeKey).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kubectl_harden.json_values import same
from kubectl_harden.model import Identity

__all__ = ["BUILT_IN_GROUPS", "MERGE_KEYS", "keyed", "merge_patch"]

MERGE_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
_FURTHER_KEYS: Final = {"ports": ("protocol",)}
"""Fields by which kustomize also distinguishes items that have them (x-kubernetes-list-map-keys)."""

BUILT_IN_GROUPS: Final = frozenset(("", "apps", "batch", "extensions"))


def merge_patch(identity: Identity, old: Any, new: Any) -> dict[str, object]:
    """Return the patch that turns ``old`` into ``new``, with the apiVersion, kind and metadata that name the object.

    For custom resources, which do not support strategic merge, it is a JSON merge patch (RFC 7386).
    """
    metadata = {_name_field(old): identity.name}
    if identity.namespace:
        metadata["namespace"] = identity.namespace
    group, slash, _ = identity.api_version.partition("/")
    patch = _difference(old, new, (group if slash else "") in BUILT_IN_GROUPS)
    if isinstance(patch.get("metadata"), dict):
        metadata.update(patch.pop("metadata"))
    return {"apiVersion": identity.api_version, "kind": identity.kind, "metadata": metadata, **patch}


def _name_field(value: dict[str, object]) -> str:
    metadata = value.get("metadata")
    is_generated = isinstance(metadata, dict) and not metadata.get("name") and metadata.get("generateName")
    return "generateName" if is_generated else "name"


def _difference(old: dict[str, object], new: dict[str, object], merges: bool) -> dict[str, Any]:
    out: dict[str, object] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if key not in new:
            out[key] = None
        elif key not in old or not same(before, after):
            if isinstance(before, dict) and isinstance(after, dict):
                out[key] = _difference(before, after, merges)
            elif merges and key in MERGE_KEYS and keyed(before, MERGE_KEYS[key]) and keyed(after, MERGE_KEYS[key]):
                out[key] = _merged_list(before, after, MERGE_KEYS[key], _FURTHER_KEYS.get(key, ()))
            elif merges and key in MERGE_KEYS and isinstance(after, list):
                out[key] = [{"$patch": "replace"}, *after]
            else:
                out[key] = after
    return out


def keyed(items: object, key: str) -> bool:
    """Whether every item of a list has a unique value under a key."""
    if not isinstance(items, list) or not all(isinstance(item, dict) and key in item for item in items):
        return False
    return len({item[key] for item in items}) == len(items)


def _merged_list(old: Any, new: Any, key: str, further: Sequence[str]) -> list[dict[str, object]]:
    """Return the items that change, and those before them with only their keys.

    kustomize puts the items of a patch before the others, in the patch's order: the order of containers would change.
    """
    before = {item[key]: item for item in old}
    after = {item[key]: item for item in new}
    out = []
    unchanged = []
    for name, item in before.items():
        keys = {field: item[field] for field in (key, *further) if field in item}
        if name not in after:
            out.append({"$patch": "delete", **keys})
        elif same(item, after[name]):
            unchanged.append(keys)
        else:
            out += [*unchanged, {**keys, **_difference(item, after[name], True)}]
            unchanged = []
    added = [item for name, item in after.items() if name not in before]
    return [*out, *unchanged, *added] if added else out

"""Who owns which field of an object (managedFields), and how an undo gives fields back to their owners.

Sources: kubernetes.io/docs/reference/using-api/server-side-apply ("Managing ownership"), and the form of ``fieldsV1``
in sigs.k8s.io/structured-merge-diff (fieldpath/serialize.go). managedFields may be written like any other field
(apimachinery, managedfields/internal/fieldmanager.go, ``decodeLiveOrNew``), but everything else that the same request
changes is owned by its sender: so fields are given back by a request of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import Cluster, Resource
from kubectl_harden.errors import ClusterError, Conflict
from kubectl_harden.json_values import same
from kubectl_harden.model import Path

__all__ = [
    "Changed",
    "Entry",
    "Transfer",
    "changed_fields",
    "fields_of",
    "given_back",
    "inverted",
    "left_behind",
    "members",
    "owned_part",
    "owners_of",
    "transferred",
    "transfers",
]

Entry = dict[str, Any]
"""An entry of managedFields."""
Transfer = dict[str, Any]
"""What a write did to one manager's fields: manager, operation, apiVersion and time of its entry; ``lost``, ``gained``.

The last two are fieldsV1. The journal keeps it as it is.
"""
Member = tuple[str, ...]

_NAMING: Final = ("manager", "operation", "apiVersion")
_NOBODY: Final[list[Entry]] = [{}]
"""What the API server takes for managedFields without an entry; an empty list would leave them unchanged."""
TRIES: Final = 5


def members(fields: dict[str, object]) -> frozenset[Member]:
    """Return the paths of a fieldsV1 set, in its own words: ``("f:spec", 'k:{"name":"a"}', "f:image")``."""
    return frozenset(_members(fields, ()))


def _members(fields: dict[str, Any], above: Member) -> Iterator[Member]:
    for key, below in fields.items():
        if key == ".":
            yield above
        elif below:
            yield from _members(below, (*above, key))
        else:
            yield (*above, key)


def fields_of(of: Iterable[Member]) -> dict[str, object]:
    """Return a set of paths as fieldsV1."""
    root: dict[str, Any] = {}
    paths = sorted(of)
    for path in paths:
        node = root
        for part in path:
            node = node.setdefault(part, {})
    for path in paths:
        node = root
        for part in path:
            node = node[part]
        if node:
            node["."] = {}
    return root


def _by_writer(managed: Iterable[Entry]) -> dict[tuple[str, ...], Entry]:
    """Return the entries by manager; entries of subresources (status, scale) are not touched."""
    return {
        tuple(str(entry.get(key, "")) for key in _NAMING): entry for entry in managed if not entry.get("subresource")
    }


def transfers(before: Sequence[Entry], after: Sequence[Entry]) -> list[Transfer]:
    """Return what each manager lost and gained between two states of managedFields."""
    old, new = _by_writer(before), _by_writer(after)
    out = []
    for writer in dict.fromkeys((*old, *new)):
        had, has = (members((entries.get(writer) or {}).get("fieldsV1") or {}) for entries in (old, new))
        if had != has:
            change: Transfer = {key: text for key, text in zip(_NAMING, writer, strict=True) if text}
            time = (old.get(writer) or new[writer]).get("time")
            if time:
                change["time"] = time
            out.append({**change, "lost": fields_of(had - has), "gained": fields_of(has - had)})
    return out


def inverted(changes: Iterable[Transfer]) -> list[Transfer]:
    """Return the transfers that undo others."""
    return [{**change, "lost": change["gained"], "gained": change["lost"]} for change in changes]


def left_behind(managed: Sequence[Entry], changes: Sequence[Transfer], manager: str) -> list[Transfer]:
    """Return what gives the fields of an undone change back to their owners, nothing where they already are.

    They are not where the run was cut off between the write that undid the change and the one that gives its fields
    back: ``manager``, who made both, owns what others had lost to it.
    """
    lost = [(change.get("manager") == manager, members(change["lost"])) for change in changes]
    others = {member for own, fields in lost if not own for member in fields}
    others -= {member for own, fields in lost if own for member in fields}
    for writer, entry in _by_writer(managed).items():
        held = members(entry.get("fieldsV1") or {}) & others
        if writer[:2] == (manager, "Update") and held:
            head = {key: text for key, text in zip(_NAMING, writer, strict=True) if text}
            return [*inverted(changes), {**head, "lost": fields_of(held), "gained": {}}]
    return []


def transferred(managed: Sequence[Entry], changes: Iterable[Transfer]) -> list[Entry]:
    """Return managedFields after transfers. A manager that owns nothing any more has no entry."""
    out = list(managed)
    for change in changes:
        writer = tuple(str(change.get(key, "")) for key in _NAMING)
        entry = _by_writer(out).get(writer)
        now = members((entry or {}).get("fieldsV1") or {})
        fields = fields_of((now - members(change["lost"])) | members(change["gained"]))
        if entry is None:
            head: Entry = {key: text for key, text in change.items() if key not in ("lost", "gained")}
            made = {**head, "fieldsType": "FieldsV1", "fieldsV1": fields}
            out += [made] if fields else []
        else:
            at = next(index for index, item in enumerate(out) if item is entry)
            out[at : at + 1] = [{**entry, "fieldsV1": fields}] if fields else []
    return out


def given_back(cluster: Cluster, resource: Resource, value: dict[str, Any], managed: Sequence[Entry] | None) -> str:
    """Give the fields of an object to the owners that ``managed`` names; returns why that failed, or "".

    ``value`` is the object as the write just before returned it; where someone has written since, only what
    that write changed of the ownership is changed. Only metadata.managedFields is written, guarded by
    resourceVersion.
    """
    if managed is None:
        return ""
    metadata = value["metadata"]
    changes = transfers(metadata.get("managedFields") or (), managed)
    why = "others keep changing it"
    for _ in range(TRIES if changes else 0):
        now = transferred(metadata.get("managedFields") or (), changes)
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
            {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
            {"op": "add", "path": "/metadata/managedFields", "value": now or _NOBODY},
        ]
        try:
            try:
                cluster.patch(resource, metadata.get("namespace"), metadata["name"], patch, dry_run=False)
            except Conflict:
                metadata = cluster.get(resource, metadata.get("namespace"), metadata["name"])["metadata"]
                if metadata["uid"] != value["metadata"]["uid"]:
                    return ""
                continue
        except ClusterError as error:
            why = str(error)
            break
        return ""
    return f"its fields still belong to {cluster.manager} in managedFields: {why}" if changes else ""


# -- fields of an object -------------------------------------------------------------------------------


def owners_of(value: dict[str, Any], path: Path) -> Iterator[str]:
    """Yield the managers that own a field, or something below it."""
    for entry in value.get("metadata", {}).get("managedFields") or ():
        if not entry.get("subresource") and _holds(entry.get("fieldsV1") or {}, value, path):
            yield str(entry.get("manager", "?"))


def _holds(fields: dict[str, Any], value: object, path: Path) -> bool:
    """Whether a fieldsV1 set has a path, in which list items are named by their keys."""
    for part in path:
        if isinstance(part, str) and isinstance(value, dict):
            key = f"f:{part}"
            if key not in fields or part not in value:
                return False
            fields, value = fields[key], value[part]
        elif isinstance(part, int) and isinstance(value, list) and part < len(value):
            value = value[part]
            if not fields:
                return True  # An atomic list is owned as a whole.
            found = next((fields[key] for key in fields if _names(key, value)), None)
            if found is None:
                return False
            fields = found
        else:
            return False
    return True


def _names(key: str, item: object) -> bool:
    kind, _, text = key.partition(":")
    if kind == "v":
        return bool(_key(text) == item)
    if kind != "k" or not isinstance(item, dict):
        return False
    return all(item.get(name) == wanted for name, wanted in _key(text).items())


@lru_cache(4096)
def _key(text: str) -> Any:
    """Return the decoded JSON of a key in a fieldsV1 set; it is cached, so it must not be changed."""
    return json.loads(text)


class Changed(NamedTuple):
    """A field that a manager owned and that has another value now, or no value (``gone``)."""

    path: Path
    gone: bool


def changed_fields(entry: Entry, before: dict[str, object], after: dict[str, object]) -> list[Changed]:
    """Return which fields of a manager's entry two states of an object differ in; of those gone the outermost."""
    owned = members(entry.get("fieldsV1") or {})
    parents = {member[:depth] for member in owned for depth in range(len(member))}
    out: list[Changed] = []
    for member in sorted(owned, key=len):
        old, new = _resolved(before, member), _resolved(after, member)
        if old is None or any(one.gone and old[0][: len(one.path)] == one.path for one in out):
            continue
        if new is None:
            depth = next(depth for depth in range(1, len(member) + 1) if _resolved(after, member[:depth]) is None)
            out.append(Changed(old[0][:depth], gone=True))
        elif not _by_presence(old[1], nested=member in parents) and not same(old[1], new[1]):
            out.append(Changed(old[0], gone=False))
    return sorted(out, key=lambda one: str(one.path))


def owned_part(entry: Entry, value: dict[str, object]) -> dict[str, object]:
    """Return the part of an object that a manager's entry owns, as its manifest would have it."""
    part = _part(entry.get("fieldsV1") or {}, value)
    return part if isinstance(part, dict) else {}


def _part(fields: dict[str, Any], value: object) -> Any:
    if not fields:
        return value
    if isinstance(value, dict):
        return {key: _part(fields[f"f:{key}"], item) for key, item in value.items() if f"f:{key}" in fields}
    if isinstance(value, list):
        named = ((next((key for key in fields if _names(key, item)), None), item) for item in value)
        return [_keyed_part(key, fields[key], item) for key, item in named if key is not None]
    return value


def _keyed_part(key: str, fields: dict[str, object], item: object) -> object:
    if not isinstance(item, dict):
        return item
    return {**json.loads(key.partition(":")[2]), **_part(fields or {".": {}}, item)}


def _by_presence(value: object, *, nested: bool) -> bool:
    """Whether owning a value only means that it exists: an item or an object whose fields are owned one by one."""
    return nested or (isinstance(value, dict) and not value)


def _resolved(value: object, member: Member) -> tuple[Path, object] | None:
    """Return where the field of a fieldsV1 path is in an object, and its value; None where it is not there."""
    path: Path = ()
    for part in member:
        kind, _, name = part.partition(":")
        if kind == "f":
            if not isinstance(value, dict) or name not in value:
                return None
            path, value = (*path, name), value[name]
        elif isinstance(value, list):
            at = next((n for n, item in enumerate(value) if part == f"i:{n}" or _names(part, item)), None)
            if at is None:
                return None
            path, value = (*path, at), value[at]
        else:
            return None
    return path, value

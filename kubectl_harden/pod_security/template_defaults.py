"""A template with defaults below it, merged as Argo's controller does, and where each field of the result is.

Source: k8s.io/apimachinery, strategicpatch.StrategicMergePatch (mergeSliceHandler, normalizeElementOrder) with the
patch strategies of Argo's Template (pkg/apis/workflow/v1alpha1/workflow_types.go) and of core/v1.
"""

from __future__ import annotations

from typing import Any, Final

from kubectl_harden.json_values import ABSENT, value_at
from kubectl_harden.model import Path

__all__ = ["Layered"]

# Lists that are merged by a key; other lists replace the default.
_MERGE_KEYS: Final = {
    "env": "name",
    "hostAliases": "ip",
    "initContainers": "name",
    "ports": "containerPort",
    "sidecars": "name",
    "tolerations": "key",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
# Its lists have no merge keys.
_REPLACED: Final = "containerSet"

Pairs = list[tuple[int | None, int | None]]


class Layered:
    """A template over its defaults. ``value`` is the merged value; empty values count as absent, as in Go's JSON."""

    def __init__(self, default: Any, own: dict[str, Any], default_path: Path, own_path: Path) -> None:
        self._default, self._own = default, own
        self._default_path, self._own_path = default_path, own_path
        self.value: dict[str, Any] = own if default is None else _merged(default, own, "")

    def source(self, path: Path) -> Path:
        """Return where a field of the result is, or where to add it: a missing field is added to the template."""
        if self._default is None:
            return self._own_path + path
        return _source(self._default, self._own, self._default_path, self._own_path, path, "")

    def beneath(self, path: Path) -> bool:
        """Whether a field of the result is in both."""
        return self._default is not None and _both(self._default, self._own, path, "")

    def sees(self, path: Path) -> bool:
        """Whether a change of the defaults, at a path of the object, would change the result."""
        depth = len(self._default_path)
        if self._default is None or path[:depth] != self._default_path[: len(path)]:
            return False
        inner = path[depth:]
        return not inner or (inner[0] in self._default and _sees(self._default, self._own, inner, ""))


def _below(name: str, key: str | int) -> str:
    """Return the name of a nested field for the merge rules, _REPLACED below a list that is replaced."""
    return _REPLACED if _REPLACED in (name, key) else str(key)


def _pairs(default: object, own: object, name: str) -> Pairs | None:
    """Return (index of the default, own index) for each item of two lists that are merged, or None."""
    key = _MERGE_KEYS.get(name)
    if key is None or not (isinstance(default, list) and isinstance(own, list)):
        return None
    if not all(isinstance(item, dict) and isinstance(item.get(key), (str, int)) for item in (*default, *own)):
        return None
    places: dict[object, int] = {}
    for number, item in enumerate(default):
        places.setdefault(item[key], number)
    mine: Pairs = [(places.get(item[key]), index) for index, item in enumerate(own)]
    taken = {at for at, _ in mine}
    others = [number for number in range(len(default)) if number not in taken]
    out: Pairs = []
    for place, index in mine:
        while others and (place is None or others[0] < place):
            out.append((others.pop(0), None))
        out.append((place, index))
    return [*out, *((left, None) for left in others)]


def _absent(value: object) -> bool:
    return value is None or value in ([], "")


def _merged(default: Any, own: Any, name: str) -> Any:
    if _absent(own):
        return own if _absent(default) else default
    if isinstance(default, dict) and isinstance(own, dict):
        keys = dict.fromkeys((*default, *own))
        return {key: _merged(default.get(key), own.get(key), _below(name, key)) for key in keys}
    pairs = _pairs(default, own, name)
    if pairs is None:
        return own
    return [
        _merged(None if at is None else default[at], None if index is None else own[index], "") for at, index in pairs
    ]


def _source(default: Any, own: Any, default_path: Path, own_path: Path, path: Path, name: str) -> Path:
    if _absent(own) and not _absent(default):
        return _inherited_source(default, default_path, own_path, path, name)
    if not path or _absent(default):
        return own_path + path
    head, rest = path[0], path[1:]
    if isinstance(default, dict) and isinstance(own, dict):
        below = _below(name, head)
        return _source(default.get(head), own.get(head), (*default_path, head), (*own_path, head), rest, below)
    pairs = _pairs(default, own, name)
    if pairs is None or not isinstance(head, int):
        return own_path + path
    if head >= len(pairs):
        return (*own_path, len(own) + head - len(pairs), *rest)
    at, index = pairs[head]
    if index is None:
        # A field of an item needs the item.
        return (*default_path, head if at is None else at, *rest)
    item = None if at is None else default[at]
    return _source(item, own[index], (*default_path, at or 0), (*own_path, index), rest, "")


def _inherited_source(default: object, default_path: Path, own_path: Path, path: Path, name: str) -> Path:
    """Return where a field is that the template does not have."""
    if not path or _present(default, path):
        return default_path + path
    head, rest = path[0], path[1:]
    if isinstance(default, list) and isinstance(head, int):
        # The template's own list would replace this one, unless the two are merged.
        merged = head >= len(default) and _pairs(default, [], name) is not None
        return (*own_path, head - len(default), *rest) if merged else default_path + path
    inner = default.get(head) if isinstance(default, dict) else None
    if _absent(inner):
        return own_path + path
    return _inherited_source(inner, (*default_path, head), (*own_path, head), rest, _below(name, head))


def _present(value: object, path: Path) -> bool:
    found = value_at(value, path)
    return found is not ABSENT and not _absent(found)


def _sees(default: Any, own: Any, path: Path, name: str) -> bool:
    if _absent(own):
        return True
    if isinstance(default, dict) and isinstance(own, dict):
        return not path or _sees(default.get(path[0]), own.get(path[0]), path[1:], _below(name, path[0]))
    pairs = _pairs([] if default is None else default, own, name)
    if pairs is None:
        return False
    if not path:
        return True
    index = next((index for at, index in pairs if at == path[0]), None)
    return index is None or _sees(default[path[0]], own[index], path[1:], "")


def _both(default: Any, own: Any, path: Path, name: str) -> bool:
    if _absent(default) or _absent(own):
        return False
    if not path:
        return True
    head, rest = path[0], path[1:]
    if isinstance(default, dict) and isinstance(own, dict):
        return _both(default.get(head), own.get(head), rest, _below(name, head))
    pairs = _pairs(default, own, name)
    if pairs is None or not isinstance(head, int) or head >= len(pairs):
        return False
    at, index = pairs[head]
    return at is not None and index is not None and _both(default[at], own[index], rest, "")

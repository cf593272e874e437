"""JSON values: compared exactly, changed without copying everything, read with care."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = [
    "ABSENT",
    "Draft",
    "copied",
    "json_line",
    "mapping",
    "mappings",
    "same",
    "size",
    "value_at",
]

ABSENT: Final = object()
"""Stands for a value that does not exist: on one side of a difference, or at a path."""


def json_line(value: object, indent: int | None = None) -> str:
    """Return JSON for a file, in one line without ``indent``; only lone surrogates are escaped."""
    import json  # late: most checks print none

    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Return the items of a list that are mappings; none of any other value."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class Draft:
    """A JSON value that may be changed while the original stays: only the path to each change is copied.

    ``value`` is the changed value; it shares with the original everything that ``at`` was not called for.
    """

    def __init__(self, value: Any) -> None:
        self.value = value.copy()
        # By id; the reference keeps Python from reusing the id for another object.
        self._own: dict[int, Any] = {}

    def at(self, path: Iterable[str | int], *, make: bool = False) -> Any:
        """Return the object or list at a path, to be changed; ``make`` creates missing objects on the way.

        Raises KeyError, IndexError, TypeError or AttributeError where there is no object or list.
        """
        found, own = self.value, self._own
        for part in path:
            if make and ((isinstance(found, dict) and part not in found) or found[part] is None):
                item: Any = {}
            else:
                item = found[part]
                if id(item) in own:
                    found = item
                    continue
                item = item.copy()
            own[id(item)] = item
            found[part] = item
            found = item
        return found


def value_at(value: object, path: Iterable[str | int]) -> Any:
    """Return the value at a path of keys and list indexes, ``ABSENT`` where there is none."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part, ABSENT)
        else:
            there = isinstance(value, list) and isinstance(part, int) and part < len(value)
            value = value[part] if there else ABSENT  # type: ignore[index]
    return value


def copied(value: object) -> Any:
    """Return a deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def size(value: object) -> int:
    """Return how many fields and items a JSON value has."""
    count, stack = 0, [value]
    while stack:
        item = stack.pop()
        count += 1
        if isinstance(item, (dict, list)):
            stack.extend(item.values() if isinstance(item, dict) else item)
    return count


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal, of the same types (true is not 1, 1 is not 1.0)."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)

"""JSON values: compared and aligned exactly, changed without a copy of all, read with care."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["Draft", "align", "copied", "same"]


class Draft:
    """A JSON value that may be changed while the original stays: only what is on the way to a change is copied.

    ``value`` is the changed value; it shares with the original all that was not asked for by ``at``.
    """

    def __init__(self, value: Any) -> None:
        self.value = value.copy()
        # By id; the reference keeps an id from being given to another object.
        self._own: dict[int, Any] = {}

    def at(self, path: Iterable[str | int], *, make: bool = False) -> Any:
        """Return the object or list at a path, to be changed; ``make`` creates missing objects on the way.

        Raises KeyError, IndexError, TypeError or AttributeError where nothing of the kind is there.
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


def copied(value: Any) -> Any:
    """Return a deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal, of the same types (true is not 1, 1 is not 1.0)."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left is right or bool(left == right)


def _cost(left: Any, right: Any) -> int:
    if same(left, right):
        return 0
    if isinstance(left, dict) and isinstance(right, dict) and left.get("name") == right.get("name"):
        return 1
    return 2


def align(old: list[Any], new: list[Any]) -> list[tuple[int | None, int | None]]:
    """Pair the items of two lists in order, at the least cost.

    Returns (old index, new index) pairs; None on one side is a removed or an added item.
    """
    if len(old) == len(new):
        return [(index, index) for index in range(len(old))]
    rows, columns = len(old) + 1, len(new) + 1
    best = [[0] * columns for _ in range(rows)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            if i < len(old) and j < len(new):
                steps = (best[i + 1][j + 1] + _cost(old[i], new[j]), best[i + 1][j] + 2, best[i][j + 1] + 2)
                best[i][j] = min(steps)
            else:
                best[i][j] = 2 * (len(old) - i + len(new) - j)
    pairs: list[tuple[int | None, int | None]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        if i < len(old) and j < len(new) and best[i][j] == best[i + 1][j + 1] + _cost(old[i], new[j]):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif i < len(old) and best[i][j] == best[i + 1][j] + 2:
            pairs.append((i, None))
            i += 1
        else:
            pairs.append((None, j))
            j += 1
    return pairs

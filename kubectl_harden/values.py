"""JSON values compared and aligned exactly."""

from __future__ import annotations

from typing import Any

__all__ = ["align", "copied", "same"]


def copied(value: Any) -> Any:
    """Return a deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal, of the same types (true is not 1, 1 is not 1.0)."""
    if type(left) is not type(right):
        return isinstance(left, dict) and isinstance(right, dict) and _same_items(left, right)
    if isinstance(left, dict):
        return _same_items(left, right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left is right or bool(left == right)


def _same_items(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())


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

"""Edits of fields: the value that they result in, and their form as RFC 6902 operations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from kubectl_harden.json_values import Draft
from kubectl_harden.model import RISKS, Edit, Op, Path
from kubectl_harden.planning.json_patch import resolve_path
from kubectl_harden.pod_security.location import Location

__all__ = ["edited", "in_object", "lowered", "place_before", "united"]

_DROP: Final = object()


def edited(value: object, edits: Collection[Edit]) -> Any:
    """Return a value with the edits applied: missing parents are created, emptied ones are removed."""
    out = _marked(value, edits)
    return _without_marks(out) if any(edit.op == "remove" for edit in edits) else out


def place_before(value: object, edits: Collection[Edit]) -> Callable[[Path], Path]:
    """Return the function that maps a path in ``edited(value, edits)`` to the path in ``value``, as in the edits.

    The two differ after removed list items; an appended item comes after all that were there.
    """
    marked = _marked(value, edits)

    def before(path: Path) -> Path:
        node = marked
        out: list[str | int] = []
        for part in path:
            if isinstance(node, list) and isinstance(part, int):
                part = [index for index, item in enumerate(node) if item is not _DROP][part]
            out.append(part)
            there = part in node if isinstance(node, dict) else isinstance(node, list)
            node = node[part] if there else None
        return tuple(out)

    return before


def _marked(value: object, edits: Iterable[Edit]) -> Any:
    """Return a value with the edits applied, where everything to remove is marked with _DROP.

    All paths are those of the original value: marks do not move anything.
    """
    draft = Draft(value)
    removed: list[Path] = []
    for edit in edits:
        last = edit.path[-1]
        if isinstance(last, int) and edit.op != "remove" and not _present(value, edit.path[:-1]):
            above = draft.at(edit.path[:-2], make=True)
            above[edit.path[-2]] = above.get(edit.path[-2]) or []
        parent = draft.at(edit.path[:-1], make=edit.op != "remove")
        if edit.op == "remove":
            parent[last] = _DROP
            removed.append(edit.path)
        elif isinstance(parent, list) and isinstance(last, int) and last >= len(parent):
            # The edits that append the items before it may have been left out.
            parent.append(edit.value)
        else:
            parent[last] = edit.value
    for path in removed:
        _prune(draft.value, path)
    return draft.value


def united(edits: Iterable[Edit]) -> list[Edit]:
    """Return the edits, with equal edits of several controls made one."""
    out: dict[tuple[Op, Path], Edit] = {}
    for edit in edits:
        out[edit.op, edit.path] = _merged(out.get((edit.op, edit.path)), edit)
    return list(out.values())


def _is_gone(value: object) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(item is _DROP for item in value.values())
    return isinstance(value, list) and bool(value) and all(item is _DROP for item in value)


def _prune(root: Any, path: Path) -> None:
    """Mark the parents that a removal leaves empty."""
    parents = [root]
    for part in path[:-1]:
        if parents[-1] is _DROP:
            return
        parents.append(parents[-1][part])
    for length in range(len(parents) - 1, 0, -1):
        if not _is_gone(parents[length]):
            return
        parents[length - 1][path[length - 1]] = _DROP


def _without_marks(value: object) -> object:
    """Return a value without the marked parts."""
    if isinstance(value, dict):
        return {key: _without_marks(item) for key, item in value.items() if item is not _DROP}
    if isinstance(value, list):
        return [_without_marks(item) for item in value if item is not _DROP]
    return value


def lowered(value: object, edits: list[Edit]) -> list[Edit]:
    """Return the edits as RFC 6902 operations on the object, each of which can be applied without the others.

    Fields below a missing parent become one operation that adds the parent; removals that empty a
    parent become one that removes it. Removals come last, highest index first.
    """
    additions: dict[Path, Edit] = {}
    removals: dict[Path, Edit] = {}
    goal = _marked(value, edits)
    for edit in edits:
        if edit.op == "remove":
            path = _emptied(goal, edit.path)
            removals[path] = _merged(removals.get(path), edit._replace(path=path))
            continue
        path = _missing_parent(value, edit.path)
        op: Op = "replace" if _present(value, path) else "add"
        if op == "add" and isinstance(resolve_path(value, path[:-1]), list):
            additions[path] = edit._replace(op=op, path=(*path[:-1], "-"))
        else:
            whole = edit._replace(op=op, path=path, value=resolve_path(goal, path))
            additions[path] = _merged(additions.get(path), whole)
    last_first = sorted(removals.values(), key=lambda edit: _order(edit.path), reverse=True)
    return [*additions.values(), *last_first]


def _emptied(goal: object, path: Path) -> Path:
    """Return the path of the outermost value that a removal removes."""
    for length in range(1, len(path)):
        if resolve_path(goal, path[:length]) is _DROP:
            return path[:length]
    return path


def _present(value: object, path: Path) -> bool:
    try:
        resolve_path(value, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _missing_parent(value: Any, path: Path) -> Path:
    """Return the shortest prefix of the path that is missing or null, or the path itself."""
    for length, part in enumerate(path[:-1], start=1):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return path[:length]
        if value is None:
            return path[:length]
    return path


def _merged(first: Edit | None, second: Edit) -> Edit:
    if first is None:
        return second
    return second._replace(
        checks=tuple(dict.fromkeys((*first.checks, *second.checks))),
        risk=max(first.risk, second.risk, key=RISKS.index),
        why="; ".join(dict.fromkeys((*first.why.split("; "), *second.why.split("; ")))),
        offers=tuple(dict.fromkeys((*first.offers, *second.offers))),
        companion=" ".join(dict.fromkeys((*first.companion.split(), *second.companion.split()))),
    )


def _order(path: Path) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in path)


def in_object(value: Any, location: Location, edits: Iterable[Edit]) -> list[Edit]:
    """Return edits of a pod template as edits of the object that it is in."""
    placed = [edit._replace(path=location.in_object(edit.path)) for edit in edits]
    return [part for edit in placed for part in _appended(value, edit)] if location.spread else placed


def _appended(value: Any, edit: Edit) -> Iterator[Edit]:
    """Yield an edit; one that adds a list which the object already has for other pods is split into appended items."""
    try:
        present = resolve_path(value, edit.path) if edit.op == "add" and isinstance(edit.value, list) else None
    except (KeyError, IndexError, TypeError):
        present = None
    if not isinstance(present, list):
        yield edit
        return
    for index, item in enumerate(edit.value, start=len(present)):
        yield edit._replace(path=(*edit.path, index), value=item)

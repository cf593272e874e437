"""RFC 6902 patches: edits as operations, the value that they result in, and the patch that reverts them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubectl_harden.field_path import parse_pointer, pointer
from kubectl_harden.json_values import Draft, copied, same
from kubectl_harden.model import Edit, Path

__all__ = [
    "Operation",
    "apply",
    "carried_out",
    "in_force",
    "inverse_of",
    "moved_on",
    "operations",
    "resolve_path",
    "touched",
]

Operation = dict[str, Any]
"""An operation of a JSON Patch (RFC 6902), as the API server accepts it."""


def resolve_path(value: Any, path: Path) -> object:
    """Return the value at a path. Raises KeyError or IndexError where there is none."""
    for part in path:
        value = value[part]
    return value


def apply(value: object, edits: Iterable[Edit]) -> Any:
    """Return a JSON value with the edits applied in order, as in RFC 6902; the given value is not changed.

    Raises KeyError or IndexError for a path that is not there.
    """
    draft = Draft(value)
    for edit in edits:
        _make(draft.at(edit.path[:-1]), edit.path[-1], edit.op, edit.value)
    return draft.value


def operations(edits: Iterable[Edit]) -> list[dict[str, Any]]:
    """Return edits as the operations of RFC 6902."""
    out = []
    for edit in edits:
        operation = {"op": edit.op, "path": pointer(edit.path)}
        if edit.op != "remove":
            operation["value"] = edit.value
        out.append(operation)
    return out


def inverse_of(before: object, after: object, operations: Iterable[Operation]) -> list[Operation]:
    """Return the operations that turn ``after`` back into ``before`` where ``operations`` changed it.

    ``after`` is the server's result of applying the operations to ``before``. Each reverting operation is preceded by a
    test that the value (for a removed list item: the list) is still as in ``after``.
    """
    steps: list[list[Operation]] = []
    value = copied(before)
    for operation in operations:
        if operation["op"] != "test":
            steps.append(_back(value, operation))
            _carry_out(value, operation)
    out = []
    current = copied(after)
    for group in reversed(steps):
        back = group[-1]
        if group[0]["op"] == "test":
            try:
                group[0]["value"] = copied(_at(current, group[0]["path"]))
            except (KeyError, IndexError):
                # The server did not keep the value, such as a false that it leaves out.
                if back["op"] == "remove":
                    continue
                group = [{**back, "op": "add"}]
        elif _has(current, back["path"]):
            # The server has set a default where something was removed, such as ``securityContext: {}``.
            place = back["path"]
            group = [{"op": "test", "path": place, "value": copied(_at(current, place))}, {**back, "op": "replace"}]
        _carry_out(current, group[-1])
        out.extend(group)
    return out


def _back(value: object, operation: Operation) -> list[Operation]:
    """Return what reverts an operation on ``value``: a test, and the reverting operation."""
    place, op = operation["path"], operation["op"]
    parent, last = _parent(value, place)
    around, _, _ = place.rpartition("/")
    if op == "remove":
        again = {"op": "add", "path": place, "value": copied(_item(parent, last))}
        return [{"op": "test", "path": around}, again] if isinstance(parent, list) else [again]
    if op == "add" and isinstance(parent, list):
        item = f"{around}/{len(parent) if last == '-' else int(last)}"
        return [{"op": "test", "path": item}, {"op": "remove", "path": item}]
    if isinstance(parent, dict) and last not in parent:
        return [{"op": "test", "path": place}, {"op": "remove", "path": place}]
    return [{"op": "test", "path": place}, {"op": "replace", "path": place, "value": copied(_item(parent, last))}]


def _has(value: object, place: str) -> bool:
    try:
        _at(value, place)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _at(value: object, place: str) -> Any:
    return _item(*_parent(value, place))


def _item(parent: Any, last: str) -> object:
    return parent[int(last) if isinstance(parent, list) else last]


def moved_on(value: object, operations: Iterable[Operation]) -> str | None:
    """Return the JSON pointer of the first field that is no longer as the operations expect it, or None."""
    value = copied(value)
    for operation in operations:
        place = operation["path"]
        try:
            if operation["op"] == "test":
                if not same(_at(value, place), operation["value"]):
                    return str(place)
                continue
            parent, last = _parent(value, place)
            if operation["op"] == "add" and isinstance(parent, dict) and last in parent:
                return str(place)
            _carry_out(value, operation)
        except (KeyError, IndexError, ValueError, TypeError):
            return str(place)
    return None


def carried_out(value: object, operations: Iterable[Operation]) -> Any:
    """Return a copy of a value with operations applied, for which ``moved_on`` returned None."""
    out = copied(value)
    for operation in operations:
        if operation["op"] != "test":
            _carry_out(out, operation)
    return out


def touched(value: object, operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the values of the fields that operations touch, by JSON pointer; for an appended item, the list."""
    found = {}
    for operation in operations:
        place = operation["path"].removesuffix("/-")
        try:
            found[place] = copied(_at(value, place))
        except (KeyError, IndexError, ValueError, TypeError):
            continue
    return found


def in_force(value: object, operations: Iterable[Operation]) -> bool:
    """Whether an object already is as the operations would make it."""
    for operation in operations:
        if operation["op"] == "test":
            continue
        try:
            if operation["path"].endswith("/-"):
                items, _ = _parent(value, operation["path"])
                if not any(same(item, operation["value"]) for item in items):
                    return False
                continue
            found = _at(value, operation["path"])
        except (KeyError, IndexError, ValueError, TypeError):
            if operation["op"] != "remove":
                return False
            continue
        if operation["op"] == "remove" or not same(found, operation["value"]):
            return False
    return True


def _parent(value: Any, place: str) -> tuple[Any, str]:
    *parts, last = parse_pointer(place)
    for part in parts:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value, str(last)


def _carry_out(value: object, operation: Operation) -> None:
    """Carry out an operation on a value, in place."""
    parent, last = _parent(value, operation["path"])
    _make(parent, last, operation["op"], copied(operation.get("value")))


def _make(parent: Any, last: str | int, op: str, value: object) -> None:
    """Carry out an operation on the object or list that contains its target."""
    if isinstance(parent, list):
        if op == "add":
            parent.insert(len(parent) if last == "-" else int(last), value)
            return
        last = int(last)
    if op == "remove":
        del parent[last]
    else:
        parent[last] = value

"""The JSON types of a pod template, and decoding by them as the API server does.

The table ``pod_schema.txt`` is made from k8s.io/api by tests/oracle (op ``types``), and a test keeps it current: one
type per line, with its fields and their types. It is not JSON, because importing the json module would take longer than
reading this.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any, Final

from kubectl_harden.errors import InputError
from kubectl_harden.model import Path

__all__ = ["decode_pod_template", "type_table"]

# apimachinery's resource.ParseQuantity, and RFC 3339. Not compiled: few pods need them.
_QUANTITY: Final = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?"
_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_RANGES: Final = {"int32": 1 << 31, "int64": 1 << 63}


@lru_cache(maxsize=1)
def type_table() -> dict[str, dict[str, str]]:
    """Return type name → field → type; see tests/oracle/types.go for the notation."""
    # The module's own loader also works in a zipapp; importing importlib.resources would take longer than reading.
    loader: Any = __spec__.loader
    text: str = loader.get_data(os.path.join(os.path.dirname(__file__), "pod_schema.txt")).decode()
    types = (line.split(" ") for line in text.splitlines())
    return {name: dict(field.split("=") for field in fields) for name, *fields in types}


def decode_pod_template(value: object) -> dict[str, Any]:
    """Return ``{"metadata": …, "spec": …}`` with unknown fields and nulls dropped.

    Raises InputError with the path (relative to the pod template) of a value of the wrong type.
    """
    result: dict[str, object] = _decode(value, "PodTemplateSpec", (), type_table())
    return result


def _decode(value: object, kind: str, path: Path, table: dict[str, dict[str, str]]) -> Any:
    if kind == "string" and type(value) is str:
        return value
    fields = table.get(kind)
    if fields is not None:
        if value is None:
            return {}
        if type(value) is not dict:
            raise _mismatch("an object", value, path)
        out = {}
        for key, item in value.items():
            wanted = fields.get(key)
            if wanted is not None and item is not None:
                out[key] = _decode(item, wanted, (*path, key), table)
        return out
    if kind[:2] == "[]":
        if type(value) is not list:
            raise _mismatch("a list", value, path)
        return [_decode(item, kind[2:], (*path, index), table) for index, item in enumerate(value)]
    if kind[:2] == "{}":
        if type(value) is not dict:
            raise _mismatch("an object", value, path)
        return {key: _decode(item, kind[2:], (*path, key), table) for key, item in value.items()}
    return _scalar(value, kind, path)


_ZERO: Final[dict[str, object]] = {"string": "", "bool": False, "int32": 0, "int64": 0}


def _scalar(value: Any, kind: str, path: Path) -> object:
    if value is None:
        return _ZERO.get(kind)
    given = type(value)
    if kind == "string":
        if given is not str:
            raise _mismatch("a string", value, path)
    elif kind == "time":
        if given is not str or not re.fullmatch(_TIME, value):
            raise _mismatch("a time such as 2026-01-31T12:00:00Z", value, path)
    elif kind == "bool":
        if given is not bool:
            raise _mismatch("true or false", value, path)
    elif kind in _RANGES:
        if given is not int:
            raise _mismatch("an integer", value, path)
        if not -_RANGES[kind] <= value < _RANGES[kind]:
            raise InputError(f"{value} is out of the range of {kind}", path)
    elif kind == "int-or-string":
        if given is not int and given is not str:
            raise _mismatch("an integer or a string", value, path)
        if given is int:
            _scalar(value, "int32", path)
    elif kind == "quantity" and (given not in (str, int, float) or not re.fullmatch(_QUANTITY, str(value))):
        raise _mismatch("a quantity such as 500m or 1Gi", value, path)
    return value


def _mismatch(wanted: str, value: object, path: Path) -> InputError:
    if isinstance(value, str):
        given = f'the string "{value if len(value) <= 40 else value[:37] + "…"}"'
    elif isinstance(value, bool):
        given = "true" if value else "false"
    elif isinstance(value, int | float):
        given = f"the number {value}"
    else:
        given = {dict: "an object", list: "a list", type(None): "null"}[type(value)]
    return InputError(f"must be {wanted}, not {given}", path)

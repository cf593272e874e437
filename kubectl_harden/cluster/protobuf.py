"""Objects' metadata in Kubernetes' protobuf, of which only what tells their owners is decoded.

JSON has to be decoded as a whole, and most of an object's metadata is managedFields. Sources:
staging/src/k8s.io/apimachinery/pkg/runtime/serializer/protobuf (the prefix), pkg/runtime/generated.proto (Unknown),
pkg/apis/meta/v1/generated.proto (the fields and their numbers), and protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

__all__ = ["PREFIX", "metadata_list"]

PREFIX: Final = b"k8s\x00"

_VARINT: Final = 0
_BYTES: Final = 2
_FIXED: Final = {1: 8, 5: 4}
"""Wire types of fields of a fixed length in bytes."""

_Field = tuple[int, int, int]
"""A field's number, and where its bytes start and end; for a varint, its value and -1."""


def metadata_list(text: bytes) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Return a PartialObjectMetadataList without its items, and the items; both have the shape of their JSON.

    The metadata has name, namespace, uid, resourceVersion, labels and ownerReferences, where they are not empty. Raises
    ValueError for other bytes, also while items are read.
    """
    kind: dict[str, str] = {}
    start = end = 0
    for number, at, to in _fields(text, len(PREFIX), len(text)):
        if number == 1 and to >= 0:
            kind = _texts(text, at, to, {1: "apiVersion", 2: "kind"})
        elif number == 2 and to >= 0:
            start, end = at, to
        elif number == 3 and to > at:
            raise ValueError("the list is encoded")
    if start == end:
        raise ValueError("there is no list in it")
    metadata: dict[str, str] = {}
    for number, at, to in _fields(text, start, end):
        if number == 1 and to >= 0:
            metadata = _texts(text, at, to, {2: "resourceVersion", 3: "continue"})
    return {**kind, "metadata": metadata, "items": []}, _items(text, start, end)


def _items(text: bytes, start: int, end: int) -> Iterator[dict[str, Any]]:
    for number, at, to in _fields(text, start, end):
        if number != 2 or to < 0:
            continue
        metadata: dict[str, Any] = {}
        for field, inner, inner_end in _fields(text, at, to):
            if field == 1 and inner_end >= 0:
                metadata = _metadata(text, inner, inner_end)
        yield {"metadata": metadata}


_METADATA: Final = {1: "name", 3: "namespace", 5: "uid", 6: "resourceVersion"}
_LABELS: Final = 11
_OWNERS: Final = 13
_OWNER: Final = {1: "kind", 3: "name", 4: "uid", 5: "apiVersion"}
_CONTROLLER: Final = 6


def _metadata(text: bytes, start: int, end: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    labels: dict[str, str] = {}
    owners: list[dict[str, object]] = []
    for number, at, to in _fields(text, start, end):
        if to < 0:
            continue
        if number in _METADATA:
            if at < to:
                out[_METADATA[number]] = text[at:to].decode()
        elif number == _LABELS:
            entry = _texts(text, at, to, {1: "key", 2: "value"})
            labels[entry.get("key", "")] = entry.get("value", "")
        elif number == _OWNERS:
            owners.append(_owner(text, at, to))
    if labels:
        out["labels"] = labels
    if owners:
        out["ownerReferences"] = owners
    return out


def _owner(text: bytes, start: int, end: int) -> dict[str, object]:
    out: dict[str, object] = {}
    for number, at, to in _fields(text, start, end):
        if number in _OWNER and to >= 0:
            out[_OWNER[number]] = text[at:to].decode()
        elif number == _CONTROLLER and to < 0:
            out["controller"] = at != 0
    return out


def _texts(text: bytes, start: int, end: int, names: dict[int, str]) -> dict[str, str]:
    """Return the string fields of a message that are not empty, by their names."""
    return {
        names[number]: text[at:to].decode()
        for number, at, to in _fields(text, start, end)
        if number in names and at < to
    }


def _fields(text: bytes, at: int, end: int) -> Iterator[_Field]:
    """Yield the fields of a message, which must end where it ends."""
    try:
        while at < end:
            tag = text[at]
            at += 1
            if tag > 127:
                tag, at = _varint(text, at - 1)
            number, wire = tag >> 3, tag & 7
            if wire in _FIXED:
                at += _FIXED[wire]
                continue
            value = text[at]
            at += 1
            if value > 127:
                value, at = _varint(text, at - 1)
            if wire == _BYTES:
                if at + value > end:
                    raise ValueError("a field is longer than its message")
                yield number, at, at + value
                at += value
            elif wire == _VARINT:
                yield number, value, -1
            else:
                raise ValueError(f"there is no wire type {wire}")
    except IndexError:
        raise ValueError("a message is cut") from None
    if at != end:
        raise ValueError("a message is cut")


def _varint(text: bytes, at: int) -> tuple[int, int]:
    """Return a number of up to 64 bits, and where it ends."""
    value = shift = 0
    while True:
        byte = text[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")

"""Metadata of objects in Kubernetes' protobuf, as an API server writes it."""

from __future__ import annotations

from typing import Any

from kubectl_harden.cluster.protobuf import PREFIX

KIND = {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList"}


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def field(number: int, value: str | bytes | bool | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(int(value))
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(value: dict[str, Any], numbers: dict[str, int]) -> bytes:
    return b"".join(field(number, value[name]) for name, number in numbers.items() if name in value)


def encoded(items: list[dict[str, Any]], *, more: str = "", kind: dict[str, str] = KIND) -> bytes:
    """Return a list as an API server encodes it, with fields that are passed over in between."""
    out = field(1, message({"resourceVersion": "7", "continue": more}, {"resourceVersion": 2, "continue": 3}))
    for metadata in items:
        of_item = message(metadata, {"name": 1, "namespace": 3, "uid": 5, "resourceVersion": 6})
        of_item += field(7, 300) + field(8, field(1, 1_700_000_000))
        for key, value in metadata.get("labels", {}).items():
            of_item += field(11, field(1, key) + field(2, value))
        for owner in metadata.get("ownerReferences", ()):
            numbers = {"kind": 1, "name": 3, "uid": 4, "apiVersion": 5, "controller": 6}
            of_item += field(13, message(owner, numbers) + field(7, 1))
        of_item += field(17, field(1, "kubelet") + field(7, field(1, b'{"f:status":{}}')))
        out += field(2, field(1, of_item))
    head = field(1, message(kind, {"apiVersion": 1, "kind": 2}))
    return PREFIX + head + field(2, out) + field(3, "") + field(4, "")

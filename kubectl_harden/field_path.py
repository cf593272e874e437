"""Paths of fields: as JSON pointers (RFC 6901), and as Kubernetes writes them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kubectl_harden.model import Path

__all__ = ["field_path", "named_path", "parse_pointer", "pointer"]


@lru_cache(4096)
def parse_pointer(text: str) -> Path:
    """Return the parts of a JSON pointer (RFC 6901); list indexes stay strings. Raises ValueError."""
    if text == "":
        return ()
    if not text.startswith("/"):
        raise ValueError(f'a JSON pointer starts with "/": {text}')
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


@lru_cache(4096)
def pointer(path: Path) -> str:
    """Return the JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def field_path(path: Path) -> str:
    """Return a path as Kubernetes writes it: ``spec.containers[0].image``, ``metadata.labels[example.com/team]``."""
    return "".join(map(_written, path)).lstrip(".")


def named_path(value: Any, path: Path) -> str:
    """Return a path with list items by name instead of index, so that it stays the same when other items come or go.

    That is an item's name, else its host port, else the item itself where it is a text, else its index:
    ``spec.containers[web].ports[80].hostPort``.
    """
    out = ""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        else:
            there = isinstance(value, list) and isinstance(part, int) and part < len(value)
            value = value[part] if there else None
        out += f"[{_called(value, part)}]" if isinstance(part, int) else _written(part)
    return out.lstrip(".")


def _called(item: object, index: int) -> object:
    """Return what an item of a list is called."""
    if isinstance(item, dict):
        item = item.get("name") or item.get("groupName") or item.get("hostPort")
    return item if isinstance(item, str | int) else index


def _written(part: str | int) -> str:
    return f".{part}" if isinstance(part, str) and "." not in part and "/" not in part else f"[{part}]"

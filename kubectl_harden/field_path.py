"""Paths of fields: as JSON pointers (RFC 6901), and as Kubernetes writes them."""

from __future__ import annotations

from kubectl_harden.model import Path

__all__ = ["field_path", "parse_pointer", "pointer"]


def parse_pointer(text: str) -> Path:
    """Return the parts of a JSON pointer (RFC 6901); list indexes stay strings. Raises ValueError."""
    if text == "":
        return ()
    if not text.startswith("/"):
        raise ValueError(f'a JSON pointer starts with "/": {text}')
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


def pointer(path: Path) -> str:
    """Return the JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def field_path(path: Path) -> str:
    """Return a path as Kubernetes writes it: ``spec.containers[0].image``, ``metadata.labels[example.com/team]``."""
    return "".join(f".{part}" if _is_plain(part) else f"[{part}]" for part in path).lstrip(".")


def _is_plain(part: str | int) -> bool:
    return isinstance(part, str) and "." not in part and "/" not in part

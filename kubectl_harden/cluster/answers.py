"""What the API server answers, made safe to read: JSON within limits, objects of their shapes, typed errors.

Sources: metav1.Status for errors, metav1.ListMeta for lists, RFC 7234 for warnings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, NoReturn

from kubectl_harden.cluster.protobuf import PREFIX
from kubectl_harden.cluster.shapes import SHAPES, fault
from kubectl_harden.errors import (
    ClusterError,
    Conflict,
    Denied,
    Expired,
    NotFound,
    NotPermitted,
    Unauthorized,
    Unreachable,
)

__all__ = ["UNWANTED", "Wanted", "bad_answer", "checked", "decoded", "error_of", "items_in", "opened", "warnings_in"]

Wanted = Callable[[object], bool]
"""Whether an item of a list is wanted, by its metadata."""
_Read = Callable[[str, int], tuple[object, int]]
"""Returns the JSON value that begins at a place in a text, and where it ends."""
UNWANTED: Final = object()
"""Stands for an item that is not wanted."""

DEEPEST: Final = 128
"""How deep JSON may be nested: no object with pods comes near it, and recursive code must not reach its limit."""
_LONGEST_MESSAGE: Final = 1 << 16
_NOT_PERMITTED: Final = re.compile(
    r'User "(?:[^"\\]|\\.)*" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)"| at the cluster scope)'
)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)


def bad_answer(what: str, why: str) -> Unreachable:
    """Return the error for an answer that no API server gives; whether a write was carried out is not known then."""
    return Unreachable(f"{what}: {why}; is this an API server?", sent=True)


def _nested(what: str) -> Unreachable:
    return bad_answer(what, f"the answer is nested more than {DEEPEST} levels deep")


def decoded(text: bytes | bytearray, what: str) -> Any:
    """Return the JSON of an answer to ``what`` (a method and a path). Raises Unreachable for what is not JSON."""
    try:
        value = _DECODER.decode(text.decode())
    except RecursionError:
        raise bad_answer(what, "the answer is nested too deeply") from None
    except ValueError:
        raise bad_answer(what, "the answer is not JSON") from None
    if _is_deep(text):
        raise _nested(what)
    return value


def opened(text: bytes, what: str, wanted: Wanted | None = None) -> tuple[Any, Iterator[object]]:
    """Return the JSON of a list of objects without its items, and an iterator that decodes the items one by one.

    Decoded objects take many times the memory of their text. What is not a list, or does not have its items last, is
    decoded at once, and the iterator is empty. With ``wanted`` the items are Pods, and UNWANTED stands for each Pod
    that is not wanted: most of its text is skipped. Raises Unreachable, also while items are decoded.
    """
    start = text.find(_ITEMS)
    # What is before the items is JSON with an empty list only where this is the list's own field.
    value = _head_of(text[: start + len(_ITEMS)] + b"]}") if start >= 0 else None
    if value is None:
        return decoded(text, what), iter(())
    read: _Read = _DECODER.raw_decode
    if wanted is not None:
        read = partial(_read_wanted, wanted, what)
    elif _is_deep(text):
        raise _nested(what)
    return value, _items_of(text, start + len(_ITEMS), what, read)


_ITEMS: Final = b'"items":['
_HEAD: Final = {"kind", "apiVersion", "metadata", "items"}
_BETWEEN: Final = re.compile(r"[ \t\r\n]*(,|\][ \t\r\n]*\}[ \t\r\n]*\Z)[ \t\r\n]*")


def _head_of(text: bytes) -> dict[str, object] | None:
    try:
        value = _DECODER.decode(text.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.keys() == _HEAD else None


def _items_of(text: bytes, start: int, what: str, read: _Read) -> Iterator[object]:
    try:
        rest = str(memoryview(text)[start:], "utf-8")
        del text  # A page takes megabytes, and stays as long as its last object is worked on.
        if (end := _BETWEEN.match(rest)) is not None and end[1] != ",":
            return
        at = len(rest) - len(rest.lstrip(" \t\r\n"))
        while True:
            item, at = read(rest, at)
            between = _BETWEEN.match(rest, at)
            if between is None:
                raise bad_answer(what, "the answer is not JSON")
            yield item
            if between[1] != ",":
                return
            at = between.end()
    except (ValueError, RecursionError):
        raise bad_answer(what, "the answer is not JSON") from None


def _read_wanted(wanted: Wanted, what: str, text: str, at: int) -> tuple[object, int]:
    """Return the Pod that begins at a place, or UNWANTED, and where it ends."""
    head, end = _beginning(text, at)
    if head is not None and not wanted(head):
        return UNWANTED, end
    item, end = _DECODER.raw_decode(text, at)
    # Most of the page is not decoded, so its depth was not checked as a whole.
    if _is_deep(text[at:end].encode(errors="surrogatepass")):
        raise _nested(what)
    return (UNWANTED if head is None and not wanted(item) else item), end


_FIRST: Final = '{"metadata":{'
_NEXT: Final = "}," + _FIRST
_LAST: Final = ',"managedFields":['
_BEFORE: Final = {"name", "namespace", "uid", "resourceVersion"}


def _beginning(text: str, at: int) -> tuple[object, int]:
    """Return a Pod with its metadata up to managedFields, which come last, and where the Pod ends.

    None where the text does not look like that, or the Pod is the last one: it is decoded whole then. Quotes inside
    strings are escaped, so no string contains such text.
    """
    # Every Pod has metadata: none is in between where the next metadata begins the next Pod.
    following = text.find('"metadata"', at + len(_FIRST)) - 1
    if not (text.startswith(_FIRST, at) and text.startswith(_NEXT, following - 2)):
        return None, 0
    end = text.find(_LAST, at, following)
    # No list in a Pod has objects that begin with metadata, and the text would end within the list if one had.
    if end < 0 or text.count("[", at, following) != text.count("]", at, following):
        return None, 0
    try:
        head = _DECODER.decode(f"{text[at:end]}}}}}")
    except (ValueError, RecursionError):
        return None, 0
    metadata = head["metadata"]
    # Whoever writes metadata in another order has it read whole.
    return (head, following - 1) if isinstance(metadata, dict) and metadata.keys() >= _BEFORE else (None, 0)


def _is_deep(text: bytes | bytearray) -> bool:
    """Whether JSON is nested more than DEEPEST levels."""
    # Each round removes the innermost pairs, which is fast on bytes; brackets inside strings may prevent it.
    brackets = bytes(text.translate(None, _NO_BRACKETS))
    for _ in range(DEEPEST):
        fewer = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not fewer:
            return False
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    depth = 0
    for match in re.finditer(rb'"(?:[^"\\]|\\.)*"|([\[{])|[\]}]', text):
        if match[0][:1] != b'"':
            depth += 1 if match[1] else -1
            if depth > DEEPEST:
                return True
    return False


def checked(value: object, about: tuple[str, str], what: str) -> Any:
    """Return a value that has the shape of ``about`` (apiVersion and kind; see SHAPES), without null fields.

    An object that names another apiVersion or kind does not have it. ``what`` begins the error's sentence.
    Raises Unreachable.
    """
    version, kind = about
    if version and isinstance(value, dict) and (value.get("apiVersion", version), value.get("kind", kind)) != about:
        raise bad_answer(what, f"the answer is {_called(value)}, not {_named(*about)}")
    trouble = fault(value, SHAPES.get(about) or SHAPES["", ""])
    if trouble is not None:
        raise bad_answer(what, f"the answer is not {_named(*about)}: {trouble}")
    return value


def _called(value: dict[str, object]) -> str:
    """Return the apiVersion and kind that an object claims to have; for a Status, its message as well."""
    if value.get("kind") == "Status":
        return f'a Status that says "{_message(value)}"'
    return _named(value.get("apiVersion"), value.get("kind"))


def _named(version: object, kind: object) -> str:
    words = {"version": "a version", "list": "a list", "event": "an event of a watch", "bookmark": "a bookmark"}
    return words.get(str(kind)) or f"{f'{version} '[:80] if version else ''}{kind or 'something'}"[:160]


def items_in(value: object, about: tuple[str, str], what: str) -> list[object]:
    """Take the items out of a list of objects and return them; their own shapes are not looked at.

    ``about`` is the apiVersion and the kind of the items. API servers before 1.27 write an empty list as null, which is
    accepted where the list has a resourceVersion. Raises Unreachable.
    """
    version, kind = about
    if not isinstance(value, dict):
        raise bad_answer(what, "the answer is not a list of objects")
    # A custom resource may call its list anything.
    ends = f"{kind}List" if about in SHAPES else "List"
    if value.get("apiVersion") != version or not str(value.get("kind")).endswith(ends):
        raise bad_answer(what, f"the answer is {_called(value)}, not a list of {_named(*about)}")
    checked(value, ("", "list"), what)
    items = value.pop("items", _MISSING)
    if items is None and value["metadata"].get("resourceVersion"):
        return []
    if type(items) is not list:
        raise bad_answer(what, "the answer is a list without items")
    return items


_MISSING: Final = object()


def warnings_in(values: list[str]) -> Iterator[str]:
    """Yield the texts of Warning headers (RFC 7234, 5.5: code agent "text")."""
    for value in values:
        for match in re.finditer(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"', value):
            yield re.sub(r"\\(.)", r"\1", match[1])


def error_of(status: int, text: bytes, what: str) -> ClusterError:
    """Return the typed error for a Status object, or for what a proxy says instead.

    ``what`` is the method and the path of the request.
    """
    try:
        value = decoded(text, what)
    except Unreachable:
        value = None
    told = isinstance(value, dict) and value.get("kind") == "Status"
    if 300 <= status < 400:
        return bad_answer(what, f"the server answers with a redirect ({status}), which is not followed")
    if told:
        message = _message(value)
    else:
        # A protobuf answer is requested again as JSON.
        message = "" if text.startswith(PREFIX) else text[:800].decode(errors="replace").strip()[:200]
    message = message or f"HTTP status {status}"
    reason = value.get("reason") if told else ""
    if status == 401:
        return Unauthorized("the API server does not accept these credentials (expired?): log in again")
    match = _NOT_PERMITTED.search(message) if status == 403 else None
    if match:
        group = f".{match['group']}" if match["group"] else ""
        where = f" in namespace {match['namespace']}" if match["namespace"] is not None else " in the whole cluster"
        resource = match["resource"] + group
        return NotPermitted(f"not allowed to {match['verb']} {resource}{where} (RBAC)", match["verb"], resource)
    if status == 404:
        return NotFound(message)
    if status == 409 and reason != "AlreadyExists":
        return Conflict(message)
    if status == 410 or reason == "Expired":
        return Expired(message)
    if status == 422 and told and what.startswith("PATCH "):
        details = value.get("details")
        if not (isinstance(details, dict) and details.get("kind")):
            # A JSON Patch that does not apply is the only such answer that names no object.
            return Conflict("the object is no longer what the patch was made for")
    if 400 <= status < 500 and status != 429:
        return Denied(message)
    return Unreachable(f"{what}: the API server answers {status}: {message}", sent=True)


def _message(status: dict[str, object]) -> str:
    message = status.get("message")
    return _to_the_point(message)[:_LONGEST_MESSAGE] if isinstance(message, str) else ""


def _to_the_point(message: str) -> str:
    """Return what strict decoding errors say after they have quoted the whole object."""
    before, found, rest = message.rpartition('}": ')
    return rest if found and ': Invalid value: "{' in before + found else message

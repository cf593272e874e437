"""Helm releases as the cluster stores them: decoded within limits, and which template made which object.

Sources: helm.sh/docs/topics/advanced (storage backends: a Secret of type helm.sh/release.v1 or a ConfigMap for each
revision, called sh.helm.release.v1.NAME.vREVISION); helm, pkg/storage/driver (util.go, decodeRelease: base64 of gzip
of JSON; secrets.go and cfgmaps.go: the labels), pkg/release/v1 (the fields), pkg/action ("# Source: CHART/templates/…"
before each object of the manifest, and the path of a hook). Helm 3 and 4 keep the same form.

A release holds its chart's templates and values, but neither its sub-charts nor where the chart was fetched from.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.objects import api_group, held_by
from kubectl_harden.yaml_text.documents import readable

__all__ = ["LARGEST", "TYPE", "Release", "decoded", "payload", "release_of"]

TYPE: Final = "helm.sh/release.v1"
"""The type of the Secrets that hold releases."""
LARGEST: Final = 32 << 20
"""Bytes of JSON: a Secret holds at most 1 MiB, and what unpacks to more than this is malicious."""

_LARGEST_DOCUMENT: Final = 2 << 20
"""Characters of an object: an API server stores none that is larger (etcd's limit is 1.5 MiB)."""
_MOST_READ: Final = 4 << 20
"""Characters that are read to find one object."""

_GZIP: Final = b"\x1f\x8b\x08"
_SEPARATOR: Final = re.compile(r"^---[ \t\r]*(?:\n|$)", re.MULTILINE)
_SOURCE: Final = re.compile(r"\s*# Source: ([^\n]*[^\s])")
_KIND: Final = re.compile(r"^kind:[ \t]*(\w+)[ \t\r]*$", re.MULTILINE)
_WITHOUT_PODS: Final = frozenset({"ConfigMap", "CustomResourceDefinition", "Secret"})
"""Kinds that run no pods, and may be large or secret: their documents are not kept."""


class Release(NamedTuple):
    """A revision of a release. ``documents`` are the template and the text of each object that may run pods.

    ``has_values`` tells that the user gave values.
    """

    namespace: str
    name: str
    revision: int
    status: str
    chart: str
    version: str
    documents: tuple[tuple[str, str], ...]
    has_values: bool = False

    def template_of(self, value: dict[str, Any]) -> str | None:
        """Return the template that made an object; "" where that is not known, None where there is no such object."""
        about = api_group(_text(value.get("apiVersion"))), value["kind"], value["metadata"]["name"]
        namespace = value["metadata"].get("namespace", "")
        likely = [item for item in self.documents if about[1] in item[1] and about[2] in item[1]]
        if sum(len(text) for _, text in likely) > _MOST_READ:
            return ""
        found = {
            template
            for template, text in likely
            for item in _objects(text)
            if _about(item) == about and (not namespace or (_namespace(item) or self.namespace) == namespace)
        }
        if len(found) > 1:
            return ""
        return next(iter(found), None)


def payload(value: dict[str, Any]) -> str:
    """Return the encoded release in a Secret or a ConfigMap. Raises InputError where it holds none."""
    data = value.get("data")
    text = data.get("release") if isinstance(data, dict) else None
    if not isinstance(text, str) or (value.get("kind") == "Secret" and value.get("type") != TYPE):
        raise InputError("it does not hold a release")
    # The API encodes a Secret's bytes once more.
    return _bytes(text).decode("latin-1") if value.get("kind") == "Secret" else text


def decoded(text: str) -> dict[str, Any]:
    """Return a release as Helm wrote it: its ``chart``, ``config`` (the user's values), ``manifest`` and ``hooks``.

    It may hold secrets. Raises InputError for what is not a release, and for more than ``LARGEST`` bytes.
    """
    data = _bytes(text)
    if data.startswith(_GZIP):
        unpacking = zlib.decompressobj(wbits=31)
        try:
            data = unpacking.decompress(data, LARGEST + 1)
        except zlib.error:
            raise InputError("it cannot be unpacked (gzip)") from None
        if len(data) <= LARGEST and not unpacking.eof:
            raise InputError("it is cut off (gzip)")
    if len(data) > LARGEST:
        raise InputError(f"it is larger than {LARGEST >> 20} MiB")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise InputError("it is not JSON that can be read") from None
    if not isinstance(value, dict):
        raise InputError("it is not a JSON object")
    return value


def release_of(value: dict[str, Any]) -> Release:
    """Return what is needed of a decoded release, without its values. Raises InputError where it has no name."""
    name, manifest = value.get("name"), value.get("manifest")
    if not isinstance(name, str) or not name:
        raise InputError("it has no name")
    info, chart, revision = value.get("info"), value.get("chart"), value.get("version")
    metadata = chart.get("metadata") if isinstance(chart, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    hooks = value.get("hooks")
    documents = list(_sources(manifest)) if isinstance(manifest, str) else []
    for hook in hooks if isinstance(hooks, list) else ():
        if isinstance(hook, dict) and isinstance(hook.get("manifest"), str):
            documents.append((_text(hook.get("path")), hook["manifest"]))
    return Release(
        _text(value.get("namespace")),
        name,
        revision if type(revision) is int else 0,
        _text(info.get("status")) if isinstance(info, dict) else "",
        _text(metadata.get("name")),
        _text(metadata.get("version")),
        tuple(item for item in documents if _may_run_pods(item[1])),
        bool(value.get("config")),
    )


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InputError("it is not complete base64") from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _sources(manifest: str) -> Iterator[tuple[str, str]]:
    """Yield the template and the text of each document; a post-renderer may have removed the comment that names it."""
    for piece in _SEPARATOR.split(manifest):
        match = _SOURCE.match(piece)
        yield (match[1] if match else "", piece)


def _may_run_pods(text: str) -> bool:
    kind = _KIND.search(text)
    return 0 < len(text.strip()) <= _LARGEST_DOCUMENT and (kind is None or kind[1] not in _WITHOUT_PODS)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    for document in readable(text):
        held = held_by(document.value)
        yield from (item for item in (held[1] if held else [document.value]) if isinstance(item, dict))


def _about(item: dict[str, Any]) -> tuple[str, Any, Any]:
    metadata = item.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return api_group(_text(item.get("apiVersion"))), item.get("kind"), name


def _namespace(item: dict[str, Any]) -> Any:
    metadata = item.get("metadata")
    return metadata.get("namespace") if isinstance(metadata, dict) else None

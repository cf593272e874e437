"""A whole Helm release: its newest revision, with the chart, the values and the hooks that are stored with it.

Sources: those of ``helm_release``; helm, pkg/chart (the JSON of a chart: metadata, lock, templates, values, schema and
files; dependencies are not exported, so that no release has its sub-charts), pkg/chart/loader (what stands where in a
chart's directory), pkg/chart/v2/util (disabled dependencies are removed from the metadata).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import CONFIG_MAPS, SECRETS, Cluster
from kubectl_harden.errors import InputError, NotFound, NotPermitted
from kubectl_harden.json_values import json_line, mapping, mappings
from kubectl_harden.live.helm_release import TYPE, decoded, payload
from kubectl_harden.live.origin_links import text
from kubectl_harden.yaml_text.documents import readable
from kubectl_harden.yaml_text.tree import dump

__all__ = ["Record", "digest", "newest", "revision_of", "write_chart"]

_MOST_FILES: Final = 5_000


class Record(NamedTuple):
    """A revision of a release, whole; it may hold secrets.

    ``storage`` is Helm's name for where it is stored (HELM_DRIVER), ``status`` its status in Helm.
    """

    namespace: str
    name: str
    revision: int
    status: str
    storage: str
    uid: str
    value: Mapping[str, object]

    @property
    def title(self) -> str:
        """``Helm release shop/web``."""
        return f"Helm release {self.namespace}/{self.name}"

    @property
    def chart(self) -> str:
        """The chart and its version."""
        metadata = mapping(mapping(self.value.get("chart")).get("metadata"))
        return f"{text(metadata.get('name'))} {text(metadata.get('version'))}".strip()

    @property
    def config(self) -> Mapping[str, object]:
        """The values that users have given."""
        return mapping(self.value.get("config"))

    def target(self) -> dict[str, str]:
        """Return how the journal identifies the release."""
        named = {"namespace": self.namespace, "name": self.name, "uid": self.uid}
        return {"apiVersion": TYPE, "kind": "Helm release", "resource": "releases", **named}

    def manifest(self) -> str:
        """Return everything that was rendered: the manifest, and the hooks, each with its template."""
        parts = [text(self.value.get("manifest"))]
        for hook in mappings(self.value.get("hooks")):
            parts.append(f"# Source: {text(hook.get('path'))}\n{text(hook.get('manifest'))}")
        return "\n---\n".join(parts)

    def objects(self) -> Iterator[dict[str, Any]]:
        """Yield the objects that were rendered."""
        yield from (one.value for one in readable(self.manifest()) if isinstance(one.value, dict))

    def hooks(self, *events: str) -> list[str]:
        """Return the hooks of some events, as ``Job migrate (pre-upgrade)``."""
        found = []
        for hook in mappings(self.value.get("hooks")):
            of = hook.get("events")
            runs = [event for event in events if isinstance(of, list) and event in of]
            if runs:
                found.append(f"{text(hook.get('kind'))} {text(hook.get('name'))} ({', '.join(runs)})")
        return found

    def templates(self) -> dict[str, str]:
        """Return the templates of the chart itself by their paths. Raises InputError."""
        chart = mapping(self.value.get("chart"))
        listing = mappings(chart.get("templates"))
        return {text(item.get("name")): _bytes(item.get("data")).decode(errors="replace") for item in listing}

    def hooked(self) -> list[tuple[str, str]]:
        """Return the kinds and names of all hooks."""
        return [(text(hook.get("kind")), text(hook.get("name"))) for hook in mappings(self.value.get("hooks"))]

    def missing(self) -> list[str]:
        """Return the sub-charts that go into the release, none of which its record has."""
        chart = mapping(mapping(self.value.get("chart")).get("metadata"))
        named = {
            text(item.get("alias")) or text(item.get("name")): f"{text(item.get('name'))} {text(item.get('version'))}"
            for item in mappings(chart.get("dependencies"))
            if text(item.get("name"))
        }
        for match in re.finditer(r"^# Source: [^/\n]+/charts/([^/\n]+)/", self.manifest(), re.MULTILINE):
            named.setdefault(match[1], match[1])
        return sorted(name.strip() for name in named.values())


def newest(cluster: Cluster, namespace: str, name: str) -> Record:
    """Return the newest revision of a release. Raises ClusterError, and InputError where it cannot be read."""
    denied: NotPermitted | None = None
    for resource, storage in ((SECRETS, "secret"), (CONFIG_MAPS, "configmap")):
        found: dict[int, dict[str, object]] = {}
        try:
            for value in cluster.each(resource, namespace, selector=f"owner=helm,name={name},status!=superseded"):
                number = text(mapping(value["metadata"].get("labels")).get("version"))
                if re.fullmatch(r"\d{1,9}", number, re.ASCII):
                    found[int(number)] = value
        except NotPermitted as error:
            denied = denied or error
            continue
        if found:
            value = found[max(found)]
            return _record({"kind": resource.kind, **value}, namespace, name, max(found), storage)
    if denied is not None:
        raise denied
    raise NotFound(f"no release {name} is kept in namespace {namespace}")


def revision_of(cluster: Cluster, record: Record, revision: int) -> Record:
    """Return another revision of a release. Raises ClusterError, and InputError where it cannot be read."""
    resource = SECRETS if record.storage == "secret" else CONFIG_MAPS
    value = cluster.get(resource, record.namespace, f"sh.helm.release.v1.{record.name}.v{revision}")
    return _record({"kind": resource.kind, **value}, record.namespace, record.name, revision, record.storage)


def _record(value: dict[str, object], namespace: str, name: str, revision: int, storage: str) -> Record:
    whole = decoded(payload(value))
    if (whole.get("name"), whole.get("version")) != (name, revision):
        raise InputError("what is stored as its release is a different release")
    status = text(mapping(whole.get("info")).get("status"))
    uid = text(mapping(value.get("metadata")).get("uid"))
    return Record(namespace, name, revision, status, storage, uid, whole)


def digest(config: Mapping[str, object], salt: str) -> str:
    """Return a digest that recognizes values without showing them: with a ``salt``, equal values look different
    elsewhere.
    """
    return hashlib.sha256(salt.encode() + json_line(_plain(config)).encode()).hexdigest()


def _plain(value: object) -> object:
    """Return values as Helm may write them again: keys in order, whole numbers as such, nothing for null."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value) if value[key] is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def write_chart(record: Record, directory: str) -> None:
    """Write the chart of a release into an empty directory. Raises InputError where its record cannot be such a chart.

    Sub-charts are not in it: see ``Record.missing``.
    """
    chart = mapping(record.value.get("chart"))
    for count, (name, content) in enumerate(_files(chart)):
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
            raise InputError(f'its chart has a file "{name}", which lies outside of it')
        target = Path(directory, *path.parts)
        try:
            if count >= _MOST_FILES:
                raise InputError(f"its chart has more than {_MOST_FILES} files")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise InputError(f'its chart cannot be written: "{name}": {error.strerror}') from None


def _files(chart: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a chart as a release has them. Files that Helm stores separately come last, and win."""
    for key in ("templates", "files"):
        for item in mappings(chart.get(key)):
            yield text(item.get("name")), _bytes(item.get("data"))
    yield "Chart.yaml", dump(dict(mapping(chart.get("metadata")))).encode()
    yield "values.yaml", dump(dict(mapping(chart.get("values")))).encode()
    if chart.get("schema"):
        yield "values.schema.json", _bytes(chart.get("schema"))


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(text(value), validate=True)
    except ValueError:
        raise InputError("its chart is not complete base64") from None

"""The texts of a chart and its subcharts: templates, values, schemas, from a directory or an archive."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from kubectl_harden.yaml_text.documents import readable

__all__ = ["ChartFiles", "chart_files"]

_MAX_FILE: Final = 4 << 20
_MAX_FILES: Final = 5_000
_MAX_ALL: Final = 64 << 20
"""The most bytes of all files of a chart together: an archive may unpack to far more than its own size."""
_DEPTH: Final = 6


class ChartFiles(NamedTuple):
    """The texts of one chart.

    ``path`` are the keys of its values in those of the top chart, ``below`` is the path from the top chart to its
    files. ``templates`` are texts by their path in the chart.
    """

    path: tuple[str, ...]
    below: str
    values: str
    schema: str
    templates: Mapping[str, str]

    def own_values(self) -> dict[str, Any]:
        """Return the chart's own values; none where they cannot be read."""
        return next((one.value for one in readable(self.values) if isinstance(one.value, dict)), {})


def chart_files(chart: str) -> list[ChartFiles]:
    """Return the texts of a chart and its subcharts, the innermost first; unreadable files are left out."""
    try:
        texts = dict(_from_directory(chart) if os.path.isdir(chart) else _from_archive(_bytes(chart)))
    except (OSError, tarfile.TarError, EOFError):
        return []
    return list(_charts(texts, (), "", _DEPTH))


def _bytes(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read()


def _from_directory(directory: str) -> Iterator[tuple[str, bytes]]:
    count = 0
    for current, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names):
            path = os.path.join(current, name)
            inside = os.path.relpath(path, directory).replace(os.sep, "/")
            if _is_wanted(inside) and os.path.isfile(path) and os.path.getsize(path) <= _MAX_FILE:
                count += 1
                if count > _MAX_FILES:
                    return
                yield inside, _bytes(path)


def _from_archive(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a packaged chart; all of them are in one directory, which may have any name."""
    total = 0
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for count, member in enumerate(archive):
            inside = member.name.removeprefix("./").partition("/")[2]
            total += member.size
            if total > _MAX_ALL:
                return
            if count < _MAX_FILES and member.isfile() and member.size <= _MAX_FILE and _is_wanted(inside):
                found = archive.extractfile(member)
                if found is not None:
                    yield inside, found.read()


def _is_wanted(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name in ("Chart.yaml", "requirements.yaml", "values.yaml", "values.schema.json") or (
        "templates/" in path or (path.startswith("charts/") and name.endswith(".tgz"))
    )


def _charts(texts: Mapping[str, bytes], path: tuple[str, ...], below: str, depth: int) -> Iterator[ChartFiles]:
    inner: dict[str, dict[str, bytes]] = {}
    for name, content in texts.items():
        parts = name.split("/")
        if parts[0] == "charts" and len(parts) > 2:
            inner.setdefault(parts[1], {})["/".join(parts[2:])] = content
        elif parts[0] == "charts" and name.endswith(".tgz"):
            try:
                inner.setdefault(parts[-1], dict(_from_archive(content)))
            except (OSError, tarfile.TarError, EOFError):
                continue
    aliases = _aliases(texts)
    for directory, found in sorted(inner.items()) if depth else ():
        name = str(_value(found.get("Chart.yaml", b"")).get("name") or directory)
        for key in aliases.get(name) or [name]:
            yield from _charts(found, (*path, key), f"{below}charts/{name}/", depth - 1)
    templates = {name: _text(content) for name, content in texts.items() if name.startswith("templates/")}
    yield ChartFiles(
        path, below, _text(texts.get("values.yaml", b"")), _text(texts.get("values.schema.json", b"")), templates
    )


def _aliases(texts: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Return, for each dependency of a chart, the keys of its values: its name, or its alias."""
    names: dict[str, list[str]] = {}
    for file in ("Chart.yaml", "requirements.yaml"):
        listed = _value(texts.get(file, b"")).get("dependencies")
        for item in listed if isinstance(listed, list) else ():
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                names.setdefault(item["name"], []).append(str(item.get("alias") or item["name"]))
    return names


def _value(content: bytes) -> dict[str, Any]:
    return next((one.value for one in readable(_text(content)) if isinstance(one.value, dict)), {})


def _text(content: bytes) -> str:
    return content.decode(errors="replace")

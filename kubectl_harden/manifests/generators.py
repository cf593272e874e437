"""Manifests that other programs render: kubectl's own kustomize, and helm.

The texts come with the file that each object was rendered from, as far as the program tells.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePath
from typing import Final

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.directories import Build
from kubectl_harden.manifests.discovery import Found
from kubectl_harden.manifests.programs import Chart, Program, helm, rendering
from kubectl_harden.manifests.repository import KUSTOMIZATION, kustomizations
from kubectl_harden.objects import annotation
from kubectl_harden.text_files import leads_out, operand, read_text
from kubectl_harden.yaml_text.documents import Document, readable
from kubectl_harden.yaml_text.tree import dump

__all__ = [
    "build_with",
    "built",
    "by_source",
    "gathered",
    "helm_archives",
    "helm_cached",
    "helm_documents",
    "helm_pulled",
    "helm_repositories",
    "helm_template",
    "kustomized",
    "rendered",
]

ORIGIN: Final = "config.kubernetes.io/origin"
_ARCHIVES: Final = 200
"""At most this many archives of helm's cache are opened."""
_SOURCE: Final = re.compile(r"^# Source: (.*[^ \t\r\n])[ \t\r]*$", re.MULTILINE)
_UP: Final = re.compile(r"(?:\.\./)*\.\.(?:/|(?=[\s\"',\]}]|$))")
"""How far the files of a kustomization reach up: ``../../base``."""

_SEPARATOR: Final = re.compile(r"^---[^\n]*\n?", re.MULTILINE)


def rendered(build: Build) -> list[Found]:
    """Return the rendering of a chart or a kustomization that was found; where that fails, the problem instead."""
    try:
        return helm_template(Chart(build.directory)) if build.what == "chart" else kustomized(build.directory)
    except InputError as error:
        return [Found(build.directory, listed=False, problem=error.args[0])]


# -- kustomize -------------------------------------------------------------------------------------


def _kustomization_file(directory: str) -> str:
    """Return the path of a directory's kustomization. Raises InputError where there is none."""
    found = kustomizations(directory)
    if not found:
        raise InputError(f"{directory}: there is no kustomization.yaml here")
    return found[0]


def _build(directory: str, *options: str) -> str:
    """Return what kubectl's kustomize (or the program of that name) builds. Raises InputError."""
    advice = "kustomizations are built by kubectl kustomize, or by kustomize build"
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    return Program([*command, operand(directory), *options], advice).text()


def build_with(directory: str, files: Mapping[str, str]) -> str:
    """Return what a kustomization would build if files of its directory had these texts. Raises InputError.

    It is built in another directory, with links to everything else, so that nothing is written before it is proved.
    """
    current = os.path.realpath(directory)
    parts: list[str] = []
    for _ in range(max(((len(match[0]) + 1) // 3 for match in _UP.finditer("".join(files.values()))), default=0)):
        current, part = os.path.split(current)
        parts[:0] = [part] if part else []
    with tempfile.TemporaryDirectory(prefix="kubectl-harden-") as stage:
        here = stage
        try:
            for part in parts:
                _link(current, here, {part})
                here, current = os.path.join(here, part), os.path.join(current, part)
                os.mkdir(here)
            _link(current, here, files)
            for name, text in files.items():
                Path(here, name).write_bytes(text.encode())
        except OSError as error:
            raise InputError(f"it cannot be built elsewhere to prove it: {error.strerror}") from None
        try:
            # kustomize would refuse links, because they lead out of the directory.
            return _build(here, "--load-restrictor=LoadRestrictionsNone")
        except InputError as error:
            raise InputError(error.args[0].replace(os.path.realpath(here), directory)) from None


def _link(source: str, target: str, without: Iterable[str]) -> None:
    left_out = set(without)
    for entry in os.scandir(source):
        if entry.name not in left_out:
            os.symlink(entry.path, os.path.join(target, entry.name))


def built(directory: str) -> Found:
    """Return what a kustomization builds, as kustomize prints it. Raises InputError."""
    return Found(_kustomization_file(directory), listed=False, text=_build(directory))


def kustomized(directory: str) -> list[Found]:
    """Return what a kustomization builds, by the file that each object comes from. Raises InputError."""
    file = _kustomization_file(directory)
    with tempfile.TemporaryDirectory(prefix="kubectl-harden-") as outer:
        # With a kustomization around it that asks for that, kustomize reports where each object comes from.
        try:
            base = os.path.relpath(os.path.realpath(directory), os.path.realpath(outer))
            around = {"resources": [base], "buildMetadata": ["originAnnotations"]}
            Path(outer, KUSTOMIZATION[0]).write_bytes(dump(around).encode())
            text = _build(outer)
        except (InputError, ValueError):
            # What cannot be below another kustomization (a component, one on another drive) is built by itself.
            return [built(directory)]
        return gathered((_origin(document, file, outer), document.text) for document in readable(text))


def _origin(document: Document, file: str, outer: str) -> str:
    """Return the file that an object comes from: one below, one of a remote repository, or the kustomization."""
    text = annotation(document.value, ORIGIN)
    origin = next((item.value for item in readable(text)), None) if isinstance(text, str) else None
    if not isinstance(origin, dict) or not isinstance(origin.get("path"), str):
        return file
    if origin.get("repo"):
        return f"{origin['repo']}//{origin['path']}?ref={origin.get('ref', '')}".removesuffix("?ref=")
    path = os.path.normpath(os.path.join(os.path.realpath(outer), origin["path"]))
    below = os.path.relpath(path)
    return path if leads_out(below) and os.path.isabs(file) else below


def gathered(pieces: Iterable[tuple[str, str]]) -> list[Found]:
    """Return one text for each file, in the order of their first pieces."""
    texts: dict[str, list[str]] = {}
    for file, text in pieces:
        texts.setdefault(file, []).append(_SEPARATOR.sub("", text, count=1) if text.startswith("---") else text)
    return [Found(file, listed=True, text="---\n".join(parts)) for file, parts in texts.items()]


# -- helm ------------------------------------------------------------------------------------------


def helm_template(chart: Chart, begun: Program | None = None) -> list[Found]:
    """Return the user's helm's rendering of a chart, by template file. Raises InputError.

    ``begun`` is the rendering, if it was begun already.
    """
    return gathered(by_source((begun or rendering(chart)).text(), chart.name))


def helm_documents(chart: Chart) -> list[tuple[str, str]]:
    """Return the template file and the text of each document that the user's helm renders. Raises InputError."""
    return list(by_source(rendering(chart).text(), chart.name))


def helm_cached(name: str) -> str | None:
    """Return the archive of a chart of a repository (``repo/chart``) that helm has in its cache: the newest version.

    None where it is not there, or helm does not know the repository.
    """
    repository, _, chart = name.partition("/")
    directory = os.path.join(_helm_cache(), "repository")
    if name.startswith("oci://") or not os.path.isfile(os.path.join(directory, f"{repository}-index.yaml")):
        return None
    index = next((one.value for one in readable(read_text(os.path.join(directory, f"{repository}-index.yaml")))), None)
    entries = index.get("entries") if isinstance(index, dict) else None
    listed = entries.get(chart) if isinstance(entries, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        # Helm's indexes are sorted, the newest version first, and helm takes the first that is not a prerelease.
        version = entry.get("version") if isinstance(entry, dict) else None
        if isinstance(version, str) and "-" not in version:
            file = os.path.join(directory, f"{os.path.basename(chart)}-{os.path.basename(version)}.tgz")
            return file if os.path.isfile(file) else None
    return None


def helm_archives(chart: str, version: str) -> Iterator[str]:
    """Yield the archives in helm's cache that may be a version of a chart: by its name, or named by their digest."""
    named = os.path.join(_helm_cache(), "repository", os.path.basename(f"{chart}-{version}.tgz"))
    if os.path.isfile(named):
        yield named
    # Helm 4 (pkg/downloader/cache.go).
    yield from map(str, islice(sorted(Path(_helm_cache(), "content").glob("*/*.chart")), _ARCHIVES))


def _helm_cache() -> str:
    """Return where helm has its cache (https://helm.sh/docs/helm/helm/, HELM_CACHE_HOME)."""
    home = os.path.expanduser("~")
    default = os.path.join(home, "Library", "Caches") if sys.platform == "darwin" else os.path.join(home, ".cache")
    return os.environ.get("HELM_CACHE_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or default, "helm")


def helm_pulled(name: str, directory: str) -> str:
    """Have the user's helm put a chart (``oci://…``, ``repo/chart``) into a directory, and return its archive's path.

    Raises InputError.
    """
    Program([helm(), "pull", name, "--destination", directory], "charts are fetched by helm pull").text()
    found = [entry for entry in os.listdir(directory) if entry.endswith(".tgz")]
    if not found:
        raise InputError(f"{name}: helm pull did not fetch a chart")
    return os.path.join(directory, found[0])


def by_source(text: str, chart: str) -> Iterable[tuple[str, str]]:
    """Yield the template file, which helm names in a comment at the top, and the text of each document."""
    for piece in re.split(r"^---[ \t\r]*\n", text, flags=re.MULTILINE):
        match = _SOURCE.search(piece)
        if match is not None:
            # The path begins with the chart's name, wherever the chart is.
            yield os.path.join(chart, *PurePath(match[1]).parts[1:]), piece


def helm_repositories() -> str:
    """Return the directory in which helm has the indexes and the charts of repositories."""
    return os.path.join(_helm_cache(), "repository")

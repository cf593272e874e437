"""The files of directories: manifests, or parts of charts and kustomizations, which other programs render."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.json_values import mappings
from kubectl_harden.manifests.repository import KUSTOMIZATION, ancestors, is_repository, kustomizations, upwards
from kubectl_harden.model import Problem
from kubectl_harden.text_files import operand, read_text
from kubectl_harden.yaml_text.documents import only_document

__all__ = [
    "Build",
    "Parts",
    "kustomization_in",
    "kustomization_value",
    "kustomizations_above",
    "parts_of",
]

_CHART: Final = "Chart.yaml"
_NAMED: Final = 3
"""The most files that a note names."""


class Build(NamedTuple):
    """A directory that another program renders: a chart or a kustomization."""

    directory: str
    what: Literal["chart", "kustomization"]


class Parts(NamedTuple):
    """The files that are not manifests by themselves, notes on what renders them, and what is to be rendered.

    ``charts`` are those that render templates, ``kustomizations`` the files of all that are in the list.
    """

    files: frozenset[str]
    notes: tuple[Problem, ...]
    builds: tuple[Build, ...] = ()
    charts: tuple[str, ...] = ()
    kustomizations: tuple[str, ...] = ()


class _Kustomization(NamedTuple):
    """A kustomization: its file, the directories that it builds on, and the files that are not its resources."""

    file: str
    is_component: bool
    resources: frozenset[str]
    used: frozenset[str]

    @property
    def directory(self) -> str:
        return os.path.dirname(self.file)


def parts_of(
    files: Iterable[str], excluded: Callable[[str], bool], more: Iterable[str] = (), *, build: bool = False
) -> Parts:
    """Separate the parts of charts and kustomizations from the files in directories.

    For ``more`` kustomizations, only the files that they use count. What is ``excluded`` gets no note. With ``build``,
    charts and kustomizations that no other one here uses are to be rendered, and their resources are not manifests by
    themselves, either.
    """
    by_path = {os.path.abspath(file): file for file in files}
    charts: dict[str, str] = {}
    dropped: set[str] = set()
    chart_of = cache(_chart_of)
    for path, file in by_path.items():
        chart = chart_of(os.path.dirname(path))
        if chart is not None:
            dropped.add(path)
        elif os.path.basename(path) == _CHART:
            chart = _outermost(os.path.dirname(path))
        if chart is not None and not excluded(file):
            charts.setdefault(chart, file)
    shown = {chart: _shown(chart, file) for chart, file in charts.items()}
    builds = [Build(name, "chart") for chart, name in shown.items() if build and not _is_library(chart)]
    notes = [_note_on_chart(name, built=Build(name, "chart") in builds) for name in shown.values()]
    found = {path: kustomization for path in by_path if (kustomization := _read(path)) is not None}
    around = [kustomization for path in more if (kustomization := _read(os.path.abspath(path))) is not None]
    everyone = (*found.values(), *around)
    resources = frozenset(path for kustomization in everyone for path in kustomization.resources)
    dropped |= found.keys()
    roots, reached = _roots(found.values(), resources) if build else (frozenset(), frozenset())
    dropped |= reached & by_path.keys()
    for kustomization in dict.fromkeys(everyone):
        unjudged = [by_path[path] for path in sorted((kustomization.used - resources) & by_path.keys())]
        dropped.update(map(os.path.abspath, unjudged))
        is_root = kustomization.file in found and kustomization.directory not in resources
        if kustomization in roots or (is_root and not kustomization.is_component) or unjudged:
            file = by_path.get(kustomization.file) or _shown(kustomization.file, unjudged[0])
            if not excluded(file):
                inside = kustomization.directory in reached
                notes.append(_note_on_kustomization(file, unjudged, built=kustomization in roots, inside=inside))
                if kustomization in roots:
                    builds.append(Build(os.path.dirname(file) or os.curdir, "kustomization"))
    return Parts(
        frozenset(by_path[path] for path in dropped),
        tuple(notes),
        tuple(builds),
        tuple(name for chart, name in shown.items() if not _is_library(chart)),
        tuple(by_path[path] for path in found),
    )


def kustomizations_above(files: Iterable[str]) -> Iterator[str]:
    """Yield the kustomizations in the directories of files and above, in the same repository."""
    directories = dict.fromkeys(
        above for one in dict.fromkeys(map(os.path.dirname, files)) for above in upwards(one or os.curdir)
    )
    for directory in directories:
        yield from kustomizations(directory)


def _shown(path: str, beside: str) -> str:
    """Return a path in the style (absolute or relative) of another one, never like an option."""
    return operand(path if os.path.isabs(beside) else os.path.relpath(path))


# -- charts ----------------------------------------------------------------------------------------


def _chart_of(directory: str) -> str | None:
    """Return the outermost chart that the files of a directory are templates of, or None."""
    for current in ancestors(directory):
        above, name = os.path.split(current)
        if name == "templates" and os.path.isfile(os.path.join(above, _CHART)):
            return _outermost(above)
        if is_repository(current):
            break
    return None


def _outermost(chart: str) -> str:
    """Return the chart that has a chart in its directory ``charts``; or the chart itself."""
    above, name = os.path.split(os.path.dirname(chart))
    if name == "charts" and os.path.isfile(os.path.join(above, _CHART)):
        return _outermost(above)
    return chart


def _is_library(chart: str) -> bool:
    """Whether a chart only has templates for other charts: helm does not render it by itself (chart/metadata.go)."""
    try:
        value = only_document(read_text(os.path.join(chart, _CHART), regular=True)).value
    except InputError:
        return False  # helm reports the error.
    return bool(value.get("type") == "library")


def _note_on_chart(chart: str, *, built: bool) -> Problem:
    command = f"kubectl harden check --helm-chart {shlex.quote(chart)}"
    if built:
        return Problem(f"a chart, rendered with its own values, as by {command}", chart)
    if _is_library(chart):
        return Problem("a library chart, whose templates are judged in the charts that use it", chart)
    return Problem(f"a chart, whose templates are judged when they are rendered: {command}", chart)


# -- kustomizations --------------------------------------------------------------------------------


def _roots(
    found: Iterable[_Kustomization], resources: frozenset[str]
) -> tuple[frozenset[_Kustomization], frozenset[str]]:
    """Return the kustomizations to build, and the paths of everything that they are built from, themselves included.

    Components are not built by themselves. Of kustomizations that use each other in a circle, the first one is built,
    so that kustomize reports the error.
    """
    directories = {one.directory: one for one in found}
    roots: list[_Kustomization] = []
    reached: set[str] = set()
    for root in sorted(directories.values(), key=lambda one: one.directory in resources):
        if root.is_component or root.directory in reached:
            continue
        roots.append(root)
        ahead = [root.directory]
        while ahead:
            path = ahead.pop()
            if path not in reached:
                reached.add(path)
                ahead += directories[path].resources if path in directories else ()
    return frozenset(roots), frozenset(reached)


def _note_on_kustomization(file: str, unjudged: list[str], *, built: bool, inside: bool) -> Problem:
    command = f"kubectl harden check -k {shlex.quote(os.path.dirname(file) or os.curdir)}"
    if built:
        words = f"a kustomization, built as by {command}"
    elif inside:
        words = "a kustomization, judged in what is built of those that use it"
    else:
        words = f"a kustomization, of which only the files are judged; what it builds is judged by {command}"
    if unjudged:
        names = ", ".join(os.path.relpath(name, os.path.dirname(file) or os.curdir) for name in unjudged[:_NAMED])
        more = f" and {len(unjudged) - _NAMED:,} more" if len(unjudged) > _NAMED else ""
        words += f" (not judged by themselves, since it uses them as patches, values or data: {names}{more})"
    return Problem(words, file)


def kustomization_value(path: str) -> dict[str, Any] | None:
    """Return the value of a kustomization's file, or None for another or an unreadable file."""
    try:
        return kustomization_in(path)
    except InputError:
        return None


def kustomization_in(path: str) -> dict[str, Any] | None:
    """Return the value of a kustomization's file, or None for another file. Raises InputError."""
    if os.path.basename(path) not in KUSTOMIZATION:
        return None
    value: dict[str, Any] = only_document(read_text(path, regular=True)).value
    kind, version = value.get("kind"), value.get("apiVersion")
    if kind not in (None, "Kustomization", "Component") or not str(version or _VERSION).startswith(_VERSION):
        return None
    return value


def _read(path: str) -> _Kustomization | None:
    """Return what a kustomization uses, or None for another or an unreadable file."""
    value = kustomization_value(path)
    if value is None:
        return None
    directory = os.path.dirname(path)

    def paths(names: Iterable[Any]) -> frozenset[str]:
        return frozenset(
            os.path.normpath(os.path.join(directory, name))
            for name in names
            if isinstance(name, str) and name and "\n" not in name
        )

    resources = paths(name for key in ("resources", "bases", "components") for name in _listed(value, key))
    return _Kustomization(path, value.get("kind") == "Component", resources, paths(_used(value)))


_VERSION: Final = "kustomize.config.k8s.io/"


def _used(value: Mapping[str, object]) -> Iterator[object]:
    """Yield the names of the files that a kustomization uses other than as resources (api/types/kustomization.go)."""
    for key in ("patchesStrategicMerge", "transformers", "generators", "validators", "configurations", "crds"):
        yield from _listed(value, key)
    for key in ("patches", "patchesJson6902", "replacements"):
        yield from (item.get("path") for item in mappings(value.get(key)))
    for key in ("configMapGenerator", "secretGenerator"):
        for item in mappings(value.get(key)):
            yield from (name.partition("=")[2] or name for name in _listed(item, "files") if isinstance(name, str))
            yield from (*_listed(item, "envs"), item.get("env"))
    for item in (*mappings(value.get("helmCharts")), *mappings(value.get("helmChartInflationGenerator"))):
        yield from (item.get("valuesFile"), item.get("values"), *_listed(item, "additionalValuesFiles"))
    openapi = value.get("openapi")
    if isinstance(openapi, dict):
        yield openapi.get("path")


def _listed(value: Mapping[str, object], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []

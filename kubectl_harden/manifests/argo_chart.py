"""The inputs with which Argo CD renders a chart, by its Application: values files, its own values, parameters.

Sources: argo-cd.readthedocs.io, user-guide/helm (parameters override valuesObject, that overrides values, and these
override valueFiles, of which later ones override) and user-guide/multiple_sources ($ref/…).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.json_values import mapping, mappings
from kubectl_harden.manifests.managed_chart import Layer, ManagedChart, values_of
from kubectl_harden.manifests.manager_manifest import Held
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.model import Path
from kubectl_harden.text_files import read_text

__all__ = ["ArgoSource", "argo_chart"]

_OWN: Final = "values.yaml"
_REMOTE: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_BEYOND: Final = (
    "no value of the chart reaches the rest, and Argo CD patches what it renders with kustomize only where a "
    "kustomization takes the chart (--enable-helm)"
)
_TEMPLATES: Final = "fix --helm-chart {} --write-templates gives its templates values for it"
_ADMISSION: Final = "fix --at-admission edits the pods as they are created"


class ArgoSource(NamedTuple):
    """The source of an Application that is a chart: its object, and where it is in the spec.

    ``root`` is the checkout that the chart is in, "" for a chart from elsewhere; ``roots`` has the checkout of each
    ``ref``.
    """

    value: Mapping[str, object]
    field: Path
    root: str
    roots: Callable[[str], str | None]


def argo_chart(name: str, source: ArgoSource, chart: Chart, held: Held | None) -> ManagedChart:
    """Return a chart with the inputs of its Application; ``held`` is the Application's manifest, where it can be
    edited.

    Raises InputError where the values cannot be known from checkouts.
    """
    helm = mapping(source.value.get("helm"))
    layers = []
    own = os.path.join(chart.path, _OWN)
    if source.root:
        text = read_text(own, regular=True) if os.path.isfile(own) else ""
        layers.append(Layer(values_of(text), "" if os.path.islink(own) else own, own=True))
    files = helm.get("valueFiles")
    for entry in files if isinstance(files, list) else ():
        file = _file(source, chart, str(entry))
        if not os.path.lexists(file) and helm.get("ignoreMissingValueFiles") is True:
            continue
        layers.append(_layer(file, str(entry)))
    preferred = len(layers) - 1 if layers and not layers[-1].own else -1
    layers.append(_written(helm, source.field))
    if preferred < 0:
        preferred = len(layers) - 1 if held is not None or not source.root else 0
    way = f"{_TEMPLATES.format(chart.path)}; or {_ADMISSION}" if source.root else _ADMISSION
    options = (*chart.options, *_options(helm, source, chart))
    return ManagedChart(
        name, chart._replace(options=options), tuple(layers), preferred, held, None, f"{_BEYOND}: {way}"
    )


def _file(source: ArgoSource, chart: Chart, entry: str) -> str:
    """Return the path of a values file. Raises InputError for one that is not in a checkout."""
    if _REMOTE.match(entry):
        raise InputError(f"its values file {entry} is elsewhere, and nothing is fetched")
    root, base, rest = source.root, chart.path, entry
    if entry.startswith("$"):
        ref, _, rest = entry[1:].partition("/")
        found = source.roots(ref)
        if found is None:
            raise InputError(f"its values file {entry}: no --source is a checkout of what ${ref} stands for")
        root = base = found
    elif entry.startswith("/"):
        base, rest = root, entry.lstrip("/")
    if not root:
        raise InputError(f"its values file {entry} is in the chart, which is not in a checkout")
    if re.search(r"[$*?\[]", rest):
        raise InputError(f"its values file {entry} is a pattern, which is not judged")
    path = os.path.normpath(os.path.join(base, rest))
    if os.path.commonpath([root, path]) != root or os.path.realpath(path) != path:
        raise InputError(f"its values file {entry} is outside of the checkout or reached through a symbolic link")
    return path


def _layer(file: str, entry: str) -> Layer:
    try:
        values = values_of(read_text(file, regular=True))
    except InputError as error:
        raise InputError(f"its values file {entry}: {error}") from None
    if "sops" in values:
        raise InputError(f"its values file {entry} is encrypted by SOPS, and left alone: its content is not known")
    return Layer(values, file)


def _written(helm: Mapping[str, object], field: Path) -> Layer:
    """Return the values in the Application itself; those written as an object override those written as text."""
    text = helm.get("values")
    if helm.get("valuesObject") is None and isinstance(text, str) and text:
        try:
            return Layer(values_of(text), field=(*field, "helm", "values"), text=True)
        except InputError as error:
            raise InputError(f"its helm.values: {error}") from None
    return Layer(mapping(helm.get("valuesObject")), field=(*field, "helm", "valuesObject"))


def _options(helm: Mapping[str, object], source: ArgoSource, chart: Chart) -> Iterator[str]:
    """Yield the options, besides values, with which Argo CD runs helm (util/helm, Template)."""
    for one in mappings(helm.get("parameters")):
        value = re.sub(r"(?<!\\),", r"\\,", str(one.get("value", "")))
        yield from ("--set-string" if one.get("forceString") is True else "--set", f"{one.get('name')}={value}")
    for one in mappings(helm.get("fileParameters")):
        yield from ("--set-file", f"{one.get('name')}={_file(source, chart, str(one.get('path')))}")
    if helm.get("skipTests") is True:
        yield "--skip-tests"
    if helm.get("kubeVersion"):
        yield from ("--kube-version", str(helm["kubeVersion"]))
    versions = helm.get("apiVersions")
    for version in versions if isinstance(versions, list) else ():
        yield from ("--api-versions", str(version))

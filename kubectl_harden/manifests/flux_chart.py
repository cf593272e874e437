"""The inputs with which Flux renders a chart, by its HelmRelease in a checkout: valuesFrom, values, post-renderers.

Sources: fluxcd.io/flux/components/helm/helmreleases (valuesFrom in their order, values last; valuesKey, targetPath,
optional; postRenderers; chart.spec.valuesFiles replace the chart's own values.yaml), helm, pkg/strvals (what
a value at a targetPath means).
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.json_values import mapping, mappings
from kubectl_harden.manifests.directories import kustomization_value
from kubectl_harden.manifests.managed_chart import Layer, ManagedChart, values_of
from kubectl_harden.manifests.manager_manifest import Held, held_objects
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.manifests.value_candidates import merged
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.tree import dump

__all__ = ["Reference", "flux_chart", "with_values_files"]

_KEY: Final = "values.yaml"
_PATH: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_INTEGER: Final = re.compile(r"-?[1-9]\d{0,17}|0")
_CONSTANTS: Final[Mapping[str, object]] = {"true": True, "false": False, "null": None}


class Reference(NamedTuple):
    """An entry of ``valuesFrom``: a key of a ConfigMap or a Secret in the namespace of the HelmRelease."""

    kind: str
    name: str
    key: str


def flux_chart(held: Held, name: str, chart: Chart, read: Callable[[Reference], str | None]) -> ManagedChart:
    """Return a chart with the inputs of its HelmRelease in a checkout.

    ``read`` returns the parts of ``valuesFrom`` that the checkout does not have, None for one that does not exist, and
    raises InputError for one that cannot be read. Raises InputError where the values cannot be known.
    """
    spec = mapping(held.value.get("spec"))
    layers: list[Layer] = []
    for entry in mappings(spec.get("valuesFrom")):
        reference = Reference(str(entry.get("kind")), str(entry.get("name")), str(entry.get("valuesKey") or _KEY))
        text, file = _in_checkout(held, reference)
        text = read(reference) if text is None else text
        if text is None and entry.get("optional") is not True:
            raise InputError(f"its values do not exist: key {reference.key} of {reference.kind} {reference.name}")
        if text is not None:
            layers.append(_layer(text, file, entry.get("targetPath"), reference))
    values = spec.get("values")
    layers.append(Layer(mapping(values), field=("spec", "values")))
    renderers = tuple(mappings(spec.get("postRenderers")))
    return ManagedChart(name, chart, tuple(layers), len(layers) - 1, held, renderers)


def _layer(text: str, file: str, target: object, reference: Reference) -> Layer:
    if not target:
        try:
            return Layer(values_of(text), file=file)
        except InputError as error:
            raise InputError(f"key {reference.key} of {reference.kind} {reference.name}: {error}") from None
    if not isinstance(target, str) or not _PATH.fullmatch(target):
        raise InputError(f"the targetPath {target} of {reference.kind} {reference.name} is not judged")
    value: object = _single(text)
    for part in reversed(target.split(".")):
        value = {part: value}
    return Layer(mapping(value))


def _single(text: str) -> object:
    """Return what the value of a targetPath means: quoted text is a string, anything else is as for ``helm --set``."""
    quoted = re.fullmatch(r"'(.*)'|\"(.*)\"", text, re.DOTALL)
    if quoted is not None:
        return quoted[1] if quoted[1] is not None else quoted[2]
    if re.search(r"[,{}\[\]\\]", text):
        raise InputError("a value with a targetPath is more than one word, which is not judged")
    return _CONSTANTS.get(text, int(text) if _INTEGER.fullmatch(text) else text)


def _in_checkout(held: Held, reference: Reference) -> tuple[str | None, str]:
    """Return the text of a key that the checkout has, and the file that a kustomization generates it from, or ""."""
    namespace = held.sought.namespace
    for file, overlay, value in held_objects(held.tree):
        metadata = mapping(value.get("metadata"))
        head = value.get("kind"), metadata.get("name"), metadata.get("namespace") or namespace
        if head != (reference.kind, reference.name, namespace):
            continue
        if "sops" in value or reference.key not in {**mapping(value.get("data")), **mapping(value.get("stringData"))}:
            return None, ""
        text = mapping(value.get("stringData")).get(reference.key)
        if text is None:
            text = str(mapping(value.get("data"))[reference.key])
            text = _plain(text) if reference.kind == "Secret" else text
        if "\nsops:" in f"\n{text}":
            return None, ""
        found = next(_generating(file, overlay, reference, text), "") if overlay == held.overlay and overlay else ""
        return str(text), found
    return None, ""


def _plain(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise InputError("a Secret of the checkout does not hold text") from None


def _generating(file: str, overlay: str, reference: Reference, text: str) -> Iterator[str]:
    """Yield the file next to a kustomization that a key of a ConfigMap is generated from."""
    if reference.kind != "ConfigMap":
        return
    for generator in mappings(mapping(kustomization_value(file)).get("configMapGenerator")):
        name = str(generator.get("name"))
        files = generator.get("files")
        for entry in files if isinstance(files, list) and name in reference.name else ():
            key, has_key, path = str(entry).partition("=")
            path = os.path.join(overlay, path if has_key else key)
            key = key if has_key else os.path.basename(key)
            is_own = os.path.dirname(os.path.normpath(path)) == overlay and not os.path.islink(path)
            if key == reference.key and is_own and os.path.isfile(path) and read_text(path, regular=True) == text:
                yield os.path.normpath(path)


def with_values_files(chart: Chart, root: str, names: Sequence[str], directory: str, *, missing: bool) -> Chart:
    """Return a copy of a chart, in ``directory``, with the values of some files of its repository as its own.

    ``missing``: files that do not exist are skipped. Raises InputError for those that cannot be read, or are elsewhere.
    """
    values: dict[str, Any] = {}
    for name in names:
        path = os.path.normpath(os.path.join(root, name))
        if os.path.realpath(path) != path or os.path.commonpath([root, path]) != root:
            raise InputError(f"its values file {name} is outside of the checkout or reached through a symbolic link")
        if not os.path.lexists(path) and missing:
            continue
        try:
            merged(values, values_of(read_text(path, regular=True)))
        except InputError as error:
            raise InputError(f"its values file {name}: {error}") from None
    copy = os.path.join(directory, "chart")
    shutil.copytree(chart.path, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    FilePath(copy, _KEY).write_bytes(dump(values).encode())
    return chart._replace(path=copy, named=chart.name)

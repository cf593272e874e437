"""The labels of Namespace objects in files: where they are, and the same objects with other labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.contents import Declared, contents
from kubectl_harden.manifests.namespaces import objects_in
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.manifests.source import Spot, Tree
from kubectl_harden.model import Path
from kubectl_harden.objects import is_namespace
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.documents import Document

__all__ = ["Labelled", "labelled_in", "relabelled", "relabelling"]


class Labelled(NamedTuple):
    """A Namespace object in the files of a checkout: where it is edited, and the labels that it has there."""

    name: str
    spot: Spot
    labels: Mapping[str, str]


def labelled_in(tree: Tree, name: str) -> Labelled:
    """Return where a Namespace object is in a part of a checkout.

    Raises InputError where it does not exist, or is not in exactly one place where its labels can be edited.
    """
    found = [
        (one, Spot(file=file)) for file in tree.files for one in _declared(file, read_text(file, regular=True), name)
    ]
    for directory in tree.overlays:
        text = tree.text_built(directory)
        found += [(one, Spot(overlay=directory)) for one in _declared(directory, text, name)]
    if not found:
        raise InputError(f"its manifest is not in the files below {os.path.relpath(tree.path, tree.root)}")
    places = ", ".join(dict.fromkeys(os.path.relpath(spot.file or spot.overlay, tree.root) for _, spot in found))
    if len(found) > 1:
        raise InputError(f"{len(found)} objects of the files have this name ({places})")
    one, spot = found[0]
    if one.fault:
        raise InputError(f"{places}: {one.fault}")
    return Labelled(name, spot, one.labels)


def _declared(file: str, text: str, name: str) -> Iterator[Declared]:
    if name in text:
        yield from (one for one in contents(Manifest(file, text, lined=False)).declared if one.name == name)


def relabelling(wanted: Mapping[str, Mapping[str, str]]) -> Callable[[Document], Mapping[Path, dict[str, Any]]]:
    """Return the function that gives the Namespace objects of a document their new labels, by name."""

    def also(document: Document) -> Mapping[Path, dict[str, Any]]:
        labels: dict[tuple[int | None, Path], Mapping[str, str]] = {}
        for base, value in objects_in(document.value):
            metadata = value.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else None
            if isinstance(name, str) and name in wanted and is_namespace(value):
                labels[document.index, base] = wanted[name]
        return relabelled(document, labels)

    return also


def relabelled(
    document: Document, labels: Mapping[tuple[int | None, Path], Mapping[str, str]]
) -> dict[Path, dict[str, Any]]:
    """Return the Namespace objects of a document with their new labels, by where they are."""
    places = {base: wanted for (index, base), wanted in labels.items() if index == document.index}
    found = {}
    for base, value in objects_in(document.value) if places else ():
        # The file may have been changed since it was searched.
        if base in places and is_namespace(value) and isinstance(value.get("metadata"), dict):
            metadata = value["metadata"]
            relabelled = {**(metadata.get("labels") or {}), **places[base]}
            found[base] = {**value, "metadata": {**metadata, "labels": relabelled}}
    return found

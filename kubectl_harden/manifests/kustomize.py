"""Plans for what a kustomization builds, as patches beside it; proved by building it with them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kubectl_harden.atomic_files import write_change
from kubectl_harden.errors import EditError, InputError
from kubectl_harden.json_values import same
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.generators import build_with, built
from kubectl_harden.manifests.namespaces import policies_in
from kubectl_harden.manifests.policies import Rules
from kubectl_harden.manifests.reader import Item, Manifest
from kubectl_harden.model import FileFix, Identity, Other, Planned, Problem
from kubectl_harden.planning.merge_patch import merge_patch
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.pod_templates import PodPaths
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.documents import only_document, readable
from kubectl_harden.yaml_text.editor import edit_document, spliced
from kubectl_harden.yaml_text.tree import dump

__all__ = ["Overlay", "fix_kustomization", "write_overlay"]


class Overlay(NamedTuple):
    """What lifts a kustomization: its new files and its own change, the plans that they carry out, what went wrong.

    Plans with edits and no files are plans that kustomize does not carry out. ``notes`` are about the Namespace objects
    that it builds, ``objects`` what it builds of each object that the plans change, before and after.
    """

    files: tuple[FileFix, ...]
    planned: tuple[Planned, ...]
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()
    others: tuple[Other, ...] = ()
    objects: tuple[tuple[Identity, Any, Any], ...] = ()


def fix_kustomization(
    directory: str,
    rules: Rules,
    options: FixOptions,
    pod_paths: PodPaths,
    select: Callable[[Item], Item | None] = lambda item: item,
) -> Overlay:
    """Plan for what a kustomization builds, and make a patch file for each object that changes.

    ``select`` returns what is planned for of an object that runs pods: None leaves it as it is.

    Raises InputError where it cannot be built. Patches that kustomize does not carry out as planned become a
    problem, and no files.
    """
    found = built(directory)
    file, before = found.file, found.text or ""
    policies, notes = policies_in([(file, before, False)], rules)
    manifest = Manifest(file, before, lined=False, pod_paths=pod_paths)
    fixed = fix_text(manifest, policies, options, select=select)
    if not fixed.objects:
        return Overlay((), fixed.planned, fixed.problems, notes, fixed.others)
    text = read_text(file)
    expected = list(_values(spliced(before, fixed.splices)))
    trouble = ""
    for name_of in (_before_affixes(text), str):
        try:
            files = _files(file, text, fixed.objects, name_of)
            made = build_with(
                directory, {os.path.basename(one.file): spliced(one.before, one.splices) for one in files}
            )
        except (EditError, InputError) as error:
            trouble = trouble or str(error)
            continue
        if same(list(_values(made)), expected):
            return Overlay(tuple(files), fixed.planned, fixed.problems, notes, fixed.others, fixed.objects)
        trouble = trouble or "kustomize makes something else of the patches than was planned"
    problem = Problem(f"not patched: {trouble}; fix the files that it is built from", file)
    return Overlay((), fixed.planned, (*fixed.problems, problem), notes, fixed.others)


def _values(text: str) -> Iterator[object]:
    return (document.value for document in readable(text))


def _before_affixes(text: str) -> Callable[[str], str]:
    """Return what gives the name that a kustomization's patches know an object by: its own affixes come after them."""
    value = next(_values(text), None)
    prefix, suffix = (
        str(value.get(key) or "") if isinstance(value, dict) else "" for key in ("namePrefix", "nameSuffix")
    )

    def name_of(name: str) -> str:
        return name.removeprefix(prefix).removesuffix(suffix)

    return name_of


def _files(
    file: str, text: str, objects: Iterable[tuple[Identity, Any, object]], name_of: Callable[[str], str]
) -> list[FileFix]:
    """Return the patch files and the kustomization with their entries. Raises EditError."""
    directory = os.path.dirname(file)
    listed = list(objects)
    names = [(identity.kind, name_of(identity.name)) for identity, _, _ in listed]
    patches: dict[str, str] = {}
    entries = []
    for (identity, old, new), (kind, name) in zip(listed, names, strict=True):
        # The namespace is left to kustomize, unless it alone tells objects apart.
        namespace = identity.namespace if names.count((kind, name)) > 1 else None
        patch = dump(merge_patch(identity._replace(name=name, namespace=namespace), old, new))
        base = f"harden-{kind.lower()}-{re.sub('[^a-z0-9.-]+', '-', name)}"
        path = _free_name(directory, base, patch, patches)
        patches[path] = patch
        target = {"kind": kind, "name": re.escape(name).replace("\\-", "-")}
        entries.append({"path": path, "target": target if namespace is None else {**target, "namespace": namespace}})
    made = [
        FileFix(os.path.join(directory, name), "", ((0, 0, patch),), (), ())
        for name, patch in patches.items()
        if not os.path.lexists(os.path.join(directory, name))
    ]
    document = only_document(text)
    there = document.value.get("patches")
    goal = {**document.value, "patches": [*(there if isinstance(there, list) else []), *entries]}
    return [*made, FileFix(file, text, tuple(edit_document(document, goal)), (), ())]


def _free_name(directory: str, base: str, patch: str, taken: Mapping[str, str]) -> str:
    """Return the name of a file that is not there yet, or that has just this text."""
    number = 1
    while True:
        name = f"{base}.yaml" if number == 1 else f"{base}-{number}.yaml"
        path = os.path.join(directory, name)
        if name not in taken and (not os.path.lexists(path) or _has(path, patch)):
            return name
        number += 1


def _has(path: str, text: str) -> bool:
    with contextlib.suppress(InputError):
        return read_text(path) == text
    return False


def write_overlay(overlay: Overlay) -> None:
    """Write the patches, and then the kustomization that names them. Raises EditError; no patch is left then."""
    written: list[str] = []
    try:
        for found in overlay.files:
            after = spliced(found.before, found.splices)
            write_change(found.file, found.before, after, inside=os.path.dirname(found.file) or ".")
            written.append(found.file)
    except EditError:
        # The kustomization is the last one: what is there by now are patches that nothing names.
        for file in written:
            with contextlib.suppress(OSError):
                os.unlink(file)
        raise

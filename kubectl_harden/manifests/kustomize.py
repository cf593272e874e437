"""Plans for what a kustomization builds, as patches next to it; proved by building it with them."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from kubectl_harden.atomic_files import write_change
from kubectl_harden.errors import EditError, InputError
from kubectl_harden.json_values import same
from kubectl_harden.manifests.fix import fix_text, unchanged
from kubectl_harden.manifests.generators import build_with, built
from kubectl_harden.manifests.namespaces import objects_in, policies_in
from kubectl_harden.manifests.policies import Rules
from kubectl_harden.manifests.reader import Item, Manifest
from kubectl_harden.manifests.repository import ancestors, kustomizations
from kubectl_harden.model import Identity, Other, Path, Problem, Source
from kubectl_harden.plan_model import FileFix, Planned
from kubectl_harden.planning.merge_patch import merge_patch
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.pod_templates import PodPaths
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.documents import Document, only_document, readable, values
from kubectl_harden.yaml_text.editor import edit_document, spliced
from kubectl_harden.yaml_text.tree import dump

__all__ = ["Overlay", "fix_kustomization", "patch_files", "write_overlay"]


class Overlay(NamedTuple):
    """The fix of a kustomization: its new files and its own change, the plans that they carry out, what went wrong.

    Plans with edits but without files are plans that kustomize does not carry out. ``notes`` are about the Namespace
    objects that it builds, ``objects`` are the built objects that the plans change, before and after.
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
    also: Callable[[Document], Mapping[Path, dict[str, Any]]] = unchanged,
) -> Overlay:
    """Plan for what a kustomization builds, and make a patch file for each object that changes.

    ``select`` returns the item to plan for an object that runs pods, None to leave it unchanged. ``also`` returns what
    else is to change (see ``fix_text``).

    Raises InputError where it cannot be built. Patches that kustomize does not carry out as planned become a
    problem, and no files.
    """
    found = built(directory)
    file, before = found.file, found.text or ""
    policies, notes = policies_in([(file, before, False)], rules)
    manifest = Manifest(file, before, lined=False, pod_paths=pod_paths)
    fixed = fix_text(manifest, policies, options, also, select)
    changed = [*fixed.objects, *_others(before, file, also)] if fixed.splices else []
    if not changed:
        return Overlay((), fixed.planned, fixed.problems, notes, fixed.others)
    text = read_text(file)
    expected = list(values(spliced(before, fixed.splices)))
    files, trouble = patch_files(directory, file, expected, changed)
    if files:
        told = (*notes, *_bases(file, text))
        return Overlay(tuple(files), fixed.planned, fixed.problems, told, fixed.others, fixed.objects)
    problem = Problem(f"not patched: {trouble}; fix the files that it is built from", file)
    return Overlay((), fixed.planned, (*fixed.problems, problem), notes, fixed.others)


def patch_files(
    directory: str, file: str, expected: Sequence[object], objects: Sequence[tuple[Identity, Any, Any]]
) -> tuple[list[FileFix], str]:
    """Return the patches of objects next to a kustomization, and its own change, last; or no files, and why not.

    With them it has to build what is ``expected``. Raises InputError where its file cannot be read.
    """
    text = read_text(file)
    trouble = ""
    ways: tuple[Callable[[str], str], ...] = (_before_affixes(text), str)
    for together, name_of in product((True, False), ways):
        try:
            files = _files(file, text, _patches(objects, name_of, together=together))
            made = build_with(
                directory, {os.path.basename(one.file): spliced(one.before, one.splices) for one in files}
            )
        except (EditError, InputError) as error:
            trouble = trouble or str(error)
            continue
        if same(list(values(made)), expected):
            return files, ""
        trouble = trouble or "kustomize does not make what was planned of the patches"
    return [], trouble


def _others(
    text: str, file: str, also: Callable[[Document], Mapping[Path, dict[str, Any]]]
) -> Iterator[tuple[Identity, Any, Any]]:
    """Yield the objects without pods that are to change: identity, value before and after."""
    for document in readable(text):
        changes = also(document)
        for base, value in objects_in(document.value) if changes else ():
            if base in changes:
                source = Source(file, document.index, None)
                metadata = value["metadata"]
                name, namespace = metadata["name"], metadata.get("namespace")
                identity = Identity(source, value["apiVersion"], value["kind"], namespace, name, ())
                yield identity, value, changes[base]


def _bases(file: str, text: str) -> Iterator[Problem]:
    """Yield a note on the bases of a kustomization in the same repository: a fix there is for all overlays."""
    directory = os.path.dirname(file) or os.curdir
    value = next(values(text), None)
    listed = value.get("resources") if isinstance(value, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        path = os.path.normpath(os.path.join(directory, entry)) if isinstance(entry, str) else ""
        root = _repository(path) if kustomizations(path) else None
        if root is not None and root == _repository(directory):
            command = f"kubectl harden fix -k {shlex.quote(path)} --write"
            yield Problem(f"its base {path} is in the same repository: {command} fixes it for every overlay", file)


def _repository(directory: str) -> str | None:
    """Return the top directory of the git repository that a directory is in, or None."""
    return next((one for one in ancestors(directory) if os.path.lexists(os.path.join(one, ".git"))), None)


def _before_affixes(text: str) -> Callable[[str], str]:
    """Return the function to an object's name in a kustomization's patches: its own affixes are added after them."""
    value = next(values(text), None)
    prefix, suffix = (
        str(value.get(key) or "") if isinstance(value, dict) else "" for key in ("namePrefix", "nameSuffix")
    )

    def name_of(name: str) -> str:
        return name.removeprefix(prefix).removesuffix(suffix)

    return name_of


class _Patch(NamedTuple):
    """A patch, and the objects that it is for: kinds and names as in the kustomization's patches."""

    value: dict[str, Any]
    kind: str
    names: tuple[str, ...]
    namespace: str | None

    def file_stem(self) -> str:
        """Return the beginning of its file's name, which may need a number."""
        whom = [re.sub("[^a-z0-9.-]+", "-", name) for name in self.names]
        return "-".join(("harden", self.kind.lower(), *whom[: 1 if len(whom) == 1 else 0])) + "s" * (len(whom) > 1)

    def entry(self, path: str) -> dict[str, Any]:
        """Return the entry of a kustomization's patches for it."""
        names = [re.escape(name).replace("\\-", "-") for name in self.names]
        target = {"kind": self.kind, "name": names[0] if len(names) == 1 else f"({'|'.join(names)})"}
        return {"path": path, "target": target if self.namespace is None else {**target, "namespace": self.namespace}}


def _patches(
    objects: Iterable[tuple[Identity, Any, Any]], name_of: Callable[[str], str], *, together: bool
) -> list[_Patch]:
    """Return the patches of objects; ``together``: equal ones are one patch, with a target that names them all."""
    listed = [(identity._replace(name=name_of(identity.name)), old, new) for identity, old, new in objects]
    names = [(identity.kind, identity.name) for identity, _, _ in listed]
    found: list[_Patch] = []
    for identity, old, new in listed:
        # The namespace is left to kustomize, unless objects differ in it alone.
        namespace = identity.namespace if names.count((identity.kind, identity.name)) > 1 else None
        value = merge_patch(identity._replace(namespace=namespace), old, new)
        patch = _Patch(value, identity.kind, (identity.name,), namespace)
        alike = [one for one in found if namespace is None and one.namespace is None and _is_alike(one.value, value)]
        if together and alike:
            first = alike[0]
            found[found.index(first)] = first._replace(names=(*first.names, identity.name))
        else:
            found.append(patch)
    return found


def _is_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two patches differ only in the names of their objects."""
    metadata = {**other["metadata"], "name": one["metadata"].get("name")}
    return "name" in one["metadata"] and same(one, {**other, "metadata": metadata})


def _files(file: str, text: str, patches: Iterable[_Patch]) -> list[FileFix]:
    """Return the patch files and the kustomization with their entries. Raises EditError."""
    directory = os.path.dirname(file)
    texts: dict[str, str] = {}
    entries = []
    for patch in patches:
        path = _free_name(directory, patch.file_stem(), dump(patch.value), texts)
        texts[path] = dump(patch.value)
        entries.append(patch.entry(path))
    made = [
        FileFix(os.path.join(directory, name), "", ((0, 0, patch_text),), (), ())
        for name, patch_text in texts.items()
        if not os.path.lexists(os.path.join(directory, name))
    ]
    document = only_document(text)
    there = document.value.get("patches")
    goal = {**document.value, "patches": [*(there if isinstance(there, list) else []), *entries]}
    return [*made, FileFix(file, text, tuple(edit_document(document, goal)), (), ())]


def _free_name(directory: str, base: str, patch: str, taken: Mapping[str, str]) -> str:
    """Return the name of a file that does not exist yet, or that has exactly this text."""
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
        # The kustomization is written last: until then, nothing refers to the patches.
        for file in written:
            with contextlib.suppress(OSError):
                os.unlink(file)
        raise

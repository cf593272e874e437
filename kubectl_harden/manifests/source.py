"""The place in the files of a checkout where a live object is edited: plain manifests, or a kustomization.

Below a path, Flux uses all manifests that are in no kustomization, and what each directory with a kustomization builds
(fluxcd.io/flux/components/kustomize/kustomizations, generating a kustomization.yaml); Argo CD uses one directory, or
also all below it (argo-cd.readthedocs.io, user-guide/directory). Both put what they find into a namespace of their
choice where the files name none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path
from kubectl_harden.json_differences import differences
from kubectl_harden.manifests.directories import kustomization_value
from kubectl_harden.manifests.discovery import EXTENSIONS
from kubectl_harden.manifests.files_taken import takes
from kubectl_harden.manifests.fix import NOT_EDITED, fix_text, unchanged
from kubectl_harden.manifests.generators import built
from kubectl_harden.manifests.kustomize import Overlay, fix_kustomization
from kubectl_harden.manifests.policies import Policies, Rules
from kubectl_harden.manifests.reader import Item, Manifest, read
from kubectl_harden.manifests.repository import KUSTOMIZATION, kustomizations
from kubectl_harden.model import Identity, Path, Policy, Problem
from kubectl_harden.objects import api_group
from kubectl_harden.origin_model import FilesTaken
from kubectl_harden.plan_model import FileFix
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.pod_templates import PodPaths
from kubectl_harden.text_files import leads_out, read_text
from kubectl_harden.yaml_text.documents import Document

__all__ = [
    "NOBODY",
    "Sought",
    "Spot",
    "Tree",
    "fix_file",
    "fix_overlay",
    "has_variable",
    "not_found",
    "resolved",
    "selecting",
    "spot_of",
    "tree_of",
]

_ALL: Final = FilesTaken()
NOBODY: Final = Policy("privileged", 0, "latest")
"""The policy for objects that are not sought: nothing violates it."""
_VARIABLE: Final = re.compile(r"\$\{[^}]*\}")
_REMOTE: Final = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*://|git@|git::|github\.com[:/])")
_BUILT_ON: Final = ("resources", "bases", "components")
_WORDS: Final = frozenset({"commonAnnotations", "commonLabels", "labels", "metadata", "images", "literals", "patch"})
"""Fields of a kustomization that do not name files."""
_JSONNET: Final = (".jsonnet", ".libsonnet")


class Sought(NamedTuple):
    """An object to find: its name in the file, and the policy that the live one is held to.

    ``anywhere``: Flux or Argo CD sets its namespace whatever the file says, ``exactly``: its file names the namespace;
    ``substitutes``: ``${VAR}`` in the file is replaced by other text before it is applied.
    """

    group: str
    kind: str
    namespace: str
    name: str
    policy: Policy
    anywhere: bool = False
    substitutes: bool = False
    exactly: bool = False

    def matches(self, identity: Identity) -> bool:
        """Whether an object of a file is this one."""
        return self.names(identity.api_version, identity.kind, identity.namespace or "", identity.name)

    def names(self, api_version: str, kind: str, namespace: str, name: str) -> bool:
        """Whether an object with these names is this one."""
        return (
            (api_group(api_version), kind) == (self.group, self.kind)
            and self._same(name, self.name)
            and self._takes(namespace)
        )

    def _takes(self, namespace: str) -> bool:
        if self.exactly:
            return namespace == self.namespace
        return self.anywhere or not namespace or self._same(namespace, self.namespace)

    def _same(self, written: str, live: str) -> bool:
        if not self.substitutes or "${" not in written:
            return written == live
        return re.fullmatch(".*".join(map(re.escape, _VARIABLE.split(written))), live) is not None

    def selected(self, item: Item) -> Item | None:
        """Return the object with the policy that applies to it, or None for another object."""
        if not self.matches(item.subject.identity):
            return None
        return item._replace(subject=item.subject._replace(policy=self.policy))

    def __str__(self) -> str:
        """``Deployment shop/web``."""
        return f"{self.kind} {self.namespace}/{self.name}"


class Spot(NamedTuple):
    """Where an object is edited: in a file, by patches of the kustomization in a directory, or by values of a chart.

    ``chart`` is the object that renders it (``HelmRelease shop/web``), and where that is defined.
    """

    file: str = ""
    overlay: str = ""
    chart: tuple[str, str] = ("", "")


class Tree(NamedTuple):
    """The content below a path of a checkout.

    ``objects`` are those of plain manifests that run pods, with their files, ``overlays`` the directories of the
    outermost kustomizations. ``encrypted`` files are those of SOPS; ``links`` are not followed. ``built`` collects the
    objects of the overlays that were built, ``texts`` their texts; ``files`` are the plain manifests.
    """

    root: str
    path: str
    objects: tuple[tuple[Identity, str, bool], ...]
    overlays: tuple[str, ...]
    built: dict[str, list[Identity]]
    texts: dict[str, str]
    encrypted: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    jsonnet: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()

    def short(self, file: str) -> str:
        """Return a file's path in the checkout."""
        return os.path.relpath(file, self.root)

    def text_built(self, directory: str) -> str:
        """Return what a kustomization builds. Raises InputError where it cannot be built from the checkout alone."""
        if directory not in self.texts:
            _refuse_remote(directory, self.root)
            self.texts[directory] = built(directory).text or ""
        return self.texts[directory]


def tree_of(root: str, directory: str, pod_paths: PodPaths, *, recursive: bool, taken: FilesTaken = _ALL) -> Tree:
    """Return the used content of a directory of a checkout; ``recursive``: also of those below it.

    Raises InputError where it is not known what is used.
    """
    objects: list[tuple[Identity, str, bool]] = []
    found: dict[str, list[str]] = {"overlay": [], "encrypted": [], "link": [], "jsonnet": []}
    problems: list[Problem] = []
    files: list[str] = []
    for what, path in _walk(directory, takes(taken, root, directory), recursive=recursive):
        if what != "file":
            found[what].append(path)
            continue
        try:
            manifest = Manifest(path, read_text(path, regular=True), listed=True, pod_paths=pod_paths)
        except InputError as error:
            problems.append(Problem(str(error), path))
            continue
        files.append(path)
        encrypted = "\nsops:" in manifest.text or '"sops":' in manifest.text
        for event in read(manifest, Policies(NOBODY)):
            if isinstance(event, Item):
                objects.append((event.subject.identity, path, encrypted and "sops" in event.subject.value))
            elif isinstance(event, Problem):
                problems.append(event)
        if encrypted:
            found["encrypted"].append(path)
    return Tree(
        root,
        directory,
        tuple(objects),
        tuple(found["overlay"]),
        {},
        {},
        tuple(found["encrypted"]),
        tuple(found["link"]),
        tuple(found["jsonnet"]),
        tuple(problems),
        tuple(files),
    )


def _walk(directory: str, is_taken: Callable[[str], bool], *, recursive: bool) -> Iterator[tuple[str, str]]:
    names = sorted(os.listdir(directory))
    if any(name in KUSTOMIZATION and is_taken(os.path.join(directory, name)) for name in names):
        yield "overlay", directory
        return
    if "Chart.yaml" in names:
        return
    for name in names:
        path = os.path.join(directory, name)
        if not os.path.isdir(path) and (not is_taken(path) or name in KUSTOMIZATION):
            continue
        if os.path.islink(path):
            yield "link", path
        elif os.path.isdir(path):
            # A submodule is committed elsewhere.
            if recursive and name != ".git" and not os.path.lexists(os.path.join(path, ".git")):
                yield from _walk(path, is_taken, recursive=recursive)
        elif name.endswith(EXTENSIONS):
            yield "file", path
        elif name.endswith(_JSONNET):
            yield "jsonnet", path


def spot_of(tree: Tree, sought: Sought, pod_paths: PodPaths) -> tuple[Spot, Sought]:
    """Return where an object is edited, and its name there.

    Raises InputError where that is not exactly one place that can be edited.
    """
    found = [(identity, file, encrypted) for identity, file, encrypted in tree.objects if sought.matches(identity)]
    exact = [one for one in found if one[0].namespace == sought.namespace]
    if exact:
        found, sought = exact, sought._replace(exactly=True)
    if len(found) > 1:
        files = " and ".join(dict.fromkeys(tree.short(file) for _, file, _ in found))
        raise InputError(f"{len(found)} objects of the files match it ({files}): edit the right one with fix -f")
    if found:
        _, file, encrypted = found[0]
        if encrypted:
            raise InputError(f"{tree.short(file)} is encrypted by SOPS, and left alone: edit it with sops")
        return Spot(file=file), sought
    held = [directory for directory in tree.overlays if _builds(tree, directory, sought, pod_paths)]
    if len(held) > 1:
        names = " and ".join(tree.short(one) for one in held)
        raise InputError(f"several kustomizations build it ({names}): fix the right one with fix -k")
    if held:
        return Spot(overlay=held[0]), sought
    raise InputError(not_found(tree, "it is"))


def not_found(tree: Tree, it_is: str) -> str:
    """Return a sentence that an object is not in the files below a path, and what else is there that may contain it."""
    words = []
    for what, files in (
        ("encrypted by SOPS and left alone", tree.encrypted),
        ("symbolic links, which are not followed", tree.links),
        ("Jsonnet, which is not judged", tree.jsonnet),
        ("not read", tuple(dict.fromkeys(problem.file or "" for problem in tree.problems))),
    ):
        if files:
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            words.append(f"{tree.short(files[0])}{more}: {what}")
    return f"{it_is} not in the files below {tree.short(tree.path)}" + (f" ({'; '.join(words)})" if words else "")


# -- plain files -----------------------------------------------------------------------------------------


def selecting(sought: Sequence[Sought]) -> Callable[[Item], Item | None]:
    """Return the function that selects the sought objects, with the policies that apply to them."""

    def select(item: Item) -> Item | None:
        return next((found for one in sought if (found := one.selected(item)) is not None), None)

    return select


def fix_file(
    file: str,
    sought: Sequence[Sought],
    options: FixOptions,
    pod_paths: PodPaths,
    also: Callable[[Document], Mapping[Path, dict[str, Any]]] = unchanged,
) -> FileFix:
    """Plan for some objects of a file, and edit its text; the result is proved. Raises InputError.

    ``also`` returns what else is to change in a document (see ``fix_text``).
    """
    manifest = Manifest(file, read_text(file, regular=True), listed=True, pod_paths=pod_paths)
    found = fix_text(manifest, Policies(NOBODY), options, also, select=selecting(sought))
    problem = _into_variables(sought, found.objects, file)
    if problem is not None:
        return found._replace(splices=(), planned=(), objects=(), problems=(*found.problems, problem))
    return found


def _into_variables(
    sought: Sequence[Sought], objects: Sequence[tuple[Identity, object, object]], file: str
) -> Problem | None:
    """Return why nothing is edited, where an edit would replace text with a ``${VAR}``."""
    for identity, before, after in objects:
        if not any(one.substitutes and one.matches(identity) for one in sought):
            continue
        for path, old, _ in differences(before, after):
            if has_variable(old):
                where = field_path(path)
                return Problem(f"{NOT_EDITED}: {where} holds a ${{VAR}} that others replace; set its value there", file)
    return None


def has_variable(value: object) -> bool:
    """Whether a value has a ``${VAR}`` anywhere."""
    if isinstance(value, dict):
        return any(map(has_variable, value.values()))
    if isinstance(value, list):
        return any(map(has_variable, value))
    return isinstance(value, str) and _VARIABLE.search(value) is not None


def resolved(value: object, live: object, path: Path = ()) -> tuple[object, list[Path]]:
    """Return an object of a file with the live one's values for ``${VAR}``, and the paths where these are not known."""
    if isinstance(value, dict):
        there: Mapping[str, object] = live if isinstance(live, dict) else {}
        made = {key: resolved(item, there.get(key), (*path, key)) for key, item in value.items()}
        return {key: item for key, (item, _) in made.items()}, [one for _, unknown in made.values() for one in unknown]
    if isinstance(value, list):
        beside = _aligned(value, live if isinstance(live, list) else [])
        items = [resolved(item, other, (*path, i)) for i, (item, other) in enumerate(zip(value, beside, strict=True))]
        return [item for item, _ in items], [one for _, unknown in items for one in unknown]
    if not has_variable(value):
        return value, []
    if live is None or isinstance(live, dict | list):
        return value, [path]
    return live, []


def _aligned(items: list[object], live: list[object]) -> list[object]:
    """Return the live item for each item of a file's list: the one with its name, else the one in its place."""
    named = {item["name"]: item for item in live if isinstance(item, dict) and isinstance(item.get("name"), str)}
    same_length = len(items) == len(live)
    out: list[object] = []
    for index, item in enumerate(items):
        name = item.get("name") if isinstance(item, dict) else None
        by_name = named.get(name) if isinstance(name, str) else None
        out.append(by_name if by_name is not None else live[index] if same_length else None)
    return out


# -- kustomizations --------------------------------------------------------------------------------------


def _builds(tree: Tree, directory: str, sought: Sought, pod_paths: PodPaths) -> bool:
    """Whether a kustomization builds an object. Raises InputError where it cannot be built from the checkout alone."""
    if directory not in tree.built:
        manifest = Manifest(directory, tree.text_built(directory), lined=False, pod_paths=pod_paths)
        items = (event for event in read(manifest, Policies(NOBODY)) if isinstance(event, Item))
        tree.built[directory] = [item.subject.identity for item in items]
    count = sum(map(sought.matches, tree.built[directory]))
    if count > 1:
        raise InputError(f"{tree.short(directory)} builds {count} objects that match it")
    return count == 1


def _refuse_remote(directory: str, root: str) -> None:
    """Raise InputError unless a kustomization is built from files of the checkout alone: nothing is fetched."""
    seen: set[str] = set()
    ahead = [directory]
    while ahead:
        here = ahead.pop()
        if here in seen:
            continue
        seen.add(here)
        what = os.path.relpath(here, root)
        value = next(map(kustomization_value, kustomizations(here)), None)
        if value is None:
            raise InputError(f"{what} has no kustomization that can be read")
        for name in _files_named(value):
            if _REMOTE.match(name) and not os.path.exists(os.path.join(here, name)):
                raise InputError(f"{what} builds on {name}, and nothing is fetched: fix it there")
        for key in _BUILT_ON:
            listed = value.get(key)
            for name in listed if isinstance(listed, list) else ():
                path = os.path.normpath(os.path.join(here, str(name)))
                if not os.path.exists(path):
                    raise InputError(f"{what} builds on {name}, which is not in the checkout")
                if leads_out(os.path.relpath(os.path.realpath(path), root)):
                    raise InputError(f"{what} builds on {name}, which is outside of the checkout")
                if os.path.isdir(path):
                    ahead.append(path)


def _files_named(value: object) -> Iterator[str]:
    """Yield the strings of a kustomization that may name files."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in _WORDS:
                yield from _files_named(item)
    elif isinstance(value, list):
        for item in value:
            yield from _files_named(item)
    elif isinstance(value, str) and "\n" not in value:
        # A generator may give its file a key: KEY=FILE.
        yield from {value, value.partition("=")[2]}


def fix_overlay(
    directory: str,
    sought: Sequence[Sought],
    options: FixOptions,
    pod_paths: PodPaths,
    also: Callable[[Document], Mapping[Path, dict[str, Any]]] = unchanged,
) -> Overlay:
    """Plan for some objects that a kustomization builds, as patches next to it, proved. Raises InputError.

    ``also`` returns what else is to change in what it builds.
    """
    found = fix_kustomization(directory, Rules(), options, pod_paths, selecting(sought), also)
    problem = _into_variables(sought, found.objects, directory)
    if problem is not None:
        return found._replace(files=(), planned=(), objects=(), problems=(*found.problems, problem))
    return found

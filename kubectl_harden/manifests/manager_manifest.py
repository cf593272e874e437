"""The manifest of a HelmRelease or an Application in a checkout: where it is, and its edit.

In plain files it is edited in place. In a kustomization it is edited in a file of the directory, which may be the
manifest or a patch of it; where that does not build as planned, a patch is added.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from kubectl_harden.atomic_files import write_change, write_text
from kubectl_harden.errors import EditError, InputError
from kubectl_harden.json_differences import differences
from kubectl_harden.json_values import mapping, same
from kubectl_harden.manifests.directories import kustomization_value
from kubectl_harden.manifests.generators import build_with, built
from kubectl_harden.manifests.kustomize import patch_files
from kubectl_harden.manifests.repository import kustomizations
from kubectl_harden.manifests.source import Sought, Tree, has_variable, not_found, resolved
from kubectl_harden.model import Identity, Source
from kubectl_harden.plan_model import FileFix
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.documents import Document, documents, values
from kubectl_harden.yaml_text.editor import edit_document, spliced

__all__ = ["Held", "held_in", "held_objects", "write_together"]

_LISTS: Final = ("patches", "patchesStrategicMerge", "resources")


class Held(NamedTuple):
    """An object as the files of a path have it.

    ``file`` is the plain file that it is in, or the kustomization that builds it, in ``overlay``. ``value`` has the
    live object's values for ``${VAR}``; ``raw`` is as written.
    """

    tree: Tree
    sought: Sought
    file: str
    overlay: str
    raw: dict[str, Any]
    value: dict[str, Any]

    def edited(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[FileFix]:
        """Return the files with an object changed by ``change``, and nothing else. Raises EditError.

        ``change`` gets the object as written in a file, which may be a part of it, and returns it with the change.
        """
        goal = change(self.raw)
        for difference in differences(self.raw, goal) if self.sought.substitutes else ():
            if has_variable(difference.old):
                raise EditError(f"{self.sought} holds a ${{VAR}} that others replace, where it would be changed")
        return self._in_overlay(change, goal) if self.overlay else self._in_file(change, goal)

    def _in_file(self, change: Callable[[dict[str, Any]], dict[str, Any]], goal: dict[str, Any]) -> list[FileFix]:
        text = read_text(self.file, regular=True)
        made = _edited(self.file, text, self.sought, change)
        before, after = (list(values(one)) for one in (text, spliced(text, made.splices)))
        if not same(after, [goal if same(value, self.raw) else value for value in before]):
            raise EditError("the edited text does not mean what was planned")
        return [made]

    def _in_overlay(self, change: Callable[[dict[str, Any]], dict[str, Any]], goal: dict[str, Any]) -> list[FileFix]:
        # Built again: files may have been written since.
        now = built(self.overlay).text or ""
        expected = [goal if same(value, self.raw) else value for value in values(now)]
        own = read_text(self.file, regular=True)
        for file in self._own_files():
            try:
                text = read_text(file, regular=True)
                made = _edited(file, text, self.sought, change, mapping(kustomization_value(self.file)))
                # The references to parent directories in its file show what has to be around the copy.
                texts = {self.file: own, file: spliced(text, made.splices)}
                made_of = build_with(self.overlay, {os.path.basename(path): one for path, one in texts.items()})
            except (EditError, InputError):
                continue
            if same(list(values(made_of)), expected):
                return [made]
        head, source = self.raw["metadata"], Source(self.file, None, None)
        kind, version = self.sought.kind, self.raw["apiVersion"]
        identity = Identity(source, version, kind, head.get("namespace"), head["name"], ())
        files, trouble = patch_files(self.overlay, self.file, expected, [(identity, self.raw, goal)])
        if not files:
            raise EditError(trouble)
        return files

    def _own_files(self) -> Iterator[str]:
        """Yield the files next to a kustomization that it uses, those that it applies last first."""
        value = mapping(kustomization_value(self.file))
        for key in _LISTS:
            listed = value.get(key)
            for entry in listed if isinstance(listed, list) else ():
                name = entry.get("path") if isinstance(entry, dict) else entry
                path = os.path.normpath(os.path.join(self.overlay, name)) if isinstance(name, str) else ""
                if path and os.path.dirname(path) == self.overlay and os.path.isfile(path) and not os.path.islink(path):
                    yield path


def held_in(tree: Tree, sought: Sought, live: object) -> Held:
    """Return an object of the files below a path; ``live`` is the live object, for the values of ``${VAR}``.

    Raises InputError where it does not exist, exists twice, or cannot be read.
    """
    found = [one for one in held_objects(tree) if _is(one[2], sought)]
    exact = [one for one in found if mapping(one[2].get("metadata")).get("namespace") == sought.namespace]
    found = exact or found
    if len(found) > 1:
        raise InputError(f"{sought} is {len(found)} times in the files below {tree.short(tree.path)}")
    if not found:
        raise InputError(not_found(tree, f"{sought} is"))
    file, overlay, raw = found[0]
    if "sops" in raw:
        raise InputError(f"{tree.short(file)} is encrypted by SOPS, and left alone: edit it with sops")
    value, unknown = resolved(raw, live) if sought.substitutes else (raw, [])
    if unknown:
        raise InputError(f"no value is known for a ${{VAR}} of {sought}, so it cannot be rendered")
    return Held(tree, sought, file, overlay, raw, dict(mapping(value)))


def held_objects(tree: Tree) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the objects below a path: file, the directory of the kustomization that builds it or "", and value.

    Raises InputError where a kustomization cannot be built from the checkout alone.
    """
    for file in tree.files:
        for value in values(read_text(file, regular=True)):
            if isinstance(value, dict):
                yield file, "", value
    for directory in tree.overlays:
        file = next(iter(kustomizations(directory)), directory)
        for value in values(tree.text_built(directory)):
            if isinstance(value, dict):
                yield file, directory, value


def _is(value: dict[str, Any], sought: Sought) -> bool:
    metadata = mapping(value.get("metadata"))
    words = (value.get("apiVersion"), value.get("kind"), metadata.get("namespace") or "", metadata.get("name"))
    return all(isinstance(word, str) for word in words) and sought.names(*map(str, words))


def _edited(
    file: str,
    text: str,
    sought: Sought,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    affixes: Any = None,
) -> FileFix:
    """Return the change of the one document of a text that is the object, before a kustomization's affixes."""
    if affixes is not None:
        prefix, suffix = (str(affixes.get(key) or "") for key in ("namePrefix", "nameSuffix"))
        name = sought.name.removeprefix(prefix).removesuffix(suffix)
        sought = sought._replace(name=name, anywhere=True, exactly=False)
    found = [
        item
        for item in documents(text)
        if isinstance(item, Document) and isinstance(item.value, dict) and _is(item.value, sought)
    ]
    if len(found) != 1:
        raise EditError(f"{file} does not have {sought} once")
    return FileFix(file, text, tuple(edit_document(found[0], change(found[0].value))), (), ())


def write_together(files: Iterable[tuple[FileFix, str]]) -> None:
    """Write all of some files, each inside of a directory. Raises EditError after restoring those that were written."""
    done: list[tuple[FileFix, str, str]] = []
    try:
        for file, inside in files:
            after = spliced(file.before, file.splices)
            is_new = not os.path.lexists(file.file)
            write_change(file.file, file.before, after, inside=inside)
            done.append((file, inside, "" if is_new else after))
    except EditError:
        for file, inside, after in done:
            with contextlib.suppress(EditError, OSError):
                if after:
                    write_text(file.file, after, file.before, inside=inside)
                else:
                    os.unlink(file.file)
        raise

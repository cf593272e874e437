"""The baseline file: violations that a repository already has, which do not fail its checks.

It records the object, the control, the field at fault and its value, with containers, volumes and other items by name.
When a violation is fixed, or a part of it, the file stays valid; another container or capability is a new violation.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from kubectl_harden.atomic_files import write_new
from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.field_path import pointer
from kubectl_harden.json_values import json_line
from kubectl_harden.model import Checked, Checks, FieldAtFault, Source, Violation
from kubectl_harden.objects import held_by, item_kind
from kubectl_harden.pod_security.policy import controls_of, counterparts_of, rule_of, worded
from kubectl_harden.text_files import json_of, read_text
from kubectl_harden.yaml_text.documents import Fault, documents

__all__ = ["Entry", "Known", "load", "load_to_write", "save"]

KIND: Final = "KnownViolations"
MOST: Final = 64 << 20
"""The most bytes of a baseline file; one with 100,000 violations has half as many."""
_TELLING: Final = re.compile(r"[^\s(),]*[\"=0-9][^\s(),]*")
"""The parts of the API server's words that name something: quoted names, values, ports."""


class _Place(NamedTuple):
    """A pod template; ``file`` is relative to the baseline file, empty for a live object."""

    file: str
    object: str
    pod_path: str


class Entry(NamedTuple):
    """A known violation: its pod template, its control, the ``field`` at fault, and the policy that forbids it.

    ``value`` is that of the field, as JSON; where it is empty, any value is known. Where ``field`` is empty, the API
    server's ``words`` identify the violation. Older baseline files have no values, and the oldest have only words.
    """

    file: str
    object: str
    pod_path: str
    check: str
    field: str = ""
    policy: str = ""
    words: str = ""
    value: str = ""

    @property
    def place(self) -> _Place:
        """The pod template."""
        return _Place(self.file, self.object, self.pod_path)

    def is_of(self, check: str, at: FieldAtFault) -> bool:
        """Whether a control's finding at a field is the one in this entry: the same value, or no value any more.

        An entry also counts for the control that replaces its own at another level.
        """
        if self.words or self.field != at.field:
            return False
        # A missing field, or a list, is at fault whatever value a baseline file has for it.
        return at.value in (self.value, "null") if self.value else self.check == check


class Known:
    """The entries of a baseline file, and which of them were found again."""

    def __init__(self, file: str, entries: Iterable[Entry]) -> None:
        self.file = file
        self.notes: list[str] = []
        """Notes on new faults that the words of a violation do not name."""
        self._entries: dict[tuple[str, str, str], list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault((entry.object, entry.pod_path, rule_of(entry.check)), []).append(entry)
        self._met: set[Entry] = set()
        self._seen: dict[_Place, list[Checked]] = {}
        self._objects: set[tuple[str, str]] = set()
        """The objects that were judged, with their files."""
        self._indexed: set[_Place] = set()
        """The pod templates that were judged, as in older baseline files: list items by index."""
        self._unread: set[str] = set()
        """Files that were not judged completely."""
        self._objects_of: Callable[[str], frozenset[str] | None] = cache(self._read)

    def mark(self, found: Checks) -> Checks:
        """Return the verdicts with known violations marked; they must have been made with ``named``."""
        self._unread.update(_relative(self.file, problem.file) for problem in found.problems if problem.file)
        places = [_place(self.file, item) for item in found.checked]
        for place, item in zip(places, found.checked, strict=True):
            self._seen.setdefault(place, []).append(item)
            self._objects.add((place.file, place.object))
            self._indexed.add(place._replace(pod_path=pointer(item.identity.pod_path)))
        checked = []
        for place, item in zip(places, found.checked, strict=True):
            paths = {place.pod_path, pointer(item.identity.pod_path)}
            violations = tuple(self._marked(place, paths, violation) for violation in item.violations)
            checked.append(item._replace(violations=violations))
        return found._replace(checked=tuple(checked))

    def _marked(self, place: _Place, paths: set[str], violation: Violation) -> Violation:
        if violation.accepted:
            return violation
        rule = rule_of(violation.check)
        entries = [
            entry
            for path in paths
            for entry in self._entries.get((place.object, path, rule), ())
            if self._is_of(entry, place)
        ]
        by_words = [entry for entry in entries if entry.words and _covers(entry, violation)]
        self._met.update(by_words)
        # Words cover everything that they name, but nothing that is hidden behind it.
        named = bool(by_words) or (bool(violation.at) and self._are_known(violation.check, violation.at, entries))
        if self._are_known(violation.check, violation.hidden, entries):
            return violation._replace(known=True) if named else violation
        if named:
            self._note(place, violation, entries)
        return violation

    def _are_known(self, check: str, fields: Iterable[FieldAtFault], entries: Iterable[Entry]) -> bool:
        """Whether each of the fields at fault has an entry."""
        known = True
        for at in fields:
            met = [entry for entry in entries if entry.is_of(check, at)]
            self._met.update(met)
            known = known and bool(met)
        return known

    def _note(self, place: _Place, violation: Violation, entries: list[Entry]) -> None:
        """Note why a violation is new although everything that its words name is known."""
        fields = [at.field for at in violation.hidden if not any(entry.is_of(violation.check, at) for entry in entries)]
        verb = "is" if len(fields) == 1 else "are"
        self.notes.append(
            f"{place.object}: {violation.check} is new: {', '.join(fields)} {verb} at fault as well, and not in"
            f" {self.file}; the API server says so once what it names now is fixed"
        )

    def _is_of(self, entry: Entry, place: _Place) -> bool:
        """Whether an entry is for a pod template, which may be in any file where its object has left its own."""
        return entry.file == place.file or self._has_left(entry)

    def _has_left(self, entry: Entry) -> bool:
        """Whether the file of an entry is gone, or no longer has its object."""
        if entry.file in ("", "-") or (entry.file, entry.object) in self._objects:
            return False
        objects = self._objects_of(entry.file)
        return objects is not None and objects.isdisjoint((entry.object, _without_namespace(entry.object)))

    def _read(self, file: str) -> frozenset[str] | None:
        """Return the objects in a file: none where it is gone, None where it cannot be read completely."""
        name = os.path.join(os.path.dirname(os.path.abspath(self.file)), file)
        if not os.path.exists(name):
            return frozenset()
        objects: set[str] = set()
        try:
            for document in documents(read_text(name, regular=True)):
                if isinstance(document, Fault):
                    return None
                objects.update(_objects_in(document.value))
        except InputError:
            return None
        return frozenset(objects)

    @property
    def cured(self) -> int:
        """How many entries were not found again although their object was judged by their policy: they can go."""
        return sum(
            any(self._judged(entry, checked) for checked in self._seen.get(entry.place, ()))
            for entries in self._entries.values()
            for entry in entries
            if entry not in self._met
        )

    @staticmethod
    def _judged(entry: Entry, checked: Checked) -> bool:
        """Whether a verdict is by the policy of an entry or, where that is not known, by a policy with its control."""
        if entry.policy:
            return entry.policy == _policy(checked)
        return _has_control(checked, entry.check)

    def renewed(self) -> list[Entry]:
        """Return the entries for what was found, and those that were not judged, in a stable order.

        Not judged are entries for other files, for documents that could not be read, and for controls that the policy
        does not have. The entries of an object that is no longer in its file are dropped.
        """
        found = {
            Entry(*place, violation.check, at.field, _policy(item), value=at.value)
            for place, items in self._seen.items()
            for item in items
            for violation in item.violations
            if not violation.accepted
            for at in (*violation.at, *violation.hidden)
        }
        judged = {*self._seen, *self._indexed}
        objects = {(place.object, place.pod_path) for place in judged}
        files = {place.file for place in judged}
        for entries in self._entries.values():
            for entry in entries:
                if entry.place in self._seen:
                    found.update(kept for item in self._seen[entry.place] for kept in _beside(entry, item))
                elif entry.file in files:
                    if entry.file in self._unread and entry.place not in judged:
                        found.add(entry)
                elif (entry.object, entry.pod_path) not in objects or not self._has_left(entry):
                    found.add(entry)
        return sorted(found)

    def kept(self, renewed: Iterable[Entry]) -> int:
        """Return how many entries are in a renewed file although their object was not judged by their control."""
        return sum(
            entry.check not in {found.check for item in self._seen.get(entry.place, ()) for found in item.violations}
            for entry in renewed
        )


def _beside(entry: Entry, checked: Checked) -> Iterator[Entry]:
    """Yield an entry of a judged pod template, with its current value, where the policy does not have its control."""
    if _has_control(checked, entry.check):
        return
    if entry.words or all(control.id != entry.check for control, _ in counterparts_of(checked.policy)):
        yield entry
        return
    for check, at in checked.counterparts:
        if check == entry.check and entry.is_of(check, at):
            yield entry._replace(value=at.value)


def _has_control(checked: Checked, check: str) -> bool:
    """Whether the policy of a verdict has a control."""
    return any(control.id == check for control, _ in controls_of(checked.policy))


def _covers(entry: Entry, violation: Violation) -> bool:
    """Whether the words of an entry name everything that the words of a violation name; those may be fewer by now."""
    if entry.check != violation.check:
        return False
    words = worded(violation.reason, violation.detail)
    return words == entry.words or {*_TELLING.findall(words)} <= {*_TELLING.findall(entry.words)}


def load(file: str, *, regular: bool = False) -> Known:
    """Read a baseline file; ``regular`` is for one that was not named on the command line. Raises InputError."""
    text = _text_of(file, regular=regular)
    if not text.strip():
        raise InputError(f"{file}: this is not a baseline file (it is empty); --write-known {file} writes one")
    return _known(file, text)


def load_to_write(file: str) -> Known:
    """Read a baseline file that is to be written: one that does not exist, or is empty, has no entries.

    Raises InputError, and UsageError for what is not a regular file.
    """
    above = os.path.realpath(os.path.dirname(os.path.abspath(file)))
    # A path for a stream may lead to a regular file, but names in the file are not relative to its directory.
    stream = above in ("/dev", "/dev/fd") or above.startswith("/proc/")
    if stream or (os.path.exists(file) and not os.path.isfile(file)):
        raise UsageError(
            f"--write-known {file}: this is not a regular file, and a baseline file names others from its own directory"
        )
    text = _text_of(file) if os.path.exists(file) else ""
    return _known(file, text) if text.strip() else Known(file, ())


def _text_of(file: str, *, regular: bool = False) -> str:
    try:
        return read_text(file, regular=regular, most=MOST)
    except InputError as error:
        raise InputError(f"{file}: {error.args[0]}") from None


def _known(file: str, text: str) -> Known:
    try:
        value = json_of(text)
        if value["kind"] != KIND:
            raise ValueError(f"the kind is not {KIND}")
        entries = [_read(item) for item in value["violations"]]
    except (InputError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: this is not a baseline file ({error}); --write-known writes one to a file that is not there"
        ) from None
    return Known(file, entries)


def _read(item: Any) -> Entry:
    file, what, pod_path, check = (_text(item, name) for name in ("file", "object", "podPath", "check"))
    if "violation" in item:
        return Entry(file, what, pod_path, check, words=_text(item, "violation"))
    value = json_line(item["value"]) if "value" in item else ""
    return Entry(file, what, pod_path, check, _text(item, "field"), _text(item, "policy"), value=value)


def _text(item: Any, name: str) -> str:
    value = item[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value


def save(file: str, entries: Iterable[Entry]) -> None:
    """Write a baseline file, one entry per line. Raises EditError."""
    lines = [json_line(_value(entry)) for entry in entries]
    head = f'{{"apiVersion": "kubectl-harden/v1", "kind": "{KIND}", "violations": ['
    write_new(file, head + "".join(f"\n{line}," for line in lines).removesuffix(",") + "\n]}\n")


def _value(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {"violation": entry.words}
    if not entry.words:
        told = {"field": entry.field, "policy": entry.policy}
        if entry.value:
            told["value"] = json.loads(entry.value)
    return {"file": entry.file, "object": entry.object, "podPath": entry.pod_path, "check": entry.check, **told}


def _policy(checked: Checked) -> str:
    """Return the policy of a verdict, with its current version."""
    return f"{checked.policy.level}:{checked.policy.version}"


def _place(baseline: str, checked: Checked) -> _Place:
    identity = checked.identity
    file = identity.source.file if isinstance(identity.source, Source) else ""
    what = _object(identity.api_version, identity.kind, identity.namespace, identity.name)
    return _Place(_relative(baseline, file), what, checked.named_path)


def _object(api_version: str, kind: str, namespace: str | None, name: str) -> str:
    """Return the name of an object in a baseline file."""
    group, slash, _ = api_version.partition("/")
    kind = f"{kind}.{group}" if slash else kind
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _without_namespace(what: str) -> str:
    """Return the name of an object in a file that leaves the namespace to a kustomization or a chart."""
    kind, _, name = what.partition(" ")
    return f"{kind} {name.rpartition('/')[2]}"


def _objects_in(value: Any) -> Iterator[str]:
    """Yield the names of the objects in the value of a document."""
    held = held_by(value)
    if held is not None:
        for child in held[1]:
            yield from _objects_in(item_kind(value, child))
    elif isinstance(value, dict) and isinstance(value.get("apiVersion"), str) and isinstance(value.get("kind"), str):
        metadata = value.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        namespace, name = metadata.get("namespace"), metadata.get("name") or metadata.get("generateName")
        yield _object(
            value["apiVersion"],
            value["kind"],
            namespace if isinstance(namespace, str) else None,
            name if isinstance(name, str) else "",
        )


def _relative(baseline: str, file: str) -> str:
    if not file or file == "-":
        return file
    start = os.path.dirname(os.path.abspath(baseline))
    return PurePath(os.path.relpath(file, start)).as_posix()

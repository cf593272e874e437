"""The baseline file: violations that a repository has already, which do not fail its checks any more.

It names each by its object, its control and the field at fault, where containers, volumes and other items go by their
names: what is cured of a violation needs no new file, and a further container or capability is a new violation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from kubectl_harden.atomic_files import write_new
from kubectl_harden.errors import InputError
from kubectl_harden.field_path import pointer
from kubectl_harden.json_values import json_line
from kubectl_harden.model import Checked, Checks, Identity, Source, Violation
from kubectl_harden.pod_security.policy import controls_of, worded
from kubectl_harden.text_files import json_of, read_text

__all__ = ["Entry", "Known", "load", "save"]

KIND: Final = "KnownViolations"
MOST: Final = 64 << 20
"""Bytes of a baseline file; one of 100,000 violations has half as many."""
_TELLING: Final = re.compile(r"[^\s(),]*[\"=0-9][^\s(),]*")
"""The parts of the API server's words that name something: quoted names, values, ports."""


class _Place(NamedTuple):
    """A pod template; ``file`` is relative to the baseline file, empty for a live object."""

    file: str
    object: str
    pod_path: str


class Entry(NamedTuple):
    """A known violation: its pod template, its control, the ``field`` at fault, and the policy that forbids it.

    Where ``field`` is empty, the API server's ``words`` tell the violation: baseline files had only these once.
    """

    file: str
    object: str
    pod_path: str
    check: str
    field: str = ""
    policy: str = ""
    words: str = ""

    @property
    def place(self) -> _Place:
        """The pod template."""
        return _Place(self.file, self.object, self.pod_path)


class Known:
    """The entries of a baseline file, and which of them were met."""

    def __init__(self, file: str, entries: Iterable[Entry]) -> None:
        self.file = file
        self._entries: dict[tuple[str, str, str], list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault((entry.object, entry.pod_path, entry.check), []).append(entry)
        self._met: set[Entry] = set()
        self._seen: dict[_Place, Checked] = {}
        self._is_there = cache(self._exists)

    def mark(self, found: Checks) -> Checks:
        """Return what was found with the known violations told apart."""
        checked = []
        for item in found.checked:
            place = _place(self.file, item.identity)
            self._seen[place] = item
            checked.append(item._replace(violations=tuple(self._marked(place, one) for one in item.violations)))
        return found._replace(checked=tuple(checked))

    def _marked(self, place: _Place, violation: Violation) -> Violation:
        if violation.accepted:
            return violation
        entries = [
            entry
            for entry in self._entries.get((place.object, place.pod_path, violation.check), ())
            if self._is_of(entry, place)
        ]
        met = [entry for entry in entries if entry.field in violation.at or (entry.words and _covers(entry, violation))]
        self._met.update(met)
        # An entry of words stands for a violation as a whole.
        whole = any(entry.words for entry in met) or {*violation.at} <= {entry.field for entry in met}
        return violation._replace(known=True) if whole else violation

    def _is_of(self, entry: Entry, place: _Place) -> bool:
        """Whether an entry is of a pod template: one whose file is gone is of its object wherever that is now."""
        return entry.file == place.file or (entry.file not in ("", "-") and not self._is_there(entry.file))

    def _exists(self, file: str) -> bool:
        return os.path.exists(os.path.join(os.path.dirname(os.path.abspath(self.file)), file))

    @property
    def cured(self) -> int:
        """How many entries were not met although their object was judged by their policy: the file can be shorter."""
        return sum(
            self._judged(entry, self._seen[entry.place])
            for entries in self._entries.values()
            for entry in entries
            if entry not in self._met and entry.place in self._seen
        )

    @staticmethod
    def _judged(entry: Entry, checked: Checked) -> bool:
        """Whether a verdict is by the policy of an entry, or, where that is not known, by one with its control."""
        if entry.policy:
            return entry.policy == _policy(checked)
        return _has_control(checked, entry.check)

    def renewed(self) -> list[Entry]:
        """Return the entries for what was found, with those of what was not judged, in a stable order.

        What was not judged is another file, and a control that the policy at hand has not. An entry of an object
        that is in its file no more goes with it.
        """
        found = {
            Entry(*place, violation.check, field, _policy(item))
            for place, item in self._seen.items()
            for violation in item.violations
            if not violation.accepted
            for field in violation.at
        }
        places = {(place.object, place.pod_path) for place in self._seen}
        files = {place.file for place in self._seen}
        for entries in self._entries.values():
            for entry in entries:
                checked = self._seen.get(entry.place)
                if checked is not None:
                    kept = not _has_control(checked, entry.check)
                else:
                    moved = (entry.object, entry.pod_path) in places and not self._is_there(entry.file)
                    kept = entry.file not in files and not moved
                if kept:
                    found.add(entry)
        return sorted(found)

    def kept(self, renewed: Iterable[Entry]) -> int:
        """Return how many entries stand in a renewed file although their object was not judged by their control."""
        return sum(
            checked is None or entry.check not in {violation.check for violation in checked.violations}
            for entry in renewed
            for checked in [self._seen.get(entry.place)]
        )


def _has_control(checked: Checked, check: str) -> bool:
    """Whether the policy of a verdict has a control."""
    return any(control.id == check for control, _ in controls_of(checked.policy))


def _covers(entry: Entry, violation: Violation) -> bool:
    """Whether the words of an entry name all that the words of a violation name, which may be less by now."""
    words = worded(violation.reason, violation.detail)
    return words == entry.words or {*_TELLING.findall(words)} <= {*_TELLING.findall(entry.words)}


def load(file: str, *, regular: bool = False) -> Known:
    """Read a baseline file; ``regular`` is for one that nobody named on the command line. Raises InputError."""
    try:
        text = read_text(file, regular=regular, most=MOST)
    except InputError as error:
        raise InputError(f"{file}: {error.args[0]}") from None
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
    return Entry(file, what, pod_path, check, _text(item, "field"), _text(item, "policy"))


def _text(item: Any, name: str) -> str:
    value = item[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no string")
    return value


def save(file: str, entries: Iterable[Entry]) -> None:
    """Write a baseline file, an entry a line. Raises EditError."""
    lines = [json_line(_value(entry)) for entry in entries]
    head = f'{{"apiVersion": "kubectl-harden/v1", "kind": "{KIND}", "violations": ['
    write_new(file, head + "".join(f"\n{line}," for line in lines).removesuffix(",") + "\n]}\n")


def _value(entry: Entry) -> dict[str, str]:
    told = {"violation": entry.words} if entry.words else {"field": entry.field, "policy": entry.policy}
    return {"file": entry.file, "object": entry.object, "podPath": entry.pod_path, "check": entry.check, **told}


def _policy(checked: Checked) -> str:
    """Return the policy of a verdict, with the version that it is today."""
    return f"{checked.policy.level}:{checked.policy.version}"


def _place(baseline: str, identity: Identity) -> _Place:
    group, slash, _ = identity.api_version.partition("/")
    kind = f"{identity.kind}.{group}" if slash else identity.kind
    name = f"{kind} {identity.namespace}/{identity.name}" if identity.namespace else f"{kind} {identity.name}"
    file = identity.source.file if isinstance(identity.source, Source) else ""
    return _Place(_relative(baseline, file), name, pointer(identity.pod_path))


def _relative(baseline: str, file: str) -> str:
    if not file or file == "-":
        return file
    start = os.path.dirname(os.path.abspath(baseline))
    return PurePath(os.path.relpath(file, start)).as_posix()

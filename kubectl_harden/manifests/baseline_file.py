"""The baseline file: violations that a repository has already, which do not fail its checks any more.

It names each by its file, object, control and the API server's words, and not by its line, so that it stays true
when lines move, and a further container that violates the same control is a new violation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from kubectl_harden.atomic_files import write_new
from kubectl_harden.errors import InputError
from kubectl_harden.field_path import pointer
from kubectl_harden.json_values import json_line
from kubectl_harden.model import Checked, Checks, Identity, Source, Violation
from kubectl_harden.pod_security.policy import worded
from kubectl_harden.text_files import json_of, read_text

__all__ = ["Entry", "Known", "collected", "load", "save"]

KIND: Final = "KnownViolations"
MOST: Final = 64 << 20
"""Bytes of a baseline file; one of 100,000 violations has half as many."""


class Entry(NamedTuple):
    """What a known violation is told by; ``file`` is relative to the baseline file, empty for a live object."""

    file: str
    object: str
    pod_path: str
    check: str
    words: str


class Known:
    """The entries of a baseline file, and which of them were met."""

    def __init__(self, file: str, entries: Iterable[Entry]) -> None:
        self.file = file
        self._entries = frozenset(entries)
        self._met: set[Entry] = set()
        self._looked_at: set[str] = set()

    def mark(self, found: Checks) -> Checks:
        """Return what was found with the known violations told apart."""
        self._looked_at.update(
            _relative(self.file, item.identity.source.file)
            for item in found.checked
            if isinstance(item.identity.source, Source)
        )
        checked = [
            item._replace(violations=tuple(self._marked(item.identity, violation) for violation in item.violations))
            for item in found.checked
        ]
        return found._replace(checked=tuple(checked))

    def _marked(self, identity: Identity, violation: Violation) -> Violation:
        entry = _entry(self.file, identity, violation)
        if violation.accepted or entry not in self._entries:
            return violation
        self._met.add(entry)
        return violation._replace(known=True)

    @property
    def cured(self) -> int:
        """How many entries of the files that were looked at were not met: the file can be written anew."""
        return sum(entry.file in self._looked_at for entry in self._entries - self._met)


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
        entries = [Entry(*(_text(item, name) for name in ("file", "object", "podPath", "check", "violation")))
                   for item in value["violations"]]  # fmt: skip
    except (InputError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: this is no baseline file ({error}); --write-known {file} writes one") from None
    return Known(file, entries)


def _text(item: Any, name: str) -> str:
    value = item[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no string")
    return value


def collected(file: str, checked: Iterable[Checked]) -> list[Entry]:
    """Return the entries for all violations that nobody has accepted, in a stable order."""
    found = {
        _entry(file, item.identity, violation)
        for item in checked
        for violation in item.violations
        if not violation.accepted
    }
    return sorted(found)


def save(file: str, entries: Iterable[Entry]) -> None:
    """Write a baseline file, an entry a line. Raises EditError."""
    lines = [
        json_line({"file": e.file, "object": e.object, "podPath": e.pod_path, "check": e.check, "violation": e.words})
        for e in entries
    ]
    head = f'{{"apiVersion": "kubectl-harden/v1", "kind": "{KIND}", "violations": ['
    write_new(file, head + "".join(f"\n{line}," for line in lines).removesuffix(",") + "\n]}\n")


def _entry(baseline: str, identity: Identity, violation: Violation) -> Entry:
    group, slash, _ = identity.api_version.partition("/")
    kind = f"{identity.kind}.{group}" if slash else identity.kind
    name = f"{kind} {identity.namespace}/{identity.name}" if identity.namespace else f"{kind} {identity.name}"
    file = identity.source.file if isinstance(identity.source, Source) else ""
    words = worded(violation.reason, violation.detail)
    return Entry(_relative(baseline, file), name, pointer(identity.pod_path), violation.check, words)


def _relative(baseline: str, file: str) -> str:
    if not file or file == "-":
        return file
    start = os.path.dirname(os.path.abspath(baseline))
    return PurePath(os.path.relpath(file, start)).as_posix()

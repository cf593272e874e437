"""The questions of ``fix -i``: one edit at a time, with what belongs to it, like ``git add -p``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import click

from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.model import Edit, Identity, Path

__all__ = ["Chooser"]

_HELP: Final = """\
y - make this edit
n - leave it out
a - make it, and all others of this object
d - leave it out, and all others of this object
q - leave it out, and everything that follows
e - change its value in an editor, then make it
? - print this help
"""

_About = tuple[str, str, str | None, str, Path]
"""The key of an object, and of a pod template in it."""


class Chooser:
    """Asks for each edit once, and remembers the answer for when the plan is made again.

    A volume and its mounts are one question. Raises UsageError where there is no terminal to ask on.
    """

    def __init__(self) -> None:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError("-i asks about each edit, and there is no terminal to ask on")
        self._answers: dict[tuple[object, ...], Edit | None] = {}
        self._whole: set[_About] = set()
        self._left_out: set[_About] = set()
        self._shown: _About | None = None
        self._left = False
        self._drafts: dict[tuple[object, ...], str] = {}

    def __call__(self, identity: Identity, value: object, edits: list[Edit]) -> list[Edit]:
        """Return the edits that the person wants of an object with a value."""
        about = identity.api_version, identity.kind, identity.namespace, identity.name, identity.pod_path
        new = [edit for edit in edits if _key(about, edit) not in self._answers]
        try:
            for together in _groups(new):
                self._choose(identity, about, value, together)
        except click.Abort:
            raise KeyboardInterrupt from None  # Not a fault of the object that is asked about.
        chosen = (self._answers[_key(about, edit)] for edit in edits)
        return [edit for edit in chosen if edit is not None]

    def _choose(self, identity: Identity, about: _About, value: object, edits: list[Edit]) -> None:
        if about in self._whole:
            answers: Sequence[Edit | None] = edits
        elif self._left or about in self._left_out:
            answers = [None] * len(edits)
        else:
            answers = self._ask(identity, about, value, edits)
        for edit, answer in zip(edits, answers, strict=True):
            self._answers[_key(about, edit)] = answer
            if answer is not None:
                self._answers[_key(about, answer)] = answer

    def _ask(self, identity: Identity, about: _About, value: object, edits: list[Edit]) -> Sequence[Edit | None]:
        from kubectl_harden.reports.choosing import heading, question
        from kubectl_harden.reports.output import ask_word, tell
        from kubectl_harden.reports.terminal import width

        if self._shown != about:
            self._shown = about
            tell(heading(identity))
        tell(question(identity, edits, _lines(identity, value, edits), columns=width(2)))
        this = "this edit" if len(edits) == 1 else "these edits"
        while True:
            answer = ask_word(f"Make {this} [y,n,a,d,q,e,?]?").strip().lower()[:1]
            if answer == "y":
                return edits
            if answer == "n":
                return [None] * len(edits)
            if answer == "a":
                self._whole.add(about)
                return edits
            if answer in ("d", "q"):
                self._left_out.add(about)
                self._left = self._left or answer == "q"
                return [None] * len(edits)
            if answer == "e":
                changed = self._edited(about, edits)
                if changed is not None:
                    return [changed]
                continue
            tell([_HELP])

    def _edited(self, about: _About, edits: list[Edit]) -> Edit | None:
        """Return an edit with the value that the person wrote in an editor, or None; text that is refused is kept for
        the next try.
        """
        from kubectl_harden.reports.output import line
        from kubectl_harden.yaml_text.tree import dump, parse, value_of

        edit = edits[0]
        if len(edits) > 1 or edit.op == "remove":
            several = "these edits belong together" if len(edits) > 1 else "this edit removes a field"
            line(f"{several}: there is no value to change")
            return None
        key = _key(about, edit)
        text = click.edit(self._drafts.get(key) or dump(edit.value), extension=".yaml")
        if text is None:
            return None
        try:
            value, _ = value_of(parse(text))
        except InputError as error:
            self._drafts[key] = text
            line(f"this is not YAML, e opens it again: {error.args[0]}")
            return None
        return edit._replace(value=value)


def _key(about: _About, edit: Edit) -> tuple[object, ...]:
    return (*about, edit.op, edit.path, repr(edit.value))


def _groups(edits: list[Edit]) -> list[list[Edit]]:
    """Return edits by question: those of a volume and its mounts, which have one reason, together."""
    groups: dict[object, list[Edit]] = {}
    for index, edit in enumerate(edits):
        of_volume = "volumes" in edit.path or "volumeMounts" in edit.path
        groups.setdefault((edit.why, edit.risk, edit.companion) if of_volume else index, []).append(edit)
    return list(groups.values())


def _lines(identity: Identity, value: object, edits: list[Edit]) -> list[tuple[str, str]]:
    """Return the lines that edits change, of the file or of the live object, as (meaning, line)."""
    from kubectl_harden.manifests.edit_lines import edit_lines
    from kubectl_harden.model import Source
    from kubectl_harden.reports.choosing import of_object
    from kubectl_harden.reports.diff import unified

    source = identity.source
    if not isinstance(source, Source):
        return of_object(identity, value, edits)
    text, splices = edit_lines(identity, edits)
    return list(unified(source.file, text, splices))[2:]

"""The questions of ``fix -i``: one edit at a time, as ``git add -p`` asks."""

from __future__ import annotations

import sys
from typing import Final

import click

from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.model import Edit, Identity, Path

__all__ = ["Chooser"]

_HELP: Final = """\
y - make this edit
n - leave it out
a - make it, and all others of this object
q - leave it out, and everything that follows
e - change its value in an editor, then make it
? - print this help
"""

_About = tuple[str, str, str | None, str, Path]
"""What tells objects, and the pod templates in them, apart."""


class Chooser:
    """Asks for each edit once, and remembers the answer for when the plan is made again.

    Raises UsageError where there is no terminal to ask on.
    """

    def __init__(self) -> None:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError("-i asks for every edit: there is no terminal to ask on")
        self._answers: dict[tuple[object, ...], Edit | None] = {}
        self._whole: set[_About] = set()
        self._shown: _About | None = None
        self._left = False

    def __call__(self, identity: Identity, edits: list[Edit]) -> list[Edit]:
        """Return the edits that the person wants."""
        try:
            chosen = [self._choose(identity, edit) for edit in edits]
        except click.Abort:
            raise KeyboardInterrupt from None  # Not a fault of the object that is asked about.
        return [edit for edit in chosen if edit is not None]

    def _choose(self, identity: Identity, edit: Edit) -> Edit | None:
        about = identity.api_version, identity.kind, identity.namespace, identity.name, identity.pod_path
        key = (*about, edit.op, edit.path, repr(edit.value))
        if key not in self._answers:
            answer = edit if about in self._whole else None if self._left else self._ask(identity, about, edit)
            self._answers[key] = answer
            if answer is not None and answer.value != edit.value:
                self._answers[(*about, answer.op, answer.path, repr(answer.value))] = answer
        return self._answers[key]

    def _ask(self, identity: Identity, about: _About, edit: Edit) -> Edit | None:
        from kubectl_harden.reports.choosing import heading, question
        from kubectl_harden.reports.output import ask_word, tell
        from kubectl_harden.reports.terminal import width

        if self._shown != about:
            self._shown = about
            tell(heading(identity))
        tell(question(identity, edit, columns=width(2)))
        while True:
            answer = ask_word("Make this edit [y,n,a,q,e,?]?").strip().lower()[:1]
            if answer == "y":
                return edit
            if answer == "n":
                return None
            if answer == "a":
                self._whole.add(about)
                return edit
            if answer == "q":
                self._left = True
                return None
            if answer == "e":
                changed = _edited(edit)
                if changed is not None:
                    return changed
                continue
            tell([_HELP])


def _edited(edit: Edit) -> Edit | None:
    """Return an edit with the value that the person wrote in an editor, or None."""
    from kubectl_harden.reports.output import line
    from kubectl_harden.yaml_text.tree import dump, parse, value_of

    if edit.op == "remove":
        line("this edit removes a field: there is no value to change")
        return None
    text = click.edit(dump(edit.value), extension=".yaml")
    if text is None:
        return None
    try:
        value, _ = value_of(parse(text))
    except InputError as error:
        line(f"this is no YAML: {error.args[0]}")
        return None
    return edit._replace(value=value)

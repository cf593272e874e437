"""The objects and files that a run skipped, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from kubectl_harden.model import Other, Problem
from kubectl_harden.words import counted

__all__ = ["Passed"]

_KINDS: Final = 10
"""Kinds that a summary names."""


class Passed:
    """The objects that were skipped: how many of each kind, and the notes about them.

    ``excluded`` says which file leaves out how much, or nothing.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.notes: list[Problem] = []
        self.excluded = ""

    def add(self, others: Iterable[Other]) -> None:
        """Count objects."""
        for other in others:
            self.kinds[other.kind] += 1
            if other.note is not None:
                self.notes.append(other.note)

    def instead(self, *, read: bool) -> str:
        """Return the summary of a run without workloads; ``read`` tells that all could be read."""
        head = "no workloads found" if read else "no workloads could be read"
        if not self.kinds:
            return head + self.unjudged()
        listed = sorted(self.kinds.items(), key=lambda item: (-item[1], item[0]))
        words = ", ".join(f"{kind} {count:,}" for kind, count in listed[:_KINDS])
        more = f" and {counted(len(listed) - _KINDS, 'further kind')}" if len(listed) > _KINDS else ""
        return f"{head}; {counted(self.kinds.total(), 'object')} skipped: {words}{more}{self.unjudged()}"

    def unjudged(self) -> str:
        """Return the end of a summary, where not everything that may run pods was judged."""
        noted = "the notes say what is not judged" if self.notes else ""
        return "".join(f"; {words}" for words in (self.excluded, noted) if words)

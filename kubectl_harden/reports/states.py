"""How far namespaces are from a level, in marks and words; of clusters and of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from kubectl_harden.model import LADDER
from kubectl_harden.reports.terminal import paint

__all__ = ["STATES", "State", "counts_of", "legend", "levels_words"]

State = Literal["done", "ready", "fixable", "blocked"]
STATES: Final[dict[State, tuple[str, str, str]]] = {
    "blocked": ("✗", "bad", "held back"),
    "fixable": ("+", "warn", "reached by fixes"),
    "ready": ("●", "good", "ready"),
    "done": ("✓", "good", "done"),
}
"""Each state's mark, the meaning of its colour, and its words; the worst first."""


def legend(states: Iterable[State]) -> str:
    """Return the line that explains the marks of the states that occur."""
    there = set(states)
    words = {"ready": "needs only labels"}
    told = [
        f"{paint(mark, meaning)} {words.get(state, text)}"
        for state, (mark, meaning, text) in STATES.items()
        if state in there
    ]
    return "  ".join(told) + "\n"


def counts_of(states: Iterable[State], words: Mapping[State, tuple[str, str]]) -> str:
    """Return how many namespaces are in each state: ``1 is held back, 3 are reached by fixes``.

    ``words`` has the words of each state for one namespace, and for several.
    """
    counts = Counter(states)
    return ", ".join(f"{counts[state]:,} {words[state][counts[state] > 1]}" for state in words if counts[state])


def levels_words(levels: Iterable[str]) -> str:
    """Return how many namespaces are at each level, the strictest first: ``29 restricted, 15 baseline``."""
    counts = Counter(levels)
    return ", ".join(f"{counts[level]:,} {level}" for level in reversed(LADDER) if counts[level])

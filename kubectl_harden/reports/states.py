"""How far namespaces are from a level, in marks and words; of clusters and of files."""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["STATES", "State"]

State = Literal["done", "ready", "fixable", "blocked"]
STATES: Final[dict[State, tuple[str, str, str]]] = {
    "blocked": ("✗", "bad", "held back"),
    "fixable": ("+", "warn", "reached by fixes"),
    "ready": ("●", "good", "ready"),
    "done": ("✓", "good", "done"),
}
"""Each state's mark, the meaning of its colour, and its words; the worst first."""

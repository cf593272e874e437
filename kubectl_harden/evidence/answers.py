"""Reading a cluster for evidence: what cannot be read is noted, and stops nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kubectl_harden.errors import ClusterError

__all__ = ["Answer", "read_or_note"]

Answer = TypeVar("Answer")


def read_or_note(call: Callable[[], Answer], what: str, notes: list[str]) -> Answer | None:
    """Return the result of a call, or None where the cluster does not answer: then ``what`` is noted once, with the
    reason.
    """
    try:
        return call()
    except ClusterError as error:
        note = f"{what}: {error}"
        if note not in notes:
            notes.append(note)
        return None

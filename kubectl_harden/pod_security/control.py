"""The type of controls: a rule for each range of policy versions, and a fix."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
from collections.abc import Callable
from typing import NamedTuple

from kubectl_harden.model import Finding, FixContext, Level, Remedy
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Change

__all__ = ["Control", "Revision", "Sign"]


class Revision(NamedTuple):
    """A control's rule from one minor policy version on. ``overrides`` names baseline controls."""

    minor: int
    check: Callable[[Pod], Finding | None]
    overrides: tuple[str, ...] = ()


class Sign(NamedTuple):
    """Words (in lower case) in the errors of a failing pod that point at edits of a control, and what to do about it.

    ``general`` words could mean any of several controls: specific ones are looked for first.
    """

    words: tuple[str, ...]
    advice: str
    general: bool = False


def _nothing(_pod: Pod) -> str:
    return ""


def _never(_detail: str) -> bool:
    return False


class Control(NamedTuple):
    """One control of the Pod Security Standards, with its fix."""

    id: str
    level: Level
    revisions: tuple[Revision, ...]
    fix: Callable[[Pod, FixContext], Remedy]
    reasons: tuple[str, ...]
    """The words that its violations begin with in the API server's messages."""
    changes: tuple[Change, ...]
    """The changes that its edits make, with the rules that judge them."""
    cure: str
    """What to do about a violation where only the message is known."""
    signs: tuple[Sign, ...] = ()
    """What a failing pod reports where an edit of this control is to blame."""
    stays: Callable[[Pod], str] = _nothing
    """Why a violation stays in a pod without an edit of its own, or "": another control's edit would fix it."""
    covers: Callable[[str], bool] = _never
    """Whether a violation, of which only the detail is known, may also be one of a control that this one overrides."""

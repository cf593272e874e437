"""What a control is: a rule for each range of policy versions, and a fix."""

# Annotations are evaluated here: each one of a named tuple would be compiled on its own otherwise, at every start.
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
    """Words (in lower case) of a pod that fails, which point at the edits of a control, and what to do about it.

    ``general`` words could mean any of several controls: those that are not are looked for first.
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
    """The words that begin its violations in the API server's messages."""
    changes: tuple[Change, ...]
    """The changes that its edits make, with the rules by which they are judged."""
    cure: str
    """What to do about a violation, where only the message is known."""
    signs: tuple[Sign, ...] = ()
    """What a failing pod says where an edit of it is to blame."""
    stays: Callable[[Pod], str] = _nothing
    """Why a violation stays in a pod although no edit of its own is left to make, or "": another control's does it."""
    covers: Callable[[str], bool] = _never
    """Whether the detail of a violation, the only thing known, may stand for one of a control that it overrides."""

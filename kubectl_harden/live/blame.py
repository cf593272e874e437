"""Which edits are to blame for a failing pod, by the signs that each control knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from kubectl_harden.live.rollout import PodFailure
from kubectl_harden.model import Edit
from kubectl_harden.pod_security.control import Sign
from kubectl_harden.pod_security.controls import CONTROLS

__all__ = ["Blame", "blame"]

_IMAGE: Final = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")


def _signs() -> dict[Sign, frozenset[str]]:
    """Return the controls by the signs that point at them: those of restricted first, and general ones last."""
    found: dict[Sign, frozenset[str]] = {}
    for control in sorted(CONTROLS, key=lambda control: control.level != "restricted"):
        for sign in control.signs:
            found[sign] = found.get(sign, frozenset()) | {control.id}
    return {sign: found[sign] for sign in sorted(found, key=lambda sign: sign.general)}


_SIGNS: Final = _signs()


class Blame(NamedTuple):
    """The controls whose edits are to blame (``sure``), or may be; and what to do."""

    checks: tuple[str, ...]
    sure: bool
    advice: str


def blame(words: str, failure: PodFailure | None, steps: Iterable[Edit]) -> Blame:
    """Return which of the edits that were made are to blame for a failure, by its message."""
    if failure is not None and failure.reason in _IMAGE:
        return Blame((), True, "the image cannot be pulled, which no edit of the securityContext causes: correct it")
    if failure is None and "Unschedulable: " in words:
        return Blame((), True, "no node takes its pods, which no edit of the securityContext causes")
    if failure is None and "FailedCreate: " in words:
        return Blame((), True, "its controller may not create the pods; the words above say who refuses them")
    made = list(steps)
    controls = [check for step in made for check in step.checks]
    text = words.lower()
    for sign, pointed_at in _SIGNS.items():
        found = tuple(dict.fromkeys(check for check in controls if check in pointed_at))
        if found and any(word in text for word in sign.words):
            return Blame(found, True, sign.advice)
    doubtful = dict.fromkeys(check for step in made if step.risk != "safe" for check in step.checks)
    checks = tuple(doubtful or dict.fromkeys(controls))
    return Blame(checks, False, "look at the pod's logs; leave edits out with --skip to find the one")

"""Windows pods, for controls of Linux processes that exempt them from v1.25 on."""

from __future__ import annotations

from typing import Final

from kubectl_harden.model import FixContext, Obstacle, Remedy
from kubectl_harden.pod_security.conditions import windows_sign
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.risks import Judgement

__all__ = ["windows_remedy"]

_EXEMPT_FROM: Final = 25
_CHOICES: Final = ("choose policy version v1.25 or later, which exempts Windows pods from this control",)


def windows_remedy(pod: Pod, context: FixContext, check: str) -> Remedy | None:
    """Return the remedy for a Windows pod, where the control's own fields must not be set, else None."""
    if pod.is_windows:
        return Remedy(obstacles=(Obstacle(check, "the API server refuses this field on a Windows pod", _CHOICES),))
    if not context.os_name or context.minor < _EXEMPT_FROM:
        return None
    why = f"{windows_sign(context.facts.pod)}; with os.name: windows it needs no fields that only Linux has"
    return Remedy((Judgement("safe", why).edit("add", ("spec", "os", "name"), "windows", checks=(check,)),))

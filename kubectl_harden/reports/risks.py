"""The risks of a plan's edits, in lines: the usual edits of restricted in one line, so that special ones stand out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kubectl_harden.model import Edit, Identity, LiveSource, Risk
from kubectl_harden.reports.terminal import risk_text, wrapped
from kubectl_harden.words import counted

__all__ = ["risk_lines"]

_USUAL: Final = frozenset(("runAsNonRoot", "allowPrivilegeEscalation", "capabilities.drop", "seccompProfile"))
"""What restricted adds to a pod without a security context, whatever it runs."""


def risk_lines(identity: Identity, steps: Sequence[Edit], *, columns: int) -> Iterator[str]:
    """Yield the edits by their risk and its reason, with what would lower it.

    Those that restricted asks of every pod, without any evidence, are one line at the end.
    """
    usual = [step for step in steps if step.unproved and step.op == "add" and _label(step) in _USUAL]
    usual = usual if len(usual) > 1 else []
    reasons: dict[tuple[Risk, str, str, tuple[str, ...]], list[str]] = {}
    for step in steps:
        if step not in usual:
            reasons.setdefault((step.risk, step.why, step.companion, step.offers), []).append(_label(step))
    for (risk, why, companion, offers), labels in reasons.items():
        text = f"{', '.join(dict.fromkeys(labels))}{f' ({companion})' if companion else ''}: {why}"
        yield f"  {risk_text(risk, 7)} " + wrapped(text, 10, columns).lstrip() + "\n"
        for offer in offers if risk != "safe" else ():
            yield wrapped("– " + offer, 10, columns) + "\n"
    if usual:
        names = ", ".join(dict.fromkeys(map(_label, usual)))
        text = f"{counted(len(usual), 'edit')} that restricted always asks for ({names}); {_unknown(identity, usual)}"
        yield f"  {risk_text('review', 7)} " + wrapped(text, 10, columns).lstrip() + "\n"
        for offer in dict.fromkeys(offer for step in usual for offer in step.offers):
            yield wrapped("– " + offer, 10, columns) + "\n"


def _unknown(identity: Identity, usual: Sequence[Edit]) -> str:
    """Return what is not known about the image, and how to find out."""
    if not any("runAsNonRoot" in step.checks for step in usual):
        return "nothing is known about whether the app needs what they take away"
    words = "nothing is known about how the image runs: --inspect-images"
    if isinstance(identity.source, LiveSource) or not identity.name:
        return words
    return f"{words}, or {identity.kind.lower()}/{identity.name} for its running pods"


def _label(step: Edit) -> str:
    """Return the field that a step changes, without the path to it: ``capabilities.drop``."""
    skipped = ("spec", "containers", "initContainers", "ephemeralContainers", "securityContext")
    words = [part for part in step.path if isinstance(part, str)]
    return ".".join(word for word in words if word not in skipped) or words[-1]

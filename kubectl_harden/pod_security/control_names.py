"""The names that people use for a control: its ID, the reason in admission's messages, or an edit that fixes it."""

from __future__ import annotations

import re
from typing import Final

from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.controls import CONTROLS

__all__ = ["controls_named"]

_VAGUE: Final = frozenset(("add", "drop", "host", "name"))
"""Last parts of field names that do not identify a control by themselves."""


def controls_named(words: str) -> tuple[Control, ...]:
    """Return the controls with this id, reason, edit or field, in any letter case; none where nothing has this name.

    A reason may belong to the controls of both levels, such as ``seccompProfile``.
    """
    given = " ".join(words.lower().split())
    by_id = tuple(control for control in CONTROLS if control.id.lower() == given)
    return by_id or tuple(control for control in CONTROLS if given in _names(control))


def _names(control: Control) -> set[str]:
    from kubectl_harden.pod_security.documentation import explain

    names = {*control.reasons, *(change.name for change in control.changes)}
    for field in (one for rule in explain(control.id).rules for line in rule.fields for one in line.split(", ")):
        parts = re.sub(r"\[\*\]|\{initContainers.*?\}|\.type$", "", field).split(".")
        own = [part for part in parts if part not in ("spec", "securityContext", "")]
        names |= {".".join(own), own[-1]} - _VAGUE
    return {name.lower() for name in names}

"""What a person calls a control."""

from __future__ import annotations

import pytest

from kubectl_harden.pod_security.control_names import controls_named
from kubectl_harden.pod_security.controls import CONTROLS


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("RUNASNONROOT", ["runAsNonRoot"]),
        ("unrestricted  capabilities", ["capabilities_restricted"]),
        ("Unrestricted Capabilities", ["capabilities_restricted"]),
        ("capabilities.DROP", ["capabilities_restricted"]),
        ("seccompProfile", ["seccompProfile_baseline", "seccompProfile_restricted"]),
        ("hostNetwork", ["hostNamespaces"]),
        ("require non-root", ["runAsNonRoot"]),
        ("hostPort", ["hostPorts"]),
        ("drop", []),
        ("host", []),
        ("", []),
        ("nonsense", []),
    ],
)
def test_ids_reasons_and_edits_in_any_letter_case(words: str, ids: list[str]) -> None:
    assert [control.id for control in controls_named(words)] == ids


def test_every_reason_finds_its_control() -> None:
    for control in CONTROLS:
        for reason in control.reasons:
            found = controls_named(reason.upper())
            assert control in found or [one.id for one in found] == [reason], "an id goes before a reason"

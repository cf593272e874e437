"""What controls propose together: alike edits are one, and what goes by one edit is no evidence for another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from kubectl_harden.model import Edit, Facts, FixContext, Obstacle, Remedy, Risk
from kubectl_harden.planning.field_edits import united
from kubectl_harden.pod_security.conditions import windows_sign
from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.risks import RISKS

__all__ = ["proposals", "within_risk"]

Fix = Callable[[Control, FixContext], Remedy]


def proposals(
    controls: Sequence[Control],
    context: FixContext,
    fix: Fix,
    max_risk: Risk,
    facts_after: Callable[[list[Edit]], Facts],
    refused: Callable[[list[Edit]], bool] | None,
) -> tuple[list[Edit], list[Obstacle]]:
    """Return the edits that controls propose, whatever their risk, and what they cannot do.

    ``fix`` returns a control's remedy, ``facts_after`` what is known of the pod that edits make, ``refused`` whether
    the API server refuses that pod; None: the pod has no spec.os to state.
    """
    on_windows = refused is not None and bool(windows_sign(context.facts.pod))
    remedies = _remedies(controls, context._replace(os_name=on_windows), fix, max_risk, facts_after)
    edits = united(edit for remedy in remedies for edit in remedy.edits)
    # Beside a field that only Linux has, the API server does not take os.name: windows.
    if on_windows and refused is not None and refused(within_risk(edits, max_risk)[0]):
        return proposals(controls, context, fix, max_risk, facts_after, None)
    return edits, [obstacle for remedy in remedies for obstacle in remedy.obstacles]


def _remedies(
    controls: Sequence[Control],
    context: FixContext,
    fix: Fix,
    max_risk: Risk,
    facts_after: Callable[[list[Edit]], Facts],
) -> list[Remedy]:
    """Return each control's remedy; those that do not edit volumes judge by the volumes that stay."""
    remedies = [fix(control, context) for control in controls]
    of_volumes = [[edit for edit in remedy.edits if _is_of_volume(edit)] for remedy in remedies]
    going, _ = within_risk([edit for edits in of_volumes for edit in edits], max_risk)
    if not going:
        return remedies
    later = context._replace(facts=facts_after(going))
    return [
        remedy if edits else fix(control, later)
        for control, remedy, edits in zip(controls, remedies, of_volumes, strict=True)
    ]


def _is_of_volume(edit: Edit) -> bool:
    return edit.path[1] == "volumes" or "volumeMounts" in edit.path


def within_risk(edits: Collection[Edit], max_risk: Risk) -> tuple[list[Edit], list[Edit]]:
    """Return the edits up to a risk, and those above it."""
    limit = RISKS.index(max_risk)
    kept = [edit for edit in edits if RISKS.index(edit.risk) <= limit]
    return kept, [edit for edit in edits if RISKS.index(edit.risk) > limit]

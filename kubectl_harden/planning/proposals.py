"""The edits of all controls: equal edits are one, and evidence that one edit removes is not used for others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from kubectl_harden.model import RISKS, Edit, Facts, FixContext, Obstacle, Path, Remedy, Risk
from kubectl_harden.planning.api_rules import refusals
from kubectl_harden.planning.case import Case, Violations
from kubectl_harden.planning.field_edits import edited, united
from kubectl_harden.pod_security.conditions import windows_sign
from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.pod import Pod

__all__ = ["proposals", "propose", "within_risk"]

_OF_POD: Final[Path] = ("spec", "securityContext")

Fix = Callable[[Control, FixContext], Remedy]


def propose(
    case: Case, pod: Pod, violations: Violations, accepted: Collection[str]
) -> tuple[list[Edit], list[Obstacle]]:
    """Return the edits of violated controls for a pod, and what they cannot fix."""
    options = case.options
    in_context = case.location.pod_security_context
    context = FixContext(case.policy.level, case.policy.minor, case.facts(pod), options.host_paths, in_context)
    left = [control.id for control, _ in violations if options.leaves(control.id) and control.id not in accepted]
    leaving = [Obstacle(check, "left as it is, as asked by --only or --skip") for check in left]
    asked = [control for control, _ in violations if control.id not in accepted and control.id not in left]
    has_os = in_context and not case.location.spread and "os" not in pod.spec
    edits, obstacles = proposals(
        asked,
        context,
        lambda control, context: _remedy(case, pod, control, context),
        options.max_risk,
        lambda edits: case.facts(Pod(edited(pod.written, edits), is_pod=case.location.is_pod, decoded=True)),
        (lambda edits: bool(case.refusals(case.patched(edits), edits) - refusals(case.pod))) if has_os else None,
    )
    return case.offering(edits), [*leaving, *obstacles]


def _remedy(case: Case, pod: Pod, control: Control, context: FixContext) -> Remedy:
    """Return a control's remedy, for containers only where others need the pod's securityContext as it is."""
    remedy = control.fix(pod, context)
    wanted, _ = within_risk(remedy.edits, case.options.max_risk)
    if any(edit.path[:2] == _OF_POD and case.objection(edit) for edit in wanted):
        return control.fix(pod, context._replace(pod_security_context=False))
    return remedy


def proposals(
    controls: Sequence[Control],
    context: FixContext,
    fix: Fix,
    max_risk: Risk,
    facts_after: Callable[[list[Edit]], Facts],
    refused: Callable[[list[Edit]], bool] | None,
) -> tuple[list[Edit], list[Obstacle]]:
    """Return the edits that controls propose, whatever their risk, and what they cannot fix.

    ``fix`` returns a control's remedy, ``facts_after`` what is known about the pod after edits, ``refused`` whether the
    API server refuses that pod; None: spec.os cannot be set.
    """
    on_windows = refused is not None and bool(windows_sign(context.facts.pod))
    remedies = _remedies(controls, context._replace(os_name=on_windows), fix, max_risk, facts_after)
    edits = united(edit for remedy in remedies for edit in remedy.edits)
    # With a field that only Linux has, the API server refuses os.name: windows.
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
    """Return each control's remedy; controls that do not edit volumes judge by the volumes that stay."""
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

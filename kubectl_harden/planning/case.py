"""A pod template to plan for: its violations, and what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from kubectl_harden.evidence.manifest import facts_of
from kubectl_harden.model import Edit, Facts, Finding, Learned, Level, Path
from kubectl_harden.planning.api_rules import refusals
from kubectl_harden.planning.field_edits import edited, place_before
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.user_namespaces import may_enter
from kubectl_harden.pod_security.conditions import IN_USER_NAMESPACE, POD_LEVEL_OFFERS
from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import Policy, highest_level

__all__ = ["Case", "Violations"]

Violations = list[tuple[Control, Finding]]


class Case(NamedTuple):
    """A pod template to plan for: its ``violations`` of the policy, and what a person asks for."""

    pod: Pod
    location: Location
    policy: Policy
    violations: Violations
    options: FixOptions
    learned: Learned
    choose: Callable[[list[Edit]], list[Edit]] | None
    accepted: Mapping[str, str]
    objection: Callable[[Edit], str]

    def facts(self, pod: Pod) -> Facts:
        """Return what is known about how a pod runs."""
        return facts_of(pod, self.learned)

    def patched(self, edits: list[Edit]) -> Pod:
        """Return the pod with edits."""
        return Pod(edited(self.pod.written, edits), is_pod=self.location.is_pod, decoded=True)

    def refusals(self, after: Pod, edits: list[Edit]) -> set[tuple[Path, str]]:
        """Return why the API server refuses the pod with edits, by paths in the pod before them."""
        found = refusals(after)
        if not found or all(edit.op != "remove" for edit in edits):
            return found
        before = place_before(self.pod.written, edits)
        return {(before(path), why) for path, why in found}

    def offering(self, edits: list[Edit]) -> list[Edit]:
        """Return edits without offers that need a field that the object does not have, or that its policy forbids."""
        without = () if self.location.pod_security_context else POD_LEVEL_OFFERS
        if not may_enter(self.location, self.policy):
            without = (*without, IN_USER_NAMESPACE)
        if not without:
            return edits
        return [edit._replace(offers=tuple(o for o in edit.offers if o not in without)) for edit in edits]

    def level(self, pod: Pod, violations: Violations) -> Level:
        """Return the highest level that a pod with these violations of the policy meets."""
        return highest_level(pod, self.policy, [control.level for control, _ in violations])

    def wanted(self, edits: list[Edit]) -> list[Edit]:
        """Return the edits that a person wants: all of them where nobody is asked."""
        return edits if self.choose is None else self.choose(edits)

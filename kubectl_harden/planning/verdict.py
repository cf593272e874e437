"""What Pod Security admission would say of a pod template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kubectl_harden.model import Checked, Identity, Path, Violation
from kubectl_harden.planning.plan import Learn
from kubectl_harden.pod_security.accepted import excused
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.pod_templates import Location
from kubectl_harden.pod_security.policy import Policy, evaluate, highest_level

__all__ = ["verdict", "with_facts"]


def verdict(
    identity: Identity,
    location: Location,
    pod: Pod,
    policy: Policy,
    line_of: Callable[[Path], int | None],
    accepted: Mapping[str, str],
) -> Checked:
    """Return what a policy says of a pod template.

    ``line_of`` tells the line of a field of the object, ``accepted`` the reasons for which controls may be violated.
    """
    violations = []
    findings = evaluate(pod, policy)
    reasons = excused(pod, policy, findings, accepted)
    for control, finding in findings:
        paths = tuple(location.in_object(path) for path in finding.paths)
        line, reason = line_of(paths[0]), reasons.get(control.id, "")
        violations.append(Violation(control.id, control.level, finding.reason, finding.detail, paths, line, reason))
    level = highest_level(pod, policy, [violation.level for violation in violations])
    return Checked(identity, level, tuple(violations), policy)


def with_facts(checked: Checked, pod: Pod, value: Any, location: Location, learn: Learn | None) -> Checked:
    """Return a verdict with what is known of how the containers run."""
    if learn is None:
        return checked
    from kubectl_harden.evidence.manifest import facts_of

    facts = facts_of(pod, learn(checked.identity, value, location.value))
    return checked._replace(facts=(*facts.pod, *(fact for known in facts.containers.values() for fact in known)))

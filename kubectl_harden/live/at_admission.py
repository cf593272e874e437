"""Workloads that nobody can edit: their plans as policies that change their new pods at admission."""

from __future__ import annotations

import time
from typing import Final

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.errors import ClusterError, InputError
from kubectl_harden.live.propose import Proposal
from kubectl_harden.planning.admission_policy import GROUP, PolicyObjects, policy_objects

__all__ = ["objects_for", "served_version"]

_POLICIES: Final = "mutatingadmissionpolicies"


def served_version(cluster: Cluster) -> str:
    """Return the version in which the API server has MutatingAdmissionPolicies. Raises ClusterError where it has none.

    That is v1 since Kubernetes 1.36; v1beta1 (1.34) and v1alpha1 (1.32) are off unless somebody switches them on
    (kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy).
    """
    for resource in cluster.resources():
        if (resource.group, resource.plural) == (GROUP, _POLICIES):
            return resource.version
    raise ClusterError(
        "the API server does not have MutatingAdmissionPolicies, so that no policy can change pods at admission: "
        f"{GROUP}/v1 has them since Kubernetes 1.36, v1beta1 (1.34) and v1alpha1 (1.32) must be switched on"
    )


def objects_for(proposal: Proposal, version: str, expires: str) -> PolicyObjects | None:
    """Return the policy and the binding that make a proposal's edits to new pods, None where there are no edits.

    ``version`` is the API version, ``expires`` a day. Raises InputError where no policy can be made.
    """
    live = proposal.live
    steps = [step for item in proposal.planned for step in item.plan.steps]
    if not steps:
        return None
    templates = live.subject.templates()
    if len(templates) != 1 or templates[0].spread or not templates[0].pod_security_context:
        raise InputError(f"a {live.resource.kind} makes other pods than its template says, so that no policy is made")
    checks = dict.fromkeys(check for step in steps for check in step.checks)
    reason = f"its pod template does not meet {live.policy}: {', '.join(checks)}"
    return policy_objects(live.value, templates[0].value, steps, version=version, reason=reason, expires=expires)


def day_after(days: int) -> str:
    """Return the day in so many days (RFC 3339), UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86_400))

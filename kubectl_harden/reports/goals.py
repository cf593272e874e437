"""The policies of a run's workloads, in words."""

from __future__ import annotations

from collections import Counter

from kubectl_harden.model import Identity, LiveSource, Policy
from kubectl_harden.reports.terminal import printable

__all__ = ["Goals", "origin_words", "policy_json", "sourced", "workload_policy_json"]


class Goals:
    """The policies that the workloads of a run are held to."""

    def __init__(self) -> None:
        self._policies: Counter[Policy] = Counter()

    def add(self, policy: Policy) -> None:
        """Count a workload that is held to a policy."""
        self._policies[policy._replace(origin="")] += 1

    @property
    def exempt(self) -> int:
        """How many workloads are exempt."""
        return sum(count for policy, count in self._policies.items() if policy.exempt)

    def goal(self) -> str:
        """Return the policy that has to be met, if it is the same for all, or words for several."""
        demanding = {(policy.level, policy.minor): policy for policy in self._policies if policy.level != "privileged"}
        if len(demanding) == 1:
            return str(next(iter(demanding.values())))
        return "the level of their namespaces"

    def unbound(self) -> str:
        """Return how many workloads are held to nothing, to end a sentence with; empty where there are none."""
        privileged = sum(count for policy, count in self._policies.items() if policy.level == "privileged")
        counts = {"in privileged namespaces": privileged - self.exempt, "exempt": self.exempt}
        told = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)
        return f"; {told}" if told else ""


def origin_words(policy: Policy) -> str:
    """Return where a policy comes from, to follow its name, unless a person or the enforce label names it."""
    told = policy.origin and policy.origin != "enforce label"
    return f" ({printable(policy.origin)})" if told else ""


def sourced(policy: Policy) -> str:
    """Return a policy, and where it comes from unless a person or the enforce label names it."""
    return f"{printable(str(policy))}{origin_words(policy)}"


def policy_json(policy: Policy) -> dict[str, object]:
    """Return a policy as in reports."""
    told = {"origin": policy.origin} if policy.origin else {}
    return {"level": policy.level, "version": policy.version, **told}


def workload_policy_json(identity: Identity, policy: Policy, head: Policy) -> dict[str, object]:
    """Return the policy of a workload, where it is live, or where it is another one than that of the report."""
    differs = (policy.level, policy.minor, policy.exempt) != (head.level, head.minor, head.exempt)
    if not differs and not isinstance(identity.source, LiveSource):
        return {}
    return {"policy": {**policy_json(policy), **({"exempt": True} if policy.exempt else {})}}

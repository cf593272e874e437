"""Violations that an object has under a newer policy version, but not under the one that it is held to."""

from __future__ import annotations

from kubectl_harden.model import Before, Checked, Checks, Policy, Violation
from kubectl_harden.planning.options import Learn
from kubectl_harden.planning.subject import Subject
from kubectl_harden.planning.verdict import judged
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.policy import rule_of

__all__ = ["failing_newly", "judged_newly", "upgraded"]


def upgraded(policy: Policy, minor: int) -> Policy:
    """Return a policy at a version, or unchanged where it is at least as new, or forbids nothing."""
    if policy.level == "privileged" or policy.minor >= minor:
        return policy
    return policy._replace(minor=minor, named="")


def failing_newly(subject: Subject, minor: int) -> tuple[str, ...]:
    """Return the controls that an object fails under a policy version, but not under the policy that it is held to
    today.
    """
    found = (violation for checked in judged_newly(subject, minor).checked for violation in left(checked.violations))
    return tuple(dict.fromkeys(violation.check for violation in found))


def judged_newly(subject: Subject, minor: int, learn: Learn | None = None) -> Checks:
    """Return the verdict at a policy version on each pod template of an object, with new violations only.

    ``before`` of each is the policy that it is held to now. See ``judged``.
    """
    today = judged(subject)
    now = {item.identity.pod_path: item for item in today.checked}
    classes = {name: upgraded(policy, minor) for name, policy in subject.runtime_classes.items()}
    then = subject._replace(policy=upgraded(subject.policy, minor), runtime_classes=classes)
    checks = judged(then, learn)
    pairs = ((now.get(item.identity.pod_path), item) for item in checks.checked)
    checked = tuple(_newly(before, item) for before, item in pairs if before is not None)
    return Checks(checked, tuple(dict.fromkeys((*checks.problems, *today.problems))), checks.others)


def _newly(now: Checked, then: Checked) -> Checked:
    before = Before(now.policy, met=not left(now.violations))
    fields = {(rule_of(violation.check), path) for violation in now.violations for path in violation.paths}

    def is_new(violation: Violation) -> bool:
        return any((rule_of(violation.check), path) not in fields for path in violation.paths)

    violations = tuple(violation for violation in then.violations if now.policy != then.policy and is_new(violation))
    return then._replace(violations=violations, before=before)

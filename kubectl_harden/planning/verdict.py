"""What Pod Security admission would say of the pod templates of an object."""

from __future__ import annotations

from collections.abc import Mapping

from kubectl_harden.errors import InputError, unexpected
from kubectl_harden.field_path import named_path
from kubectl_harden.model import Checked, Checks, Violation
from kubectl_harden.planning.options import Learn
from kubectl_harden.planning.subject import Subject
from kubectl_harden.pod_security.accepted import excused
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import evaluate, highest_level

__all__ = ["judged"]


def judged(subject: Subject, learn: Learn | None = None) -> Checks:
    """Return the verdict on each pod template of an object, and what is wrong with the object otherwise.

    With ``learn`` the evidence of how its containers run comes with it.
    """
    accepted, problems = subject.accepted()
    checked = []
    found = list(problems)
    for location in subject.templates():
        try:
            pod = subject.pod(location)
            verdict = _verdict(subject, location, pod, accepted)
            checked.append(verdict if learn is None else _with_facts(verdict, subject, location, pod, learn))
        except InputError as error:
            found.append(subject.problem(error, location))
        except Exception as error:  # noqa: BLE001 (one object must not end the run)
            found.append(subject.problem(unexpected(error)))
    return Checks(tuple(checked), tuple(found))


def _verdict(subject: Subject, location: Location, pod: Pod, accepted: Mapping[str, str]) -> Checked:
    policy = subject.policy_for(location)
    violations = []
    findings = evaluate(pod, policy)
    reasons = excused(pod, policy, findings, accepted)
    for control, finding in findings:
        paths = tuple(location.in_object(path) for path in finding.paths)
        line, _ = subject.place(paths[0])
        reason = reasons.get(control.id, "")
        at = tuple(dict.fromkeys(named_path(pod.written, path) for path in finding.paths))
        violations.append(
            Violation(control.id, control.level, finding.reason, finding.detail, paths, line, reason, at=at)
        )
    level = highest_level(pod, policy, [violation.level for violation in violations])
    return Checked(subject.named(location), level, tuple(violations), policy)


def _with_facts(checked: Checked, subject: Subject, location: Location, pod: Pod, learn: Learn) -> Checked:
    """Return a verdict with what is known of how the containers run."""
    # Imported late: a plain check needs no evidence.
    from kubectl_harden.evidence.manifest import facts_of

    facts = facts_of(pod, learn(checked.identity, subject.value, location.value))
    return checked._replace(facts=(*facts.pod, *(fact for known in facts.containers.values() for fact in known)))

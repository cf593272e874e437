"""The verdicts of Pod Security admission on the pod templates of an object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubectl_harden.errors import InputError, unexpected
from kubectl_harden.field_path import named_path, pointer
from kubectl_harden.json_values import json_line, mapping
from kubectl_harden.model import Checked, Checks, FieldAtFault, Finding, Path, Violation
from kubectl_harden.planning.alike import evaluated
from kubectl_harden.planning.subject import Subject
from kubectl_harden.pod_security.accepted import excused
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.policy import counterparts_of

if TYPE_CHECKING:
    from kubectl_harden.planning.options import Learn

__all__ = ["judged"]


def judged(subject: Subject, learn: Learn | None = None, *, named: bool = False) -> Checks:
    """Return the verdict on each pod template of an object, and other problems of the object.

    With ``learn``, it has the evidence of how its containers run, with ``named`` what a baseline file needs.
    """
    accepted, problems = subject.accepted()
    checked = []
    found = list(problems)
    for location in subject.templates():
        try:
            verdict = _verdict(subject, location, accepted, named=named)
            checked.append(verdict if learn is None else _with_facts(verdict, subject, location, learn))
        except InputError as error:
            found.append(subject.problem(error, location))
        except Exception as error:  # noqa: BLE001 (one object must not end the run)
            found.append(subject.problem(unexpected(error)))
    return Checks(tuple(checked), tuple(found))


def _verdict(subject: Subject, location: Location, accepted: Mapping[str, str], *, named: bool) -> Checked:
    policy = subject.policy_for(location)
    violations = []
    findings, level = evaluated(location, policy)
    reasons = excused(subject.pod(location), policy, findings, accepted) if accepted else {}
    for control, finding in findings:
        paths = tuple(location.in_object(path) for path in finding.paths)
        line, _ = subject.place(paths[0])
        reason = reasons.get(control.id, "")
        violations.append(Violation(control.id, control.level, finding.reason, finding.detail, paths, line, reason))
    checked = Checked(subject.named(location), level, tuple(violations), policy)
    return _named(checked, subject, location, [finding for _, finding in findings]) if named else checked


def _named(checked: Checked, subject: Subject, location: Location, findings: Iterable[Finding]) -> Checked:
    """Return a verdict with what a baseline file needs: fields by name, and the verdicts of counterparts."""
    pod = subject.pod(location)
    # As admission sees it: a host port may be a default.
    value = {"metadata": {"annotations": pod.annotations}, "spec": pod.spec}

    def named(paths: Iterable[Path]) -> tuple[FieldAtFault, ...]:
        return tuple(dict.fromkeys(_at_fault(value, path) for path in paths))

    violations = tuple(
        violation._replace(at=named(finding.paths), hidden=named(finding.hidden))
        for violation, finding in zip(checked.violations, findings, strict=True)
    )
    others = tuple(
        (control.id, at)
        for control, revision in counterparts_of(checked.policy)
        if (finding := revision.check(pod)) is not None
        for at in named((*finding.paths, *finding.hidden))
    )
    listed = any(isinstance(part, int) for part in location.path)
    path = named_path(subject.value, location.path) if listed else pointer(location.path)
    return checked._replace(violations=violations, counterparts=others, named_path=path)


def _at_fault(value: Any, path: Path) -> FieldAtFault:
    """Return a field of a pod as a baseline file has it."""
    found = value
    for part in path:
        if isinstance(found, dict):
            # A profile without a type has the empty type, unlike a pod without a profile.
            found = found.get(part, "" if part == "type" else None)
        else:
            found = found[part] if isinstance(found, list) and isinstance(part, int) and part < len(found) else None
    if path[-1:] == ("hostPath",) and isinstance(found, dict):
        # What matters is which path of the node it is.
        found = found.get("path")
    told = isinstance(found, str | int) and not isinstance(found, bool)
    return FieldAtFault(named_path(value, path), json_line(found) if told else "null")


def _with_facts(checked: Checked, subject: Subject, location: Location, learn: Learn) -> Checked:
    """Return a verdict with what is known about how the containers run."""
    # Imported late: a plain check needs no evidence.
    from kubectl_harden.evidence.manifest import facts_of

    facts = facts_of(subject.pod(location), learn(checked.identity, subject.value, location.value))
    labels = mapping(mapping(mapping(subject.value).get("metadata")).get("labels"))
    listed = (*facts.pod, *(fact for known in facts.containers.values() for fact in known))
    return checked._replace(facts=listed, labels=tuple((key, str(text)) for key, text in labels.items()))

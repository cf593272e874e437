"""What Pod Security admission would say of manifests: load → locate → evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from kubectl_harden.allowances import excused
from kubectl_harden.errors import InputError
from kubectl_harden.loading import (
    Inputs,
    Object,
    Work,
    accepted,
    each_file,
    offset_of,
    pods,
    read_objects,
    report,
    templates,
)
from kubectl_harden.model import Checked, Checks, Identity, Path, Problem, Replacement, Violation
from kubectl_harden.pod import Pod
from kubectl_harden.policy import Policy, evaluate, highest_level
from kubectl_harden.workload import Location, PodPaths

if TYPE_CHECKING:
    from kubectl_harden.remediate import Learn

__all__ = ["check_files", "check_text", "verdict", "with_facts"]


Propose = Callable[[Work, Object, Checked, Location, str], tuple[Replacement, ...]]
"""Returns what cures a control of a pod template in its file, as far as that can be written."""


def check_files(
    inputs: Inputs, policy: Policy, learn: Learn | None = None, propose: Propose | None = None
) -> Iterator[Checks]:
    """Yield what is found in each file, in the order in which the files were named.

    With ``learn`` the evidence comes with it, with ``propose`` what would cure each violation.
    """
    around = learn is not None and learn.looks_around
    if learn is not None and around:
        learn.prepare(templates(inputs))
    yield from each_file(
        inputs, partial(check_text, policy=policy, learn=learn, propose=propose), _unread, parallel=not around
    )


def _unread(file: str, message: str) -> Checks:
    return Checks((), (Problem(file, None, None, None, message),))


def check_text(
    file: str,
    text: str,
    *,
    policy: Policy,
    listed: bool = False,
    pod_paths: PodPaths | None = None,
    lined: bool = True,
    learn: Learn | None = None,
    propose: Propose | None = None,
) -> Checks:
    """Evaluate every pod template in a text; ``listed`` files may hold what is no Kubernetes object."""
    work = Work.of(file, text, listed=listed, pod_paths=pod_paths, lined=lined)
    checked = []
    for found in read_objects(work, work.documents()):
        reasons = accepted(work, found)
        for identity, location in pods(work, found):
            try:
                pod = Pod(location.value, is_pod=location.is_pod)
            except InputError as error:
                report(work, found, location.in_object(error.path or ()), error.args[0])
                continue
            judged = verdict(identity, location, pod, policy, partial(_line, work, found), reasons)
            if propose is not None and lined:
                cured = (v._replace(fix=propose(work, found, judged, location, v.check)) for v in judged.violations)
                judged = judged._replace(violations=tuple(cured))
            checked.append(with_facts(judged, pod, found.value, location, learn))
    return Checks(tuple(checked), tuple(work.problems))


def _line(work: Work, found: Object, path: Path) -> int | None:
    return work.place(offset_of(found.document, (*found.base, *path)))[0]


def with_facts(checked: Checked, pod: Pod, value: Any, location: Location, learn: Learn | None) -> Checked:
    """Return a verdict with what is known of how the containers run."""
    if learn is None:
        return checked
    from kubectl_harden.evidence import facts_of

    facts = facts_of(pod, learn(checked.identity, value, location.value))
    return checked._replace(facts=(*facts.pod, *(fact for known in facts.containers.values() for fact in known)))


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

"""What Pod Security admission would say of manifests: load → locate → evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.reader import (
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
from kubectl_harden.model import Checked, Checks, Path, Problem, Replacement
from kubectl_harden.planning.verdict import verdict, with_facts
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.pod_templates import Location, PodPaths
from kubectl_harden.pod_security.policy import Policy

if TYPE_CHECKING:
    from kubectl_harden.planning.plan import Learn

__all__ = [
    "check_files",
    "check_text",
]


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

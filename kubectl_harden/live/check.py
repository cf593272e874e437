"""What Pod Security admission would say of live workloads: list → trace → locate → evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from kubectl_harden.errors import InputError
from kubectl_harden.live.find import Finder, Live, Targets, prepared, problem
from kubectl_harden.model import Checks, Path, Problem
from kubectl_harden.objects import name_of
from kubectl_harden.planning.verdict import verdict, with_facts
from kubectl_harden.pod_security.accepted import annotated
from kubectl_harden.pod_security.pod import Pod

if TYPE_CHECKING:
    from kubectl_harden.planning.plan import Learn

__all__ = ["check_live", "check_object"]


def _no_line(path: Path) -> None:  # noqa: ARG001 (a live object has no lines)
    return None


def check_live(finder: Finder, targets: Targets, learn: Learn | None = None) -> Iterator[Checks]:
    """Yield what is found in each live workload. Raises UsageError, and ClusterError before the first."""
    found_all = finder.find(targets)
    for found in found_all if learn is None else prepared(found_all, learn):
        yield Checks((), (found,)) if isinstance(found, Problem) else check_object(found, learn)


def check_object(live: Live, learn: Learn | None = None) -> Checks:
    """Evaluate the pod templates of one live workload against the policy that holds for it."""
    checked = []
    problems = []
    accepted: Mapping[str, str] = {}
    try:
        accepted = annotated(live.value)
    except InputError as error:
        problems.append(problem(error, name_of(live.resource.kind, live.value)))
    for location in live.locations:
        try:
            pod = Pod(location.value, is_pod=location.is_pod, decoded=location.decoded)
        except InputError as error:
            problems.append(problem(error, name_of(live.resource.kind, live.value)))
            continue
        judged = verdict(live.identity(location), location, pod, live.policy, _no_line, accepted)
        checked.append(with_facts(judged, pod, live.value, location, learn))
    return Checks(tuple(checked), tuple(problems))

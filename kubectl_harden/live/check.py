"""What Pod Security admission would say of live workloads: find → judge."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_harden.live.find import Finder, Targets, prepared
from kubectl_harden.live.workload_pods import WorkloadPods
from kubectl_harden.model import Checks, Problem
from kubectl_harden.planning.options import Learn
from kubectl_harden.planning.verdict import judged

__all__ = ["check_live"]


def check_live(finder: Finder, targets: Targets, learn: Learn | None = None, *, pods: bool = True) -> Iterator[Checks]:
    """Yield what is found in each live workload; with ``pods`` also of the pods of those that violate.

    Raises UsageError, and ClusterError before the first.
    """
    beside = WorkloadPods(finder, everywhere=targets.namespace is None) if pods else None
    found_all = finder.find(targets)
    for found in found_all if learn is None else prepared(found_all, learn):
        if isinstance(found, Problem):
            yield Checks((), (found,))
            continue
        verdict = judged(found.subject, learn)
        if beside is not None:
            verdict = verdict._replace(checked=tuple(beside.beside(found, item) for item in verdict.checked))
        yield verdict

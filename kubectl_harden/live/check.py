"""What Pod Security admission would say of live workloads: find → judge."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_harden.live.find import Finder, Targets, prepared
from kubectl_harden.model import Checks, Problem
from kubectl_harden.planning.options import Learn
from kubectl_harden.planning.verdict import judged

__all__ = ["check_live"]


def check_live(finder: Finder, targets: Targets, learn: Learn | None = None) -> Iterator[Checks]:
    """Yield what is found in each live workload. Raises UsageError, and ClusterError before the first."""
    found_all = finder.find(targets)
    for found in found_all if learn is None else prepared(found_all, learn):
        yield Checks((), (found,)) if isinstance(found, Problem) else judged(found.subject, learn)

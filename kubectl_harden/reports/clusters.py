"""Several clusters in one table, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kubectl_harden.migration.model import State
from kubectl_harden.reports.states import STATES
from kubectl_harden.reports.tally import Tally
from kubectl_harden.reports.terminal import paint, printable

__all__ = ["clusters_table", "migrations_table"]

_COLUMNS: Final = ("WORKLOADS", "PRIVILEGED", "BASELINE", "RESTRICTED", "BELOW", "ERRORS")


def clusters_table(clusters: Mapping[str, Tally]) -> Iterator[str]:
    """Yield the counts of each cluster: workloads by the level that they meet, and those below their policy.

    A cluster that could not be read has no numbers.
    """
    names = [printable(name) for name in clusters]
    wide = max(len("CLUSTER"), *map(len, names))
    yield paint(f"{'CLUSTER':<{wide}}  {'  '.join(_COLUMNS)}", "strong") + "\n"
    for name, tally in zip(names, clusters.values(), strict=True):
        levels = [tally.levels[level] for level in ("privileged", "baseline", "restricted")]
        told = bool(tally.workloads or not tally.problems)
        counts = [tally.workloads, *levels, tally.violating]
        cells = [f"{count:,}" if told else "–" for count in counts] + [f"{len(tally.problems):,}"]
        yield f"{name:<{wide}}  {'  '.join(f'{c:>{len(h)}}' for c, h in zip(cells, _COLUMNS, strict=True))}\n"


def migrations_table(clusters: Sequence[tuple[str, Sequence[State] | None]]) -> Iterator[str]:
    """Yield the number of namespaces by state, for each cluster.

    None stands for a cluster that could not be read.
    """
    names = [printable(name) for name, _ in clusters]
    wide = max(len("CLUSTER"), *map(len, names))
    heads = ("NAMESPACES", *(state.upper() for state in STATES))
    yield paint(f"{'CLUSTER':<{wide}}  {'  '.join(heads)}", "strong") + "\n"
    for name, (_, found) in zip(names, clusters, strict=True):
        cells = ["–"] * len(heads)
        if found is not None:
            cells = [f"{count:,}" for count in (len(found), *map(found.count, STATES))]
        yield f"{name:<{wide}}  {'  '.join(f'{c:>{len(h)}}' for c, h in zip(cells, heads, strict=True))}\n"

"""The verdicts on live workloads, of one cluster or of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from kubectl_harden.cli.clusters import Context, side_by_side
from kubectl_harden.errors import HardenError
from kubectl_harden.live.check import check_live
from kubectl_harden.live.find import Finder, problem
from kubectl_harden.model import Checks

if TYPE_CHECKING:
    from kubectl_harden.cli.evidence import EvidenceOptions
    from kubectl_harden.cli.targets import LiveInputs
    from kubectl_harden.reports.formats import Format

__all__ = ["live_results"]


def live_results(
    inputs: LiveInputs, form: Format, evidence: EvidenceOptions, notes: list[str], *, named: bool, upgrade: int | None
) -> Iterable[Checks]:
    """Return the verdicts as a format needs them; what a person should know is added to ``notes`` on the way.

    With ``named`` they have what a baseline file needs, with ``upgrade`` they are for that policy version. Where there
    are several clusters, one that fails is a problem among the results.
    """
    one = partial(_of_one, form=form, evidence=evidence, named=named, upgrade=upgrade)
    if not inputs.contexts:
        return one(inputs, notes)
    return _of_all(inputs, one, notes)


def _of_one(
    inputs: LiveInputs, notes: list[str], form: Format, evidence: EvidenceOptions, *, named: bool, upgrade: int | None
) -> Iterator[Checks]:
    finder = Finder(inputs.cluster, inputs.choice, inputs.targets.pod_paths, pods_too=True)
    finder.notes = notes
    learn = origins = None
    if form.evidence:
        whole = not inputs.targets.names
        learn = evidence.of_cluster(inputs.cluster, notes, whole=whole, recorded=whole)
    if form.origins:
        # Imported late: it is loaded only where origins are shown.
        from kubectl_harden.live.origin import Origins

        origins = Origins(inputs.cluster)
    return check_live(finder, inputs.targets, learn, pods=form.pods, named=named, origins=origins, upgrade=upgrade)


def _of_all(inputs: LiveInputs, one: partial[Iterator[Checks]], notes: list[str]) -> Iterator[Checks]:
    told: dict[str, list[str]] = {context.name: [] for context in inputs.contexts}

    def begin(context: Context) -> Iterable[Checks]:
        return one(inputs.of(context.cluster()), told[context.name])

    runs = [(context.name, partial(begin, context)) for context in inputs.contexts]
    for name, found in side_by_side(runs):
        verdict = Checks((), (problem(found),)) if isinstance(found, HardenError) else found
        yield verdict.of_cluster(name)
    notes += [f"{name}: {words}" for name, some in told.items() for words in dict.fromkeys(some)]

"""Values of a chart that fix what it renders: found by rendering, and proved by rendering again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from kubectl_harden.manifests.chart_files import ChartFiles, chart_files
from kubectl_harden.manifests.chart_references import references
from kubectl_harden.manifests.chart_renderings import Renderings
from kubectl_harden.manifests.value_candidates import FIRST_USER, merged, places, with_users
from kubectl_harden.text_files import read_text
from kubectl_harden.yaml_text.documents import readable

if TYPE_CHECKING:
    from kubectl_harden.manifests.chart_effects import ObjectKey
    from kubectl_harden.manifests.policies import Policies
    from kubectl_harden.manifests.programs import Chart
    from kubectl_harden.manifests.reader import Inputs
    from kubectl_harden.manifests.value_search import Cure
    from kubectl_harden.model import Identity
    from kubectl_harden.planning.options import FixOptions

__all__ = ["FEW", "MANY", "cure"]

FEW: Final = 40
MANY: Final = 300
"""How often a chart is rendered at most: where values are proposed by a check, and where they are asked for."""


def cure(
    chart: Chart,
    manifests: Inputs,
    policies: Policies,
    options: FixOptions,
    most: int = MANY,
    wanted: Callable[[Identity], bool] = lambda _: True,
    stays: Callable[[ObjectKey], bool] = lambda _: False,
) -> Cure:
    """Return the fewest values found that fix what a chart renders; no values where none were found.

    It is rendered at most ``most`` times, and a few times more where renderings that were begun are not needed. Only
    ``wanted`` workloads are fixed; objects that ``stay`` are not changed. Raises InputError where the chart cannot be
    rendered at all.
    """
    files = chart_files(chart.path)
    asked = references(files)
    with Renderings(chart, _own_values(files, chart)) as renderings:
        renderings.begin_own()
        found = places(renderings.values, asked)
        if found:
            renderings.begin(with_users(found, FIRST_USER))
        # Imported while helm renders.
        from kubectl_harden.manifests.value_search import Search

        search = Search(renderings, files, asked, manifests, policies, options, most, wanted, stays)
        chosen = search.chosen() if search.units else ()
        return search.cure(chosen)


def _own_values(files: Iterable[ChartFiles], chart: Chart) -> dict[str, Any]:
    """Return the values of the chart, of its subcharts, and of the given files."""
    values: dict[str, Any] = {}
    for one in files:
        inner = values
        for part in one.path:
            inner = inner.setdefault(part, {})
        if isinstance(inner, dict):
            merged(inner, one.own_values())
    for file in chart.values:
        for document in readable(read_text(file)):
            if isinstance(document.value, dict):
                merged(values, document.value)
    return values

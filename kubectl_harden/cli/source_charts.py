"""The charts of live workloads, for ``fix --source``: found in checkouts, in helm's cache, or in Helm releases."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kubectl_harden.errors import ClusterError, InputError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.live.at_source import AtSource
    from kubectl_harden.live.chart_at_source import ChartSource
    from kubectl_harden.live.find import Live
    from kubectl_harden.manifests.checkout import Checkout
    from kubectl_harden.manifests.flux_chart import Reference
    from kubectl_harden.manifests.managed_chart import ManagedChart
    from kubectl_harden.manifests.manager_manifest import Held
    from kubectl_harden.manifests.programs import Chart
    from kubectl_harden.manifests.source import Tree
    from kubectl_harden.origin_model import Origin

__all__ = ["ChartAtSource", "Charts"]


class ChartAtSource(NamedTuple):
    """A chart that fixes a live workload: ``places`` are the checkouts that its files may be in, its manager's first.

    ``note`` says where the chart is taken from, if that is not a checkout.
    """

    managed: ManagedChart
    places: tuple[tuple[Checkout, AtSource], ...]
    note: str = ""


class Charts:
    """Finds the chart of each HelmRelease and Application, once.

    ``tree_at`` gives the files at a place, with their checkout, and raises InputError where there is none. Charts from
    releases are written to temporary directories, which stay until ``close``.
    """

    def __init__(
        self,
        cluster: Cluster,
        checkouts: Sequence[Checkout],
        tree_at: Callable[[AtSource], tuple[Checkout, Tree]],
    ) -> None:
        self._cluster, self._checkouts, self._tree_at = cluster, checkouts, tree_at
        self._found: dict[tuple[str, str], ChartAtSource | InputError | None] = {}
        self._stage: list[str] = []

    def close(self) -> None:
        """Remove the temporary directories."""
        for directory in self._stage:
            shutil.rmtree(directory, ignore_errors=True)

    def of(self, origin: Origin, live: Live) -> list[ChartAtSource]:
        """Return the charts that may make an object; none where it does not come from one.

        Raises InputError where none of them is known well enough to be rendered.
        """
        from kubectl_harden.live.chart_at_source import chart_sources

        found, problems = [], []
        for source in chart_sources(origin, live):
            key = source.name, ".".join(map(str, source.field))
            if key not in self._found:
                try:
                    self._found[key] = self._at_source(source, origin)
                except InputError as error:
                    self._found[key] = InputError(f"{source.name}: {error}")
            known = self._found[key]
            if isinstance(known, InputError):
                problems.append(str(known))
            elif known is not None:
                found.append(known)
        if problems and not found:
            raise InputError("; ".join(problems))
        return found

    def _directory(self) -> str:
        self._stage.append(tempfile.mkdtemp(prefix="kubectl-harden-"))
        return self._stage[-1]

    def _at_source(self, source: ChartSource, origin: Origin) -> ChartAtSource | None:
        return self._of_flux(source, origin) if source.link.kind == "HelmRelease" else self._of_argo(source, origin)

    # -- manifests -----------------------------------------------------------------------------------------

    def _held(self, origin: Origin) -> tuple[Held, Checkout, AtSource]:
        """Return the manifest of the manager of an object. Raises InputError where it is not in a checkout."""
        from kubectl_harden.live.chart_at_source import manifest_places
        from kubectl_harden.manifests.manager_manifest import held_in
        from kubectl_harden.manifests.source import NOBODY, Sought
        from kubectl_harden.objects import api_group

        link, problems = origin[0], []
        for at in manifest_places(origin):
            name = at.name_of(link.name)
            group = api_group(link.api_version)
            sought = Sought(group, link.kind, link.namespace, name, NOBODY, at.anywhere, at.substitutes)
            live = {"metadata": {"name": link.name, "namespace": link.namespace}, "spec": link.spec}
            try:
                checkout, tree = self._tree_at(at)
                return held_in(tree, sought, live), checkout, at
            except InputError as error:
                problems.append(str(error))
        raise InputError(f"its manifest: {'; '.join(problems)}")

    # -- Flux ----------------------------------------------------------------------------------------------

    def _of_flux(self, source: ChartSource, origin: Origin) -> ChartAtSource:
        from kubectl_harden.json_values import mapping, value_at
        from kubectl_harden.live.chart_at_source import value_in_cluster
        from kubectl_harden.manifests.flux_chart import flux_chart, with_values_files

        held, checkout, at = self._held(origin)
        chart, root, note = self._flux_chart(source)
        spec = value_at(held.value, ("spec", "chart", "spec"))
        files = mapping(spec).get("valuesFiles")
        if isinstance(files, list) and files:
            if not root:
                raise InputError("its chart has valuesFiles, and is not in a checkout")
            missing = mapping(spec).get("ignoreMissingValuesFiles") is True
            chart = with_values_files(chart, root, [str(one) for one in files], self._directory(), missing=missing)

        def read(reference: Reference) -> str | None:
            return value_in_cluster(self._cluster, source.link.namespace, *reference)

        managed = flux_chart(held, source.name, self._with_options(chart, source), read)
        return ChartAtSource(managed, ((checkout, at),), note)

    def _flux_chart(self, source: ChartSource) -> tuple[Chart, str, str]:
        """Return the chart of a HelmRelease, its checkout or "", and a note on where else it is taken from."""
        from kubectl_harden.live.helm_record import newest, write_chart
        from kubectl_harden.live.origin_links import text
        from kubectl_harden.manifests.programs import Chart

        reasons = []
        try:
            found = self._chart_in_checkout(source) or self._cached(source)
            if found is not None:
                return found
            reasons.append("its chart is neither in a checkout nor in helm's cache")
        except InputError as error:
            reasons.append(str(error))
        try:
            storage = text(source.link.spec.get("storageNamespace")) or source.link.namespace
            record = newest(self._cluster, storage, source.release)
            if record.status != "deployed":
                raise InputError(f"the newest revision of its release is {record.status}")
            if record.missing():
                raise InputError("its release does not keep the charts below its chart")
            directory = self._directory()
            write_chart(record, directory)
        except (ClusterError, InputError) as error:
            raise InputError(f"{'; '.join(reasons)}, and {error}") from None
        note = f"{source.name}: its chart is taken from the release {storage}/{source.release} in the cluster"
        return Chart(directory, named=f"{source.place.chart or source.release}"), "", note

    # -- Argo CD -------------------------------------------------------------------------------------------

    def _of_argo(self, source: ChartSource, origin: Origin) -> ChartAtSource | None:
        from kubectl_harden.json_values import mapping, value_at
        from kubectl_harden.live.at_source import AtSource
        from kubectl_harden.manifests.argo_chart import ArgoSource, argo_chart
        from kubectl_harden.manifests.checkout import matching

        is_chart = bool(source.place.chart or source.value.get("helm") is not None)
        try:
            found = self._chart_in_checkout(source) or self._cached(source)
        except InputError:
            if is_chart:
                raise
            found = None
        if found is None and is_chart:
            raise InputError("a chart makes it, which takes values: it is neither in a checkout nor in helm's cache")
        if found is None:
            return None
        chart, root, note = found
        places: list[tuple[Checkout, AtSource]] = []
        held = None
        try:
            held, checkout, at = self._held(origin)
            places.append((checkout, at))
        except InputError as error:
            # Values files can still be edited.
            note = "; ".join(filter(None, (note, f"{source.name}: {error}: only values files are edited")))
        own = matching(self._checkouts, source.place.url)
        if own is not None:
            places.append((own, AtSource(source.link, source.place)))
        sources = source.link.spec.get("sources")
        for number, place in enumerate(source.link.places):
            other = matching(self._checkouts, place.url)
            if other is not None and isinstance(sources, list) and mapping(sources[number]).get("ref"):
                places.append((other, AtSource(source.link, place)))

        def roots(ref: str) -> str | None:
            for number, place in enumerate(source.link.places):
                if isinstance(sources, list) and mapping(sources[number]).get("ref") == ref:
                    checkout = matching(self._checkouts, place.url)
                    return checkout.root if checkout is not None else None
            return None

        # What was written to its manifest and is not applied yet counts.
        written = mapping(value_at(held.value, source.field)) if held is not None else {}
        argo = ArgoSource(written or source.value, source.field, root, roots)
        managed = argo_chart(source.name, argo, self._with_options(chart, source), held)
        if not places:
            raise InputError("neither its manifest nor a values file is in a checkout")
        return ChartAtSource(managed, tuple(places), note)

    # -- charts --------------------------------------------------------------------------------------------

    def _with_options(self, chart: Chart, source: ChartSource) -> Chart:
        version = ("--kube-version", f"v1.{self._cluster.minor()}.0")
        return chart._replace(
            namespace=source.namespace, options=("--name-template", source.release, *version, *chart.options)
        )

    def _chart_in_checkout(self, source: ChartSource) -> tuple[Chart, str, str] | None:
        """Return the chart in a checkout; None where that is not there, or has no chart at its path."""
        from kubectl_harden.manifests.checkout import directory_in, link_out, matching
        from kubectl_harden.manifests.programs import Chart

        checkout = matching(self._checkouts, source.place.url) if source.place.path else None
        if checkout is None:
            return None
        directory = directory_in(checkout, source.place.path)
        if not os.path.isfile(os.path.join(directory, "Chart.yaml")):
            return None
        link = link_out(directory, checkout.root)
        if link:
            raise InputError(f"its chart has a symbolic link to outside of the checkout: {link}")
        return Chart(directory), checkout.root, ""

    def _cached(self, source: ChartSource) -> tuple[Chart, str, str] | None:
        from kubectl_harden.manifests.helm_cache import cached_chart
        from kubectl_harden.manifests.programs import Chart

        place = source.place
        for version in dict.fromkeys(filter(None, (place.applied, place.version))):
            file = cached_chart(place.url, place.chart, version) if place.chart else None
            if file is not None:
                note = f"{source.name}: its chart is taken from helm's cache: {file}"
                return Chart(file, named=f"{place.chart}-{version}"), "", note
        return None

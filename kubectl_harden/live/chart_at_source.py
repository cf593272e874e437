"""Charts that Flux and Argo CD render, as the cluster knows them: where they are, what they are called, their values.

Sources: those of ``origin_links``, ``helm_release`` and ``at_source``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import CONFIG_MAPS, SECRETS, Cluster
from kubectl_harden.errors import ClusterError, InputError, NotFound
from kubectl_harden.json_values import mapping, mappings
from kubectl_harden.live.at_source import AtSource, at_source
from kubectl_harden.live.find import Live
from kubectl_harden.live.origin_links import release_of_flux, text
from kubectl_harden.objects import annotation
from kubectl_harden.origin_model import Origin, OriginLink, OriginPlace

__all__ = ["ChartSource", "chart_sources", "manifest_places", "value_in_cluster"]

_RELEASE: Final = "meta.helm.sh/release-name"


class ChartSource(NamedTuple):
    """A chart that a HelmRelease or an Application (``link``) renders.

    ``place`` is where the chart is, ``value`` and ``field`` are an Application's source and its path in the object;
    ``release`` and ``namespace`` are what Helm calls the release, and where its objects go.
    """

    link: OriginLink
    place: OriginPlace
    release: str
    namespace: str
    value: Mapping[str, Any] = {}
    field: tuple[str | int, ...] = ()

    @property
    def name(self) -> str:
        """``HelmRelease shop/web``."""
        return f"{self.link.kind} {self.link.namespace}/{self.link.name}"


def chart_sources(origin: Origin, live: Live) -> list[ChartSource]:
    """Return the charts that may have made an object: none where it is not made from one.

    An Application's source that does not mention helm counts, too, if its directory has a chart: callers have to look.
    Raises InputError where the chain says that this manager has not made the object.
    """
    link = origin[0] if origin else OriginLink("")
    if link.kind not in ("HelmRelease", "Application"):
        return []
    name = f"{link.kind} {link.namespace}/{link.name}"
    # That the chart of a HelmRelease renders the object is seen when it is rendered, whatever its release says.
    if link.problem and not (link.kind == "HelmRelease" and link.spec):
        raise InputError(f"{name}: {link.problem}")
    if link.kind == "HelmRelease":
        value = {"metadata": {"namespace": link.namespace, "name": link.name}, "spec": link.spec}
        release = text(annotation(live.value, _RELEASE)) or release_of_flux(value)[1]
        namespace = text(link.spec.get("targetNamespace")) or link.namespace
        return [ChartSource(link, next(iter(link.places), OriginPlace()), release, namespace)]
    namespace = text(mapping(link.spec.get("destination")).get("namespace")) or live.namespace
    found = []
    for field, source, place in _sources(link):
        helm = mapping(source.get("helm"))
        if source.get("plugin") is None and source.get("kustomize") is None and source.get("directory") is None:
            where = text(helm.get("namespace")) or namespace
            found.append(ChartSource(link, place, text(helm.get("releaseName")) or link.name, where, source, field))
    return found


def _sources(link: OriginLink) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any], OriginPlace]]:
    sources: Sequence[Mapping[str, object]] = mappings(link.spec.get("sources"))
    if mapping(link.spec.get("sourceHydrator")):
        return
    for index, place in enumerate(link.places):
        if sources:
            yield ("spec", "sources", index), sources[index], place
        elif not index:
            yield ("spec", "source"), mapping(link.spec.get("source")), place


def manifest_places(origin: Origin) -> list[AtSource]:
    """Return where the manifest of an object's own manager may be. Raises InputError where that is not known."""
    try:
        return at_source(origin[1:])
    except InputError as error:
        link = origin[0]
        raise InputError(f"the manifest of {link.kind} {link.namespace}/{link.name}: {error}") from None


def value_in_cluster(cluster: Cluster, namespace: str, kind: str, name: str, key: str) -> str | None:
    """Return the text of a key of a ConfigMap or a Secret, None where there is none. Raises InputError."""
    try:
        value = cluster.get(SECRETS if kind == "Secret" else CONFIG_MAPS, namespace, name)
    except NotFound:
        return None
    except ClusterError as error:
        raise InputError(f"its values in {kind} {name} cannot be read: {error}") from None
    found = mapping(value.get("data")).get(key)
    if not isinstance(found, str):
        return None
    try:
        return base64.b64decode(found, validate=True).decode() if kind == "Secret" else found
    except ValueError:
        raise InputError(f"its values in {kind} {name} are not text") from None

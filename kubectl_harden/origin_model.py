"""The data about where a live object comes from, and is edited: named tuples without logic."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

__all__ = ["FilesTaken", "Origin", "OriginLink", "OriginPlace"]

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


class FilesTaken(NamedTuple):
    """Which files below a path of a repository are used, by the patterns of Argo CD (a directory) and of Flux.

    ``by_flux``: the repository's own ignore files for Flux count, and then the patterns of its source.
    """

    include: str = ""
    exclude: str = ""
    by_flux: bool = False
    ignore: str | None = None


class OriginPlace(NamedTuple):
    """Where a part of an object's source is edited: in a repository, a registry, a bucket, a chart.

    ``revision`` is the branch, tag, version range, digest or commit that is followed, ``revision_type`` which of these
    it is ("" where the system does not say), ``applied`` the one that was applied last. ``path`` is a directory at the
    url; ``chart`` and ``version`` name a chart there, ``template`` the file in it that the object was rendered from.
    """

    url: str = ""
    revision: str = ""
    revision_type: str = ""
    applied: str = ""
    path: str = ""
    chart: str = ""
    version: str = ""
    template: str = ""


class OriginLink(NamedTuple):
    """A link in the chain from a live object to where it is edited: an object of the cluster, or a tool.

    ``places`` are the sources of the objects that it makes, as far as it names them itself. ``inputs`` name what else
    goes into these objects: values, substitutions, patches; never their contents. ``note`` is what a person should know
    about it, ``problem`` why no more is known about it. ``spec`` is its spec as the API server has it, for code that
    looks for a place to edit; it may hold secrets, and is not for output.
    """

    kind: str
    namespace: str = ""
    name: str = ""
    api_version: str = ""
    places: tuple[OriginPlace, ...] = ()
    inputs: tuple[str, ...] = ()
    note: str = ""
    problem: str = ""
    spec: Mapping[str, Any] = _EMPTY


Origin = tuple[OriginLink, ...]
"""The chain from a live object to where it is edited, the nearest link first; empty where nothing is known."""

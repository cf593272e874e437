"""The data of where a live object comes from, and is edited: named tuples without logic."""

# Annotations are evaluated here: each one of a named tuple would be compiled on its own otherwise, at every start.
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

__all__ = ["FilesTaken", "Origin", "OriginLink", "OriginPlace"]

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


class FilesTaken(NamedTuple):
    """Which files below a path of a repository are taken, by the patterns of Argo CD (a directory) and of Flux.

    ``by_flux``: the files of the repository count that say what Flux leaves out, and then what its source says.
    """

    include: str = ""
    exclude: str = ""
    by_flux: bool = False
    ignore: str | None = None


class OriginPlace(NamedTuple):
    """Where a part of what an object is made of is edited: in a repository, a registry, a bucket, a chart.

    ``revision`` is the branch, tag, version range, digest or commit that is followed, ``revision_type`` which of them
    ("" where the system does not say), ``applied`` what was applied last. ``path`` is a directory at the url; ``chart``
    and ``version`` name a chart there, ``template`` the file in it that made the object.
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
    """A link of the chain from a live object to where it is edited: an object of the cluster, or a tool.

    ``places`` are where what it makes comes from, as far as it says so itself. ``inputs`` name what else goes into what
    it makes: values, substitutions, patches; never what is in them. ``note`` is what a person should know of it,
    ``problem`` why no more is known of it. ``spec`` is its spec as the API server has it, for code that looks for a
    place to edit; it may hold secrets, and is not for output.
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
"""The chain from a live object to where it is edited, the nearest link first; empty where nothing tells."""

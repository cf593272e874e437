"""Options become a connection to the cluster that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kubectl_harden.errors import UsageError

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.cluster.kubeconfig import ClusterOptions

__all__ = ["CLUSTER_NAMES", "open_cluster", "options_of", "seconds"]

CLUSTER_NAMES: Final = (
    "kubeconfig", "context", "cluster", "user", "server", "token", "as_user", "as_groups", "insecure",
    "certificate_authority", "request_timeout", "chunk_size", "field_manager",
)  # fmt: skip


_LONGEST: Final = 1e9
"""31 years, in seconds: longer times, which clocks and sockets may not take, count as this."""


def seconds(text: str, option: str) -> float:
    """Return the seconds of ``30``, ``30s``, ``5m``, ``1h``, ``7d``. Raises UsageError."""
    # Not by a pattern: most commands have such a time, and would compile one for it.
    number = text.rstrip("smhd")
    factor = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[len(number) :])
    if factor is None or not all(part.isdecimal() for part in number.split(".", 1)):
        raise UsageError(f'{option} "{text}": write a time such as 30s, 5m or 1h')
    return min(float(number) * factor, _LONGEST)


def options_of(given: Mapping[str, Any]) -> ClusterOptions:
    """Return how the options of ``cluster_options`` reach a cluster. Raises UsageError for invalid values."""
    from kubectl_harden.cluster.kubeconfig import ClusterOptions

    own = {name: given[name] for name in ClusterOptions._fields if name != "timeout"}
    own["as_groups"] = tuple(own["as_groups"])
    if own["as_groups"] and not own["as_user"]:
        raise UsageError("--as-group needs --as")
    return ClusterOptions(**own, timeout=seconds(given["request_timeout"], "--request-timeout"))


def open_cluster(given: dict[str, Any]) -> Cluster:
    """Return the cluster that the options of ``cluster_options`` name, and take them out. Raises ClusterError."""
    from kubectl_harden.cluster.api import Cluster
    from kubectl_harden.cluster.connection import Connection

    own = {name: given.pop(name) for name in CLUSTER_NAMES}
    return Cluster(Connection(options_of(own)), chunk=own["chunk_size"], manager=own["field_manager"])

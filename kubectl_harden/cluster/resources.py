"""What a resource of the API is, and those that the code knows by name."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote

from kubectl_harden.errors import NotFound

__all__ = [
    "CLAIMS",
    "CONFIG_MAPS",
    "EVENTS",
    "NAMESPACES",
    "NODES",
    "PODS",
    "QUOTAS",
    "SECRETS",
    "SERVICE_ACCOUNTS",
    "VOLUMES",
    "WORKLOADS",
    "Resource",
    "of_kind",
]


class Resource(NamedTuple):
    """A resource of the API, as discovery describes it."""

    group: str
    version: str
    plural: str
    kind: str
    short: tuple[str, ...] = ()
    singular: str = ""
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def head(self) -> dict[str, str]:
        """The apiVersion and kind of an object, which lists leave out of their items."""
        return {"apiVersion": self.api_version, "kind": self.kind}

    @property
    def name(self) -> str:
        """``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None, name: str = "") -> str:
        """Return the URL path of the collection, or of an object in it.

        Raises NotFound for a name that no object can have (path.IsValidPathSegmentName of apimachinery).
        """
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts += [self.plural, name] if name else [self.plural]
        for part in parts:
            if part in ("", ".", "..") or "/" in part or "%" in part:
                raise NotFound(f'no {self.kind} can have the name "{part}"')
        return "/" + "/".join(quote(part, safe="", errors="replace") for part in parts)


def _resource(group: str, plural: str, kind: str, *short: str) -> Resource:
    return Resource(group, "v1", plural, kind, short, kind.lower())


WORKLOADS: Final = (
    _resource("apps", "deployments", "Deployment", "deploy"),
    _resource("apps", "statefulsets", "StatefulSet", "sts"),
    _resource("apps", "daemonsets", "DaemonSet", "ds"),
    _resource("batch", "cronjobs", "CronJob", "cj"),
    _resource("batch", "jobs", "Job"),
    _resource("apps", "replicasets", "ReplicaSet", "rs"),
    _resource("", "replicationcontrollers", "ReplicationController", "rc"),
    _resource("", "pods", "Pod", "po"),
    _resource("", "podtemplates", "PodTemplate"),
)
"""The built-in kinds that run pods, those that make others first."""

PODS: Final = WORKLOADS[7]
EVENTS: Final = _resource("", "events", "Event", "ev")
QUOTAS: Final = _resource("", "resourcequotas", "ResourceQuota", "quota")
CONFIG_MAPS: Final = _resource("", "configmaps", "ConfigMap", "cm")
SECRETS: Final = _resource("", "secrets", "Secret")
SERVICE_ACCOUNTS: Final = _resource("", "serviceaccounts", "ServiceAccount", "sa")
CLAIMS: Final = _resource("", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc")
VOLUMES: Final = Resource(
    "", "v1", "persistentvolumes", "PersistentVolume", ("pv",), "persistentvolume", namespaced=False
)
NODES: Final = Resource("", "v1", "nodes", "Node", ("no",), "node", namespaced=False)
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", ("ns",), "namespace", namespaced=False)


def of_kind(kind: str) -> Resource:
    """Return a built-in workload resource by its kind."""
    return next(resource for resource in WORKLOADS if resource.kind == kind)

"""Admission policies that are no longer needed: expired, or their workload is gone, or meets the level itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kubectl_harden.cluster.api import WORKLOADS, Cluster
from kubectl_harden.errors import ClusterError, NotFound
from kubectl_harden.live.find import Targets
from kubectl_harden.live.mutators import Mutators
from kubectl_harden.model import Checked
from kubectl_harden.objects import annotation
from kubectl_harden.planning.admission_policy import EXPIRES, WORKLOAD
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.times import day_after

__all__ = ["LeftoverPolicies"]


class LeftoverPolicies:
    """Tells which policies that were made for workloads of the checked namespaces are not needed any more."""

    def __init__(self, cluster: Cluster, mutators: Mutators, targets: Targets) -> None:
        self._cluster = cluster
        self._mutators = mutators
        self._targets = targets
        self._restricted: set[str] = set()

    def seen(self, name: str, checked: tuple[Checked, ...]) -> None:
        """Take the verdict on a workload (``Deployment shop/web``). A policy is made for restricted at most."""
        if checked and all(item.level == "restricted" and not left(item.violations) for item in checked):
            self.restricted(name)

    def restricted(self, name: str) -> None:
        """Note that the pod templates of a workload meet restricted."""
        self._restricted.add(name)

    def notes(self) -> Iterator[str]:
        """Yield a sentence for each such policy, with the command that deletes it; nothing where less was asked for."""
        targets = self._targets
        if targets.names or targets.types or targets.selector:
            return
        for value in self._mutators.own_policies():
            workload = str(annotation(value, WORKLOAD))
            kind, _, name = workload.partition(" ")
            namespace, _, name = name.partition("/")
            if namespace != targets.namespace and (targets.namespace is not None or not targets.takes(namespace)):
                continue
            why = self._why(value, workload, kind, namespace, name)
            if why:
                policy = value["metadata"]["name"]
                words = (f"mutatingadmissionpolicybinding/{policy}", f"mutatingadmissionpolicy/{policy}")
                command = self._cluster.connection.commands.kubectl("delete", *words)
                yield f"MutatingAdmissionPolicy {policy} of {workload} {why}; to delete it: {command}"

    def _why(self, value: dict[str, Any], workload: str, kind: str, namespace: str, name: str) -> str:
        if workload in self._restricted:
            return "is no longer needed: the pod template meets restricted itself"
        resource = next((known for known in WORKLOADS if known.kind == kind and kind != "Pod"), None)
        if resource is not None:
            try:
                self._cluster.get(resource, namespace, name)
            except NotFound:
                return "is left over: its workload does not exist"
            except ClusterError:
                pass  # Then it is not known to be gone.
        expires = str(annotation(value, EXPIRES) or "")
        return f"has expired on {expires}" if expires and expires < day_after(0) else ""

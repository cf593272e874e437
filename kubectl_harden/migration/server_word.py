"""What the API server says to enforcing a level in a namespace, by a dry-run of the enforce label."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kubectl_harden.cluster.api import NAMESPACES
from kubectl_harden.errors import ClusterError
from kubectl_harden.live.in_force import PoliciesInForce
from kubectl_harden.migration.gathered import Gathered
from kubectl_harden.migration.labels import LAG_SECONDS
from kubectl_harden.migration.model import Aim, PodVerdict, ServerWord
from kubectl_harden.model import Policy
from kubectl_harden.pod_security.namespace_labels import label_operations, pod_warnings

__all__ = ["expected_warnings", "server_word"]


def server_word(policies: PoliciesInForce, namespace: Gathered, aim: Aim) -> ServerWord:
    """Ask the server, by a dry-run of the enforce label, which pods would violate it."""
    cluster = policies.cluster
    wanted = namespace.wanted(("enforce",), namespace.policy.level, aim, cluster.minor())
    if not wanted:
        return _enforcing(policies, namespace)
    operations = label_operations(namespace.value["metadata"].get("labels"), wanted)
    try:
        answer = cluster.patch(NAMESPACES, None, namespace.value["metadata"]["name"], operations, dry_run=True)
    except ClusterError as error:
        return ServerWord(False, str(error))
    word = ServerWord(True, "", answer.warnings)
    if word.exempts:
        # The API server's default does not apply here.
        namespace.now = namespace.now._replace(exempt="namespace")
    return word


def _enforcing(policies: PoliciesInForce, namespace: Gathered) -> ServerWord:
    """Have the server show that it enforces what the labels say: it refuses a pod that violates everything."""
    enforced = namespace.now.modes.get("enforce")
    if enforced is None:
        return ServerWord(False, "which level it enforces is not known")
    name = namespace.value["metadata"]["name"]
    try:
        if _admits_everything(policies, name, namespace.labels):
            namespace.now = namespace.now._replace(exempt="namespace")
            return ServerWord(False, "it admits a pod that violates everything")
    except ClusterError as error:
        return ServerWord(False, f"it enforces {enforced} already, unless it is exempt: {error}")
    return ServerWord(False, f"it enforces {enforced} already")


def _admits_everything(policies: PoliciesInForce, name: str, labels: dict[str, str]) -> bool:
    """Return whether a pod that violates everything is admitted, and not just because the server's cache lags."""
    if policies.refused(name) is not None:
        return False
    if policies.is_exempt(name, labels):
        return True
    deadline = time.monotonic() + LAG_SECONDS
    while policies.refused(name) is None:
        if time.monotonic() > deadline:
            return True
        time.sleep(0.2)
    return False


def expected_warnings(name: str, policy: Policy, pods: Iterable[PodVerdict]) -> tuple[str, ...]:
    """Return the warnings that the server gives where exactly these pods violate a policy."""
    return tuple(pod_warnings(name, policy, ((pod.name, pod.words) for pod in pods)))

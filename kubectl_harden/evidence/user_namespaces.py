"""What a cluster shows about user namespaces: whether the nodes that may run a pod support them, and what its volumes
are.

Sources: KEP-127 and pkg/kubelet/nodestatus/setters.go (status.runtimeHandlers); the kube-scheduler's plugins
nodename, nodeaffinity and tainttoleration; https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from kubectl_harden.errors import InputError
from kubectl_harden.evidence.answers import Answer, read_or_note
from kubectl_harden.model import Fact
from kubectl_harden.pod_security.pod_schema import decode_pod_template

if TYPE_CHECKING:
    from kubectl_harden.cluster.api import Cluster

__all__ = ["UserNamespaces", "lacks", "may_run", "storage"]

_KUBELET: Final = (1, 33)
"""From here on UserNamespacesSupport is on by default; it is stable in 1.36."""
_KERNEL: Final = (6, 3)
"""From here on tmpfs has ID-mapped mounts, on which the kubelet puts tokens and Secrets."""
_NAMED: Final = 3
"""At most this many nodes are named."""
# Drivers of file systems without ID-mapped mounts, by the names under which they are registered.
_DRIVERS: Final = {
    "nfs.csi.k8s.io": "NFS",
    "efs.csi.aws.com": "NFS",
    "filestore.csi.storage.gke.io": "NFS",
    "smb.csi.k8s.io": "SMB",
    "file.csi.azure.com": "SMB or NFS",
}
_SOURCES: Final = {"nfs": "NFS", "azureFile": "SMB", "glusterfs": "GlusterFS"}
_MAPPED: Final = ("awsElasticBlockStore", "azureDisk", "fc", "gcePersistentDisk", "iscsi", "local", "vsphereVolume")


class UserNamespaces:
    """Asks a cluster, once, for its nodes and for the volumes behind claims; a missing permission does not stop a plan.

    ``notes`` gets what could not be read.
    """

    def __init__(self, cluster: Cluster, notes: list[str]) -> None:
        self._cluster = cluster
        self._notes = notes
        self._nodes: list[dict[str, object]] | None = None
        self._claims: dict[tuple[str, str], str | None] = {}

    def facts(self, value: Mapping[str, object], namespace: str, template: Mapping[str, object]) -> Iterator[Fact]:
        """Yield what is known about the nodes that may run a pod template of an object, and about the claims of its
        pods.
        """
        try:
            spec = decode_pod_template({"spec": template.get("spec")})["spec"]
        except InputError:
            return  # It is told where the template is judged.
        if value.get("kind") == "Pod":
            spec.pop("nodeName", None)  # Where it is now; another in its place may come to another node.
        yield from self._of_nodes(spec)
        for name, claim in _claims(value, spec):
            found = self._claim(namespace, claim)
            if found:
                text = f"volume {name} is {found}: the container does not start"
                yield Fact("needs", "volume mapping", text, "node", name=name)
            elif found == "":
                yield Fact("unused", "volume mapping", f"volume {name} is on a block device", "node", name=name)

    def _of_nodes(self, spec: Mapping[str, Any]) -> Iterator[Fact]:
        if self._nodes is None:
            from kubectl_harden.cluster.api import NODES

            what = "whether the nodes have user namespaces is not known"
            self._nodes = self._read(lambda: list(self._cluster.each(NODES, None)), what) or []
        nodes = [node for node in self._nodes if may_run(node, spec)]
        handler = spec.get("runtimeClassName", "")
        wrong = [text for node in nodes if (text := lacks(node, handler))]
        if wrong:
            more = f" and {len(wrong) - _NAMED} more nodes" if len(wrong) > _NAMED else ""
            yield Fact("closed", "user namespaces", "; ".join(wrong[:_NAMED]) + more, "node")
        elif nodes:
            count = (
                f"all {len(nodes):,} nodes that may run it have" if len(nodes) > 1 else "the node that may run it has"
            )
            yield Fact("open", "user namespaces", f"{count} user namespaces", "node")

    def _claim(self, namespace: str, name: str) -> str | None:
        """Return which storage without ID-mapped mounts is behind a claim, "" for one that has them, None: unknown."""
        key = namespace, name
        if key not in self._claims:
            self._claims[key] = self._storage(namespace, name)
        return self._claims[key]

    def _storage(self, namespace: str, name: str) -> str | None:
        from kubectl_harden.cluster.api import CLAIMS, VOLUMES

        what = "the storage behind claims is not known"
        claim = self._read(lambda: self._cluster.get(CLAIMS, namespace, name), what)
        volume = ((claim or {}).get("spec") or {}).get("volumeName")
        found = self._read(lambda: self._cluster.get(VOLUMES, None, volume), what) if volume else None
        return None if found is None else storage(found.get("spec") or {})

    def _read(self, call: Callable[[], Answer], what: str) -> Answer | None:
        return read_or_note(call, what, self._notes)


def storage(spec: Mapping[str, Any]) -> str | None:
    """Return what a PersistentVolume is that has no ID-mapped mounts, "" for one that has, None where it is unknown."""
    kind = next((words for source, words in _SOURCES.items() if source in spec), None)
    kind = kind or _DRIVERS.get((spec.get("csi") or {}).get("driver", ""))
    if kind:
        return f"{kind}, which has no ID-mapped mounts"
    return "" if any(source in spec for source in _MAPPED) else None


def _claims(value: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (volume, claim) of a pod; for a StatefulSet's claims, those of its first pod."""
    for volume in spec.get("volumes", ()):
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim:
            yield volume.get("name", ""), claim
    if (value.get("apiVersion"), value.get("kind")) == ("apps/v1", "StatefulSet"):
        first = (value["spec"].get("ordinals") or {}).get("start", 0)
        for item in value["spec"].get("volumeClaimTemplates") or ():
            name = (item.get("metadata") or {}).get("name", "")
            yield name, f"{name}-{value['metadata']['name']}-{first}"


# -- nodes -----------------------------------------------------------------------------------------------


def lacks(node: Mapping[str, Any], handler: str = "") -> str:
    """Return why a pod in a user namespace does not start on a node, "" where nothing says so.

    ``handler`` is the name of the pod's RuntimeClass, whose handler usually has the same name.
    """
    status = node.get("status") or {}
    info = status.get("nodeInfo") or {}
    name = node["metadata"]["name"]
    kubelet, kernel = info.get("kubeletVersion", ""), info.get("kernelVersion", "")
    if _before(kubelet, _KUBELET):
        return f"node {name}: kubelet {kubelet} has no user namespaces by default, v1.33 has"
    if _before(kernel, _KERNEL):
        return f"node {name}: Linux {kernel} has no ID-mapped mounts of tmpfs, 6.3 has"
    handlers = status.get("runtimeHandlers") or ()
    named = [item for item in handlers if item.get("name", "") == handler]
    features = [(item.get("features") or {}).get("userNamespaces") for item in named or handlers]
    if not features or not all(features):
        what = f"runtime handler {handler}" if handler and named else "its runtime"
        return f"node {name}: {what} does not report user namespaces (status.runtimeHandlers)"
    return ""


def _before(version: str, first: tuple[int, int]) -> bool:
    match = re.match(r"v?(\d{1,9})\.(\d{1,9})", version)
    return bool(match) and (int(match[1]), int(match[2])) < first if match else False


def may_run(node: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether a node may run a pod, by its name, labels and taints; free resources do not count.

    Taints of node.kubernetes.io come and go with the state of the node, and are ignored.
    """
    metadata = node["metadata"]
    labels = metadata.get("labels") or {}
    info = (node.get("status") or {}).get("nodeInfo") or {}
    if info.get("operatingSystem") == "windows" or labels.get("kubernetes.io/os") == "windows":
        return False
    if spec.get("nodeName"):
        return bool(spec["nodeName"] == metadata["name"])
    if not spec.get("nodeSelector", {}).items() <= labels.items():
        return False
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    terms = required.get("nodeSelectorTerms", ()) if required else ()
    if terms and not any(_term(term, labels, metadata["name"]) for term in terms):
        return False
    taints = ((node.get("spec") or {}).get("taints")) or ()
    return all(_tolerated(taint, spec.get("tolerations", ())) for taint in taints)


def _term(term: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """Whether a node matches all expressions of a term; an empty term matches none (core/v1 types.go)."""
    of_labels, of_fields = term.get("matchExpressions", ()), term.get("matchFields", ())
    if not of_labels and not of_fields:
        return False
    return all(_matches(one, labels) for one in of_labels) and all(
        _matches(one, {"metadata.name": name}) for one in of_fields
    )


def _matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    operator, values = expression.get("operator"), expression.get("values", ())
    has = labels.get(expression.get("key", ""))
    if operator in ("In", "Exists"):
        return has is not None and (operator == "Exists" or has in values)
    if operator in ("NotIn", "DoesNotExist"):
        return has is None or (operator == "NotIn" and has not in values)
    # Gt and Lt: numbers. What is not known may match.
    if has is None or not re.fullmatch(r"-?\d{1,18}", has) or not values or not re.fullmatch(r"-?\d{1,18}", values[0]):
        return False
    return int(has) > int(values[0]) if operator == "Gt" else int(has) < int(values[0])


def _tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pod with some tolerations tolerates a taint (core/v1 toleration.go, ToleratesTaint)."""
    key, effect = taint.get("key", ""), taint.get("effect", "")
    if effect not in ("NoSchedule", "NoExecute") or key.startswith("node.kubernetes.io/"):
        return True
    for toleration in tolerations:
        if toleration.get("effect", "") not in ("", effect) or toleration.get("key", "") not in ("", key):
            continue
        if toleration.get("operator") == "Exists" or (
            toleration.get("key") and toleration.get("value", "") == taint.get("value", "")
        ):
            return True
    return False

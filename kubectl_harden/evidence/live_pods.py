"""Running pods → what they show about how their containers run.

Sources: KEP-3619 (containerStatuses[].user.linux, from Kubernetes 1.31), and nodeInfo.containerRuntimeVersion
with the release notes of containerd 2.0 (enable_unprivileged_ports is true by default).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from kubectl_harden.cluster.api import NODES, PODS, SECRETS, SERVICE_ACCOUNTS, Cluster
from kubectl_harden.evidence.answers import Answer, read_or_note
from kubectl_harden.model import Fact

__all__ = ["RunningPods", "Seen", "labels_of", "platform_of", "pod_facts", "port_facts", "seen"]

_STATUSES = (
    ("initContainerStatuses", "initContainers"),
    ("containerStatuses", "containers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
)


class Seen(NamedTuple):
    """The evidence in a running pod; ``users`` are (container, uid, gid or None), ``waiting`` why some do not run.

    A container whose user the pod sets itself is left out: it says nothing about the image.
    """

    name: str
    labels: Mapping[str, str]
    node: str
    users: tuple[tuple[str, int, int | None], ...]
    waiting: tuple[tuple[str, str], ...] = ()


def seen(pod: Mapping[str, Any]) -> Seen:
    """Return the evidence in a pod."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    users = []
    waiting = []
    of_pod = (spec.get("securityContext") or {}).get("runAsUser")
    for key, listed in _STATUSES:
        stated = {c["name"]: (c.get("securityContext") or {}).get("runAsUser", of_pod) for c in spec.get(listed) or ()}
        for item in status.get(key) or ():
            linux = (item.get("user") or {}).get("linux") or {}
            if isinstance(linux.get("uid"), int) and _has_run(item) and stated.get(item["name"]) is None:
                users.append((item["name"], linux["uid"], linux.get("gid")))
            reason = (item.get("state") or {}).get("waiting", {}).get("reason", "")
            if reason.endswith(("Error", "BackOff")):
                waiting.append((item["name"], f"{reason} after {item.get('restartCount', 0)} restarts"))
    return Seen(metadata["name"], metadata.get("labels") or {}, spec.get("nodeName", ""), tuple(users), tuple(waiting))


def _has_run(status: Mapping[str, Any]) -> bool:
    state = {**(status.get("lastState") or {}), **(status.get("state") or {})}
    return "running" in state or "terminated" in state


def pod_facts(pods: Iterable[Seen]) -> dict[str, tuple[Fact, ...]]:
    """Return what the pods of one workload show, by container name; where they differ, each is listed."""
    facts: dict[str, dict[tuple[str, Any], Fact]] = {}
    for pod in pods:
        for name, user, group in pod.users:
            words = (
                f'container "{name}" runs as uid {user}{"" if group is None else f", gid {group}"} in pod {pod.name}'
            )
            fact = Fact("user", "user", words, "live pod", user)
            facts.setdefault(name, {}).setdefault(("user", user), fact)
        for name, why in pod.waiting:
            words = f'container "{name}" already does not run in pod {pod.name}: {why}'
            facts.setdefault(name, {}).setdefault(("waiting", ""), Fact("unknown", "waiting", words, "live pod"))
    return {name: tuple(found.values()) for name, found in facts.items()}


def port_facts(node: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Return what a node's container runtime ("containerd://2.1.0") says of ports below 1024."""
    runtime = (node.get("status", {}).get("nodeInfo") or {}).get("containerRuntimeVersion", "")
    match = re.match(r"containerd://v?(\d+)\.", runtime)
    if match and int(match[1]) >= 2:
        return (Fact("open", "low port", f"{runtime} opens ports below 1024 to every user", "node"),)
    return ()


def platform_of(node: Mapping[str, Any]) -> str | None:
    """Return the platform of a node's images, as OS/ARCHITECTURE."""
    info = node.get("status", {}).get("nodeInfo") or {}
    if info.get("operatingSystem") and info.get("architecture"):
        return f"{info['operatingSystem']}/{info['architecture']}"
    return None


def labels_of(value: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels by which a workload's pods are found: its selector's, or its pod template's."""
    selector = (value.get("spec") or {}).get("selector")
    labels = selector.get("matchLabels") if isinstance(selector, dict) else None
    return dict(labels or (template.get("metadata") or {}).get("labels") or {})


class RunningPods:
    """The pods of a cluster, and what belongs to them; a missing permission does not stop a plan.

    ``whole`` lists a namespace's pods at once, else those of each workload are asked for. ``notes`` gets what
    could not be read.
    """

    def __init__(self, cluster: Cluster, notes: list[str], *, whole: bool) -> None:
        self._cluster = cluster
        self._notes = notes
        self._whole = whole
        self._pods: dict[str, dict[tuple[str, str], list[Seen]]] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._secrets: dict[tuple[str, str], dict[str, Any] | None] = {}
        self._accounts: dict[tuple[str, str], tuple[str, ...]] = {}

    def begin(self, namespaces: Iterable[str]) -> None:
        """Expect the pods of some namespaces to be added, so that they need not be listed."""
        for namespace in namespaces:
            self._pods[namespace] = {}

    def add(self, pod: Mapping[str, Any]) -> None:
        """Take a pod that was listed."""
        by_label = self._pods.setdefault(pod["metadata"].get("namespace", ""), {})
        found = seen(pod)
        for pair in found.labels.items():
            by_label.setdefault(pair, []).append(found)

    def of(self, namespace: str, labels: Mapping[str, str]) -> list[Seen]:
        """Return the running pods of a namespace that have some labels."""
        if not labels:
            return []
        what = "what running pods show is not known"
        if namespace not in self._pods:
            if not self._whole:
                selector = ",".join(f"{key}={value}" for key, value in labels.items())
                pods = self._read(lambda: list(self._cluster.each(PODS, namespace, selector=selector)), what)
                return [seen(pod) for pod in pods or ()]
            self._pods[namespace] = {}
            for pod in self._read(lambda: list(self._cluster.each(PODS, namespace)), what) or ():
                self.add(pod)
        by_label = self._pods[namespace]
        few = min((by_label.get(pair, []) for pair in labels.items()), key=len) if by_label else []
        return [pod for pod in few if labels.items() <= pod.labels.items()]

    def node(self, pods: Iterable[Seen]) -> dict[str, Any]:
        """Return the node of the first of some pods that has one, or {}."""
        name = next((pod.node for pod in pods if pod.node), "")
        if name and name not in self._nodes:
            found = self._read(lambda: self._cluster.get(NODES, None, name), "the nodes' runtime is not known")
            self._nodes[name] = found or {}
        return self._nodes.get(name, {})

    def any_node(self) -> dict[str, Any]:
        """Return some node of the cluster, or {}."""
        found = self._read(lambda: next(iter(self._cluster.each(NODES, None)), {}), "the nodes' platform is not known")
        return found or {}

    def pull_secrets(self, namespace: str, spec: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """Return the contents of the pull secrets of a pod, or of its service account."""
        names = [item.get("name", "") for item in spec.get("imagePullSecrets") or ()]
        if not names:
            names = list(self._of_account(namespace, spec.get("serviceAccountName") or "default"))
        found = (self._secret(namespace, name) for name in dict.fromkeys(names) if name)
        return tuple(secret for secret in found if secret is not None)

    def _of_account(self, namespace: str, name: str) -> tuple[str, ...]:
        key = namespace, name
        if key not in self._accounts:
            what = "the pull secrets of service accounts are not known"
            found = self._read(lambda: self._cluster.get(SERVICE_ACCOUNTS, namespace, name), what)
            listed = (found or {}).get("imagePullSecrets") or ()
            self._accounts[key] = tuple(item.get("name", "") for item in listed)
        return self._accounts[key]

    def _secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        key = namespace, name
        if key not in self._secrets:
            found = self._read(lambda: self._cluster.get(SECRETS, namespace, name), "a pull secret is not known")
            self._secrets[key] = _docker_config(found) if found else None
        return self._secrets[key]

    def _read(self, call: Callable[[], Answer], what: str) -> Answer | None:
        return read_or_note(call, what, self._notes)


def _docker_config(secret: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the docker configuration in a secret (types kubernetes.io/dockerconfigjson and dockercfg)."""
    data = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            value = json.loads(base64.b64decode(data[".dockerconfigjson"]))
        elif ".dockercfg" in data:
            value = {"auths": json.loads(base64.b64decode(data[".dockercfg"]))}
        else:
            return None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

"""What is gathered about a namespace while its objects are listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubectl_harden.cluster.api import QUOTAS, Cluster
from kubectl_harden.errors import ClusterError, InputError, NotPermitted
from kubectl_harden.live.find import places, problem
from kubectl_harden.live.in_force import PoliciesInForce
from kubectl_harden.live.workload_pods import Key, keys_of
from kubectl_harden.migration.hindrances import Keeper
from kubectl_harden.migration.model import Aim, Blocker, PodVerdict, Surveyed
from kubectl_harden.migration.soak import Unlogged
from kubectl_harden.model import Level, Problem
from kubectl_harden.objects import controller_of, finished, name_of
from kubectl_harden.pod_security.in_force import raised_labels
from kubectl_harden.pod_security.namespace_labels import Mode
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import evaluate

__all__ = ["Gathered", "read_quotas"]


class Gathered:
    """A namespace, the policies in force there and the one to be enforced, and what the lists show about it."""

    def __init__(self, value: dict[str, Any], aim: Aim, policies: PoliciesInForce) -> None:
        self.value = value
        self.labels: dict[str, str] = value["metadata"].get("labels") or {}
        self.now = policies.settled(value["metadata"]["name"], self.labels)
        self.policy = policies.goal(self.labels, aim.target, aim.version)
        self.workloads: list[Surveyed] = []
        self.pods: list[PodVerdict] = []
        self.problems: list[Problem] = []
        self.short: list[Blocker] = []
        self.quotas: list[dict[str, Any]] = []
        self.rolling: set[str] = set()
        self.keepers: dict[str, Keeper] = {}
        self.recreations: dict[str, tuple[str, ...]] = {}
        self.violating: set[Key] = set()
        self.meeting: set[Key] = set()
        self.completed: list[str] = []
        self.offers: set[str] = set()
        self.unlogged = Unlogged(aim.soak, value)
        self._same_words: dict[str, str] = {}
        self._same_labels: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}

    def judge(self, value: dict[str, Any]) -> None:
        """Take a pod of the namespace and judge whether it violates the goal."""
        self.unlogged.judge(value)
        try:
            findings = evaluate(Pod(value, is_pod=True, decoded=True), self.policy)
        except InputError as error:
            self.problems.append(problem(error, name_of("Pod", value)))
            return
        if not finished(value):
            (self.violating if findings else self.meeting).update(keys_of(value))
        if findings:
            words = ", ".join(finding.reason for _, finding in findings)
            labels = value["metadata"].get("labels") or {}
            # Most pods of a workload share them.
            words = self._same_words.setdefault(words, words)
            labels = self._same_labels.setdefault(tuple(labels.items()), labels)
            self.pods.append(_verdict(value, words, labels))

    def traced(self, pod: PodVerdict, owner: str) -> PodVerdict:
        """Return the verdict on a pod with the workload that it comes from."""
        return pod._replace(owner=owner, passing=pod.deleted or owner in self.rolling)

    def wanted(self, modes: tuple[Mode, ...], level: Level, aim: Aim, minor: int) -> dict[str, str]:
        """Return the labels that raise modes of the namespace to a level."""
        return raised_labels(self.labels, self.now, modes, level, aim.version, minor)


def _verdict(value: dict[str, Any], words: str, labels: Mapping[str, str]) -> PodVerdict:
    """Return the verdict on a pod that violates the goal, before its workload is known."""
    metadata = value["metadata"]
    deleted = bool(metadata.get("deletionTimestamp"))
    return PodVerdict(
        metadata["name"],
        metadata["uid"],
        words,
        "",
        value["spec"].get("runtimeClassName", ""),
        finished(value),
        deleted,
        deleted,
        labels,
        (controller_of(value) or {}).get("name", ""),
    )


def read_quotas(cluster: Cluster, found: Mapping[str, Gathered], at_once: bool) -> list[str]:
    """Give each namespace its quotas, and return notes of what could not be read."""
    unknown: dict[str, list[str]] = {}
    for scope in (None,) if at_once else tuple(found):
        try:
            for quota in cluster.each(QUOTAS, scope):
                namespace = found.get(quota["metadata"]["namespace"])
                if namespace is not None:
                    namespace.quotas.append(quota)
        except NotPermitted:
            unknown.setdefault(f"you may not list {QUOTAS.plural}", []).append(scope or "")
        except ClusterError as error:
            unknown.setdefault(str(error), []).append(scope or "")
    return [
        f"whether quotas leave room for rollouts{places(scopes)} is not known: {why}" for why, scopes in unknown.items()
    ]

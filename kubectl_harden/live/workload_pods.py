"""The running pods of workloads, and whether admission mutates them: a template that violates, and pods that do not.

A pod's workload is told from its labels and owners alone, so that one list is enough: a Deployment names its
ReplicaSets after the hash in their pods' labels (pkg/controller/deployment, getNewReplicaSet), a CronJob its Jobs after
the minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import PODS, WORKLOADS
from kubectl_harden.errors import ClusterError, InputError, NotPermitted
from kubectl_harden.json_values import mapping
from kubectl_harden.live.find import Finder, Live
from kubectl_harden.live.made_pods import Trials
from kubectl_harden.live.mutators import Mutators, marks_of
from kubectl_harden.model import LADDER, Checked, Level, PodsChecked, Policy
from kubectl_harden.objects import controller_of, finished, missing_pods, name_of
from kubectl_harden.pod_security.accepted import left
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.messages import policies_named
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import LEVELS, evaluate, highest_level

__all__ = ["RESTARTABLE", "Key", "WorkloadPods", "is_completed", "keys_of", "level_of"]

Key = tuple[str, str]
"""The kind and the name of a workload."""

RESTARTABLE: Final = ("Deployment", "StatefulSet", "DaemonSet")
"""The kinds whose pods ``kubectl rollout restart`` recreates."""
_HASHES: Final = ("pod-template-hash", "rollouts-pod-template-hash")
_FEW: Final = 4
"""Pods are listed by namespace where at most one namespace in this many is concerned."""
_NUMBERED: Final = {"Job": "CronJob", "ReplicationController": "DeploymentConfig"}


def keys_of(pod: dict[str, Any]) -> Iterator[Key]:
    """Yield what made a pod, directly and by way of a ReplicaSet or a Job; the pod itself if it has no controller."""
    owner = controller_of(pod)
    if owner is None:
        yield "Pod", pod["metadata"]["name"]
        return
    kind, name = owner["kind"], owner["name"]
    yield kind, name
    labels = pod["metadata"].get("labels") or {}
    if kind == "ReplicaSet":
        for key in _HASHES:
            base = name.removesuffix(f"-{labels.get(key, '')}")
            if labels.get(key) and base != name:
                yield "Deployment" if key == _HASHES[0] else "Rollout", base
    elif kind in _NUMBERED and (match := re.fullmatch(r"(.+)-\d+", name)) is not None:
        yield _NUMBERED[kind], match[1]


def level_of(pod: dict[str, object], policy: Policy) -> tuple[Level, bool]:
    """Return the highest level that a pod of the API server meets, and whether it meets a policy. Raises InputError."""
    decoded = Pod(pod, is_pod=True, decoded=True)
    findings = evaluate(decoded, policy)
    return highest_level(decoded, policy, [control.level for control, _ in findings]), not findings


def is_completed(live: Live, trials: Trials, policy: Policy) -> bool:
    """Whether, in a dry-run, the pods of a workload's templates meet a policy."""
    if live.resource == PODS:
        return False
    for location in live.subject.templates():
        pod = trials.of(live.namespace, live.value, location, policy).pod
        if pod is None or not _judged(pod, policy)[1]:
            return False
    return True


class _Running(NamedTuple):
    """The running pods of a workload: how many, which do not meet the policy, the lowest level, and one pod's
    annotations.
    """

    pods: int
    below: tuple[str, ...]
    level: Level = "privileged"
    annotations: Mapping[str, str] = MappingProxyType({})


_SOME_BELOW: Final = _Running(1, ("",))
"""There are some that do not meet the policy: which, and how many, is not looked up."""


class WorkloadPods:
    """Tells where the pods of workloads differ from their templates; it raises nothing.

    Pods are listed when the first is asked for: of the namespace, or, with ``everywhere``, of the whole cluster where
    something changes them in many namespaces.
    """

    def __init__(self, finder: Finder, *, everywhere: bool) -> None:
        self._finder = finder
        self._everywhere = everywhere
        self._listed: set[str | None] = set()
        self._read = False
        self._in_most: bool | None = None
        self._running: dict[str, dict[Key, _Running]] = {}
        self._trials = Trials(finder.cluster, finder.notes)
        self.mutators = Mutators(finder.cluster, finder.notes)

    def beside(self, live: Live, checked: Checked) -> Checked:
        """Return a verdict that includes the pods, where they meet the policy and the template does not."""
        if not left(checked.violations) or live.resource == PODS:
            return checked
        locations = [item for item in live.subject.templates() if item.path == checked.identity.pod_path]
        if locations and not self._may_be_changed(live, locations[0]):
            return checked
        several = len(live.subject.templates()) > 1
        running = None if several else self._of(live)
        below = running.below if running is not None else ()
        if not locations or (below and not self.mutators.made_for(name_of(live.resource.kind, live.value))):
            return checked
        trial = self._trials.of(live.namespace, live.value, locations[0], checked.policy)
        if trial.pod is not None:
            level, meets = _judged(trial.pod, checked.policy)
            if not meets:
                return checked  # What runs is older than the template.
            metadata = trial.pod["metadata"]
            by = self.mutators.named(live.namespace, metadata.get("labels") or {}, metadata.get("annotations") or {})
            there = running.pods - len(below) if running else 0
            restart = self._restart(live) if below else ""
            return checked._replace(pods=PodsChecked(level, there, True, by, below, restart))
        if trial.admitted is False or running is None or below:
            return checked
        by = self.mutators.named(live.namespace, {}, running.annotations)
        return checked._replace(pods=PodsChecked(running.level, running.pods, False, by))

    def _may_be_changed(self, live: Live, location: Location) -> bool:
        """Whether admission may change the pods of a template."""
        if self._everywhere and not self._read:
            self._read = True
            with suppress(ClusterError):
                self._finder.cluster.read_namespaces()
        metadata = mapping(mapping(location.value).get("metadata"))
        labels = mapping(metadata.get("labels")) if live.resource in WORKLOADS else None
        return self.mutators.may_change(live.namespace, labels)

    def _changed_in_most(self) -> bool:
        """Whether pods may be changed in so many namespaces that one list of the cluster's pods is less."""
        if self._in_most is None:
            names = self._finder.cluster.known_namespaces()
            changed = sum(self.mutators.may_change(name, None) for name in names)
            self._in_most = not names or changed * _FEW > len(names)
        return self._in_most

    def refused(self, live: Live, checked: Checked) -> Checked:
        """Return a verdict that includes pods that a workload lacks: admission may add violations to them.

        A note says so, too. A dry-run of one shows whether the API server refuses them.
        """
        level = checked.policy.level
        locations = [item for item in live.subject.templates() if item.path == checked.identity.pod_path]
        if level == "privileged" or not locations or live.resource == PODS or (missing_pods(live.value) or 0) <= 0:
            return checked
        trial = self._trials.of(live.namespace, live.value, locations[0], checked.policy)
        levels = [policy.partition(":")[0] for policy, warned in policies_named(trial.message) if not warned]
        # A level above the one that is asked for is another matter.
        if trial.admitted is not False or not levels or LEVELS.index(levels[0]) > LEVELS.index(level):
            return checked
        told = self._finder.cluster.connection.commands.harden("rejected", namespace=live.namespace)
        words = f"its template meets {checked.policy}, but it lacks pods, and they are refused: {trial.message}"
        name = name_of(live.resource.kind, live.value)
        self._finder.notes.append(f"{name}: {words}; what admission adds to them: {told}")
        return checked._replace(pods_refused=trial.message)

    def _restart(self, live: Live) -> str:
        """Return the command that recreates the pods of a workload, "" where there is none."""
        commands = self._finder.cluster.connection.commands
        words = ("rollout", "restart", live.target)
        return commands.kubectl(*words, namespace=live.namespace) if live.resource.kind in RESTARTABLE else ""

    def _of(self, live: Live) -> _Running | None:
        scope = None if self._everywhere and self._changed_in_most() else live.namespace
        if scope not in self._listed:
            self._listed.add(scope)
            # Names of pods below the policy are only shown with a policy that was made for their workload.
            named = bool(self.mutators.own_policies())
            try:
                for pod in self._finder.pods(scope, lambda head: named or not self._tells_nothing(head)):
                    self._add(pod, named=named)
            except NotPermitted:
                pass  # The dry-run alone must tell.
            except ClusterError as error:
                self._finder.notes.append(f"which pods run is not known: {error}")
        return self._running.get(live.namespace, {}).get((live.resource.kind, live.name))

    def _tells_nothing(self, pod: dict[str, Any]) -> bool:
        """Whether another pod of the same workload is known to be below the policy already."""
        of_namespace = self._running.get(pod["metadata"]["namespace"], {})
        known = [of_namespace.get(key) for key in keys_of(pod)]
        return all(running is not None and running.below for running in known)

    def _add(self, pod: dict[str, Any], *, named: bool) -> None:
        metadata = pod["metadata"]
        if finished(pod) or metadata.get("deletionTimestamp"):
            return
        namespace = metadata["namespace"]
        of_namespace = self._running.setdefault(namespace, {})
        level, meets = _judged(pod, self._finder.policy(namespace, self._finder.cluster.minor()))
        below: tuple[str, ...] = () if meets else (str(metadata["name"]) if named else "",)
        for key in keys_of(pod):
            before = of_namespace.get(key)
            if before is None:
                marks = marks_of(metadata.get("annotations") or {})
                of_namespace[key] = _SOME_BELOW if below == ("",) else _Running(1, below, level, marks)
            else:
                lowest = min(before.level, level, key=LADDER.index)
                of_namespace[key] = _Running(before.pods + 1, (*before.below, *below), lowest, before.annotations)


def _judged(pod: dict[str, object], policy: Policy) -> tuple[Level, bool]:
    try:
        return level_of(pod, policy)
    except InputError:
        return "privileged", False

"""Old pods that stay when the template of their workload changes: why, and the commands that replace them.

Sources: kubernetes.io/docs/concepts/workloads/controllers (statefulset, "Partitioned rolling updates" and "On Delete";
deployment, "Pausing and Resuming a rollout"; replicaset; job) and /docs/tasks/manage-daemon/update-daemon-set;
pkg/controller/statefulset/stateful_set_utils.go (newVersionedStatefulSetPod: which ordinals a partition keeps),
pkg/controller/daemon/util (IsPodUpdated).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.cluster.command import Commands
from kubectl_harden.live.find import Live
from kubectl_harden.live.propose import Proposal
from kubectl_harden.live.recreate import held_back
from kubectl_harden.live.rollout import selector_of
from kubectl_harden.migration.model import Aim, Blocker, PodVerdict, Surveyed
from kubectl_harden.model import Policy
from kubectl_harden.objects import finished

__all__ = ["Keeper", "deletion_of_finished", "hindrances", "keeper_of", "old_pods", "recreation", "unfinished"]

_BUILT_IN: Final = ("", "apps", "batch")
_PARTITION: Final = "/spec/updateStrategy/rollingUpdate/partition"
_GENERATION: Final = "deprecated.daemonset.template.generation"
_REVISION: Final = "controller-revision-hash"
"""The label that names the revision of a pod of a StatefulSet or DaemonSet."""
_NAMED: Final = 10
"""Up to this many pods are deleted by name, more of them by label."""


class Keeper(NamedTuple):
    """A workload that keeps its running pods when its template changes.

    ``target`` names it on a command line, ``cause`` is a few words to count by, ``why`` a sentence. ``release`` are the
    words of the kubectl command that has its controller replace the pods; without them the pods, or their ``jobs``,
    have to be deleted. Where ``below`` is given, only pods with a lower ordinal are kept. ``current`` is a label and
    its value on pods of the current template; ``settled``: all pods are of it. ``evicted``: a migration with
    --at-admission evicts them.
    """

    target: str
    cause: str
    why: str
    release: tuple[str, ...] = ()
    jobs: bool = False
    below: int | None = None
    current: tuple[str, str] | None = None
    settled: bool = False
    selector: str = ""
    custom: bool = False
    evicted: bool = False

    def keeps(self, pod: PodVerdict, *, patched: bool) -> bool:
        """Whether a pod is kept although it is older than the template; ``patched``: the template is to be changed."""
        if pod.finished or pod.deleted or (self.below is not None and _ordinal(pod.name) >= self.below):
            return False
        if patched:
            return True
        is_current = self.current is not None and pod.labels.get(self.current[0]) == self.current[1]
        return not (self.settled or is_current)


def keeper_of(live: Live) -> Keeper | None:
    """Return what keeps the pods of a workload, None where its controller replaces them or it is a pod itself."""
    value, kind = live.value, live.resource.kind
    spec, status = value.get("spec") or {}, value.get("status") or {}
    if live.resource.group not in _BUILT_IN:
        why = f"whether the controller of a {kind} replaces its pods is not known"
        return Keeper(live.target, "custom controller", why, custom=True)
    selector = selector_of(value)
    if kind == "CronJob":
        why = "a Job cannot be changed: its pods run until it ends or is deleted"
        return Keeper(live.target, "running Job", why, jobs=True)
    if kind in ("ReplicaSet", "ReplicationController"):
        why = f"a {kind} keeps its pods when its template changes: they stay until they are deleted"
        return Keeper(live.target, f"bare {kind}", why, selector=selector)
    if kind == "Deployment" and spec.get("paused"):
        why = "the Deployment is paused: its pods stay until it is resumed, which rolls out all changes made until then"
        settled = status.get("updatedReplicas", 0) >= status.get("replicas", 0)
        return Keeper(live.target, "paused", why, ("rollout", "resume", live.target), settled=settled)
    strategy = spec.get("updateStrategy") or {}
    current = _current(value)
    if kind in ("StatefulSet", "DaemonSet") and strategy.get("type") == "OnDelete":
        why = (
            "its update strategy is OnDelete: pods that are older than its template stay until they are deleted "
            "(one by one where the app must stay up)"
        )
        return Keeper(live.target, "OnDelete", why, current=current, selector=selector)
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    if kind == "StatefulSet" and partition > 0:
        first = (spec.get("ordinals") or {}).get("start") or 0
        why = f"its partition, {partition}, keeps pods at their revision; without it the latest revision is rolled out"
        operation = json.dumps([{"op": "replace", "path": _PARTITION, "value": 0}], separators=(",", ":"))
        release = ("patch", live.target, "--type=json", "-p", operation)
        return Keeper(live.target, "partition", why, release, below=first + partition, current=current)
    return None


def _current(value: dict[str, Any]) -> tuple[str, str] | None:
    """Return the label of pods of the current template, for StatefulSets and DaemonSets."""
    if value["kind"] == "StatefulSet":
        return _REVISION, (value.get("status") or {}).get("updateRevision", "")
    generation = (value["metadata"].get("annotations") or {}).get(_GENERATION)
    return ("pod-template-generation", generation) if generation else None


def _ordinal(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def old_pods(
    keepers: Mapping[str, Keeper], workloads: Iterable[Surveyed], pods: Sequence[PodVerdict]
) -> list[tuple[Surveyed, Keeper, list[PodVerdict]]]:
    """Return the workloads that keep pods which violate the goal, with these pods.

    ``keepers`` are by the name of the workload. Workloads that cannot be fixed are left out: they have to be fixed
    first.
    """
    by_owner: dict[str, list[PodVerdict]] = {}
    for pod in pods:
        by_owner.setdefault(pod.owner, []).append(pod)
    out = []
    for item in workloads:
        proposal = item.proposal
        keeper = keepers.get(proposal.name)
        if keeper is None or proposal.refusal is not None or any(one.plan.remaining for one in proposal.planned):
            continue
        patched = bool(proposal.patch)
        kept = [pod for pod in by_owner.get(proposal.name, ()) if keeper.keeps(pod, patched=patched)]
        if kept:
            out.append((item, keeper, kept))
    return out


def hindrances(
    commands: Commands, found: Iterable[tuple[Surveyed, Keeper, list[PodVerdict]]], aim: Aim, goal: Policy
) -> Iterator[Blocker]:
    """Yield what keeps old pods (see ``old_pods``), workload by workload, with the commands that replace them."""
    for item, keeper, pods in found:
        proposal = item.proposal
        namespace = proposal.live.namespace
        steps = []
        if keeper.evicted:
            if aim.at_admission:
                continue
            words = ("migrate", namespace, "--level", goal.level, "--at-admission", "--apply")
            steps.append(commands.harden(*words))
        elif keeper.release:
            steps.append(commands.kubectl(*keeper.release, namespace=namespace))
        else:
            if proposal.patch:
                by_policy = bool(proposal.by_policy)
                steps.append(_fix(commands, keeper.target, namespace, aim, goal, by_policy=by_policy))
            steps.append(commands.kubectl("delete", *_doomed(keeper, pods), namespace=namespace))
        why = keeper.why
        if not proposal.patch and not keeper.evicted:
            known = keeper.current is not None or keeper.release
            other = "" if known else ", or an admission webhook changes new pods"
            older = f"the {'pods are' if len(pods) > 1 else 'pod is'} older than the template"
            why = f"its template meets it: {older}{other}; {why}"
        yield Blocker(
            proposal.name,
            "",
            f"{_stay(pods)}: {'; '.join(dict.fromkeys(pod.words for pod in pods))}",
            why,
            owner=item.owner,
            team=item.team,
            other_cause=keeper.cause,
            commands=tuple(steps),
        )


def _stay(pods: Sequence[PodVerdict]) -> str:
    names = [pod.name for pod in pods]
    if len(names) == 1:
        return f"pod {names[0]} is not replaced, and violates it"
    if len(names) > _NAMED:
        return f"{len(names):,} pods ({', '.join(names[:3])}, …) are not replaced, and violate it"
    return f"pods {', '.join(names)} are not replaced, and violate it"


def _doomed(keeper: Keeper, pods: Sequence[PodVerdict]) -> tuple[str, ...]:
    """Return what to delete, as words of kubectl delete."""
    gone = ("--ignore-not-found",) if keeper.custom or keeper.jobs else ()
    if keeper.jobs:
        return ("jobs", *dict.fromkeys(pod.maker for pod in pods), *gone)
    if len(pods) > _NAMED and keeper.selector:
        # Pods of the new revision stay.
        revisions = sorted({pod.labels.get(_REVISION, "") for pod in pods} - {""})
        old = f",{_REVISION} in ({','.join(revisions)})" if revisions else ""
        return ("pods", "-l", keeper.selector + old)
    return ("pods", *(pod.name for pod in pods), *gone)


def _fix(
    commands: Commands,
    target: str,
    namespace: str,
    aim: Aim,
    goal: Policy,
    *options: str,
    by_policy: bool = False,
) -> str:
    """Return the command that fixes a workload as the migration would."""
    version = str(goal).partition(":")[2]
    words = ["fix", target, "--level", goal.level]
    words += [] if version == "latest" else ["--policy-version", version]
    words += [] if aim.fix.max_risk == "review" else ["--max-risk", aim.fix.max_risk]
    words += ["--at-admission"] if by_policy else []
    words += ["--even-if-managed"] if aim.apply.even_if_managed else []
    for (group, kind), paths in aim.pod_paths.items():
        for path in paths:
            words += ["--pod-path", f"{kind}.{group}={path}"]
    return commands.harden(*words, *options, "--apply", namespace=namespace)


def recreation(commands: Commands, proposal: Proposal, aim: Aim, goal: Policy) -> tuple[str, ...]:
    """Return the command for a Pod or Job that cannot be patched; nothing for other kinds, and for objects with an
    owner.
    """
    live = proposal.live
    managed = proposal.managers and not aim.apply.even_if_managed
    if not proposal.recreate or proposal.refusal is None or live.owner is not None or managed:
        return ()
    if finished(live.value):
        return (commands.kubectl("delete", live.target, namespace=live.namespace),)
    return (_fix(commands, live.target, live.namespace, aim, goal, "--recreate"),)


def deletion_of_finished(commands: Commands, namespace: str) -> str:
    """Return the command that deletes the pods of a namespace that have run to their end."""
    ended = "status.phase!=Running,status.phase!=Pending"
    return commands.kubectl("delete", "pods", "--field-selector", ended, namespace=namespace)


def unfinished(cluster: Cluster, namespace: dict[str, Any]) -> Iterator[Blocker]:
    """Yield what a run deleted in a namespace and did not create again."""
    name = namespace["metadata"]["name"]
    for words in held_back(cluster, namespace):
        yield Blocker(f"Namespace {name}", "", words, other_cause="deleted, not created")

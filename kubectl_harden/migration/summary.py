"""What was gathered of a namespace, summed up: how far it is from the level, and what holds it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from kubectl_harden.cluster.api import PODS, Cluster
from kubectl_harden.errors import ClusterError
from kubectl_harden.live.managers import Manager, label_managers
from kubectl_harden.migration.gathered import Gathered
from kubectl_harden.migration.hindrances import (
    Keeper,
    deletion_of_finished,
    hindrances,
    old_pods,
    unfinished,
)
from kubectl_harden.migration.model import (
    Aim,
    Blocker,
    NamespaceSurvey,
    PodVerdict,
    ServerWord,
    Surveyed,
    exemption,
    label_blockers,
    older_pods,
    plan_blockers,
    pod_blockers,
    state_of,
    unread,
)
from kubectl_harden.migration.server_word import expected_warnings
from kubectl_harden.migration.soak import soak_blockers
from kubectl_harden.model import LADDER, Level
from kubectl_harden.pod_security.in_force import left_alone
from kubectl_harden.pod_security.namespace_labels import (
    Mode,
    pod_security_labels,
)

__all__ = ["lowest", "summed_up"]


def summed_up(
    cluster: Cluster, namespace: Gathered, aim: Aim, word: ServerWord, owner_of: Callable[[str], str]
) -> NamespaceSurvey:
    """Return the survey of a namespace; ``owner_of`` returns the workload of a pod, by the pod's uid."""
    metadata, goal, minor = namespace.value["metadata"], namespace.policy, cluster.minor()
    name: str = metadata["name"]
    pods = [namespace.traced(pod, owner_of(pod.uid)) for pod in namespace.pods]
    server = word._replace(expected=expected_warnings(name, goal, pods)) if word.asked else word
    pods = _still_there(cluster, name, namespace.workloads, pods)
    enforce = namespace.wanted(("enforce",), goal.level, aim, minor)
    warn = namespace.wanted(("warn", "audit"), goal.level, aim, minor)
    managers = _label_managers(namespace, {**enforce, **warn}, aim, cluster.manager)
    origin = aim.origins.of(namespace.value) if aim.origins is not None else ()
    old = old_pods(namespace.keepers, namespace.workloads, pods)
    to_evict = tuple(pod.name for _, keeper, kept in old if keeper.evicted and aim.at_admission for pod in kept)
    blockers = list(_blockers(cluster, namespace, aim, server, pods, old))
    file = aim.labels_file(name, origin) if managers and aim.labels_file is not None else ""
    labels = list(label_blockers(name, managers, origin, file)) if enforce else []
    only_labels = bool(file and labels and not blockers)
    blockers += labels
    changed = bool(to_evict) or any(item.proposal.patch for item in namespace.workloads)
    waits = [*soak_blockers(aim.soak, namespace.value, namespace.now, goal, namespace.unlogged)] if enforce else []
    return NamespaceSurvey(
        name=name,
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        labels=pod_security_labels(namespace.labels),
        goal=goal,
        target=goal,
        now=lowest(item.now for item in namespace.workloads),
        after=lowest(item.after for item in namespace.workloads),
        state=state_of(blockers, waits, changed=changed, enforce=bool(enforce)),
        workloads=tuple(namespace.workloads),
        pods=tuple(pods),
        blockers=(*blockers, *waits),
        server=server,
        warn_labels=warn,
        enforce_labels=enforce,
        team=str(namespace.labels.get(aim.team_label, "")),
        problems=tuple(namespace.problems),
        managers=managers,
        in_force=namespace.now,
        origin=origin,
        labels_file=file,
        only_labels=only_labels,
        to_evict=to_evict,
    )


def _blockers(
    cluster: Cluster,
    namespace: Gathered,
    aim: Aim,
    server: ServerWord,
    pods: Sequence[PodVerdict],
    old: Sequence[tuple[Surveyed, Keeper, list[PodVerdict]]],
) -> Iterator[Blocker]:
    """Yield what keeps the level from being enforced, other than label managers and the audit log."""
    name, commands = namespace.value["metadata"]["name"], cluster.connection.commands
    kept = {pod.uid for _, _, pods in old for pod in pods}
    others = [pod for pod in pods if pod.uid not in kept]
    yield from unfinished(cluster, namespace.value)
    yield from plan_blockers(namespace.workloads, namespace.policy, namespace.recreations, namespace.offers)
    yield from hindrances(commands, old, aim, namespace.policy)
    yield from namespace.short
    yield from pod_blockers(namespace.workloads, others, deletion_of_finished(commands, name))
    yield from exemption(name, server, namespace.now)
    yield from _unknown(namespace, aim, cluster.minor())
    yield from unread(name, namespace.problems)


def _still_there(
    cluster: Cluster, name: str, workloads: Sequence[Surveyed], pods: list[PodVerdict]
) -> list[PodVerdict]:
    """Return pods as they are now, where some violate the goal although nothing is wrong with their workloads.

    Pods are listed before their workloads: a rollout that has ended by then may have removed them in between.
    """
    if not any(older_pods(workloads, pods)):
        return pods
    try:
        now = {pod["metadata"]["uid"]: pod["metadata"] for pod in cluster.each(PODS, name)}
    except ClusterError:
        return pods
    deleted = {uid for uid, metadata in now.items() if metadata.get("deletionTimestamp")}
    return [pod._replace(passing=True, deleted=True) if pod.uid in deleted else pod for pod in pods if pod.uid in now]


def _unknown(namespace: Gathered, aim: Aim, minor: int) -> Iterator[Blocker]:
    """Yield that the level is not enforced, because what is enforced now is not known and may be stricter."""
    if "enforce" in namespace.now.unknown:
        modes: tuple[Mode, ...] = ("enforce",)
        for line in left_alone(namespace.labels, namespace.now, modes, namespace.policy.level, aim.version, minor):
            why = namespace.now.why or "an administrator who may create pods and impersonate can find out"
            yield Blocker(f"Namespace {namespace.value['metadata']['name']}", "", line, why, other_cause="not known")


def _label_managers(namespace: Gathered, wanted: Mapping[str, str], aim: Aim, ours: str) -> tuple[Manager, ...]:
    """Return who else manages the Pod Security labels, unless they may be written anyway."""
    if aim.apply.even_if_managed or not wanted:
        return ()
    return label_managers(namespace.value, (*wanted, *pod_security_labels(namespace.labels)), ours)


def lowest(levels: Iterable[Level]) -> Level:
    """Return the lowest of some levels; where nothing runs, the strictest is met."""
    found = set(levels)
    return next((level for level in LADDER if level in found), "restricted")

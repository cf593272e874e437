"""Namespaces → how far each is from a level, what would lift it, and what holds it back.

Nothing is changed: workloads are listed and planned for, running pods are judged, and the server is asked by
a dry-run of the enforce label what it would say.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, Final

from kubectl_harden.cluster.api import NAMESPACES, PODS, Cluster, Resource
from kubectl_harden.errors import ClusterError
from kubectl_harden.live.find import Finder, Live, Targets, prepared
from kubectl_harden.live.in_force import PoliciesInForce
from kubectl_harden.live.made_pods import Trials
from kubectl_harden.live.managers import Manager, label_managers, managers_of
from kubectl_harden.live.propose import Proposal, propose
from kubectl_harden.live.quota import shortage
from kubectl_harden.live.rollout import progress, watched
from kubectl_harden.live.workload_pods import is_completed
from kubectl_harden.migration.by_policy import ByPolicy, keeper_by_policy, policy_notes
from kubectl_harden.migration.gathered import Gathered, read_quotas
from kubectl_harden.migration.hindrances import (
    deletion_of_finished,
    hindrances,
    keeper_of,
    old_pods,
    recreation,
    unfinished,
)
from kubectl_harden.migration.labels import LAG_SECONDS
from kubectl_harden.migration.model import (
    Aim,
    Blocker,
    NamespaceSurvey,
    PodVerdict,
    ServerWord,
    State,
    Survey,
    Surveyed,
    completed_pods,
    exemption,
    label_blockers,
    older_pods,
    plan_blockers,
    pod_blockers,
    reapply_notes,
    state_of,
    unread,
)
from kubectl_harden.migration.soak import soak_blockers
from kubectl_harden.model import LADDER, Level, Policy, Problem
from kubectl_harden.objects import controller_of, name_of
from kubectl_harden.planning.json_patch import touched
from kubectl_harden.planning.upgrade import failing_newly
from kubectl_harden.pod_security.in_force import left_alone
from kubectl_harden.pod_security.namespace_labels import (
    MODES,
    Mode,
    PolicyChoice,
    label_operations,
    pod_security_labels,
    pod_warnings,
    rank,
)

__all__ = ["digest_of", "survey", "survey_namespace"]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
ASKED_AT_ONCE: Final = 4


def survey(
    policies: PoliciesInForce,
    namespaces: Mapping[str, dict[str, Any]],
    aim: Aim,
    *,
    at_once: bool,
    report: Callable[[str], None],
) -> Survey:
    """Survey namespaces (by name, as objects); ``at_once`` lists the whole cluster instead of one by one.

    ``report`` gets a few words now and then. Raises UsageError, and ClusterError where the cluster does not
    even tell its version.
    """
    found = _survey(policies, namespaces, aim, at_once=at_once, report=report)
    lower = {item.name: namespaces[item.name] for item in found.namespaces if _may_reach_baseline(item, aim)}
    if not lower:
        return found._replace(notes=(*found.notes, *reapply_notes(found.namespaces), *policy_notes(found.namespaces)))
    report(f"{len(lower)} namespaces for baseline")
    at_once = at_once and len(lower) * 4 > len(namespaces)
    second = _survey(policies, lower, aim.at("baseline"), at_once=at_once, report=report)
    by_name = {item.name: item for item in second.namespaces}
    merged = tuple(_lowered(item, by_name.get(item.name)) for item in found.namespaces)
    problems = (*found.problems, *(p for p in second.problems if p not in found.problems))
    notes = (*dict.fromkeys((*found.notes, *second.notes)), *reapply_notes(merged), *policy_notes(merged))
    return Survey(merged, problems, notes)


def _survey(
    policies: PoliciesInForce,
    namespaces: Mapping[str, dict[str, Any]],
    aim: Aim,
    *,
    at_once: bool,
    report: Callable[[str], None],
) -> Survey:
    """Survey namespaces for the level of one aim."""
    with _Surveyor(policies, namespaces, aim) as surveyor:
        for count, _ in enumerate(surveyor.proposals(at_once=at_once), start=1):
            if count % 100 == 0:
                report(f"{count:,} workloads planned")
        return surveyor.survey(ask_again=True)


def survey_namespace(
    policies: PoliciesInForce, value: dict[str, Any], aim: Aim
) -> tuple[NamespaceSurvey, list[Proposal]]:
    """Survey one namespace, and return its proposals with their objects too. Raises ClusterError."""
    first, proposals = _survey_namespace(policies, value, aim)
    if not _may_reach_baseline(first, aim):
        return first, proposals
    second, lower = _survey_namespace(policies, value, aim.at("baseline"))
    merged = _lowered(first, second)
    return merged, proposals if merged is first else lower


def _survey_namespace(
    policies: PoliciesInForce, value: dict[str, Any], aim: Aim
) -> tuple[NamespaceSurvey, list[Proposal]]:
    with _Surveyor(policies, {value["metadata"]["name"]: value}, aim) as surveyor:
        proposals = list(surveyor.proposals(at_once=False))
        return surveyor.survey(ask_again=False).namespaces[0], proposals


def _may_reach_baseline(item: NamespaceSurvey, aim: Aim) -> bool:
    return aim.level == "highest" and item.is_held_back and rank(item.after) >= rank("baseline")


def _lowered(first: NamespaceSurvey, second: NamespaceSurvey | None) -> NamespaceSurvey:
    """Return what is found for baseline, with what held the namespace back from restricted."""
    if second is None or second.is_held_back:
        return first
    blockers = (*second.blockers, *(blocker for blocker in first.blockers if blocker not in second.blockers))
    # Also where baseline is enforced already, warn and audit may still have to tell of restricted.
    state: State = "ready" if second.state == "done" and first.warn_labels else second.state
    managers = tuple(dict.fromkeys((*first.managers, *second.managers)))
    return second._replace(
        state=state, target=first.target, warn_labels=first.warn_labels, blockers=blockers, managers=managers
    )


# -- listing -------------------------------------------------------------------------------------------


class _Surveyor:
    """Surveys namespaces for the level of one aim: ``proposals`` are to be drained, then there is a ``survey``.

    As a context manager it ends the questions that it asks the server meanwhile.
    """

    def __init__(self, policies: PoliciesInForce, namespaces: Mapping[str, dict[str, Any]], aim: Aim) -> None:
        self._policies = policies
        self._cluster = policies.cluster
        self._minor = self._cluster.minor()
        self._aim = aim
        self._found = {name: Gathered(value, aim, policies) for name, value in namespaces.items()}
        self._finder = Finder(
            self._cluster,
            PolicyChoice(aim.target, aim.version),
            aim.pod_paths,
            self._listed,
            policies={name: item.policy for name, item in self._found.items()},
        )
        self._parents: dict[str, str] = {}
        self._roots: dict[str, str] = {}
        self._problems: list[Problem] = []
        self._by_policy = ByPolicy(self._cluster, aim.at_admission, self._finder.notes)
        self._pool = ThreadPoolExecutor(ASKED_AT_ONCE)
        self._words: dict[str, Future[ServerWord]] = {}
        self._planning = aim.planning
        self._trials = Trials(self._cluster, self._finder.notes)

    def __enter__(self) -> _Surveyor:
        return self

    def __exit__(self, *error: object) -> None:
        # Ctrl-C does not wait for answers.
        self._pool.shutdown(wait=error[0] is None, cancel_futures=True)

    def _listed(self, resource: Resource, value: dict[str, Any]) -> None:
        metadata = value["metadata"]
        namespace = self._found.get(metadata.get("namespace", ""))
        if namespace is None:
            return
        owner = controller_of(value)
        if owner is not None:
            self._parents[metadata["uid"]] = owner["uid"]
        if resource == PODS:
            namespace.judge(value)
            self._aim.fix.learn.add(value)

    def proposals(self, *, at_once: bool) -> Iterator[Proposal]:
        """Yield what is planned for each workload; only what the survey needs of it is kept."""
        cluster, aim, found = self._cluster, self._aim, self._found
        aim.fix.learn.begin(found)
        for name, namespace in found.items():
            self._words[name] = self._pool.submit(_server_word, self._policies, namespace, aim)
        self._finder.notes += read_quotas(cluster, found, at_once)
        scopes: Iterable[str | None] = (None,) if at_once else sorted(found)
        for scope in scopes:
            targets = Targets(namespace=scope, pod_paths=aim.pod_paths, among=frozenset(found))
            for item in prepared(self._finder.find(targets), aim.fix.learn):
                if isinstance(item, Problem):
                    self._problems.append(item)
                    # Where a list is not whole, none of its namespaces is known to be safe.
                    for name in [item.namespace] if item.namespace else [scope] if scope else found:
                        if name in found:
                            found[name].problems.append(item)
                elif item.namespace in found:
                    self._roots[item.uid] = name_of(item.resource.kind, item.value)
                    yield self._take(item)

    def _take(self, live: Live) -> Proposal:
        """Return what is planned for a workload, and keep what the survey needs of it."""
        aim, namespace, policies = self._aim, self._found[live.namespace], self._by_policy
        proposal = propose(self._cluster, live, self._planning, aim.apply, dry_run=False)
        if not proposal.patch:
            managers = managers_of(live.value, ())
            proposal = proposal._replace(managers=managers) if managers else proposal
        if aim.origins is not None:
            origin = aim.origins.of(live.value)
            proposal = proposal._replace(origin=origin) if origin else proposal
        proposal = policies.proposed(proposal)
        name = proposal.name
        levels = [(item.plan.before, item.plan.after) for item in proposal.planned]
        now = _lowest(before for before, _ in levels)
        after = _lowest(after for _, after in levels)
        if proposal.problems:
            now = after = "privileged"
        if proposal.patch and proposal.refusal is not None:
            after = now
        key = live.resource.kind, live.name
        runs_well = key in namespace.meeting and key not in namespace.violating
        falls_short = rank(now) < rank(namespace.policy)
        own = policies.there(live) if falls_short else ""
        if falls_short and (runs_well or own) and is_completed(live, self._trials, namespace.policy):
            # The pod counts for enforcing: its template may stay as it is.
            proposal = proposal._replace(patch=(), planned=(), refusal=None, by_policy=own)
            now = after = namespace.policy.level
            namespace.completed.append(name)
        labels = live.value["metadata"].get("labels") or {}
        team = str(labels.get(aim.team_label) or namespace.labels.get(aim.team_label) or "")
        namespace.problems.extend(proposal.problems)
        before: Mapping[str, Any] = _EMPTY
        digest = ""
        if aim.detailed:
            before = touched(proposal.live.value, proposal.patch)
            digest = digest_of(live)
        if namespace.quotas and proposal.patch and proposal.refusal is None and not proposal.by_policy:
            why = shortage(live.value, namespace.quotas)
            if why is not None:
                advice = "raise the quota, or scale something down"
                namespace.short.append(Blocker(name, "", why, advice, team=team, other_cause="quota"))
        if watched(live.value) is None and not progress(live.value, ()).done:
            namespace.rolling.add(name)
        keeper = keeper_by_policy(live, keeper_of(live)) if proposal.by_policy else keeper_of(live)
        if policies.can(proposal):
            namespace.offers.add(name)
        if keeper is not None:
            namespace.keepers[name] = keeper
        commands = self._cluster.connection.commands
        namespace.recreations[name] = recreation(commands, proposal, aim, namespace.policy)
        newly = () if aim.upgrade is None else failing_newly(live.subject, aim.upgrade)
        namespace.workloads.append(Surveyed(proposal.counted(), now, after, team, before, digest, newly))
        return proposal

    def survey(self, *, ask_again: bool) -> Survey:
        """Sum the namespaces up; with ``ask_again`` what the server says otherwise is compared once more."""
        aim, found, minor = self._aim, self._found, self._minor
        made = [
            _summed_up(found[name], aim, minor, self._parents, self._roots, self._words[name], self._cluster)
            for name in sorted(found)
        ]
        if ask_again:
            made = [_asked_again(self._policies, item, found[item.name], aim) for item in made]
        completed = completed_pods(item.completed for item in found.values())
        leftover = [*self._by_policy.leftovers(found)] if ask_again else []
        notes = (*self._finder.notes, *_left_alone(found, aim, minor), *completed, *leftover)
        return Survey(tuple(made), tuple(self._problems), notes)


def digest_of(live: Live) -> str:
    """Return what identifies the pod templates of a workload: they are the same where it is."""
    # A Pod's own metadata and status say how it is, and change with it.
    is_pod = live.resource.kind == "Pod"
    templates = [location.value.get("spec") if is_pod else location.value for location in live.subject.templates()]
    return hashlib.sha256(json.dumps(templates, sort_keys=True).encode()).hexdigest()[:16]


# -- the server's word -----------------------------------------------------------------------------------


def _server_word(policies: PoliciesInForce, namespace: Gathered, aim: Aim) -> ServerWord:
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
        # What the API server enforces by default elsewhere, it does not here.
        namespace.now = namespace.now._replace(exempt="namespace")
    return word


def _enforcing(policies: PoliciesInForce, namespace: Gathered) -> ServerWord:
    """Have the server show that it enforces what it is said to: a pod that violates everything is refused."""
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
    """Return whether a pod that violates everything is admitted, and not only since the server's cache lags."""
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


def _left_alone(found: Mapping[str, Gathered], aim: Aim, minor: int) -> list[str]:
    """Return which modes are not raised as asked, and why, with the number of namespaces."""
    counts: dict[str, list[str]] = {}
    for name, item in found.items():
        # A level that may not be enforced holds the namespace back, and is told there.
        modes = [mode for mode in MODES if mode != "enforce" or mode not in item.now.unknown]
        for line in left_alone(item.labels, item.now, modes, item.policy.level, aim.version, minor):
            counts.setdefault(line, []).append(name)
    where = {line: names[0] if len(names) == 1 else f"{len(names):,} namespaces" for line, names in counts.items()}
    return [f"{line} ({place})" for line, place in where.items()]


def _expected(name: str, policy: Policy, pods: Iterable[PodVerdict]) -> tuple[str, ...]:
    return tuple(pod_warnings(name, policy, ((pod.name, pod.words) for pod in pods)))


def _asked_again(policies: PoliciesInForce, item: NamespaceSurvey, namespace: Gathered, aim: Aim) -> NamespaceSurvey:
    """Compare once more, closer together in time: pods come and go between a list and a question."""
    if not item.server.asked or item.server.agrees:
        return item
    namespace.pods.clear()
    try:
        for pod in policies.cluster.each(PODS, item.name):
            namespace.judge(pod)
    except ClusterError:
        return item
    owners = {pod.uid: pod.owner for pod in item.pods}
    pods = tuple(namespace.traced(pod, owners.get(pod.uid, "")) for pod in namespace.pods)
    word = _server_word(policies, namespace, aim)
    return item._replace(server=word._replace(expected=_expected(item.name, namespace.policy, pods)))


# -- summing up --------------------------------------------------------------------------------------------


def _summed_up(
    namespace: Gathered,
    aim: Aim,
    minor: int,
    parents: Mapping[str, str],
    roots: Mapping[str, str],
    word: Future[ServerWord],
    cluster: Cluster,
) -> NamespaceSurvey:
    metadata = namespace.value["metadata"]
    goal = namespace.policy
    pods = []
    for pod in namespace.pods:
        uid = pod.uid
        while uid not in roots and uid in parents:
            uid = parents[uid]
        pods.append(namespace.traced(pod, roots.get(uid, "")))
    expected = _expected(metadata["name"], goal, pods)
    pods = _still_there(cluster, metadata["name"], namespace.workloads, pods)
    now = _lowest(item.now for item in namespace.workloads)
    after = _lowest(item.after for item in namespace.workloads)
    said = word.result()
    enforce = namespace.wanted(("enforce",), goal.level, aim, minor)
    warn = namespace.wanted(("warn", "audit"), goal.level, aim, minor)
    managers = _label_managers(namespace, {**enforce, **warn}, aim, cluster.manager)
    origin = aim.origins.of(namespace.value) if aim.origins is not None else ()
    server = said._replace(expected=expected) if said.asked else said
    commands = cluster.connection.commands
    old = old_pods(namespace.keepers, namespace.workloads, pods)
    old_uids = {pod.uid for _, _, kept in old for pod in kept}
    to_evict = tuple(pod.name for _, keeper, kept in old if keeper.evicted and aim.at_admission for pod in kept)
    other_pods = [pod for pod in pods if pod.uid not in old_uids]
    blockers = [
        *unfinished(cluster, namespace.value),
        *plan_blockers(namespace.workloads, goal, namespace.recreations, namespace.offers),
        *hindrances(commands, old, aim, goal),
        *namespace.short,
        *pod_blockers(namespace.workloads, other_pods, deletion_of_finished(commands, metadata["name"])),
        *exemption(metadata["name"], server, namespace.now),
        *_unknown(namespace, aim, minor),
        *unread(metadata["name"], namespace.problems),
    ]
    file = aim.labels_file(metadata["name"], origin) if managers and aim.labels_file is not None else ""
    labels = list(label_blockers(metadata["name"], managers, origin, file)) if enforce else []
    only_labels = bool(file and labels and not blockers)
    blockers += labels
    changed = bool(to_evict) or any(item.proposal.patch for item in namespace.workloads)
    waits = [*soak_blockers(aim.soak, namespace.value, namespace.now, goal, namespace.unlogged)] if enforce else []
    state = state_of(blockers, waits, changed=changed, enforce=bool(enforce))
    return NamespaceSurvey(
        metadata["name"],
        metadata["uid"],
        metadata["resourceVersion"],
        pod_security_labels(namespace.labels),
        goal,
        goal,
        now,
        after,
        state,
        tuple(namespace.workloads),
        tuple(pods),
        (*blockers, *waits),
        server,
        warn,
        enforce,
        str(namespace.labels.get(aim.team_label, "")),
        tuple(namespace.problems),
        managers, namespace.now, origin, file, only_labels, to_evict,
    )  # fmt: skip


def _still_there(
    cluster: Cluster, name: str, workloads: Sequence[Surveyed], pods: list[PodVerdict]
) -> list[PodVerdict]:
    """Return pods as they are now, where some violate the goal for nothing that is wrong with their workloads.

    Pods are listed before what makes them: a rollout whose end the workload tells may have removed them in between.
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
    """Yield that the level cannot be enforced without knowing that it is not less than what is."""
    if "enforce" in namespace.now.unknown:
        modes: tuple[Mode, ...] = ("enforce",)
        for line in left_alone(namespace.labels, namespace.now, modes, namespace.policy.level, aim.version, minor):
            why = namespace.now.why or "an administrator who may create pods and impersonate can ask for it"
            yield Blocker(f"Namespace {namespace.value['metadata']['name']}", "", line, why, other_cause="not known")


def _label_managers(namespace: Gathered, wanted: Mapping[str, str], aim: Aim, ours: str) -> tuple[Manager, ...]:
    """Return who else manages labels of Pod Security, where they may not be written all the same."""
    if aim.apply.even_if_managed or not wanted:
        return ()
    return label_managers(namespace.value, (*wanted, *pod_security_labels(namespace.labels)), ours)


def _lowest(levels: Iterable[Level]) -> Level:
    """Return the lowest of some levels; where nothing runs, the strictest is met."""
    found = set(levels)
    return next((level for level in LADDER if level in found), "restricted")

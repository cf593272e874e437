"""Namespaces → how far each is from a level, what would lift it, and what holds it back.

Nothing is changed: workloads are listed and planned for, running pods are judged, and a dry-run of the enforce label
asks the server what it would say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, Final

from kubectl_harden.cluster.api import PODS, Resource
from kubectl_harden.errors import ClusterError
from kubectl_harden.live.find import Finder, Live, Targets, prepared
from kubectl_harden.live.in_force import PoliciesInForce
from kubectl_harden.live.made_pods import Trials
from kubectl_harden.live.managers import managers_of
from kubectl_harden.live.propose import Proposal, propose
from kubectl_harden.live.quota import shortage
from kubectl_harden.live.rollout import progress, watched
from kubectl_harden.live.workload_pods import is_completed
from kubectl_harden.migration.by_policy import ByPolicy, keeper_by_policy, policy_notes
from kubectl_harden.migration.gathered import Gathered, read_quotas
from kubectl_harden.migration.hindrances import (
    keeper_of,
    recreation,
)
from kubectl_harden.migration.model import (
    Aim,
    Blocker,
    NamespaceSurvey,
    ServerWord,
    State,
    Survey,
    Surveyed,
    completed_pods,
    reapply_notes,
)
from kubectl_harden.migration.server_word import expected_warnings, server_word
from kubectl_harden.migration.summary import lowest, summed_up
from kubectl_harden.model import Problem
from kubectl_harden.objects import controller_of, name_of
from kubectl_harden.planning.json_patch import touched
from kubectl_harden.planning.upgrade import failing_newly
from kubectl_harden.pod_security.in_force import left_alone
from kubectl_harden.pod_security.namespace_labels import (
    MODES,
    PolicyChoice,
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

    ``report`` gets a few words on the progress. Raises UsageError, and ClusterError where the cluster's version cannot
    be read.
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
    # Even where baseline is enforced already, warn and audit may still have to be set to restricted.
    state: State = "ready" if second.state == "done" and first.warn_labels else second.state
    managers = tuple(dict.fromkeys((*first.managers, *second.managers)))
    return second._replace(
        state=state, target=first.target, warn_labels=first.warn_labels, blockers=blockers, managers=managers
    )


# -- listing -------------------------------------------------------------------------------------------


class _Surveyor:
    """Surveys namespaces for the level of one aim: exhaust ``proposals``, then call ``survey``.

    As a context manager, it ends the questions that it asks the server in the background.
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
            self._words[name] = self._pool.submit(server_word, self._policies, namespace, aim)
        self._finder.notes += read_quotas(cluster, found, at_once)
        scopes: Iterable[str | None] = (None,) if at_once else sorted(found)
        for scope in scopes:
            targets = Targets(namespace=scope, pod_paths=aim.pod_paths, among=frozenset(found))
            for item in prepared(self._finder.find(targets), aim.fix.learn):
                if isinstance(item, Problem):
                    self._problems.append(item)
                    # Where a list is incomplete, none of its namespaces is known to be safe.
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
        now = lowest(before for before, _ in levels)
        after = lowest(after for _, after in levels)
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

    def _owner_of(self, uid: str) -> str:
        """Return the name of the workload that a pod comes from, empty for one of none."""
        while uid not in self._roots and uid in self._parents:
            uid = self._parents[uid]
        return self._roots.get(uid, "")

    def survey(self, *, ask_again: bool) -> Survey:
        """Sum the namespaces up; with ``ask_again``, where the server's answer differs it is asked once more."""
        aim, found, minor = self._aim, self._found, self._minor
        made = [
            summed_up(self._cluster, found[name], aim, self._words[name].result(), self._owner_of)
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


def _left_alone(found: Mapping[str, Gathered], aim: Aim, minor: int) -> list[str]:
    """Return which modes are not raised as asked, and why, with the number of namespaces."""
    counts: dict[str, list[str]] = {}
    for name, item in found.items():
        # A level that may not be enforced holds the namespace back, and is reported as a blocker.
        modes = [mode for mode in MODES if mode != "enforce" or mode not in item.now.unknown]
        for line in left_alone(item.labels, item.now, modes, item.policy.level, aim.version, minor):
            counts.setdefault(line, []).append(name)
    where = {line: names[0] if len(names) == 1 else f"{len(names):,} namespaces" for line, names in counts.items()}
    return [f"{line} ({place})" for line, place in where.items()]


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
    word = server_word(policies, namespace, aim)
    return item._replace(server=word._replace(expected=expected_warnings(item.name, namespace.policy, pods)))

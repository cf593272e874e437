"""Helm itself changes the values of releases: journal → helm upgrade → watched rollouts → helm rollback.

The chart is the one stored with the release, so that only its values change. Every write is Helm's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Final, NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.cluster.helm import Helm
from kubectl_harden.errors import ClusterError, InputError, Unreachable
from kubectl_harden.live.apply import Outcome, State, explained, unblocked, was_so
from kubectl_harden.live.find import Live
from kubectl_harden.live.follow import Followed, Snapshot, follow, take_snapshot
from kubectl_harden.live.helm_record import Record, digest, newest
from kubectl_harden.live.journal import Journal
from kubectl_harden.live.propose import Proposal
from kubectl_harden.live.rollout import Progress, progress, watched
from kubectl_harden.objects import name_of
from kubectl_harden.yaml_text.tree import dump

__all__ = ["Upgrade", "Upgrader", "followed_each", "hindrance", "rendered_by_server", "roll_back", "snapshots"]

_UNLIMITED: Final = ("--history-max", "0")
"""No revision is deleted to make room for one."""
_DESCRIPTION: Final = "values changed by kubectl harden"


class Upgrade(NamedTuple):
    """New values of a release, for the workloads of some proposals.

    ``config`` are all user-supplied values that the release then has, ``directory`` has its chart, ``affected`` are all
    workloads whose pods change, among them those of the proposals.
    """

    record: Record
    config: Mapping[str, object]
    directory: str
    proposals: tuple[Proposal, ...]
    affected: tuple[Live, ...]


def hindrance(record: Record) -> str:
    """Return why a release cannot be upgraded in its current state, "" where it can."""
    if record.status == "deployed":
        return ""
    what = f"its revision {record.revision} is {record.status or 'in an unknown state'}"
    if record.status.startswith("pending-"):
        return f"{what}: Helm is working on it, or was interrupted (helm rollback restores it); nothing is changed now"
    return f"{what}: resolve that first (helm history, helm rollback, helm upgrade)"


def rendered_by_server(helm: Helm, record: Record, config: Mapping[str, object], directory: str) -> Record:
    """Return the release as an upgrade to some values would make it, by a dry-run on the server.

    Raises ClusterError, and InputError where helm does not show it.
    """
    text = helm.run([*_upgrade(record, directory), "--dry-run=server"], dump(dict(config)))
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("manifest"), str):
        raise InputError("helm upgrade --dry-run=server shows no manifest")
    return record._replace(value=value)


def _upgrade(record: Record, directory: str) -> list[str]:
    words = ["upgrade", record.name, directory, "--reset-values", "--values", "-", *_UNLIMITED]
    return [*words, "--description", _DESCRIPTION, "--output", "json"]


def roll_back(helm: Helm, record: Record, revision: int, seconds: float) -> None:
    """Have helm bring a revision of a release back. Raises ClusterError."""
    helm.run(["rollback", record.name, str(revision), *_UNLIMITED, "--timeout", f"{seconds:.0f}s"], seconds=seconds)


class Upgrader:
    """Carries upgrades out, one after the other; ``report`` gets a name and a few words at each step.

    A set ``stop`` ends the watching. Without ``rollback`` a change whose pods fail stays in place.
    """

    def __init__(
        self,
        cluster: Cluster,
        journal: Journal,
        *,
        seconds: float,
        rollback: bool,
        report: Callable[[str, str], None],
        stop: Event,
    ) -> None:
        self._cluster = cluster
        self._journal = journal
        self._seconds = seconds
        self._rollback = rollback
        self._report = report
        self._stop = stop

    def upgrade(self, helm: Helm, upgrade: Upgrade) -> list[Outcome]:
        """Carry an upgrade out and return the outcome of each proposal. Raises HardenError for the journal's errors."""
        record = upgrade.record
        try:
            now = newest(self._cluster, record.namespace, record.name)
            if now.uid != record.uid or now.status != record.status:
                words = f"{record.title} is at revision {now.revision} ({now.status}) now"
                return _all(upgrade, "failed", f"not changed, since {words}: review the plan again")
            before = snapshots(self._cluster, upgrade.affected)
        except (ClusterError, InputError) as error:
            return _all(upgrade, "failed", f"not changed: {error}")
        made = record.revision + 1
        change = self._journal.begin(
            record.target(),
            [],
            [],
            {"revision": record.revision, "workloads": [_named(live) for live in upgrade.affected]},
            {"revision": made, "values": digest(upgrade.config, record.uid)},
        )
        self._report(record.title, f"helm upgrade to revision {made}")
        command = [*_upgrade(record, upgrade.directory), "--timeout", f"{self._seconds:.0f}s"]
        try:
            helm.run(command, dump(dict(upgrade.config)), self._seconds)
        except ClusterError as error:
            return self._not_upgraded(helm, upgrade, change, error)
        self._journal.done(change, [])
        overtaken = self._overtaken(helm, upgrade, change)
        if overtaken:
            return _all(upgrade, "failed", overtaken)
        return self._upgraded(helm, upgrade, change, before)

    def _overtaken(self, helm: Helm, upgrade: Upgrade, change: str) -> str:
        """Restore what others upgraded at the same moment; returns a sentence on it, "" for nothing."""
        record = upgrade.record
        try:
            now = newest(self._cluster, record.namespace, record.name)
            theirs = now.revision - 1
            if theirs <= record.revision or digest(now.config, "") != digest(upgrade.config, ""):
                return ""
            roll_back(helm, record, theirs, self._seconds)
        except (ClusterError, InputError) as error:
            return f"others may have upgraded it at the same moment, which is not known: {error}"
        words = f"others upgraded it to revision {theirs} at the same moment; rolled back to that"
        self._journal.undone(change, words)
        return words

    def _not_upgraded(self, helm: Helm, upgrade: Upgrade, change: str, error: ClusterError) -> list[Outcome]:
        """Return the outcomes of a failed upgrade, and roll it back where it has begun."""
        record = upgrade.record
        try:
            now = newest(self._cluster, record.namespace, record.name)
        except (ClusterError, InputError) as again:
            words = f"it is not known whether it was changed: {error}; its release cannot be read: {again}"
            return _all(upgrade, "unknown", words)
        if now.uid == record.uid:
            self._journal.failed(change, str(error))
            return _all(upgrade, "failed", f"not changed: {error}")
        ours = now.revision == record.revision + 1 and digest(now.config, record.uid) == digest(
            upgrade.config, record.uid
        )
        if not ours:
            self._journal.failed(change, str(error))
            return _all(upgrade, "failed", f"not changed, because others upgraded it in the meantime: {error}")
        if isinstance(error, Unreachable) or now.status.startswith("pending-"):
            return _all(upgrade, "unknown", f"it is not known how far helm came: {error}; {self._undo()}")
        return self._taken_back(
            helm, upgrade, change, [Outcome(item, "left", str(error)) for item in upgrade.proposals]
        )

    def _upgraded(self, helm: Helm, upgrade: Upgrade, change: str, before: Mapping[str, Snapshot]) -> list[Outcome]:
        for live in upgrade.affected:
            unblocked(self._cluster, live, before[_name(live)].unready if _name(live) in before else ())
        ended = followed_each(
            self._cluster, upgrade.affected, before, seconds=self._seconds, stop=self._stop, report=self._report
        )
        if any(isinstance(item, Followed) and item.state == "interrupted" for item in ended.values()):
            return _all(upgrade, "unwatched", "changed; its pods were not ready yet when it was interrupted")
        outcomes = []
        self._journal.followed(change, "watched")
        others = {name: item for name, item in ended.items() if isinstance(item, Followed) and item.state != "ready"}
        for proposal in upgrade.proposals:
            outcome = others.pop(proposal.name, None) or ended.get(proposal.name, "")
            if isinstance(outcome, ClusterError):
                words = f"changed, but its rollout could not be watched: {outcome}"
                outcomes.append(Outcome(proposal, "unwatched", words))
            elif not isinstance(outcome, Followed) or outcome.state == "ready":
                words = outcome if isinstance(outcome, str) else "its pods are ready"
                outcomes.append(Outcome(proposal, "applied", words))
            else:
                failed = explained(self._cluster, proposal, outcome)
                if was_so(outcome, before[proposal.name]):
                    words = f"{failed.message}; so did the pods before the change, which is left in place"
                    failed = failed._replace(state="down", message=words, blamed=None)
                outcomes.append(failed)
        bad = [name for name, item in others.items() if not was_so(item, before[name])]
        if bad:
            said = "; ".join(f"the new pods of {name} fail: {others[name].words}" for name in bad)
            outcomes = [item if item.state == "left" else Outcome(item.proposal, "left", said) for item in outcomes]
        if not any(item.state == "left" for item in outcomes):
            return outcomes
        if not self._rollback:
            return [item._replace(message=f"{item.message}; the change is left in place") for item in outcomes]
        return self._taken_back(helm, upgrade, change, outcomes)

    def _taken_back(self, helm: Helm, upgrade: Upgrade, change: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Roll a release back, and wait until its old pods run again."""
        record = upgrade.record
        self._report(record.title, f"it fails; helm rollback to revision {record.revision}")
        try:
            now = newest(self._cluster, record.namespace, record.name)
            if now.revision != record.revision + 1:
                words = f"not rolled back, because {record.title} is at revision {now.revision} now"
                return [item._replace(state="left", message=f"{item.message}; {words}") for item in outcomes]
            before = snapshots(self._cluster, upgrade.affected)
            roll_back(helm, record, record.revision, self._seconds)
        except (ClusterError, InputError) as error:
            words = f"rolling it back failed ({error}): {self._undo()}"
            return [item._replace(state="left", message=f"{item.message}; {words}") for item in outcomes]
        self._journal.undone(change, "; ".join(dict.fromkeys(item.message for item in outcomes)))
        for live in upgrade.affected:
            unblocked(self._cluster, live, before[_name(live)].unready if _name(live) in before else ())
        running = [live for live in upgrade.affected if progress(live.value, ()).done]
        back = followed_each(
            self._cluster, running, before, seconds=self._seconds, stop=self._stop, report=self._report
        )
        slow = [name for name, item in back.items() if isinstance(item, Followed) and item.state != "ready"]
        words = f"; rolled back to revision {record.revision}"
        words += f"; not running again yet: {', '.join(slow)}" if slow else ""
        return [
            item._replace(state="rolled back", message=f"{item.message}{words}") if item.state == "left"
            else Outcome(item.proposal, "rolled back", f"its release fails elsewhere{words}")
            for item in outcomes
        ]  # fmt: skip

    def _undo(self) -> str:
        return self._cluster.connection.commands.harden("undo", self._journal.run)


def snapshots(cluster: Cluster, lives: Sequence[Live]) -> dict[str, Snapshot]:
    """Return the pods of workloads before a change, by their names. Raises ClusterError."""
    return {
        _name(live): take_snapshot(cluster, live.value, lambda _pod: False)
        for live in lives
        if watched(live.value) is None
    }


def followed_each(
    cluster: Cluster,
    lives: Sequence[Live],
    before: Mapping[str, Snapshot],
    *,
    seconds: float,
    stop: Event,
    report: Callable[[str, str], None],
) -> dict[str, Followed | ClusterError | str]:
    """Watch workloads that helm has changed, and return how it ended for each, by name.

    A sentence stands for a workload without a rollout. Nothing more is watched after a failure.
    """
    ended: dict[str, Followed | ClusterError | str] = {}
    for live in lives:
        name = _name(live)

        def told(now: Progress, name: str = name) -> None:
            report(name, f"{now.ready} of {now.wanted} new pods ready")

        try:
            value = {**live.resource.head, **cluster.get(live.resource, live.namespace, live.name)}
            if name not in before:
                ended[name] = watched(value) or ""
                continue
            found = follow(cluster, live.resource, value, before[name], seconds, stop, told)
        except ClusterError as error:
            ended[name] = error
            continue
        ended[name] = found
        if found.state != "ready" and not was_so(found, before[name]):
            break
    return ended


def _name(live: Live) -> str:
    return name_of(live.resource.kind, live.value)


def _named(live: Live) -> dict[str, str]:
    return {**live.resource.head, "resource": live.resource.plural, "namespace": live.namespace, "name": live.name}


def _all(upgrade: Upgrade, state: State, message: str) -> list[Outcome]:
    return [Outcome(proposal, state, message) for proposal in upgrade.proposals]

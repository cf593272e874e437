"""What ``migrate --source`` does: what holds namespaces back at their managers, changed in checkouts and proved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from kubectl_harden.cli.fix_source import _Change, _Job, _Run, _shortened
from kubectl_harden.cli.targets import LiveInputs
from kubectl_harden.errors import ClusterError, InputError, UsageError
from kubectl_harden.migration.at_source import (
    Checkouts,
    LabelsAt,
    Open,
    Outlook,
    Repository,
    SourceChanges,
    is_at_others,
    labels_to_set,
    not_whole,
    outlook,
    states,
    why_not_yet,
)
from kubectl_harden.model import FileFix, Planned, Problem
from kubectl_harden.pod_security.namespace_labels import PREFIX
from kubectl_harden.yaml_text.editor import spliced

if TYPE_CHECKING:
    from kubectl_harden.live.in_force import PoliciesInForce
    from kubectl_harden.live.propose import Proposal
    from kubectl_harden.manifests.checkout import Checkout
    from kubectl_harden.manifests.source import Spot
    from kubectl_harden.migration.model import Aim, NamespaceSurvey, Survey, Surveyed
    from kubectl_harden.model import OriginLink

__all__ = ["checkouts_of", "source_changes"]

_WAITS: Final = "its files meet the level by now: commit and push them, or wait until they are applied"
_LABELLED: Final = "its labels are in {} by now: commit and push it, or wait until it is applied"


def checkouts_of(sources: Sequence[str], aim: Aim) -> Checkouts:
    """Return the checkouts that were named. Raises UsageError for what is not one, and where there is none."""
    from kubectl_harden.manifests.checkout import checkout_of

    if not sources:
        raise UsageError("--write edits files: name checkouts by --source, or files by -f")
    if aim.apply.even_if_managed:
        raise UsageError(
            "--even-if-managed patches in the cluster what --source changes where it comes from: give one of them"
        )
    return Checkouts([checkout_of(text) for text in sources], aim.pod_paths)


def source_changes(
    policies: PoliciesInForce,
    found: Survey,
    aim: Aim,
    checkouts: Checkouts,
    planned: Mapping[tuple[str, str], tuple[str | None, str]] | None,
    *,
    write: bool,
) -> tuple[SourceChanges, list[Problem]]:
    """Plan and prove what changes in checkouts, and ``write`` it; returns it, and what could not be read or written.

    Where a plan is carried out, ``planned`` are its files, and others are left alone. Raises UsageError where two
    checkouts may have the same place.
    """
    run = _Changes(policies, aim, checkouts, planned, write=write)
    for item in found.namespaces:
        run.take(item)
    run.carry_out_all()
    return run.result(found), run.problems


class _Set:
    """The change set of a repository, as it is gathered."""

    def __init__(self) -> None:
        self.urls: dict[str, None] = {}
        self.files: dict[str, FileFix] = {}
        self.workloads: dict[str, tuple[str, ...]] = {}
        self.planned: list[Planned] = []
        self.labels: dict[str, Mapping[str, str]] = {}
        self.by: dict[str, None] = {}
        self.notes: dict[str, None] = {}


class _Labels(NamedTuple):
    """Labels that a Namespace is to get in its file."""

    item: NamespaceSurvey
    where: LabelsAt
    wanted: Mapping[str, str]


class _Changes(_Run):
    """The changes of one migration."""

    def __init__(
        self,
        policies: PoliciesInForce,
        aim: Aim,
        checkouts: Checkouts,
        planned: Mapping[tuple[str, str], tuple[str | None, str]] | None,
        *,
        write: bool,
    ) -> None:
        from kubectl_harden.live.find import Targets
        from kubectl_harden.pod_security.namespace_labels import PolicyChoice

        inputs = LiveInputs(policies.cluster, Targets(pod_paths=aim.pod_paths), PolicyChoice(aim.target, aim.version))
        super().__init__(inputs, aim.fix, checkouts.listed, write=write, people=False)
        self._policies, self._aim, self._at = policies, aim, checkouts
        self._plan = planned
        self._sets: dict[Checkout, _Set] = {}
        self._rest: list[Open] = []
        self._waiting: list[Open] = []
        self._labels: list[_Labels] = []
        self._cured: set[str] = set()
        self._says: dict[str, str] = {}
        """What is said of the labels of namespaces, by their names."""

    # -- what ------------------------------------------------------------------------------------------------

    def take(self, item: NamespaceSurvey) -> None:
        """Take up what holds a namespace back at its managers."""
        for workload in item.workloads:
            if not is_at_others(workload):
                continue
            reason = not_whole(workload, self._aim)
            if reason:
                self._open(workload.proposal, reason)
            else:
                self._add(workload)
        if item.managers and (item.enforce_labels or item.warn_labels):
            where = self._at.labels(item.name, item.origin)
            if isinstance(where, LabelsAt):
                self._label(item, where)
            elif item.enforce_labels:
                self._rest.append(Open(f"Namespace {item.name}", item.name, where))

    def _add(self, workload: Surveyed) -> None:
        try:
            proposal = self._again(workload)
        except (ClusterError, InputError) as error:
            self._open(workload.proposal, str(error))
            return
        self.add(proposal)

    def _again(self, workload: Surveyed) -> Proposal:
        """Return a proposal with its objects, which a survey does not keep. Raises ClusterError, InputError."""
        from kubectl_harden.live.propose import ApplyOptions, propose

        live, cluster = workload.proposal.live, self._policies.cluster
        live = live.changed({**live.resource.head, **cluster.get(live.resource, live.namespace, live.name)})
        live.subject.templates()
        proposal = propose(cluster, live, self._aim.fix, ApplyOptions(), dry_run=False)
        return proposal._replace(origin=workload.proposal.origin)

    def _label(self, item: NamespaceSurvey, where: LabelsAt) -> None:
        why = why_not_yet(item)
        drifted = [] if why else self._drifted(item)
        if drifted:
            why = f"{', '.join(drifted)} would be set below the level by the next reconciliation"
        wanted = labels_to_set(self._policies, item, where.labelled, self._aim, enforce=not why)
        if wanted:
            self._labels.append(_Labels(item, where, wanted))
            if why and item.enforce_labels:
                self._says[item.name] = f"enforce is set in {where.file} by a later run: {why}"
        elif not why and item.enforce_labels:
            self._waiting.append(Open(f"Namespace {item.name}", item.name, _LABELLED.format(where.file)))

    def _drifted(self, item: NamespaceSurvey) -> list[str]:
        """Take up what of a namespace is well in the cluster and not in its files, and return the names."""
        names = []
        for workload in item.workloads:
            if not workload.proposal.managers or not workload.proposal.origin:
                continue
            before, held, rest = len(self._jobs), len(self.held), len(self._rest)
            try:
                self._find(self._again(workload))
            except (ClusterError, InputError):
                continue
            # What is well in the cluster and nowhere in a checkout holds nothing back.
            del self.held[held:], self._rest[rest:]
            for job in self._jobs[before:]:
                try:
                    change = self._planned(job.spot, [job])
                except InputError:
                    change = _Change((), (), (), ())
                if any(planned.plan.edits for planned in change.planned):
                    names.append(job.proposal.name)
                else:
                    self._jobs.remove(job)
        return names

    def _open(self, proposal: Proposal, reason: str) -> None:
        self._rest.append(Open(proposal.name, proposal.live.namespace, reason))

    def _failed(self, proposal: Proposal, why: str, *, refused: bool = False) -> None:  # noqa: ARG002
        self._open(proposal, why.removeprefix("not edited: "))

    def _not_planned(self, spot: Spot, jobs: Sequence[_Job], why: str) -> None:
        for job in jobs:
            self._open(job.proposal, why)
        for one in self._labels:
            if one.where.labelled.spot == spot:
                self._rest.append(Open(f"Namespace {one.item.name}", one.item.name, why))

    # -- done ------------------------------------------------------------------------------------------------

    def carry_out_all(self) -> None:
        """Carry out all changes, place by place."""
        from kubectl_harden.manifests.relabel import relabelling

        wanted: dict[Spot, dict[str, Mapping[str, str]]] = {}
        for one in self._labels:
            wanted.setdefault(one.where.labelled.spot, {})[one.item.name] = one.wanted
        self.also = {spot: relabelling(labels) for spot, labels in wanted.items()}
        for spot, change in self._placed():
            self._take_over(spot, change)
        for proposal, reason in self.held:
            self._open(proposal, reason)

    def _take_over(self, spot: Spot, change: _Change) -> None:
        labels = [one for one in self._labels if one.where.labelled.spot == spot]
        checkout = change.jobs[0].checkout if change.jobs else labels[0].where.checkout
        gathered = self._sets.setdefault(checkout, _Set())
        self.problems.extend(problem for problem in change.problems if problem not in self.problems)
        url = change.jobs[0].at.place.url if change.jobs else labels[0].where.at.place.url
        why = self._clash(gathered, change) or self._not_as_planned(url, checkout, change)
        done = bool(change.files) and not why and (not self._write or self._wrote(change, checkout))
        if change.files and not done:
            why = why or "it could not be written"
        if change.problems and not change.files:
            why = "; ".join(problem.message for problem in change.problems)
        if done:
            self._keep(gathered, change)
        for job in change.jobs:
            self._judge(job, change, gathered, why, done=done)
        for one in labels:
            name = f"Namespace {one.item.name}"
            if not done:
                self._rest.append(Open(name, one.item.name, why or "its labels cannot be set there"))
                continue
            gathered.labels[one.item.name] = one.wanted
            gathered.urls[one.where.at.place.url] = None
            gathered.by[_applier(one.where.at.link)] = None
            if f"{PREFIX}enforce" in one.wanted:
                self._says[one.item.name] = ""

    def _judge(self, job: _Job, change: _Change, gathered: _Set, why: str, *, done: bool) -> None:
        from kubectl_harden.planning.plan import left_below
        from kubectl_harden.pod_security.policy import worded

        planned = [item for item in change.planned if job.sought.matches(item.identity)]
        edits = any(item.plan.edits for item in planned)
        left = [one for item in planned if left_below(item.plan) for one in item.plan.remaining]
        name = job.proposal.name
        if edits and not done:
            self._open(job.proposal, why or "it has no change that is proved")
        elif edits:
            gathered.workloads[name] = tuple(os.path.relpath(one.file, job.checkout.root) for one in change.files)
            gathered.planned += [_shortened(item, job.checkout.root) for item in planned]
            gathered.urls[job.at.place.url] = None
            gathered.by[_applier(job.at.link)] = None
            gathered.notes.update(dict.fromkeys(self._told_of(job)))
            if not left:
                self._cured.add(name)
        if left and not edits:
            self._open(job.proposal, "; ".join(dict.fromkeys(worded(one.reason, one.detail) for one in left)))
        elif planned and not edits:
            self._waiting.append(Open(name, job.proposal.live.namespace, _WAITS))
            self._cured.add(name)
        elif not planned:
            self._open(job.proposal, why or "it has no change that is proved")

    def _clash(self, gathered: _Set, change: _Change) -> str:
        """Return why a change has to wait: another one of this run, not written yet, changes the same file."""
        for file in change.files:
            known = gathered.files.get(file.file)
            if known is not None and spliced(known.before, known.splices) != file.before:
                return f"another change edits {file.file}: once that is written, the same command plans this one"
        return ""

    def _not_as_planned(self, url: str, checkout: Checkout, change: _Change) -> str:
        """Return why a change is not the one of the plan that is carried out, empty where it is, or there is none."""
        if self._plan is None:
            return ""
        for file in change.files:
            name = os.path.relpath(file.file, checkout.root)
            planned = self._plan.get((url, name))
            if planned is None:
                return f"the plan does not change {name}: left alone"
            if planned != states(file):
                return f"{name}: the file, or what is to be done, is not as the plan has it: left alone"
        return ""

    def _keep(self, gathered: _Set, change: _Change) -> None:
        for file in change.files:
            known = gathered.files.get(file.file)
            if known is not None:
                after = spliced(file.before, file.splices)
                file = file._replace(before=known.before, splices=((0, len(known.before), after),))
            gathered.files[file.file] = file

    def _told_of(self, job: _Job) -> list[str]:
        place, link = job.at.place, job.at.link
        out = [f"{_applier(link)}: {link.note}"] if link.note else []
        followed = f"{place.revision_type} {place.revision}".strip()
        if place.revision and place.revision_type not in ("", "branch"):
            out.append(f"{place.url}: {followed} is followed: the change takes effect when that names a commit of it")
        elif place.revision not in ("", "HEAD", job.checkout.branch):
            on = f"branch {job.checkout.branch}" if job.checkout.branch else "no branch"
            out.append(f"{job.checkout.root} is on {on}, and {followed} is followed: the change has to get there")
        return out

    # -- told ------------------------------------------------------------------------------------------------

    def result(self, found: Survey) -> SourceChanges:
        """Return what came of it."""
        repositories = [
            Repository(
                checkout,
                tuple(one.urls),
                tuple(one.files.values()),
                one.workloads,
                one.labels,
                tuple(sorted(one.by)),
                tuple(one.notes),
                tuple(one.planned),
            )
            for checkout, one in self._sets.items()
            if one.files
        ]
        waits = {one.namespace: one.reason for one in self._waiting if one.name.startswith("Namespace ")}
        says = {**{name: "" for one in repositories for name in one.labels}, **self._says}
        ahead: list[Outlook] = outlook(found.namespaces, frozenset(self._cured), {**dict.fromkeys(waits, ""), **says})
        return SourceChanges(tuple(repositories), tuple(self._waiting), tuple(self._rest), tuple(ahead), self._write)


def _applier(link: OriginLink) -> str:
    return f"{link.kind} {link.namespace}/{link.name}"

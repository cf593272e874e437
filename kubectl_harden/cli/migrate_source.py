"""``migrate --source``: objects that others manage and that hold namespaces back, changed in checkouts and proved."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from kubectl_harden.cli.fix_source import SourceChange, SourceJob, SourceRun, shortened
from kubectl_harden.cli.targets import LiveInputs
from kubectl_harden.errors import ClusterError, InputError, UsageError
from kubectl_harden.migration.at_source import (
    Checkouts,
    LabelsAt,
    Open,
    Repository,
    SourceChanges,
    is_at_others,
    labels_to_set,
    not_whole,
    outlook,
    states,
    why_not_yet,
)
from kubectl_harden.model import Problem
from kubectl_harden.plan_model import FileFix, Planned
from kubectl_harden.yaml_text.editor import spliced

if TYPE_CHECKING:
    from kubectl_harden.live.at_source import AtSource
    from kubectl_harden.live.in_force import PoliciesInForce
    from kubectl_harden.live.propose import Proposal
    from kubectl_harden.manifests.checkout import Checkout
    from kubectl_harden.manifests.source import Spot
    from kubectl_harden.migration.model import Aim, NamespaceSurvey, Survey, Surveyed
    from kubectl_harden.origin_model import OriginLink

__all__ = ["checkouts_of", "source_changes"]

_ROUNDS: Final = 4
"""How often separate changes of one file are planned again, one after the other."""
_WAITS: Final = "its files meet the level already: commit and push them, or wait until they are applied"
_LABELLED: Final = "its labels are in {} already: commit and push it, or wait until it is applied"


def checkouts_of(sources: Sequence[str], aim: Aim) -> Checkouts:
    """Return the checkouts that were named. Raises UsageError for what is not one, and where there is none."""
    from kubectl_harden.manifests.checkout import checkout_of

    if not sources:
        raise UsageError("--write edits files: name checkouts by --source, or files by -f")
    if aim.apply.even_if_managed:
        raise UsageError(
            "--even-if-managed patches in the cluster what --source changes where it comes from: use one of them"
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
    run.carry_out_all(found.namespaces)
    # A change that waited for a file is planned with the written file, and earlier changes are proved again.
    for _ in range(_ROUNDS):
        if not (write and run.waits):
            break
        run = run.after()
        run.carry_out_all(found.namespaces)
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


_Placed: TypeAlias = "tuple[FileFix, Checkout, AtSource]"
"""A file that changes, the checkout that it is in, and who applies it from there."""


class _Labels(NamedTuple):
    """Labels that a Namespace is to get in its file."""

    item: NamespaceSurvey
    where: LabelsAt
    wanted: Mapping[str, str]


class _Changes(SourceRun):
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
        self.waits = False
        """Whether a change waits for a file that another change writes."""

    def after(self) -> _Changes:
        """Return the state to continue with, with the files as they are now."""
        checkouts = Checkouts(self._checkouts, self._aim.pod_paths)
        run = _Changes(self._policies, self._aim, checkouts, self._plan, write=self._write)
        run._sets, run._cured, run.problems = self._sets, self._cured, self.problems
        return run

    # -- what ------------------------------------------------------------------------------------------------

    def take(self, item: NamespaceSurvey) -> None:
        """Collect what others manage and holds a namespace back."""
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
        """Collect the objects of a namespace that meet the level in the cluster but not in their files, and return the
        names.
        """
        before, held, rest = len(self._jobs), len(self.held), len(self._rest)
        for workload in item.workloads:
            if workload.proposal.managers and workload.proposal.origin:
                with suppress(ClusterError, InputError):
                    self._find(self._again(workload))
        # An object that meets the level in the cluster and is in no checkout holds nothing back.
        del self.held[held:], self._rest[rest:]
        jobs, self._jobs[before:] = self._jobs[before:], []
        by_spot: dict[Spot, list[SourceJob]] = {}
        for job in jobs:
            by_spot.setdefault(job.spot, []).append(job)
        below: list[SourceJob] = []
        for spot, listed in by_spot.items():
            with suppress(InputError):
                edited = [one.identity for one in self._planned(spot, listed).planned if one.plan.edits]
                below += [job for job in listed if any(map(job.sought.matches, edited))]
        self._jobs += below
        return [job.proposal.name for job in below]

    def _open(self, proposal: Proposal, reason: str) -> None:
        self._rest.append(Open(proposal.name, proposal.live.namespace, reason))

    def _failed(self, proposal: Proposal, why: str, *, refused: bool = False) -> None:  # noqa: ARG002
        self._open(proposal, why.removeprefix("not edited: "))

    def _not_planned(self, spot: Spot, jobs: Sequence[SourceJob], why: str) -> None:
        for job in jobs:
            self._open(job.proposal, why)
        for one in self._labels:
            if one.where.labelled.spot == spot:
                self._rest.append(Open(f"Namespace {one.item.name}", one.item.name, why))

    # -- done ------------------------------------------------------------------------------------------------

    def carry_out_all(self, namespaces: Sequence[NamespaceSurvey]) -> None:
        """Collect what holds namespaces back, and carry out all changes, place by place."""
        from kubectl_harden.reports.progress import Words

        try:
            with Words() as words:
                for item in namespaces:
                    words(f"{item.name}: where it comes from")
                    self.take(item)
                if not self._write:
                    self._carry_out(words)
            if self._write:
                # The line says what is written: nothing else may be in it.
                self._carry_out(_silent)
        finally:
            self.charts.close()

    def _carry_out(self, report: Callable[[str], None]) -> None:
        from kubectl_harden.manifests.relabel import relabelling

        wanted: dict[Spot, dict[str, Mapping[str, str]]] = {}
        for one in self._labels:
            wanted.setdefault(one.where.labelled.spot, {})[one.item.name] = one.wanted
        self.also = {spot: relabelling(labels) for spot, labels in wanted.items()}
        count = 0
        for spot, change in self._placed():
            count += len(change.jobs)
            report(f"{count:,} workloads planned at their source")
            self._take_over(spot, change)
        for proposal, reason in self.held:
            self._open(proposal, reason)

    def _take_over(self, spot: Spot, change: SourceChange) -> None:
        labels = [one for one in self._labels if one.where.labelled.spot == spot]
        checkout = change.jobs[0].checkout if change.jobs else labels[0].where.checkout
        self.problems.extend(problem for problem in change.problems if problem not in self.problems)
        at = change.jobs[0].at if change.jobs else labels[0].where.at
        job = next(iter(change.jobs), None)
        placed = [(file, *(job.place_of(file.file) if job is not None else (checkout, at))) for file in change.files]
        why = self._clash(placed) or self._not_as_planned(placed)
        done = bool(placed) and not why and (not self._write or self._wrote(change, checkout))
        if placed and not done:
            why = why or "its files could not be written"
        elif change.problems and not placed:
            why = "; ".join(problem.message for problem in change.problems)
        if done:
            self._keep(placed)
        for job in change.jobs:
            self._judge(job, change, placed if done else (), why)
        for one in labels:
            self._judge_labels(one, why, done=done)

    def _judge_labels(self, one: _Labels, why: str, *, done: bool) -> None:
        name = f"Namespace {one.item.name}"
        if why:
            self._rest.append(Open(name, one.item.name, why))
        elif done:
            gathered = self._sets[one.where.checkout]
            gathered.labels[one.item.name] = one.wanted
            gathered.urls[one.where.at.place.url] = None
            gathered.by[_applier(one.where.at.link)] = None
        else:
            self._waiting.append(Open(name, one.item.name, _LABELLED.format(one.where.file)))

    def _judge(self, job: SourceJob, change: SourceChange, placed: Sequence[_Placed], why: str) -> None:
        """Note the outcome of a workload; ``placed`` are the files that are changed for it."""
        from kubectl_harden.live.at_source import drifted
        from kubectl_harden.planning.plan import left_below
        from kubectl_harden.pod_security.policy import worded

        planned = [item for item in change.planned if job.sought.matches(item.identity)]
        edits = any(item.plan.edits for item in planned)
        left = [one.why or worded(one.reason, one.detail) for item in planned if left_below(item.plan)
                for one in item.plan.remaining]  # fmt: skip
        name = job.proposal.name
        before = next((old for identity, old, _ in change.objects if job.sought.matches(identity)), None)
        others = drifted(job.proposal.live, planned, before) if edits and placed else []
        if others:
            words = "; ".join(others)
            self._open(job.proposal, f"it also violates what its files do not, so others change it: {words}")
        if edits and placed:
            for checkout in dict.fromkeys(checkout for _, checkout, _ in placed):
                files = [os.path.relpath(file.file, checkout.root) for file, where, _ in placed if where == checkout]
                self._sets[checkout].workloads[name] = tuple(files)
            self._sets[placed[0][1]].planned += [shortened(item, job.checkout.root) for item in planned]
        elif not planned or edits:
            self._open(job.proposal, why or "it has no proved change")
        elif not left:
            self._waiting.append(Open(name, job.proposal.live.namespace, _WAITS))
        if left:
            self._open(job.proposal, "; ".join(dict.fromkeys(left)))
        elif planned and not others and (placed or not edits):
            self._cured.add(name)

    def _clash(self, placed: Sequence[_Placed]) -> str:
        """Return why a change has to wait: another one of this run changes the same file, as it was before."""
        for file, checkout, _ in placed:
            known = self._sets[checkout].files.get(file.file) if checkout in self._sets else None
            if known is not None and spliced(known.before, known.splices) != file.before:
                self.waits = True
                return f"another change edits {file.file}: once that is written, the same command plans this one"
        return ""

    def _not_as_planned(self, placed: Sequence[_Placed]) -> str:
        """Return why a change is not the one of the plan that is carried out, empty where it is, or there is none."""
        for file, checkout, at in placed if self._plan is not None else ():
            name = os.path.relpath(file.file, checkout.root)
            planned = (self._plan or {}).get((at.place.url, name))
            if planned is None:
                return f"the plan does not change {name}: left alone"
            if planned != states(file):
                return f"{name}: the file or its change differs from the plan: left alone"
        return ""

    def _keep(self, placed: Sequence[_Placed]) -> None:
        for file, checkout, at in placed:
            gathered = self._sets.setdefault(checkout, _Set())
            known = gathered.files.get(file.file)
            after = spliced(file.before, file.splices)
            kept = file if known is None else known._replace(splices=((0, len(known.before), after),))
            gathered.files[file.file] = kept
            gathered.urls[at.place.url] = None
            gathered.by[_applier(at.link)] = None
            gathered.notes.update(dict.fromkeys(_told_of(checkout, at)))

    # -- told ------------------------------------------------------------------------------------------------

    def result(self, found: Survey) -> SourceChanges:
        """Return the outcome."""
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
        labelled = {name for one in repositories for name in one.labels}
        edited = {name for one in repositories for name in one.workloads} | {f"Namespace {name}" for name in labelled}
        # In a later round, what an earlier one wrote meets the level.
        waiting = [one for one in self._waiting if one.name not in edited]
        labelled |= {one.namespace for one in waiting if one.name == f"Namespace {one.namespace}"}
        says = {name: self._says.get(name, "") for name in labelled}
        stuck = frozenset(one.name for one in self._rest)
        ahead = outlook(found.namespaces, frozenset(self._cured), says, stuck)
        return SourceChanges(tuple(repositories), tuple(waiting), tuple(self._rest), tuple(ahead), self._write)


def _silent(_words: str) -> None:
    pass


def _applier(link: OriginLink) -> str:
    return f"{link.kind} {link.namespace}/{link.name}"


def _told_of(checkout: Checkout, at: AtSource) -> list[str]:
    """Return notes on a place where files change: which revision is followed, and what else is known about it."""
    place = at.place
    out = [f"{_applier(at.link)}: {at.link.note}"] if at.link.note else []
    followed = f"{place.revision_type} {place.revision}".strip()
    if place.revision and place.revision_type not in ("", "branch"):
        out.append(f"{place.url}: {followed} is followed: the change takes effect once that names a commit with it")
    elif place.revision not in ("", "HEAD", checkout.branch):
        on = f"branch {checkout.branch}" if checkout.branch else "no branch"
        out.append(f"{checkout.root} is on {on}, and {followed} is followed: the change must reach it")
    return out

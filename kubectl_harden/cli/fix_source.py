"""``fix --source``: the files that Flux or Argo CD take live workloads from, edited in checkouts and proved."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from kubectl_harden.cli.codes import exit_code
from kubectl_harden.cli.source_charts import Charts
from kubectl_harden.cli.targets import LiveInputs
from kubectl_harden.errors import EditError, InputError, UsageError
from kubectl_harden.model import Identity, Path, Problem, Source
from kubectl_harden.origin_model import FilesTaken
from kubectl_harden.plan_model import FileFix, Planned

if TYPE_CHECKING:
    from kubectl_harden.cli.source_charts import ChartAtSource
    from kubectl_harden.live.at_source import AtSource
    from kubectl_harden.live.propose import Proposal
    from kubectl_harden.manifests.checkout import Checkout
    from kubectl_harden.manifests.kustomize import Overlay
    from kubectl_harden.manifests.source import Sought, Spot, Tree
    from kubectl_harden.planning.options import FixOptions
    from kubectl_harden.yaml_text.documents import Document

__all__ = ["SourceChange", "SourceJob", "SourceRun", "fix_source", "shortened"]


class SourceJob(NamedTuple):
    """A live workload, and where its manifest is edited."""

    proposal: Proposal
    at: AtSource
    checkout: Checkout
    sought: Sought
    spot: Spot
    chart: ChartAtSource | None = None

    def place_of(self, file: str) -> tuple[Checkout, AtSource]:
        """Return the checkout that a file is in, and who applies it from there."""
        places = self.chart.places if self.chart is not None else ()
        within = (place for place in places if file.startswith(os.path.join(place[0].root, "")))
        return next(within, (self.checkout, self.at))


class SourceChange(NamedTuple):
    """The change of one file, or one kustomization, for the workloads that it makes."""

    jobs: tuple[SourceJob, ...]
    files: tuple[FileFix, ...]
    planned: tuple[Planned, ...]
    objects: tuple[tuple[Identity, Any, Any], ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    overlay: Overlay | None = None


def fix_source(
    inputs: LiveInputs, options: FixOptions, output: str | None, sources: Sequence[str], *, write: bool,
    notes: Sequence[str],
) -> int:  # fmt: skip
    """Show or write the edits of files in checkouts that fix live workloads; returns the exit code."""
    if output not in (None, "diff", "json"):
        raise UsageError(f"-o {output} prints patches of live objects; --source shows a diff, or the plan by -o json")
    from kubectl_harden.live.find import Finder
    from kubectl_harden.live.propose import ApplyOptions, propose_all
    from kubectl_harden.manifests.checkout import checkout_of
    from kubectl_harden.reports.output import note, report_problems

    run = SourceRun(inputs, options, [checkout_of(text) for text in sources], write=write, people=output != "json")
    finder = Finder(inputs.cluster, inputs.choice, inputs.targets.pod_paths)
    atexit.register(run.charts.close)
    for found in propose_all(finder, inputs.targets, options, ApplyOptions(), dry_run=False):
        if isinstance(found, Problem):
            run.problems.append(found)
        else:
            run.add(found)
    for words in (*finder.notes, *notes):
        note(words)
    for change in run.changes():
        run.carry_out(change, quiet=write and output is None)
    report_problems(run.problems)
    if output == "json":
        run.print_json()
    else:
        run.sum_up()
    left = bool(run.left or run.held) or (not write and bool(run.edited))
    return exit_code(run.problems, left=left)


class SourceRun:
    """One run: what was found, and the outcome."""

    def __init__(
        self, inputs: LiveInputs, options: FixOptions, checkouts: Sequence[Checkout], *, write: bool, people: bool
    ) -> None:
        self._inputs, self._options, self._checkouts = inputs, options, checkouts
        self._write, self._people = write, people
        self._jobs: list[SourceJob] = []
        self._trees: dict[tuple[str, bool, FilesTaken], Tree] = {}
        self.charts = Charts(inputs.cluster, checkouts, self._tree_at)
        self.also: dict[Spot, Callable[[Document], Mapping[Path, dict[str, Any]]]] = {}
        """What else is to change in a place, besides workloads."""
        self.workloads = 0
        self.edited: list[SourceJob] = []
        self._files: dict[Checkout, dict[str, AtSource]] = {}
        self.left = 0
        self.held: list[tuple[Proposal, str]] = []
        """Workloads that no file of a checkout can be edited for, with the reason."""
        self.problems: list[Problem] = []
        self._entries: list[dict[str, object]] = []

    # -- where ---------------------------------------------------------------------------------------------

    def add(self, proposal: Proposal) -> None:
        """Find the place where a workload is edited. Raises UsageError where two checkouts may have it."""
        from kubectl_harden.planning.plan import left_below

        self.problems.extend(proposal.problems)
        self.workloads += len(proposal.planned)
        if not any(item.plan.edits or left_below(item.plan) for item in proposal.planned):
            return
        self._find(proposal)

    def _find(self, proposal: Proposal) -> None:
        from kubectl_harden.live.at_source import at_source

        try:
            charts = self.charts.of(proposal.origin, proposal.live)
            if charts:
                self._jobs.append(self._chart_job(proposal, charts))
                return
            places = at_source(proposal.origin)
        except InputError as error:
            self.held.append((proposal, str(error)))
            return
        reasons = []
        for at in places:
            job, reason = self._job(proposal, at)
            if job is not None:
                self._jobs.append(job)
                return
            reasons.append(reason)
        told = "; ".join(reason for reason, _ in reasons)
        if any(is_problem for _, is_problem in reasons):
            self._failed(proposal, told)
        else:
            self.held.append((proposal, told))

    def _job(self, proposal: Proposal, at: AtSource) -> tuple[SourceJob | None, tuple[str, bool]]:
        """Return the job of a workload at a place, or why there is none, and whether that is a problem."""
        from kubectl_harden.manifests.checkout import matching
        from kubectl_harden.manifests.source import Sought, spot_of

        if matching(self._checkouts, at.place.url) is None:
            return None, (_no_checkout(at), False)
        live = proposal.live
        sought = Sought(
            live.resource.group,
            live.resource.kind,
            live.namespace,
            at.name_of(live.name),
            live.policy,
            at.anywhere,
            at.substitutes,
        )
        paths = self._inputs.targets.pod_paths
        try:
            checkout, tree = self._tree_at(at)
            spot, sought = spot_of(tree, sought, paths)
            return SourceJob(proposal, at, checkout, sought, spot), ("", False)
        except InputError as error:
            return None, (str(error), True)

    def _tree_at(self, at: AtSource) -> tuple[Checkout, Tree]:
        """Return the files at a place, and their checkout. Raises InputError where no checkout has it."""
        from kubectl_harden.manifests.checkout import directory_in, matching
        from kubectl_harden.manifests.source import tree_of

        checkout = matching(self._checkouts, at.place.url)
        if checkout is None:
            raise InputError(_no_checkout(at))
        directory = directory_in(checkout, at.place.path)
        key = directory, at.recursive, at.taken
        if key not in self._trees:
            paths = self._inputs.targets.pod_paths
            self._trees[key] = tree_of(checkout.root, directory, paths, recursive=at.recursive, taken=at.taken)
        return checkout, self._trees[key]

    def _chart_job(self, proposal: Proposal, charts: Sequence[ChartAtSource]) -> SourceJob:
        """Return the job of a workload that a chart makes. Raises InputError where several charts may make it."""
        from kubectl_harden.manifests.source import Sought, Spot

        if len(charts) > 1:
            raise InputError(f"{charts[0].managed.name} has several charts: fix the right one with fix --helm-chart")
        (chart,) = charts
        live = proposal.live
        sought = Sought(live.resource.group, live.resource.kind, live.namespace, live.name, live.policy)
        checkout, at = chart.places[0]
        return SourceJob(
            proposal, at, checkout, sought, Spot(chart=(chart.managed.name, chart.managed.chart.path)), chart
        )

    # -- what ----------------------------------------------------------------------------------------------

    def changes(self) -> Iterable[SourceChange]:
        """Yield the proved changes, a file or a kustomization at a time."""
        return (change for _, change in self._placed())

    def _placed(self) -> Iterator[tuple[Spot, SourceChange]]:
        groups: dict[Spot, list[SourceJob]] = {}
        for job in self._jobs:
            groups.setdefault(job.spot, []).append(job)
        groups.update({spot: [] for spot in self.also if spot not in groups})
        for spot, jobs in groups.items():
            while jobs or spot in self.also:
                try:
                    change = self._planned(spot, jobs)
                except InputError as error:
                    self._not_planned(spot, jobs, str(error))
                    break
                failed = [job for job in jobs if not self._proves(job, change)]
                if not failed:
                    yield spot, change
                    break
                # What is not proved is left out, and the rest is planned again without it.
                jobs = [job for job in jobs if job not in failed]

    def _planned(self, spot: Spot, jobs: Sequence[SourceJob]) -> SourceChange:
        from kubectl_harden.live.at_source import AsLive
        from kubectl_harden.manifests.fix import unchanged
        from kubectl_harden.manifests.source import fix_file, fix_overlay

        sought = [job.sought for job in jobs]
        known = AsLive(self._options.learn, [(job.sought.matches, job.proposal.live) for job in jobs])
        options = self._options._replace(learn=known)
        paths = self._inputs.targets.pod_paths
        also = self.also.get(spot, unchanged)
        chart = jobs[0].chart if jobs else None
        if chart is not None:
            from kubectl_harden.manifests.managed_chart import fix_managed

            made = fix_managed(chart.managed, sought, options, paths)
            notes = (*((Problem(chart.note),) if chart.note else ()), *made.notes)
            return SourceChange(tuple(jobs), made.files, made.planned, made.objects, made.problems, notes)
        if spot.file:
            fixed = fix_file(spot.file, sought, options, paths, also)
            files = (fixed,) if fixed.splices else ()
            return SourceChange(tuple(jobs), files, fixed.planned, fixed.objects, fixed.problems)
        overlay = fix_overlay(spot.overlay, sought, options, paths, also)
        return SourceChange(
            tuple(jobs), overlay.files, overlay.planned, overlay.objects, overlay.problems, overlay.notes, overlay
        )

    def _proves(self, job: SourceJob, change: SourceChange) -> bool:
        """Whether the server admits a workload after a change; else the reason is reported."""
        from kubectl_harden.field_path import field_path
        from kubectl_harden.live.at_source import proved
        from kubectl_harden.manifests.source import resolved

        planned = _of(job, change.planned)
        for identity, _, after in change.objects:
            if not job.sought.matches(identity):
                continue
            value, unknown = resolved(after, job.proposal.live.value) if job.sought.substitutes else (after, [])
            if unknown:
                where = ", ".join(map(field_path, unknown))
                self._refuse(job, f"not edited: no value is known for the ${{VAR}} of {where}, so it cannot be proved")
                return False
            found = proved(self._inputs.cluster, job.proposal.live, planned, cast(dict[str, Any], value))
            why = found.refusal or "; ".join(f"not proved {words}" for words in found.unproven)
            if why:
                self._refuse(job, f"not edited: {why}", refused=True)
                return False
        return True

    def _refuse(self, job: SourceJob, why: str, *, refused: bool = False) -> None:
        self._failed(job.proposal, why, refused=refused)

    def _failed(self, proposal: Proposal, why: str, *, refused: bool = False) -> None:
        self.problems.append(Problem(f"{proposal.name}: {why}", refused=refused))

    def _not_planned(self, spot: Spot, jobs: Sequence[SourceJob], why: str) -> None:
        self.problems.append(Problem(f"{', '.join(job.proposal.name for job in jobs)}: {why}", spot.file))

    # -- done ----------------------------------------------------------------------------------------------

    def carry_out(self, change: SourceChange, *, quiet: bool) -> None:
        """Show a change, and write it where that was asked for."""
        from kubectl_harden.live.at_source import drifted
        from kubectl_harden.planning.plan import left_below
        from kubectl_harden.reports.fix import diff, notes
        from kubectl_harden.reports.output import note, note_problems, patch, tell
        from kubectl_harden.reports.terminal import width

        checkout = change.jobs[0].checkout
        self.problems.extend(change.problems)
        done = bool(change.files) and (not self._write or self._wrote(change, checkout))
        if done and self._people and not quiet:
            for file in change.files:
                root = change.jobs[0].place_of(file.file)[0].root
                patch(diff(file._replace(file=os.path.relpath(file.file, root))))
        if self._people:
            note_problems(change.notes)
            tell(notes((shortened(item, checkout.root) for item in change.planned), columns=width(2)))
        for job in change.jobs:
            planned = _of(job, change.planned)
            name = job.proposal.name
            self.left += sum(left_below(item.plan) for item in planned)
            self._entries += self._json(job, change, planned, done=done)
            if done and any(item.plan.edits for item in planned):
                self.edited.append(job)
                for file in change.files:
                    where, at = job.place_of(file.file)
                    self._files.setdefault(where, {})[file.file] = at
            elif planned and not change.problems and not any(left_below(item.plan) for item in planned):
                words = "its files meet the level already: commit and push them, or wait until they are applied"
                self.held.append((job.proposal, words))
            before = next((old for identity, old, _ in change.objects if job.sought.matches(identity)), None)
            drift = drifted(job.proposal.live, planned, before) if planned and (change.objects or not done) else []
            if drift and done:
                self.left += 1
                note(f"{name}: it also violates what its files do not, so others change it: {'; '.join(drift)}")

    def _wrote(self, change: SourceChange, checkout: Checkout) -> bool:
        from kubectl_harden.manifests.checkout import is_committed
        from kubectl_harden.manifests.fix import written
        from kubectl_harden.manifests.kustomize import write_overlay
        from kubectl_harden.manifests.manager_manifest import write_together
        from kubectl_harden.reports.output import note

        chart = next((job for job in change.jobs if job.chart is not None), None)
        for file in change.files:
            root = chart.place_of(file.file)[0] if chart is not None else checkout
            if file.before and is_committed(root, file.file) is False:
                note(f"{file.file} has changes that are not committed: it is edited anyway, and they stay in it")
        if change.overlay is not None or chart is not None:
            try:
                if chart is not None:
                    write_together((file, chart.place_of(file.file)[0].root) for file in change.files)
                elif change.overlay is not None:
                    write_overlay(change.overlay)
            except EditError as error:
                self.problems.append(Problem(str(error)))
                return False
            return True
        results = [written(file, ()) for file in change.files]
        told = [problem for result in results for problem in result.problems]
        self.problems += [problem for problem in told if problem not in change.problems]
        return all(result.splices for result in results)

    # -- told ----------------------------------------------------------------------------------------------

    def sum_up(self) -> None:
        """Say what to commit where, and what is left."""
        from kubectl_harden.reports.live import pasted_notes
        from kubectl_harden.reports.output import note, paragraph, tell
        from kubectl_harden.reports.terminal import width
        from kubectl_harden.words import counted

        for proposal, reason in self.held:
            note(f"{proposal.name}: not edited: {reason}")
            tell(pasted_notes(proposal, columns=width(2)))
        for checkout, files in self._files.items():
            self._tell_commit(checkout, files)
        edited = len({job.proposal.live.uid for job in self.edited})
        if not self.workloads:
            paragraph("no workloads could be read" if self.problems else "no workloads found")
            return
        if not (edited or self.left or self.held or self.problems):
            paragraph(f"{counted(self.workloads, 'workload')}: all meet the level, nothing to do")
            return
        line = (
            f"{counted(self.workloads, 'workload')}: {edited:,} {'edited' if self._write else 'to edit'} at the source"
        )
        line += f", {self.left:,} with something left below the level" if self.left else ""
        line += f", {len(self.held):,} not edited" if self.held else ""
        line += "; --write makes the edits" if edited and not self._write else ""
        paragraph(line)

    def _tell_commit(self, checkout: Checkout, files: dict[str, AtSource]) -> None:
        from kubectl_harden.reports.output import note, paragraph

        places = {at.place.url: at.place for at in files.values()}
        for place in places.values():
            followed = f"{place.revision_type} {place.revision}".strip()
            if place.revision and place.revision_type not in ("", "branch"):
                note(f"{place.url}: {followed} is followed: the change takes effect once that names a commit with it")
            elif place.revision not in ("", "HEAD", checkout.branch):
                on = f"branch {checkout.branch}" if checkout.branch else "no branch"
                note(f"{checkout.root} is on {on}, and {followed} is followed: the change must reach it")
        for link in {(at.link.kind, at.link.namespace, at.link.name): at.link for at in files.values()}.values():
            if link.note:
                note(f"{link.kind} {link.namespace}/{link.name}: {link.note}")
        names = ", ".join(sorted(os.path.relpath(file, checkout.root) for file in files))
        by = sorted({f"{at.link.kind} {at.link.namespace}/{at.link.name}" for at in files.values()})
        branch = f", branch {checkout.branch}" if checkout.branch else ""
        verb = "Commit and push" if self._write else "To commit and push, once written"
        paragraph(
            f"{verb} in {checkout.root} ({', '.join(places)}{branch}): {names}. Nothing has changed in the cluster: "
            f"{', '.join(by)} will apply it."
        )

    def _json(
        self, job: SourceJob, change: SourceChange, planned: Sequence[Planned], *, done: bool
    ) -> list[dict[str, object]]:
        from kubectl_harden.reports.fix import planned_json
        from kubectl_harden.reports.live import proposal_json

        files = [os.path.relpath(file.file, job.place_of(file.file)[0].root) for file in change.files]
        at = {
            "repository": job.at.place.url,
            "revision": job.at.place.revision,
            "path": job.at.place.path,
            "checkout": job.checkout.root,
            "branch": job.checkout.branch,
            "files": files if done else [],
            "appliedBy": f"{job.at.link.kind} {job.at.link.namespace}/{job.at.link.name}",
            "written": done and self._write,
        }
        head = self._policy()
        return [
            {**planned_json(shortened(item, job.checkout.root), head), **proposal_json(job.proposal), "atSource": at}
            for item in planned
        ]

    def _policy(self) -> Any:
        from kubectl_harden.pod_security.namespace_labels import chosen_policy

        return chosen_policy(self._inputs.choice, None, self._inputs.cluster.minor())

    def print_json(self) -> None:
        """Print the plan for programs."""
        from kubectl_harden.reports.fix import FixTally, plan_json, planned_json
        from kubectl_harden.reports.live import proposal_json
        from kubectl_harden.reports.output import data
        from kubectl_harden.reports.terminal import json_text

        head = self._policy()
        entries = list(self._entries)
        tally = FixTally()
        tally.problems.extend(self.problems)
        for proposal, reason in self.held:
            entries += [
                {**planned_json(item, head), **proposal_json(proposal), "atSource": {"problem": reason}}
                for item in proposal.planned
            ]
        tally.planned, tally.left = self.workloads, self.left + len(self.held)
        tally.edited = len({job.proposal.live.uid for job in self.edited})
        data([json_text(plan_json(entries, self.problems, head, tally)), "\n"])


def _no_checkout(at: AtSource) -> str:
    return f"no --source is a checkout of {at.place.url} (--source {at.place.url}=DIR names one)"


def _of(job: SourceJob, planned: Iterable[Planned]) -> list[Planned]:
    return [item for item in planned if job.sought.matches(item.identity)]


def shortened(item: Planned, root: str) -> Planned:
    """Return a plan whose file is named as the repository has it."""
    source = item.identity.source
    if not isinstance(source, Source) or not os.path.isabs(source.file):
        return item
    return item._replace(
        identity=item.identity._replace(source=source._replace(file=os.path.relpath(source.file, root)))
    )

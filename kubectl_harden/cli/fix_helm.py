"""``fix`` for live workloads of Helm releases: show the values that fix them, and have helm set them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING

from kubectl_harden.cli.helm_plans import NoValues, ReleasePlan, is_of_release, release_plan
from kubectl_harden.errors import HardenError

if TYPE_CHECKING:
    from kubectl_harden.cli.targets import LiveInputs
    from kubectl_harden.live.apply import Outcome
    from kubectl_harden.live.journal import Journal
    from kubectl_harden.live.propose import Proposal
    from kubectl_harden.planning.options import FixOptions

__all__ = ["Releases"]


class Releases:
    """The Helm releases of a run, with the proposals for their workloads.

    ``rollback`` rolls back what fails. ``off`` leaves them to be patched or shown like all others.
    """

    def __init__(self, inputs: LiveInputs, options: FixOptions, *, apply: bool, rollback: bool, off: bool) -> None:
        self._inputs, self._options, self._apply, self._rollback = inputs, options, apply, rollback
        self._off = off or options.choose is not None
        self._groups: dict[tuple[str, str], list[Proposal]] = {}
        self._plans: list[ReleasePlan] = []
        self._of: dict[str, ReleasePlan] = {}
        self._problems: dict[str, dict[str, str]] = {}
        self._is_agreed = False

    def takes(self, proposal: Proposal) -> bool:
        """Whether a workload belongs to a release; its workloads are planned together."""
        if self._off or not is_of_release(proposal):
            return False
        link = proposal.origin[0]
        self._groups.setdefault((link.namespace, link.name), []).append(proposal)
        return True

    def planned(self, show: Callable[[Proposal], None] | None) -> Iterator[Proposal]:
        """Yield the proposals for the workloads of releases, with the values that fix them.

        ``show`` shows a proposal to people; None where nothing is shown.
        """
        from kubectl_harden.cli.built import post_renderer
        from kubectl_harden.reports.output import note, paragraph

        for (namespace, name), proposals in self._groups.items():
            directory = tempfile.mkdtemp(prefix="kubectl-harden-")
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
            try:
                plan = release_plan(
                    self._inputs, self._options, proposals, directory, apply=self._apply, rollback=self._rollback
                )
            except NoValues as error:
                if show is not None:
                    for proposal in proposals:
                        show(proposal)
                told = {"namespace": namespace, "name": name, "problem": str(error)}
                self._problems.update({item.live.uid: told for item in proposals})
                note(f"Helm release {namespace}/{name}: its values are not changed: {error}")
                if show and error.no_value:
                    paragraph(post_renderer("CHART", name))
                yield from proposals
                continue
            self._plans.append(plan)
            self._of.update({item.live.uid: plan for item in plan.proposals})
            if show:
                _show(plan)
            yield from plan.proposals

    def has(self, proposal: Proposal) -> bool:
        """Whether values of a release are proposed for a workload."""
        return proposal.live.uid in self._of

    def json(self, proposal: Proposal) -> dict[str, object]:
        """Return what a FixPlan's workload says about the values of its release."""
        plan = self._of.get(proposal.live.uid)
        if plan is None:
            problem = self._problems.get(proposal.live.uid)
            return {"helmRelease": problem} if problem else {}
        record = plan.record
        return {
            "helmRelease": {
                "namespace": record.namespace,
                "name": record.name,
                "revision": record.revision,
                "chart": record.chart,
                "values": plan.found.values,
                "hooks": list(plan.hooks),
                "alsoChanges": list(plan.also),
                "setsBack": list(plan.resets),
                "notApplicable": plan.refusal or None,
            }
        }

    def ask(self, *, yes: bool) -> None:
        """Ask whether to upgrade the releases that can be upgraded, unless ``yes``. A signal at the question raises
        click.Abort.
        """
        from kubectl_harden.cli.interrupts import raising_again
        from kubectl_harden.reports.output import ask

        ready = self._ready()
        what = ready[0].record.title if len(ready) == 1 else f"these {len(ready)} Helm releases"
        self._is_agreed = yes or not ready
        if not self._is_agreed:
            with raising_again():
                place = self._inputs.cluster.connection.place
                self._is_agreed = ask(f"Upgrade {what} to these values {place}?")

    def _ready(self) -> list[ReleasePlan]:
        return [plan for plan in self._plans if not plan.refusal and any(item.patch for item in plan.proposals)]

    def carry_out(self, journal: Journal, *, limit: float, fail_fast: bool, begun: bool) -> tuple[list[Outcome], bool]:
        """Have helm upgrade what was agreed to (see ``ask``); returns the outcomes and whether a signal came.

        ``begun`` tells that nothing more may begin after what came before.
        """
        from kubectl_harden.cli.parallel import Parallel
        from kubectl_harden.live.apply import Outcome
        from kubectl_harden.live.helm_upgrade import Upgrader
        from kubectl_harden.reports.live import outcome_lines
        from kubectl_harden.reports.output import line, tell
        from kubectl_harden.reports.progress import Progress
        from kubectl_harden.reports.terminal import width

        ready = self._ready()
        outcomes = [
            Outcome(item, "refused", item.refusal or plan.refusal)
            for plan in self._plans
            if plan.refusal
            for item in plan.proposals
            if item.patch
        ]
        if not ready or begun or not self._is_agreed:
            words = "not started" if begun else "not confirmed"
            return outcomes + [Outcome(item, "skipped", words) for plan in ready for item in plan.proposals], False
        stop = Event()

        def interrupted() -> None:
            with suppress(OSError):
                line("interrupted: waiting for helm to finish …")

        with Progress(len(ready), "releases") as display:

            def report(name: str, words: str) -> None:
                with suppress(OSError):
                    display.report(name, words)

            upgrader = Upgrader(
                self._inputs.cluster, journal, seconds=limit, rollback=self._rollback, report=report, stop=stop
            )

            def work(plan: ReleasePlan) -> list[Outcome]:
                if stop.is_set():
                    return [Outcome(item, "skipped", "not started") for item in plan.proposals]
                try:
                    made = upgrader.upgrade(plan.helm, plan.upgrade)
                except HardenError as error:
                    made = [Outcome(item, "failed", str(error)) for item in plan.proposals]
                if fail_fast and any(item.state not in ("applied", "skipped") for item in made):
                    stop.set()
                return [item for item in made if item.proposal.patch]

            signalled = Parallel(1, (stop,), interrupted)(ready, work, outcomes.extend)
        for outcome in outcomes:
            tell(outcome_lines(outcome, columns=width()))
        return outcomes, signalled


def _show(plan: ReleasePlan) -> None:
    """Write the diff of a release's values to stdout, and what a person should know about them to stderr."""
    from kubectl_harden.cli.built import post_renderer
    from kubectl_harden.manifests.value_plans import NO_VALUE
    from kubectl_harden.reports.helm import release_notes, values_diff
    from kubectl_harden.reports.live import proposal_notes
    from kubectl_harden.reports.output import line, paragraph, tell, write
    from kubectl_harden.reports.terminal import width
    from kubectl_harden.words import counted

    record, found = plan.record, plan.found
    write([values_diff(f"{record.namespace}/{record.name}/values.yaml", record.config, found.values)])
    for proposal in plan.proposals:
        # What keeps the whole release from an upgrade is reported once, below.
        shown = proposal._replace(refusal=None) if proposal.refusal == plan.refusal else proposal
        tell(proposal_notes(shown._replace(managers=()), columns=width()))
    for key, words in found.said:
        line(f"{key}: the chart says: {words}")
    proof = "" if plan.refusal else ", and by helm's dry-run on the server"
    cures = f"these values fix {found.cured} of {counted(found.before, 'violation')}, proved by rendering{proof}"
    told = [("values ", "strong", f"of {record.title} (chart {record.chart}, revision {record.revision}): {cures}")]
    told += [("hook   ", "warn", f"helm upgrade runs {hook}") for hook in plan.hooks]
    told += [("also   ", "warn", f"changes the pods of {name}") for name in plan.also]
    told += [("resets ", "warn", f"{words}, as the release has it") for words in plan.resets]
    if plan.refusal:
        told.append(("cannot ", "bad", f"be applied: {plan.refusal}"))
    tell(release_notes(told, columns=width()))
    if any(left.why == NO_VALUE for one in plan.proposals for item in one.planned for left in item.plan.remaining):
        paragraph(post_renderer("CHART", record.name))

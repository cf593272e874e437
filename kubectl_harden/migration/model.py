"""What a survey says about namespaces: how far each is from a level, and what holds it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.cluster.api import PODS
from kubectl_harden.evidence.audit_log import LogSpan
from kubectl_harden.live.audited import Traced
from kubectl_harden.live.managers import Manager
from kubectl_harden.live.origin import Origins
from kubectl_harden.live.propose import ApplyOptions, Proposal
from kubectl_harden.model import Level, Policy, Problem
from kubectl_harden.origin_model import Origin
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.in_force import InForce
from kubectl_harden.pod_security.messages import exemption_in
from kubectl_harden.pod_security.pod_templates import PodPaths
from kubectl_harden.pod_security.policy import worded

__all__ = [
    "Aim",
    "Blocker",
    "NamespaceSurvey",
    "PodVerdict",
    "ServerWord",
    "Soak",
    "State",
    "Survey",
    "Surveyed",
    "completed_pods",
    "exemption",
    "label_blockers",
    "older_pods",
    "plan_blockers",
    "planned_checks",
    "pod_blockers",
    "reapply_notes",
    "state_of",
    "unread",
]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
AT_ADMISSION: Final = "--at-admission gets it there: a policy makes the same edits to its new pods"
State = Literal["done", "ready", "fixable", "blocked"]


class Soak(NamedTuple):
    """An audit log, in which nothing may violate a level from ``span.since`` on before that level is enforced.

    Without ``span.since``, only pods that no workload explains hold a namespace back, and parts of the log that could
    not be read. ``traced`` is what was created, by namespace, ``others`` how much more there was than is kept.
    ``seconds`` is the time that --soak asks for, for reports.
    """

    span: LogSpan
    traced: Mapping[str, Sequence[Traced]]
    seconds: float | None = None
    others: int = 0


class Aim(NamedTuple):
    """What is asked for of the namespaces.

    ``level`` is "highest" for the highest level that each can reach. ``version`` is the policy version to pin, None to
    leave it as it is. ``team_label`` is the label that names who owns a workload or a namespace. ``detailed`` keeps
    what a plan file and the HTML report show about every workload. ``origins`` tells where workloads and namespaces
    come from, None where nobody asks. ``soak`` is the audit log that has to be clean first, ``upgrade`` the minor
    number of a policy version to compare with. ``at_admission`` is the day on which admission policies for objects that
    others write expire, "" for no policies. ``labels_file`` returns the file of a checkout that has the Namespace of a
    name and an origin, empty where none has; None without checkouts.
    """

    level: Literal["baseline", "restricted", "highest"]
    version: str | None = None
    fix: FixOptions = FixOptions()
    apply: ApplyOptions = ApplyOptions()
    pod_paths: PodPaths = _EMPTY
    team_label: str = "team"
    detailed: bool = False
    origins: Origins | None = None
    labels_file: Callable[[str, Origin], str] | None = None
    at_admission: str = ""
    soak: Soak | None = None
    upgrade: int | None = None

    @property
    def target(self) -> Level:
        """The level that warn and audit are set to."""
        return "baseline" if self.level == "baseline" else "restricted"

    @property
    def planning(self) -> FixOptions:
        """The options to plan workloads with: every edit, since only what lifts a whole namespace is applied."""
        return self.fix._replace(partial=True)

    def at(self, level: Level) -> Aim:
        """Return the same aim for a lower level."""
        return self._replace(level="baseline" if level == "baseline" else "restricted")


class PodVerdict(NamedTuple):
    """A pod that violates the goal: ``words`` are the reasons, ``owner`` the workload that it comes from.

    A ``passing`` pod goes away by itself: it is being ``deleted``, or its workload's rollout is not over. ``maker`` is
    the name of the object that made it, empty for none.
    """

    name: str
    uid: str
    words: str
    owner: str
    runtime_class: str
    finished: bool
    passing: bool
    deleted: bool = False
    labels: Mapping[str, str] = _EMPTY
    maker: str = ""


class Blocker(NamedTuple):
    """What keeps a namespace below its target.

    ``subject`` names the object, ``check`` the control ("" where none is at fault), ``what`` says what is wrong,
    ``why`` why it is not fixed, ``owner`` which controller or tool made the object, ``team`` the value of the team
    label. ``cause`` is the control, or a few words to count by. ``commands``, in their order, remove it, so that the
    namespace can be migrated. ``origin`` is where an object that others manage comes from.
    """

    subject: str
    check: str
    what: str
    why: str = ""
    choices: tuple[str, ...] = ()
    owner: str = ""
    team: str = ""
    other_cause: str = ""
    commands: tuple[str, ...] = ()
    origin: Origin = ()

    @property
    def cause(self) -> str:
        """The control, or a few words for what else holds the namespace back."""
        return self.check or self.other_cause


class Surveyed(NamedTuple):
    """A workload: the level of its templates now and after the plan, and the proposal (without its objects).

    ``before`` are the values of the fields that the patch touches, ``digest`` identifies its pod templates;
    both are empty unless the survey is detailed. ``newly`` are the controls that it fails at the policy version to
    compare with, and not today.
    """

    proposal: Proposal
    now: Level
    after: Level
    team: str = ""
    before: Mapping[str, Any] = _EMPTY
    digest: str = ""
    newly: tuple[str, ...] = ()

    @property
    def breaks(self) -> bool:
        """Whether the evidence says that an edit, planned or held back, would stop the app."""
        plans = [planned.plan for planned in self.proposal.planned]
        return any(edit.risk == "breaks" for plan in plans for edit in (*plan.steps, *plan.held_back))

    @property
    def owner(self) -> str:
        """Who made the object, or manages it."""
        return self.proposal.live.owner or ", ".join(manager.name for manager in self.proposal.managers)


class ServerWord(NamedTuple):
    """What the API server answers to the enforce label, and what the survey expects it to answer.

    ``asked`` False: ``why`` it was not asked.
    """

    asked: bool
    why: str = ""
    warnings: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the server's answer is what the survey expects, word for word."""
        return self.asked and self.warnings == self.expected

    @property
    def exempts(self) -> str:
        """The server's words that its configuration exempts the namespace, or nothing."""
        return exemption_in(self.warnings)


class NamespaceSurvey(NamedTuple):
    """One namespace. ``now`` is the lowest level of its workloads, ``after`` that after the plans.

    ``goal`` is what is to be enforced, or what it falls short of. ``state``: done (the goal is enforced and met), ready
    (the goal is met), fixable (the plans lift it there), blocked. ``target`` is the level that was asked for;
    ``blockers`` hold the namespace below it. ``pods`` are those that violate the goal now. ``warn_labels`` and
    ``enforce_labels`` are the labels to set, ``managers`` who else manages them, so that they are not written.
    ``in_force`` is what admission does there now, ``origin`` where the namespace comes from, ``to_evict`` are the pods
    older than their workload's policy, which a run that makes policies evicts. ``labels_file`` is the file of a
    checkout that its labels are set in, ``only_labels`` tells that nothing else holds it back from the goal.
    """

    name: str
    uid: str
    version: str
    labels: Mapping[str, str]
    goal: Policy
    target: Policy
    now: Level
    after: Level
    state: State
    workloads: tuple[Surveyed, ...]
    pods: tuple[PodVerdict, ...]
    blockers: tuple[Blocker, ...]
    server: ServerWord
    warn_labels: Mapping[str, str]
    enforce_labels: Mapping[str, str]
    team: str = ""
    problems: tuple[Problem, ...] = ()
    managers: tuple[Manager, ...] = ()
    in_force: InForce = InForce()
    origin: Origin = ()
    labels_file: str = ""
    only_labels: bool = False
    to_evict: tuple[str, ...] = ()

    @property
    def to_fix(self) -> tuple[Surveyed, ...]:
        """The workloads whose plans can be applied."""
        return tuple(item for item in self.workloads if item.proposal.patch and item.proposal.refusal is None)

    @property
    def is_held_back(self) -> bool:
        """Whether something other than labels that a checkout sets holds it back from the goal."""
        return self.state == "blocked" and not self.only_labels

    @property
    def bare_pods(self) -> int:
        """How many pods have no controller."""
        return sum(item.proposal.live.resource == PODS and not item.proposal.live.owner for item in self.workloads)


class Survey(NamedTuple):
    """All namespaces, by name; problems of the cluster at large, and notes for people."""

    namespaces: tuple[NamespaceSurvey, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def state_of(blockers: Sequence[Blocker], waits: Sequence[Blocker], *, changed: bool, enforce: bool) -> State:
    """Return the state of a namespace: ``waits`` holds back only enforcing the level, not the fixes."""
    if blockers or (waits and not changed):
        return "blocked"
    return "fixable" if changed else "ready" if enforce else "done"


def plan_blockers(
    workloads: Iterable[Surveyed],
    goal: Policy,
    commands: Mapping[str, tuple[str, ...]] = _EMPTY,
    offers: Collection[str] = (),
) -> Iterator[Blocker]:
    """Yield what the plans leave below the goal, and the plans that cannot be applied.

    ``commands``, by the name of a workload, do what cannot be done in place; ``offers`` names the workloads that an
    admission policy would take there.
    """
    for item in workloads:
        proposal = item.proposal
        origin = proposal.origin if item.owner else ()
        for planned in proposal.planned:
            for left in planned.plan.remaining:
                what = worded(left.reason, left.detail)
                yield Blocker(
                    proposal.name, left.check, what, left.why, left.choices, item.owner, item.team, origin=origin
                )
        if proposal.patch and proposal.refusal is not None:
            what = f"below {goal.level}: {planned_checks(proposal)}"
            yield Blocker(
                proposal.name,
                "",
                what,
                proposal.refusal,
                (AT_ADMISSION,) if proposal.name in offers else (),
                owner=item.owner,
                team=item.team,
                other_cause=_obstacle(proposal),
                commands=commands.get(proposal.name, ()),
                origin=origin,
            )


def planned_checks(proposal: Proposal) -> str:
    """Return the controls that a proposal's plans cure, in a line."""
    edits = (edit for planned in proposal.planned for edit in planned.plan.edits)
    return ", ".join(dict.fromkeys(check for edit in edits for check in edit.checks))


def _obstacle(proposal: Proposal) -> str:
    """Return in a few words why a plan cannot be applied."""
    if proposal.live.owner is not None:
        return "made by another controller"
    if proposal.managers:
        return "managed by others"
    return "cannot be patched in place" if proposal.recreate else "cannot be applied"


def older_pods(workloads: Iterable[Surveyed], pods: Iterable[PodVerdict]) -> Iterator[PodVerdict]:
    """Yield the running pods that violate the goal, and stay, although nothing is wrong with what makes them."""
    faulty = {item.proposal.name for item in workloads if item.proposal.patch or _left(item)}
    return (pod for pod in pods if not pod.finished and not pod.passing and pod.owner not in faulty)


def pod_blockers(workloads: Iterable[Surveyed], pods: Sequence[PodVerdict], delete: str) -> Iterator[Blocker]:
    """Yield pods that violate the goal although nothing is wrong with what makes them.

    ``delete`` is the command that deletes the namespace's pods that have run to their end.
    """
    older = {pod.uid for pod in older_pods(workloads, pods)}
    for pod in pods:
        name = f"pod {pod.name}"
        what = f"{name} violates it: {pod.words}"
        if pod.finished:
            why = "it has finished and does not change any more, but the API server still warns about it"
            choice = f"delete it, or all finished pods: {delete}"
            yield Blocker(pod.owner or name, "", what, why, (choice,), other_cause="finished pods")
        elif pod.uid in older:
            why = "its template meets it: the pod is older than the template, or an admission webhook changes new pods"
            yield Blocker(pod.owner or name, "", what, why, other_cause="running pods")


def _left(item: Surveyed) -> bool:
    return any(planned.plan.remaining for planned in item.proposal.planned)


def label_blockers(name: str, managers: Iterable[Manager], origin: Origin = (), file: str = "") -> Iterator[Blocker]:
    """Yield that others manage the Pod Security labels of a namespace, and would revert a write.

    ``file`` is the file of a checkout that they are set in, if any.
    """
    choices: tuple[str, ...] = (
        "set its Pod Security labels at their source",
        "--even-if-managed writes them anyway",
    )
    if file:
        choices = (f"--write sets them in {file}, enforce once everything that runs meets the level",)
    for manager in managers:
        what = f"its labels are managed by {manager.name}"
        yield Blocker(
            f"Namespace {name}",
            "",
            what,
            manager.consequence,
            choices,
            manager.name,
            other_cause="managed by others",
            origin=origin,
        )


def unread(name: str, problems: Iterable[Problem]) -> Iterator[Blocker]:
    """Yield which parts of a namespace could not be read."""
    return (Blocker(f"Namespace {name}", "", item.message, other_cause="could not be read") for item in problems)


def reapply_notes(namespaces: Iterable[NamespaceSurvey]) -> Iterator[str]:
    """Yield how many workloads lose edits to the next write of their manifests, a line for each kind of write."""
    counts = Counter(item.by for one in namespaces for surveyed in one.to_fix for item in surveyed.proposal.reapplied)
    for by, count in sorted(counts.items()):
        noun = f"{count:,} workload{'s' if count > 1 else ''}"
        yield f"the next {by} reverts or conflicts with edits of {noun}: make the change in the manifests too"


def exemption(name: str, server: ServerWord, now: InForce) -> Iterator[Blocker]:
    """Yield that the API server is configured to exempt a namespace (admission/api, PodSecurityExemptions)."""
    said = server.exempts
    if said or now.exempt == "namespace":
        what = said or f'namespace "{name}" is exempt from Pod Security: a pod that violates everything is admitted'
        why = "the API server's configuration exempts it from every level"
        yield Blocker(f"Namespace {name}", "", what, why, other_cause="exempt")


def completed_pods(names: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield a note on the workloads, by namespace, whose pods meet the level and whose templates do not."""
    found = [name for some in names for name in some]
    if found:
        what = f"{found[0]} has a template" if len(found) == 1 else f"{len(found):,} workloads have templates"
        yield f"{what} below the level and pods that meet it, because admission mutates them: no edit is needed"

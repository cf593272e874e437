"""Live workloads: plan → server dry-run of exactly the patch → proof that a pod would be admitted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.errors import ClusterError, Conflict, InputError, NotPermitted
from kubectl_harden.field_path import field_path
from kubectl_harden.json_differences import differences
from kubectl_harden.json_values import ABSENT, copied
from kubectl_harden.live.find import Finder, Live, Targets, prepared
from kubectl_harden.live.managers import Manager, managers_of
from kubectl_harden.live.origin import Origins
from kubectl_harden.live.ownership import Entry, Transfer, transfers
from kubectl_harden.live.reapply import Reapplied, reapplied
from kubectl_harden.live.trial import admission, dry_runs, is_one_too_many, start_is_proven, takes_down, why_no_trial
from kubectl_harden.model import Policy, Problem
from kubectl_harden.objects import finished, generated_from, is_static, missing_pods, name_of
from kubectl_harden.origin_model import Origin
from kubectl_harden.plan_model import Planned
from kubectl_harden.planning.json_patch import Operation, operations
from kubectl_harden.planning.object_plan import planned
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.messages import POD_SECURITY, rejecter_of
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import evaluate, worded

__all__ = [
    "UNPATCHABLE",
    "ApplyOptions",
    "Proposal",
    "fresh",
    "guarded",
    "propose",
    "propose_all",
    "prove_pods",
    "tries",
    "with_way_back",
]

RETRIES: Final = 5
"""How often a new plan is made because someone else changed the object meanwhile."""


def tries() -> Iterator[int]:
    """Count the tries, with a pause before each further one: controllers write an object's status in bursts."""
    for attempt in range(RETRIES):
        if attempt:
            time.sleep(0.05 * 2**attempt)
        yield attempt


_LONGEST: Final = 200
"""How many characters of a value are shown."""
_DEFAULTS: Final[Mapping[str | int, object]] = {"defaultMode": 420}
"""What the API server adds to fields that an edit may set (pkg/apis/core/v1/defaults.go)."""
UNPATCHABLE: Final = ("Pod", "Job")
_JOB_LABELS: Final = (
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "job-name",
    "batch.kubernetes.io/job-name",
)
_DAEMON_SET_COUNT: Final = "deprecated.daemonset.template.generation"
"""An annotation in which the API server counts a DaemonSet's changes (pkg/registry/apps/daemonset/strategy.go)."""

_SERVER_FIELDS: Final = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink")


class ApplyOptions(NamedTuple):
    """What the user allows: to delete and create what cannot be patched, to patch what others manage.

    ``trial`` says whether one new pod is started first: always, never, or (None) where a pod is taken down first and it
    is not proven that the new one starts. Without ``rollback``, it is not required that the old pods could come back.
    """

    recreate: bool = False
    even_if_managed: bool = False
    trial: bool | None = None
    rollback: bool = True


class Proposal(NamedTuple):
    """What is to be done with a live workload, and what the server says about it.

    ``patch`` is an RFC 6902 patch without guards, empty where nothing is to do. ``returned`` is the object that the
    server's dry-run made (None: there was none), ``beyond`` what it changed besides the patch, ``warnings`` its Warning
    headers, ``unproven`` which proof is missing and why, ``refusal`` why the proposal will not be applied (``denied``:
    the cluster said so). ``recreate`` tells that the object is deleted and recreated, ``follow`` whether pods are
    expected to become ready. ``injected`` is what its pods violate and its template does not: an admission webhook or
    policy changes them. ``reapplied`` is what the next write from the manifests does to the edits. ``ownership`` is
    what the write does to the owners of the fields, ``owners`` (not None where a change is undone) who is to own them
    after it. ``trial`` tells that one new pod is started first, ``no_way_back`` why the pods as they are now would be
    refused. ``pods_refused`` is why the server refuses the pods of a state that is restored anyway, or those that a
    workload without a plan lacks. ``origin`` is where the object comes from, where that was asked for. ``by_policy``
    names the MutatingAdmissionPolicy that makes the edits to new pods, in place of a patch of the object.
    """

    live: Live
    planned: tuple[Planned, ...]
    patch: tuple[Operation, ...]
    goal: dict[str, Any]
    returned: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    managers: tuple[Manager, ...] = ()
    unproven: tuple[str, ...] = ()
    refusal: str | None = None
    denied: bool = False
    recreate: bool = False
    follow: bool = True
    problems: tuple[Problem, ...] = ()
    injected: tuple[str, ...] = ()
    reapplied: tuple[Reapplied, ...] = ()
    ownership: tuple[Transfer, ...] = ()
    owners: tuple[Entry, ...] | None = None
    pods_refused: str = ""
    trial: bool = False
    no_way_back: str = ""
    origin: Origin = ()
    by_policy: str = ""

    @property
    def name(self) -> str:
        """``Deployment shop/web``."""
        return name_of(self.live.resource.kind, self.live.value)

    def counted(self) -> Proposal:
        """Return the proposal without the objects, for counting."""
        kept = ("namespace", "name", "uid", "resourceVersion")
        metadata = self.live.value["metadata"]
        value = {"metadata": {key: metadata.get(key) for key in kept}}
        return self._replace(live=self.live.showing(value), goal={}, returned=None, ownership=(), owners=None)


def propose_all(
    finder: Finder, targets: Targets, fix: FixOptions, options: ApplyOptions, *, dry_run: bool
) -> Iterator[Proposal | Problem]:
    """Yield a proposal for each workload. Raises UsageError, and ClusterError before the first."""
    origins = Origins(finder.cluster)
    for found in prepared(finder.find(targets), fix.learn):
        if isinstance(found, Problem):
            yield found
            continue
        made = propose(finder.cluster, found, fix, options, dry_run=dry_run)
        if any(item.plan.edits or item.plan.remaining for item in made.planned):
            made = made._replace(origin=origins.of(found.value))
        yield made if made.patch else _with_missing_pods(finder.cluster, made)


def propose(cluster: Cluster, live: Live, fix: FixOptions, options: ApplyOptions, *, dry_run: bool = True) -> Proposal:
    """Return what to do with a workload; with ``dry_run`` the server has judged it.

    Where someone changes the object meanwhile, it is read and planned again.
    """
    for _ in tries():
        proposal = _planned(live, fix, cluster.manager)
        why = _refusal(cluster, proposal, options)
        proposal = proposal if why is None else proposal._replace(refusal=why)
        if not dry_run or not proposal.patch or proposal.live.owner is not None:
            return proposal
        if proposal.recreate and proposal.refusal is not None:
            return proposal
        try:
            judged = _judged(cluster, proposal, live.value["metadata"].get("managedFields") or ())
            return with_way_back(cluster, judged, options)
        except Conflict:
            try:
                live = live.changed({**live.resource.head, **cluster.get(live.resource, live.namespace, live.name)})
                live.subject.templates()
            except (ClusterError, InputError) as error:
                return proposal._replace(refusal=str(error), denied=True)
    return proposal._replace(
        denied=True, refusal=f"it was changed by others {RETRIES} times while it was planned; try again later"
    )


# -- the plan ----------------------------------------------------------------------------------------


def _planned(live: Live, fix: FixOptions, ours: str) -> Proposal:
    managed = live.value
    live = live.showing(_without_managed_fields(managed))
    made = planned(live.subject, fix)
    edits = [edit for item in made.planned for edit in item.plan.edits]
    return Proposal(
        live,
        made.planned,
        tuple(operations(edits)),
        made.value,
        managers=managers_of(managed, (edit.path for edit in edits), ours) if edits else (),
        reapplied=reapplied(live.subject, managed["metadata"].get("managedFields") or (), edits, made.value),
        recreate=live.resource.kind in UNPATCHABLE and live.resource.group in ("", "batch"),
        problems=made.problems,
    )


def _without_managed_fields(value: dict[str, Any]) -> dict[str, object]:
    """Return an object without managedFields, which are half of it and only show its managers."""
    metadata = {key: item for key, item in value["metadata"].items() if key != "managedFields"}
    return {**value, "metadata": metadata}


def _refusal(cluster: Cluster, proposal: Proposal, options: ApplyOptions) -> str | None:
    """Return why a plan is not applied, before the server is asked."""
    live = proposal.live
    if not proposal.patch:
        return None
    if is_static(live.value):
        return f"a static pod: edit its manifest on node {live.value['spec'].get('nodeName', '?')}"
    if live.owner is not None:
        return f"made by {live.owner}, which would revert the change: make it there"
    if proposal.managers and not options.even_if_managed:
        manager = proposal.managers[0]
        return f"managed by {manager.name}: {manager.consequence}. --even-if-managed patches it anyway"
    if proposal.recreate:
        if finished(live.value):
            kind = live.resource.kind
            command = cluster.connection.commands.kubectl("delete", kind.lower(), live.name, namespace=live.namespace)
            words = "has finished: correct its manifest for the next one, and delete it:"
            return f"this {kind} {words} {command}"
        if not options.recreate and all(op["path"].startswith("/spec/ephemeralContainers/") for op in proposal.patch):
            words = "can be neither changed nor removed: --recreate deletes the pod and creates it without"
            return f"a debug container {words}"
        if not options.recreate:
            return (
                f"a {live.resource.kind} cannot be changed in place: --recreate deletes and recreates it"
                f"{', and its work starts over' if live.resource.kind == 'Job' else ''}"
            )
    return None


# -- what the server says ------------------------------------------------------------------------------


def guarded(live: Live, patch: Iterable[Operation]) -> list[Operation]:
    """Return a patch that applies to exactly this state of the object."""
    return [
        {"op": "test", "path": "/metadata/uid", "value": live.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": live.version},
        *patch,
    ]


def _judged(cluster: Cluster, proposal: Proposal, managed: Sequence[Entry]) -> Proposal:
    """Dry-run a proposal and prove that its pods would be admitted; ``managed`` are its owners now. Raises Conflict."""
    live = proposal.live
    try:
        if proposal.recreate:
            trial = fresh(proposal.goal)
            trial["metadata"]["generateName"] = generated_from(trial["metadata"].pop("name"))
            answer = cluster.create(live.resource, live.namespace, trial, dry_run=True)
        else:
            answer = cluster.patch(
                live.resource, live.namespace, live.name, guarded(live, proposal.patch), dry_run=True
            )
    except Conflict:
        raise
    except NotPermitted as error:
        why = proposal.refusal or str(error)
        return proposal._replace(refusal=why, denied=True, unproven=(f"no server dry-run: {error}",))
    except ClusterError as error:
        return proposal._replace(denied=True, refusal=f"the API server refuses the change: {error}")
    returned = _without_managed_fields(answer.value)
    edits = [edit for item in proposal.planned for edit in item.plan.edits]
    judged = proposal._replace(
        # The server leaves out a false that a plan sets.
        reapplied=reapplied(live.subject, managed, edits, proposal.goal if proposal.recreate else returned),
        returned=returned,
        ownership=tuple(transfers(managed, answer.value["metadata"].get("managedFields") or ())),
        warnings=answer.warnings,
        beyond=tuple(
            _beyond(fresh(proposal.goal), fresh(returned)) if proposal.recreate else _beyond(proposal.goal, returned)
        ),
    )
    undone = list(_undone(judged))
    if undone:
        return judged._replace(
            denied=True,
            refusal="the server (an admission webhook or policy) undoes the fix: "
            f"its own result still violates {live.policy}: {'; '.join(undone)}",
        )
    if live.resource.kind in ("Pod", "PodTemplate"):
        return judged
    return prove_pods(cluster, judged)


def _with_missing_pods(cluster: Cluster, proposal: Proposal) -> Proposal:
    """Ask whether the missing pods of a workload without a plan are admitted: admission may add violations."""
    told = any(item.plan.remaining for item in proposal.planned)
    if told or not proposal.planned or (missing_pods(proposal.live.value) or 0) <= 0:
        return proposal
    proved = prove_pods(cluster, proposal, level_only=True)
    return proved._replace(refusal=None, denied=False, pods_refused=proved.refusal or "")


def with_way_back(cluster: Cluster, proposal: Proposal, options: ApplyOptions) -> Proposal:
    """Have a trial pod started first where a running pod is taken down; refuse where neither a trial nor a rollback is
    possible.
    """
    live = proposal.live
    down = takes_down(live.value) and not start_is_proven(proposal.planned)
    if proposal.refusal is not None or not (down or options.trial):
        return proposal
    old = live.changed(fresh(live.value)) if live.resource.kind == "Pod" else live
    refused, _ = admission(cluster, old) if down else (None, "")
    proposal = proposal._replace(no_way_back="" if refused is None else str(refused))
    why = "--no-trial is given"
    if options.trial is not False:
        new = fresh(proposal.goal) if proposal.recreate else proposal.returned or proposal.goal
        why = why_no_trial(cluster, live.changed(new))
        if not why:
            return proposal._replace(trial=True)
        if options.trial:
            proposal = proposal._replace(unproven=(*proposal.unproven, f"that a new pod starts, by a trial: {why}"))
    if not proposal.no_way_back or not options.rollback:
        return proposal
    return proposal._replace(
        refusal="it takes pods down that could not come back, since they would be refused now "
        f"({proposal.no_way_back}), and nothing proves that the new ones start (no trial pod: {why}). Evidence "
        "(--inspect-images, --observed) may; fix --no-rollback makes the change anyway, with no rollback"
    )


def _undone(proposal: Proposal) -> Iterator[str]:
    """Yield what the plan fixed and is still wrong in the object that the server returned."""
    subject = proposal.live.subject.changed(proposal.returned or {})
    for item, location in zip(proposal.planned, subject.templates(), strict=False):
        left = {(remaining.reason, remaining.detail) for remaining in item.plan.remaining}
        for reason, text in _findings(subject.pod(location), item.policy):
            if reason not in left:
                yield text


def _beyond(goal: dict[str, object], returned: dict[str, object]) -> Iterator[str]:
    """Yield what the server changed besides the patch, a line each, but for defaults of what the patch adds."""
    for path, ours, theirs in differences(_comparable(goal), _comparable(returned)):
        if ours is ABSENT and _DEFAULTS.get(path[-1]) == theirs:
            continue
        where = field_path(path)
        if ours is ABSENT:
            yield f"sets {where} to {_shown(theirs)}"
        elif theirs is ABSENT:
            yield f"removes {where}, which is {_shown(ours)}"
        else:
            yield f"changes {where} from {_shown(ours)} to {_shown(theirs)}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _comparable(value: dict[str, object]) -> dict[str, Any]:
    """Return an object without what the server sets by itself."""
    out = copied({key: item for key, item in value.items() if key != "status"})
    for key in (*_SERVER_FIELDS, "name", "generateName"):
        out["metadata"].pop(key, None)
    (out["metadata"].get("annotations") or {}).pop(_DAEMON_SET_COUNT, None)
    return out  # type: ignore[no-any-return]


def prove_pods(cluster: Cluster, proposal: Proposal, *, level_only: bool = False) -> Proposal:
    """Dry-run a pod of each template, and judge the pod that the server returns.

    With ``level_only``, a refusal by anything other than Pod Security admission (a quota, say) is noted as unproven.
    """
    live = proposal.live
    warnings = list(proposal.warnings)
    unproven = list(proposal.unproven)
    injected: list[str] = []
    value = proposal.live.value if proposal.returned is None else proposal.returned
    left = {(item.reason, item.detail) for planned in proposal.planned for item in planned.plan.remaining}
    for answer in dry_runs(cluster, live.changed(value)):
        if isinstance(answer, NotPermitted):
            return proposal._replace(unproven=(*unproven, f"that its pods are admitted: {answer}"))
        if isinstance(answer, ClusterError):
            rejecter = rejecter_of(str(answer))
            if (level_only and rejecter != POD_SECURITY) or is_one_too_many(live.value, rejecter):
                unproven.append(f"that its pods are admitted: {answer}")
                continue
            why = [item.why for planned in proposal.planned for item in planned.plan.remaining]
            if not why or rejecter != POD_SECURITY:
                return proposal._replace(denied=True, refusal=f"its pods would be refused: {answer}")
            words = "; ".join(dict.fromkeys(why))
            return proposal._replace(refusal=f"its pods would still be refused: {answer} ({words})")
        warnings.extend(warning for warning in answer.warnings if warning not in warnings)
        pod = Pod(answer.value, is_pod=True, decoded=True)
        injected.extend(text for reason, text in _findings(pod, live.policy) if reason not in left)
    return proposal._replace(warnings=tuple(warnings), unproven=tuple(unproven), injected=tuple(injected))


def _findings(pod: Pod, policy: Policy) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield (reason, detail) and their text for what a policy forbids in a pod."""
    for _, finding in evaluate(pod, policy):
        yield (finding.reason, finding.detail), worded(finding.reason, finding.detail)


def fresh(value: dict[str, object]) -> dict[str, Any]:
    """Return a Pod or Job as it could be recreated: without what the server and its admission filled in."""
    out: dict[str, Any] = copied({key: item for key, item in value.items() if key != "status"})
    for key in _SERVER_FIELDS:
        out["metadata"].pop(key, None)
    spec = out["spec"]
    if value["kind"] == "Pod":
        for key in ("nodeName", "ephemeralContainers"):
            spec.pop(key, None)
        _without_token(spec)
    elif not spec.get("manualSelector"):
        spec.pop("selector", None)
        for metadata in (out["metadata"], spec.get("template", {}).get("metadata") or {}):
            for key in _JOB_LABELS:
                (metadata.get("labels") or {}).pop(key, None)
    return out


def _without_token(spec: dict[str, Any]) -> None:
    """Drop the service account's token volume, which admission adds to every new pod under a new name."""
    names = {
        v["name"] for v in spec.get("volumes") or () if v["name"].startswith("kube-api-access-") and "projected" in v
    }
    if not names:
        return
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in names]
    for key in ("containers", "initContainers"):
        for container in spec.get(key) or ():
            mounts = [mount for mount in container.get("volumeMounts") or () if mount["name"] not in names]
            container.pop("volumeMounts", None)
            if mounts:
                container["volumeMounts"] = mounts

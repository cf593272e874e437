"""A pod that admission refuses: whether it would be admitted now, what is at fault, and what to do.

What makes the pods now is tried: a ReplicaSet's template is its Deployment's unless that is paused, a Job keeps its
own, and below a partition a StatefulSet makes pods of an older revision (pkg/controller/statefulset,
newVersionedStatefulSetPod).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.cluster.api import Resource
from kubectl_harden.cluster.command import Commands
from kubectl_harden.errors import ClusterError
from kubectl_harden.live.find import Finder, Live
from kubectl_harden.live.made_pods import Trial, Trials
from kubectl_harden.live.mutators import Mutators
from kubectl_harden.model import Checked, Policy
from kubectl_harden.objects import conditions_of, name_of
from kubectl_harden.planning.verdict import judged
from kubectl_harden.pod_security.messages import POD_SECURITY, Message, Said, read_messages, rejecter_of
from kubectl_harden.pod_security.namespace_labels import policy_of_words

__all__ = ["Injected", "Judge", "Rejected", "advice", "run_end"]

Keeps = Literal["", "job", "paused", "partition"]

_REVISIONS: Final = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
_MADE_FIRST: Final = {"Deployment": "ReplicaSet", "CronJob": "Job"}
_HASH: Final = "pod-template-hash"
_NAMES: Final = re.compile(r'\bcontainers? ("[^"]*"(?:, "[^"]*")*)')
_ORDINAL: Final = re.compile(r'[Pp]ods? "?[a-z0-9.-]+-(\d+)\b')
_WITHOUT: Final = {
    "istio-init": "Istio's CNI node agent does its work without it",
    "istio-validation": "its version of Istio may inject it without what the level demands",
    "linkerd-init": "Linkerd's CNI plugin does its work without it",
}
"""Containers that meshes inject, and what makes them unnecessary (documentation of Istio and Linkerd)."""


class Injected(NamedTuple):
    """What admission adds to a pod that violates the level: containers, and other things in the API server's words.

    ``by`` names the webhooks or policies that may have done it, as far as they are known.
    """

    containers: tuple[str, ...]
    violations: tuple[Said, ...]
    by: tuple[str, ...]


class Rejected(NamedTuple):
    """Pods of a workload that admission refuses, or has refused.

    ``live`` is the object to edit. ``message`` has the API server's current words where it was asked, else the
    controller's. ``since`` is when it began (RFC 3339), as far as it is known, ``missing`` how many pods are not there
    (None: its kind does not say). ``trial`` is what the API server says now about the pod that the controller would
    create. ``checked`` is the verdict on the template of the object to edit, ``violations`` are the pod's. ``makers``
    create the pods now, where they keep another template than the object to edit has (``keeps`` says why). ``injected``
    is what no template has. ``ended`` tells how a run has ended.
    """

    live: Live
    rejecter: str
    message: str
    since: str
    missing: int | None
    trial: Trial
    checked: tuple[Checked, ...] = ()
    violations: tuple[Said, ...] = ()
    keeps: Keeps = ""
    makers: tuple[str, ...] = ()
    injected: Injected | None = None
    ended: str = ""

    @property
    def stale(self) -> bool:
        """Whether the API server would admit the pod now."""
        return self.trial.admitted is True

    @property
    def template_violates(self) -> bool:
        """Whether the template of the object to edit violates the policy in force."""
        return any(item.violations for item in self.checked)

    def joined(self, other: Rejected) -> Rejected:
        """Return one for two of the same object to edit; a refusal takes precedence over what would be admitted now."""
        first, second = (other, self) if self.stale and not other.stale else (self, other)
        missing = None if first.missing is None or second.missing is None else first.missing + second.missing
        makers = first.makers if second.stale and not first.stale else (*first.makers, *second.makers)
        return first._replace(
            missing=missing, since=min(first.since, second.since), makers=tuple(dict.fromkeys(makers))
        )


def run_end(value: dict[str, object]) -> str | None:
    """Return how a run of a custom resource has ended: "" for success, None where it has not ended, or that is not
    known.
    """
    status = value.get("status")
    status = status if isinstance(status, dict) else {}
    phase = status.get("phase")
    if phase in ("Succeeded", "Completed", "Complete"):
        return ""
    if phase in ("Failed", "Error"):
        return str(phase)
    for condition in conditions_of(value):
        if condition.get("type") == "Succeeded":
            return {"True": "", "False": str(condition.get("reason") or "Failed")}.get(str(condition.get("status")))
    return None


class Judge:
    """Judges refusals by the current state of the cluster."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._cluster = finder.cluster
        self._trials = Trials(finder.cluster, finder.notes)
        self._mutators = Mutators(finder.cluster, finder.notes)

    def judged(self, maker: Live, live: Live, message: str, since: str, missing: int | None) -> Rejected:
        """Return the verdict on a refusal of the pods that ``maker`` creates; ``live`` is the object to edit.

        Raises InputError for a template that is not valid.
        """
        self._finder.in_force.hear(live.namespace, [message])
        enforced, certain = self._enforced(live.namespace)
        told = _pod_security(message)
        if enforced is None and told is not None and not certain:
            enforced = policy_of_words(told.policy, self._cluster.minor())._replace(origin="admission's words")
        keeps, template, trial = self._tried(maker, live, message, enforced)
        if trial.admitted is False:
            message, told = trial.message, _pod_security(trial.message)
            if told is not None and (enforced is None or str(enforced) != told.policy):
                enforced = policy_of_words(told.policy, self._cluster.minor())
        rejecter = rejecter_of(message) or "the API server"
        held = live if enforced is None else live.held_to(enforced)
        checked = judged(held.subject).checked if enforced is not None else ()
        injected = None
        violations: tuple[Said, ...] = ()
        if told is not None and trial.admitted is not True:
            violations = told.violations
            if trial.admitted is False and enforced is not None:
                injected = self._injected(template.held_to(enforced), told)
        return Rejected(
            held,
            rejecter,
            message,
            since,
            missing,
            trial,
            checked,
            violations,
            keeps,
            (maker.name,) if keeps else (),
            injected,
            run_end(maker.value) or "" if maker.resource.group not in ("", "apps", "batch") else "",
        )

    def _enforced(self, namespace: str) -> tuple[Policy | None, bool]:
        """Return the policy that refuses pods in a namespace now, and whether that is certain."""
        try:
            labels = self._cluster.namespace_labels(namespace)
        except ClusterError:
            now = self._finder.in_force.of(namespace)
        else:
            # The user may be exempt; the controller, which was refused, is not.
            now = self._finder.in_force.settled(namespace, labels)
        return now.enforced, "enforce" not in now.unknown

    def _tried(self, maker: Live, live: Live, message: str, enforced: Policy | None) -> tuple[Keeps, Live, Trial]:
        """Return what keeps another template than the object to edit has, what has it, and what the server says."""
        if re.search(r"\b(?:claim|pvc)\b", message, re.IGNORECASE):
            return "", maker, Trial(None, "what is refused is a volume claim of it, and not the pod")
        if maker.resource.kind in _MADE_FIRST:
            made = _MADE_FIRST[maker.resource.kind]
            return "", maker, Trial(None, f"what is refused is the {made} that makes the pods, and not a pod")
        keeps: Keeps = ""
        template = maker
        if maker.uid != live.uid:
            if maker.resource.kind == "Job":
                keeps = "job"
            elif maker.resource.kind == "ReplicaSet" and live.resource.kind in ("Deployment", "Rollout"):
                if live.value["spec"].get("paused"):
                    keeps = "paused"
                else:
                    template = live.changed(_with_hash(live.value, maker.value))
        elif _is_kept_by_partition(maker, message):
            keeps = "partition"
            try:
                template = self._revision(maker)
            except ClusterError as error:
                return keeps, maker, Trial(None, f"the older revision of its template cannot be read: {error}")
        return keeps, template, self._asked(template, maker, enforced)

    def _revision(self, maker: Live) -> Live:
        """Return a StatefulSet with the template that its partition keeps. Raises ClusterError."""
        name = str(maker.value["status"]["currentRevision"])
        data = self._cluster.get(_REVISIONS, maker.namespace, name).get("data") or {}
        kept = dict((data.get("spec") or {}).get("template") or {})
        kept.pop("$patch", None)
        return maker.changed({**maker.value, "spec": {**maker.value["spec"], "template": kept}})

    def _asked(self, template: Live, maker: Live, enforced: Policy | None) -> Trial:
        """Return what the API server says of the pods of all templates of an object: of the first that it refuses."""
        found: list[Trial] = []
        for location in template.subject.templates():
            trial = self._trials.of(template.namespace, template.value, location, enforced, maker.value)
            if trial.admitted is False:
                return trial
            found.append(trial)
        kind = template.resource.kind
        unknown = Trial(None, f"where a {kind} has the template of its pods is not known")
        return next((trial for trial in found if trial.admitted is None), found[0] if found else unknown)

    def _injected(self, template: Live, told: Message) -> Injected | None:
        """Return what a pod violates and the template that it was made of does not."""
        subject = template.subject
        locations = subject.templates()
        if not locations or told.truncated:
            return None
        own = {(item.reason, item.detail) for checked in judged(subject).checked for item in checked.violations}
        beyond = tuple(said for said in told.violations if (said.reason, said.detail) not in own)
        if not beyond:
            return None
        known = {
            str(container.get("name"))
            for location in locations
            for key in ("containers", "initContainers")
            for container in (location.value.get("spec") or {}).get(key) or ()
        }
        named = [name for said in beyond for name in named_containers(said.detail)]
        containers = tuple(dict.fromkeys(name for name in named if name not in known))
        metadata = locations[0].value.get("metadata") or {}
        by = self._mutators.named(
            template.namespace, metadata.get("labels") or {}, metadata.get("annotations") or {}, containers
        )
        return Injected(containers, beyond, by)


def named_containers(detail: str) -> list[str]:
    """Return the containers that the detail of a violation names."""
    return [name for match in _NAMES.finditer(detail) for name in re.findall(r'"([^"]*)"', match[1])]


def _pod_security(message: str) -> Message | None:
    """Return what Pod Security admission says in a message, or None where it is not from it."""
    if rejecter_of(message) != POD_SECURITY:
        return None
    return next((item for item in read_messages(message) if item.rejecter == POD_SECURITY and not item.warned), None)


def _with_hash(top: dict[str, Any], maker: dict[str, Any]) -> dict[str, object]:
    """Return a Deployment whose pods are labelled as those of its ReplicaSet."""
    labels = ((maker["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
    marks = {key: text for key, text in labels.items() if key.endswith(_HASH)}
    template = top["spec"]["template"]
    metadata = template.get("metadata") or {}
    changed = {**template, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **marks}}}
    return {**top, "spec": {**top["spec"], "template": changed}}


def _is_kept_by_partition(maker: Live, message: str) -> bool:
    """Whether the refused pod is one that a StatefulSet creates from its older revision."""
    if (maker.resource.group, maker.resource.kind) != ("apps", "StatefulSet"):
        return False
    spec, status = maker.value["spec"], maker.value.get("status") or {}
    partition = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition", 0)
    match = _ORDINAL.search(message)
    if match is None or not status.get("currentRevision") or status["currentRevision"] == status.get("updateRevision"):
        return False
    start = int((spec.get("ordinals") or {}).get("start", 0))
    return int(match[1]) < start + int(partition)


# -- what is to do ---------------------------------------------------------------------------------------


def advice(found: Rejected, commands: Commands) -> tuple[str, ...]:
    """Return what a person has to do besides editing a template, a sentence each."""
    if found.stale or found.rejecter != POD_SECURITY:
        return ()
    return tuple(_advice(found, commands))


def _advice(found: Rejected, commands: Commands) -> Iterator[str]:
    live = found.live
    name = name_of(live.resource.kind, live.value)
    fixed = bool(found.checked) and not found.template_violates
    if found.keeps == "job":
        yield _jobs(found, name, fixed, commands)
    elif found.keeps == "paused":
        command = commands.kubectl("rollout", "resume", f"deployment/{live.name}", namespace=live.namespace)
        if live.resource.kind != "Deployment":
            patch = json.dumps({"spec": {"paused": False}})
            command = commands.kubectl(
                "patch", live.resource.name, live.name, "--type", "merge", "-p", patch, namespace=live.namespace
            )
        old = f"{name} is paused, so its pods still come from the template of ReplicaSet {found.makers[0]}"
        yield (
            f"the template has been fixed since, but {old}; resume it: {command}"
            if fixed
            else f"{old}: when the template is fixed, resume it: {command}"
        )
    elif found.keeps == "partition":
        patch = json.dumps({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
        command = commands.kubectl(
            "patch", "statefulset", live.name, "--type", "merge", "-p", patch, namespace=live.namespace
        )
        state = "the template has been fixed since, but" if fixed else "when the template is fixed:"
        yield f"{state} the partition of {name} keeps this pod at the older one: lower the partition with {command}"
    if found.injected is not None:
        yield from _injection(found.injected, live.policy)
    if found.ended:
        yield f"its run has ended ({found.ended}) and is not tried again: start it again when this is fixed"


def _jobs(found: Rejected, name: str, fixed: bool, commands: Commands) -> str:
    jobs = found.makers
    one = len(jobs) == 1
    what = f"Job {jobs[0]} keeps" if one else f"{len(jobs)} Jobs keep"
    spec = found.live.value.get("spec") or {}
    after = {
        "Forbid": f"; with concurrencyPolicy Forbid no other starts before {'it is' if one else 'they are'} gone",
        "Replace": "; the next run replaces it",
    }.get(str(spec.get("concurrencyPolicy")), "; the next run makes a new one")
    command = commands.kubectl("delete", "job", *jobs, namespace=found.live.namespace)
    state = f"the template of {name} has been fixed since, but" if fixed else "when the template is fixed:"
    kept = "the template that it was made of" if one else "the template that they were made of"
    return f"{state} {what} {kept}, which cannot be changed{after}; to delete {'it' if one else 'them'}: {command}"


def _injection(injected: Injected, policy: Policy) -> Iterator[str]:
    by = listed(injected.by) or "an admission webhook or policy"
    if injected.containers:
        one = len(injected.containers) == 1
        names = ", ".join(f'"{name}"' for name in injected.containers)
        what = f"{'container' if one else 'containers'} {names}"
        yield (
            f"{what} {'is' if one else 'are'} injected by {by}, so no edit to the template fixes "
            f"{'it' if one else 'them'}: have the injector make {'it' if one else 'them'} meet {policy.level}, "
            "or keep it from these pods"
        )
        yield from (f"{name}: {_WITHOUT[name]}" for name in injected.containers if name in _WITHOUT)
    else:
        reasons = ", ".join(said.reason for said in injected.violations)
        words = f"changes the pods so that they violate {policy.level} ({reasons})"
        yield f"{by} {words}: no edit of the template fixes that"


def listed(names: Sequence[str]) -> str:
    """Return one name, or that it is one of several; nothing for none."""
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}" if names else ""

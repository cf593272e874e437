"""Workloads that nobody can edit: their plans as policies that change their new pods at admission.

A policy is created, proved by server dry-runs of pods, and deleted again where the proof fails. Both of its objects
carry the run in an annotation, by which they are found even if the answer to their creation was lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from threading import Event
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import PODS, WORKLOADS, Cluster, Resource
from kubectl_harden.errors import ClusterError, HardenError, InputError, NotFound, NotPermitted
from kubectl_harden.json_values import copied
from kubectl_harden.live.apply import Outcome
from kubectl_harden.live.find import Live
from kubectl_harden.live.in_force import PoliciesInForce
from kubectl_harden.live.journal import Change, Journal
from kubectl_harden.live.made_pods import Trials, made_pod
from kubectl_harden.live.needed_mutations import needed
from kubectl_harden.live.propose import Proposal, fresh
from kubectl_harden.live.workload_pods import RESTARTABLE, is_completed, keys_of, level_of
from kubectl_harden.objects import annotation, finished, group_version
from kubectl_harden.planning.admission_policy import GROUP, WORKLOAD, PolicyObjects, policy_objects
from kubectl_harden.pod_security.messages import rejecter_of
from kubectl_harden.pod_security.policy import evaluate, worded

__all__ = [
    "Creator",
    "delete_created",
    "is_forgotten",
    "needed_objects_for",
    "objects_for",
    "policy_resources",
    "refused_without",
    "served_version",
]

RUN: Final = "kubectl-harden/run"
"""Annotation of what a run has created."""
_POLICIES: Final = "mutatingadmissionpolicies"
_BINDINGS: Final = "mutatingadmissionpolicybindings"
LAG_SECONDS: Final = 30.0
"""How long the API server may take to apply a new policy (it watches them, and reads them again every few seconds)."""


def served_version(cluster: Cluster) -> str:
    """Return the version in which the API server has MutatingAdmissionPolicies. Raises ClusterError where it has none.

    That is v1 since Kubernetes 1.36; v1beta1 (1.34) and v1alpha1 (1.32) are off unless they are enabled
    (kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy).
    """
    for resource in cluster.resources():
        if (resource.group, resource.plural) == (GROUP, _POLICIES):
            return resource.version
    raise ClusterError(
        "the API server does not have MutatingAdmissionPolicies, so no policy can change pods at admission: "
        f"{GROUP}/v1 has them since Kubernetes 1.36, v1beta1 (1.34) and v1alpha1 (1.32) must be enabled"
    )


def policy_resources(version: str) -> tuple[Resource, Resource]:
    """Return the resources of policies and of their bindings in an API version."""
    return (
        Resource(GROUP, version, _POLICIES, "MutatingAdmissionPolicy", namespaced=False),
        Resource(GROUP, version, _BINDINGS, "MutatingAdmissionPolicyBinding", namespaced=False),
    )


def objects_for(proposal: Proposal, version: str, expires: str) -> PolicyObjects | None:
    """Return the policy and the binding that make a proposal's edits to new pods, None where there are no edits.

    ``version`` is the API version, ``expires`` a day. Raises InputError where no policy can be made.
    """
    live = proposal.live
    steps = [step for item in proposal.planned for step in item.plan.steps]
    if not steps:
        return None
    templates = live.subject.templates()
    if len(templates) != 1 or templates[0].spread or not templates[0].pod_security_context:
        raise InputError(f"a {live.resource.kind} creates pods that differ from its template, so no policy is made")
    checks = dict.fromkeys(check for step in steps for check in step.checks)
    reason = f"its pod template does not meet {live.policy}: {', '.join(checks)}"
    return policy_objects(live.value, templates[0].value, steps, version=version, reason=reason, expires=expires)


def needed_objects_for(trials: Trials, proposal: Proposal, version: str, expires: str) -> PolicyObjects | None:
    """Return the same with the mutations that new pods need, as the API server shows. Raises InputError."""
    if objects_for(proposal, version, expires) is None:
        return None
    found = needed(trials, proposal)
    objects = objects_for(found.proposal, version, expires)
    return objects if objects is None else objects._replace(needed=found.words())


# -- create and prove --------------------------------------------------------------------------------------


class _Stranger(NamedTuple):
    """A pod that a policy must not change, why it belongs to something else, and the namespace of its dry-run."""

    what: str
    namespace: str
    pod: dict[str, Any]


class Creator:
    """Creates policies, one call each. A set ``stop`` ends the waiting; a policy that is not proved by then is deleted.

    ``old_pods`` tells whether older pods are named, with the command that replaces them.
    """

    def __init__(
        self, cluster: Cluster, journal: Journal, stop: Event, report: Callable[[str], None], *, old_pods: bool = True
    ) -> None:
        self._cluster = cluster
        self._journal = journal
        self._stop = stop
        self._report = report
        self._old_pods_named = old_pods
        self._trials = Trials(cluster, [])
        self._made: list[tuple[str, Resource, dict[str, Any]]] = []

    def create(self, proposal: Proposal, objects: PolicyObjects) -> Outcome:
        """Create a policy and its binding, and prove them. Errors of the cluster become outcomes.

        Raises HardenError for the journal's.
        """
        live = proposal.live
        name = objects.policy["metadata"]["name"]
        self._made = made = []
        try:
            why = self._why_not(live, objects)
            if why:
                return Outcome(proposal, "refused", why)
            strangers = list(_strangers(live, objects))
            before = [self._seen(stranger) for stranger in strangers]
            values = [self._marked(value) for value in (objects.policy, objects.binding)]
            for value in values:
                self._cluster.create(_resource(value), None, value, dry_run=True)
        except ClusterError as error:
            return Outcome(proposal, "failed", f"no policy is created: {error}")
        try:
            for value in values:
                resource = _resource(value)
                change = self._journal.begin(_target(resource, value), [], [], {}, value, created=True)
                made.append((change, resource, value))
                answer = self._cluster.create(resource, None, value, dry_run=False)
                self._journal.done(change, [], answer.value["metadata"]["uid"])
            self._report(f"{proposal.name}: waiting until the API server knows {name} …")
            trouble = self._unproved(live, objects, strangers, before)
        except ClusterError as error:
            trouble = str(error)
        if not trouble:
            for change, _, _ in made:
                self._journal.followed(change, "proved by dry-runs")
            return Outcome(proposal, "applied", self._words(live, name, objects.needed, strangers, before))
        return self.take_back(proposal, trouble)

    def _marked(self, value: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = copied(value)
        out["metadata"]["annotations"][RUN] = self._journal.run
        return out

    def _why_not(self, live: Live, objects: PolicyObjects) -> str:
        """Return why a policy is not created, "" where it may be. Raises ClusterError."""
        name = objects.policy["metadata"]["name"]
        for value in (objects.policy, objects.binding):
            resource = _resource(value)
            with suppress(NotFound):
                self._cluster.get(resource, None, name)
                both = (f"mutatingadmissionpolicybinding/{name}", f"mutatingadmissionpolicy/{name}")
                command = self._cluster.connection.commands.kubectl("delete", *both, "--ignore-not-found")
                return f"{resource.kind} {name} already exists; to remove it: {command}"
        admitted, meets, words = self._asked(live)
        if admitted is None:
            return f"nothing would prove the policy: {words}"
        return f"its new pods meet {live.policy} already, because admission mutates them" if meets else ""

    def _asked(self, live: Live) -> tuple[bool | None, bool, str]:
        """Return whether a new pod of a workload is admitted, whether it meets the level, and what is wrong with it."""
        trial = self._trials.of(live.namespace, live.value, live.subject.templates()[0], live.policy)
        if trial.pod is None:
            return trial.admitted, False, trial.message
        try:
            level, meets = level_of(trial.pod, live.policy)
        except InputError as error:
            return True, False, str(error)
        return True, meets, "" if meets else f"its pods are at {level}, and not at {live.policy}"

    def _unproved(self, live: Live, objects: PolicyObjects, strangers: list[_Stranger], before: list[object]) -> str:
        """Return why a policy is not proved, "" where it is. Raises ClusterError."""
        deadline = time.monotonic() + LAG_SECONDS
        while True:
            _, meets, words = self._asked(live)
            if meets:
                break
            if self._stop.is_set():
                return "interrupted before the policy was proved"
            if time.monotonic() > deadline:
                left_out = f"; no policy can edit {', '.join(objects.left_out)}" if objects.left_out else ""
                return f"with the policy, {words}{left_out}"
            self._stop.wait(0.3)
        for stranger, seen in zip(strangers, before, strict=True):
            if self._seen(stranger) != seen:
                return f"it would change {stranger.what}, too"
        return ""

    def _seen(self, stranger: _Stranger) -> object:
        """Return the spec of a pod after admission, or who refuses it."""
        try:
            answer = self._cluster.create(PODS, stranger.namespace, stranger.pod, dry_run=True)
        except NotPermitted as error:
            return error.__class__
        except ClusterError as error:
            return rejecter_of(str(error)) or error.__class__
        return fresh({**answer.value, "kind": "Pod"})["spec"]

    def _words(self, live: Live, name: str, shown: str, strangers: list[_Stranger], before: list[object]) -> str:
        """Return what is proved, and which pods are older than the policy."""
        proved = [one.what for one, seen in zip(strangers, before, strict=True) if isinstance(seen, dict)]
        words = f"its new pods meet {live.policy} by MutatingAdmissionPolicy {name}"
        words += f", which leaves alone {', '.join(proved)} (server dry-runs)" if proved else " (server dry-run)"
        words += f"; {shown}" if shown else ""
        if not self._old_pods_named:
            return words
        try:
            old = sorted(self._old_pods(live))
        except ClusterError as error:
            return f"{words}; which pods are older is not known: {error}"
        if not old:
            return words
        named = ", ".join(old[:3]) + (f" and {len(old) - 3} more" if len(old) > 3 else "")
        words += f"; {named} {'is' if len(old) == 1 else 'are'} older and will stay below it until recreated"
        if live.resource.kind in RESTARTABLE:
            commands = self._cluster.connection.commands
            words += f": {commands.kubectl('rollout', 'restart', live.target, namespace=live.namespace)}"
        return words

    def _old_pods(self, live: Live) -> Iterator[str]:
        for pod in self._cluster.each(PODS, live.namespace):
            if finished(pod) or (live.resource.kind, live.name) not in keys_of(pod):
                continue
            with suppress(InputError):
                if not level_of(pod, live.policy)[1]:
                    yield pod["metadata"]["name"]

    def take_back(self, proposal: Proposal, trouble: str) -> Outcome:
        """Delete what the last call has created, the binding first. Raises HardenError for the journal's."""
        undo = self._cluster.connection.commands.harden("undo", self._journal.run)
        for change, resource, value in reversed(self._made):
            try:
                left = _deleted(self._cluster, resource, value["metadata"]["name"], self._journal.run)
            except HardenError as error:
                left = str(error)
            if left:
                words = f"{trouble}; {resource.kind} {value['metadata']['name']} is still there ({left}): {undo}"
                return Outcome(proposal, "left", words)
            self._journal.undone(change, trouble)
        return Outcome(proposal, "skipped" if self._stop.is_set() else "rolled back", f"no policy remains: {trouble}")


def is_forgotten(cluster: Cluster, live: Live, stop: Event) -> bool:
    """Wait until the API server knows that the policy of a workload is gone; a set ``stop`` ends the waiting.

    False where its new pods still meet the level. Raises InputError.
    """
    trials, deadline = Trials(cluster, []), time.monotonic() + LAG_SECONDS
    while is_completed(live, trials, live.policy):
        if stop.is_set() or time.monotonic() > deadline:
            return False
        stop.wait(0.3)
    return True


def _strangers(live: Live, objects: PolicyObjects) -> Iterator[_Stranger]:
    """Yield pods that differ from those of a workload in one of the things that identify them."""
    own = made_pod(live.value, live.subject.templates()[0], live.value)

    def other(what: str, change: Callable[[dict[str, Any]], object], namespace: str = live.namespace) -> _Stranger:
        pod: dict[str, Any] = copied(own)
        change(pod["metadata"])
        return _Stranger(what, namespace, pod)

    if own["metadata"].get("ownerReferences"):
        yield other("pods of another controller", lambda about: about["ownerReferences"][0].update(name="other"))
        yield other("pods without a controller", lambda about: about.pop("ownerReferences"))
    labels = objects.policy["spec"]["matchConstraints"]["objectSelector"].get("matchLabels") or {}
    if labels:
        changed = {min(labels): "other"}
        yield other("pods with other labels", lambda about: about.setdefault("labels", {}).update(changed))
    elsewhere = "default" if live.namespace != "default" else "kube-public"
    yield other(f"pods in namespace {elsewhere}", lambda _about: None, elsewhere)


# -- take back ---------------------------------------------------------------------------------------------


def refused_without(cluster: Cluster, change: Change, lowered: Collection[str] = ()) -> str:
    """Return why a workload's new pods would be refused without the policy of a change, "" where nothing says so.

    Namespaces that are ``lowered`` first are not asked. Raises ClusterError.
    """
    kind, _, name = str(annotation(change.after, WORKLOAD)).partition(" ")
    namespace, _, name = name.partition("/")
    resource = next((known for known in WORKLOADS if known.kind == kind and known != PODS), None)
    unknown = f"whether new pods of {kind} {namespace}/{name} would be refused without it is not known"
    if namespace in lowered:
        return ""
    if resource is None:
        return unknown
    try:
        value = {**resource.head, **cluster.get(resource, namespace, name)}
    except NotFound:
        return ""
    in_force = PoliciesInForce(cluster).of(namespace)
    enforced = in_force.enforced
    if enforced is None:
        # Without a reason, the server was asked: a pod that violates everything is admitted.
        return f"{unknown}: {in_force.why}" if in_force.why and "enforce" in in_force.unknown else ""
    try:
        live = Live.of(resource, value, enforced)
        findings = [
            finding for location in live.subject.templates() for _, finding in evaluate(location.pod(), enforced)
        ]
    except InputError as error:
        return f"{unknown}: {error}"
    words = ", ".join(worded(finding.reason, finding.detail) for finding in findings)
    return f"new pods of {kind} {namespace}/{name} would be refused by {enforced} without it: {words}" if words else ""


def delete_created(cluster: Cluster, run: str, change: Change, *, dry_run: bool) -> str:
    """Delete what a change of a run has created, and return why it is not deleted ("" where it is gone).

    Raises ClusterError.
    """
    named = change.object
    group, version = group_version(named["apiVersion"])
    resource = Resource(group, version, named["resource"], named["kind"], namespaced=False)
    return _deleted(cluster, resource, named["name"], run, dry_run=dry_run)


def _deleted(cluster: Cluster, resource: Resource, name: str, run: str, *, dry_run: bool = False) -> str:
    try:
        value = cluster.get(resource, None, name)
    except NotFound:
        return ""
    metadata = value["metadata"]
    if (metadata.get("annotations") or {}).get(RUN) != run:
        return "another object has its name now"
    if metadata.get("generation", 1) != 1:
        return "someone has changed it since"
    with suppress(NotFound):
        cluster.delete(resource, None, name, metadata["uid"], dry_run=dry_run)
    return ""


def _resource(value: dict[str, Any]) -> Resource:
    policies, bindings = policy_resources(group_version(value["apiVersion"])[1])
    return bindings if value["kind"] == bindings.kind else policies


def _target(resource: Resource, value: dict[str, Any]) -> dict[str, str]:
    return {**resource.head, "resource": resource.plural, "namespace": "", "name": value["metadata"]["name"], "uid": ""}

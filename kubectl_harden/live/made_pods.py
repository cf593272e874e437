"""The pod that a controller makes from a template, and what the API server says about it in a dry-run.

Pods are refused, not templates: admission may change a pod (webhooks, MutatingAdmissionPolicies, OpenShift's
SecurityContextConstraints) before Pod Security admission sees it. Nothing is created.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import PODS, Cluster
from kubectl_harden.errors import ClusterError, Denied, InputError, NotPermitted
from kubectl_harden.live.in_force import CONTROLLER
from kubectl_harden.model import Policy
from kubectl_harden.objects import controller_of, generated_from
from kubectl_harden.planning.admission_policy import TEMPLATE_HASHES
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.messages import POD_SECURITY, rejecter_of
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.policy import evaluate

__all__ = ["Trial", "Trials", "made_pod"]

_CONTROLLERS: Final = {
    "StatefulSet": "statefulset-controller",
    "DaemonSet": "daemon-set-controller",
    "Job": "job-controller",
    "ReplicationController": "replication-controller",
}
"""By kind, the service account that makes its pods (plugin/pkg/auth/authorizer/rbac/bootstrappolicy)."""

_HASH: Final = "trial"
"""Stands for the hash of a pod template."""


class Trial(NamedTuple):
    """What the API server says about a pod that a controller would make.

    ``admitted`` None: it is not known, and ``message`` says why; False: ``message`` is the refusal in the API server's
    words. ``pod`` is the pod as admission made it, where it was admitted.
    """

    admitted: bool | None
    message: str = ""
    pod: dict[str, Any] | None = None


def made_pod(value: dict[str, Any], location: Location, owner: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the pod that is made from one of an object's templates; ``owner`` is what makes it, if known."""
    template = location.value
    metadata = template.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    spec = template.get("spec")
    name = str(value["metadata"]["name"])
    claims = value["spec"].get("volumeClaimTemplates") if value.get("kind") == "StatefulSet" else None
    if claims:
        spec = {**spec, "volumes": _with_claims(spec.get("volumes") or [], claims, name)}
    made_by = owner or {}
    if made_by.get("kind") == "Pod":
        controller = controller_of(made_by)
        kept = kept if controller is None else {**kept, "ownerReferences": [controller]}
    elif (made_by.get("metadata") or {}).get("uid"):
        reference, labels = _reference(made_by)
        # Without blockOwnerDeletion, which needs permissions of its own (OwnerReferencesPermissionEnforcement).
        kept = {**kept, "ownerReferences": [{**reference, "uid": made_by["metadata"]["uid"], "controller": True}]}
        if labels:
            kept["labels"] = {**(kept.get("labels") or {}), **labels}
        name = str(made_by["metadata"]["name"])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**kept, "generateName": generated_from(name)},
        "spec": spec,
    }


def _reference(made_by: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what a pod names as its controller, and the labels that it gets from there.

    A Deployment and a Rollout make ReplicaSets, a CronJob makes Jobs, and these make the pods.
    """
    name = str(made_by["metadata"]["name"])
    if made_by["kind"] in TEMPLATE_HASHES:
        child = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{name}-{_HASH}"}
        return child, {TEMPLATE_HASHES[made_by["kind"]]: _HASH}
    if made_by["kind"] == "CronJob":
        job = f"{name}-1"
        labels = {"job-name": job, "batch.kubernetes.io/job-name": job}
        return {"apiVersion": "batch/v1", "kind": "Job", "name": job}, labels
    return {"apiVersion": made_by["apiVersion"], "kind": made_by["kind"], "name": name}, {}


def _with_claims(volumes: list[Any], claims: list[Any], name: str) -> list[object]:
    """Return the volumes of a StatefulSet's first pod (pkg/controller/statefulset, updateStorage)."""
    own = [
        {
            "name": claim["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": f"{claim['metadata']['name']}-{name}-0"},
        }
        for claim in claims
    ]
    named = {volume["name"] for volume in own}
    return [*own, *(volume for volume in volumes if volume["name"] not in named)]


class Trials:
    """Has the API server judge pods, as the user, and as the controller where the answer may differ.

    ``notes`` get what went wrong when it was asked.
    """

    def __init__(self, cluster: Cluster, notes: list[str]) -> None:
        self._cluster = cluster
        self._notes = notes
        self._as_controller = True
        self._not_permitted: dict[str, str] = {}

    def of(
        self,
        namespace: str,
        value: dict[str, Any],
        location: Location,
        policy: Policy | None,
        owner: dict[str, Any] | None = None,
    ) -> Trial:
        """Return what the API server says about the pod of one of an object's templates, in a namespace.

        ``owner`` is what makes the pod (the object itself where it is None). ``policy`` is what the namespace enforces,
        as far as it is known: where a pod that violates it is admitted, the user may be exempt.
        """
        if location.spread or not location.pod_security_context:
            return Trial(
                None, f"the controller of a {value['kind']} does not make its pods from this template as it is"
            )
        maker = value if owner is None else owner
        pod = made_pod(value, location, maker)
        if namespace in self._not_permitted:
            return Trial(None, self._not_permitted[namespace])
        own = self._asked(namespace, pod, "")
        if own.admitted is None:
            return own
        by_others = own.admitted is False and rejecter_of(own.message) != POD_SECURITY
        exempt = own.pod is not None and policy is not None and self._violates(own.pod, policy)
        if not (by_others or exempt):
            return own
        service_account = _CONTROLLERS.get(str(maker.get("kind")))
        user = CONTROLLER if service_account is None else f"system:serviceaccount:kube-system:{service_account}"
        named = self._asked(namespace, pod, user) if self._as_controller else Trial(None)
        if named.admitted is not None:
            return named
        self._as_controller = False
        if by_others:
            return own
        why = (
            "the API server admits its pod from you, although it violates the level: you are exempt, and its controller"
        )
        return Trial(None, f"{why} may not be; you may not ask in the controller's name")

    def _asked(self, namespace: str, pod: dict[str, object], user: str) -> Trial:
        try:
            answer = self._cluster.create(PODS, namespace, pod, dry_run=True, as_user=user)
        except NotPermitted as error:
            why = f"you may not create pods, so a dry-run cannot ask the API server: {error}"
            if not user:
                self._not_permitted[namespace] = why
            return Trial(None, why)
        except ClusterError as error:
            # A webhook that does not answer is an internal error of the server, and still refuses the pod.
            if isinstance(error, Denied) or rejecter_of(str(error)):
                return Trial(False, str(error))
            why = f"the API server cannot be asked by a dry-run of a pod: {error}"
            if why not in self._notes:
                self._notes.append(why)
            return Trial(None, why)
        return Trial(True, "", answer.value)

    @staticmethod
    def _violates(pod: dict[str, object], policy: Policy) -> bool:
        try:
            return bool(evaluate(Pod(pod, is_pod=True, decoded=True), policy))
        except InputError:
            return True

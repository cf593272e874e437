"""Who changes new pods: the mutating webhooks and policies of a cluster that match the pods of a namespace.

Sources: the types of admissionregistration.k8s.io (rules, selectors, bindings); the annotations of OpenShift and
Kyverno on the pods that they have changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.errors import ClusterError, NotPermitted
from kubectl_harden.json_values import mapping
from kubectl_harden.objects import annotation, matches
from kubectl_harden.planning.admission_policy import WORKLOAD

__all__ = ["BY_CONTROLLERS", "Mutators", "marks_of"]

_GROUP: Final = "admissionregistration.k8s.io"
_MARKS: Final = {
    "openshift.io/scc": "OpenShift's SecurityContextConstraints {}",
    "policies.kyverno.io/last-applied-patches": "Kyverno",
}
"""Annotations on pods that show who has changed them."""
_MOST: Final = 3
_OPENSHIFT: Final = ("security.openshift.io", "securitycontextconstraints")
"""Where these are, the API server itself changes pods (github.com/openshift/apiserver-library-go)."""
BY_CONTROLLERS: Final = re.compile(
    r"pod-template-hash|rollouts-pod-template-hash|controller-revision-hash|pod-template-generation"
    r"|job-name|controller-uid|(?:[a-z0-9.-]+\.)?kubernetes\.io/.*"
)
"""Keys of labels that the built-in controllers may add to those of a pod template."""


class _Mutator(NamedTuple):
    """One webhook or policy: its name, what it matches, and its content as text."""

    name: str
    namespaces: tuple[Any, ...]
    pods: tuple[Any, ...]
    text: str


class Mutators:
    """Tells who changes the pods of a namespace, as far as one may list them. It raises nothing.

    ``notes`` get what went wrong; a missing permission to list them does not count.
    """

    def __init__(self, cluster: Cluster, notes: list[str]) -> None:
        self._cluster = cluster
        self._notes = notes
        self._found: list[_Mutator] | None = None
        self._unknown = False
        self._values: dict[str, list[dict[str, Any]]] = {}

    def named(
        self,
        namespace: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        containers: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Return who may have changed a pod with these labels and annotations: those that name a container, if any do.

        Nothing is returned where none is known, or where more than a few match.
        """
        marked = [_MARKS[key].format(text) for key, text in marks_of(annotations).items()]
        if marked and not containers:
            return tuple(marked)
        try:
            of_namespace = self._cluster.namespace_labels(namespace)
        except ClusterError:
            of_namespace = {}
        matching = [
            item
            for item in self._all()
            if all(matches(selector, of_namespace) for selector in item.namespaces)
            and all(matches(selector, labels) for selector in item.pods)
        ]
        naming = [item for item in matching if any(json.dumps(name)[1:-1] in item.text for name in containers)]
        names = tuple(dict.fromkeys(item.name for item in naming or matching))
        return names if len(names) <= _MOST else ()

    def may_change(self, namespace: str, labels: Mapping[str, str] | None) -> bool:
        """Whether anything may change new pods in a namespace; also where that is not known.

        ``labels`` are those of the pod template of a built-in controller; with None, any pod of the namespace is meant.
        Webhooks in the API server's own configuration files are not seen.
        """
        found = self._all()
        if self._unknown:
            return True
        for item in found:
            if labels is not None and not all(matches(it, labels, of_others=BY_CONTROLLERS) for it in item.pods):
                continue
            if not any(item.namespaces):
                return True
            try:
                of_namespace = self._cluster.namespace_labels(namespace)
            except ClusterError:
                return True
            if all(matches(selector, of_namespace) for selector in item.namespaces):
                return True
        return False

    def made_for(self, workload: str) -> bool:
        """Whether a MutatingAdmissionPolicy was made for the new pods of a workload (``Deployment shop/web``)."""
        return any(annotation(value, WORKLOAD) == workload for value in self.own_policies())

    def own_policies(self) -> list[dict[str, Any]]:
        """Return the MutatingAdmissionPolicies that were made for workloads."""
        policies = self._listed("mutatingadmissionpolicies")
        return [value for value in policies if isinstance(annotation(value, WORKLOAD), str)]

    def _all(self) -> list[_Mutator]:
        if self._found is None:
            self._found = [*self._policies(), *self._webhooks()]
            self._unknown = self._unknown or self._changed_by_the_server()
        return self._found

    def _changed_by_the_server(self) -> bool:
        """Whether the API server itself changes pods, or its webhooks cannot be listed."""
        try:
            there = {(resource.group, resource.plural) for resource in self._cluster.resources()}
        except ClusterError:
            return True
        return _OPENSHIFT in there or (_GROUP, "mutatingwebhookconfigurations") not in there

    def _policies(self) -> Iterator[_Mutator]:
        bindings: dict[str, list[Any]] = {}
        for value in self._listed("mutatingadmissionpolicybindings"):
            spec = mapping(value.get("spec"))
            bindings.setdefault(str(spec.get("policyName")), []).append(mapping(spec.get("matchResources")))
        for value in self._listed("mutatingadmissionpolicies"):
            spec = mapping(value.get("spec"))
            limits = mapping(spec.get("matchConstraints"))
            if not _of_new_pods(limits.get("resourceRules") or ()):
                continue
            for narrower in bindings.get(str(value["metadata"]["name"]), ()):
                both = (limits, narrower)
                yield _Mutator(
                    f"MutatingAdmissionPolicy {value['metadata']['name']}",
                    tuple(item.get("namespaceSelector") for item in both),
                    tuple(item.get("objectSelector") for item in both),
                    json.dumps(spec).replace('\\"', '"'),
                )

    def _webhooks(self) -> Iterator[_Mutator]:
        for value in self._listed("mutatingwebhookconfigurations"):
            for webhook in value.get("webhooks") or ():
                if _of_new_pods(mapping(webhook).get("rules") or ()):
                    configuration = value["metadata"]["name"]
                    yield _Mutator(
                        f"the admission webhook {webhook.get('name')} (MutatingWebhookConfiguration {configuration})",
                        (webhook.get("namespaceSelector"),),
                        (webhook.get("objectSelector"),),
                        json.dumps(webhook),
                    )

    def _listed(self, plural: str) -> list[dict[str, Any]]:
        if plural not in self._values:
            self._values[plural] = []
            try:
                for resource in self._cluster.resources():
                    if (resource.group, resource.plural) == (_GROUP, plural):
                        self._values[plural] = list(self._cluster.each(resource, None))
            except NotPermitted:
                self._unknown = True
            except ClusterError as error:
                self._unknown = True
                self._notes.append(f"who changes new pods is not known: {error}")
        return self._values[plural]


def marks_of(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations by which those who have changed a pod can be told."""
    return {key: annotations[key] for key in _MARKS if annotations.get(key)}


def _of_new_pods(rules: Iterable[object]) -> bool:
    """Whether rules match the creation of pods (k8s.io/apiserver, pkg/admission/plugin/webhook/predicates/rules)."""
    return any(
        {"", "*"} & set(rule.get("apiGroups") or ())
        and {"pods", "*", "*/*"} & set(rule.get("resources") or ())
        and {"CREATE", "*"} & set(rule.get("operations") or ())
        for rule in rules
        if isinstance(rule, dict)
    )

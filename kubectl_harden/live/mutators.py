"""Who changes new pods: the mutating webhooks and policies of a cluster that match the pods of a namespace.

Sources: the types of admissionregistration.k8s.io (rules, selectors, bindings); the annotations of OpenShift and
Kyverno on the pods that they have changed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from kubectl_harden.cluster.api import Cluster
from kubectl_harden.errors import ClusterError, NotPermitted
from kubectl_harden.json_values import mapping
from kubectl_harden.objects import annotation, matches
from kubectl_harden.planning.admission_policy import WORKLOAD

__all__ = ["Mutators"]

_GROUP: Final = "admissionregistration.k8s.io"
_MARKS: Final = {
    "openshift.io/scc": "OpenShift's SecurityContextConstraints {}",
    "policies.kyverno.io/last-applied-patches": "Kyverno",
}
"""Annotations on pods by which those who have changed them can be told."""
_MOST: Final = 3


class _Mutator(NamedTuple):
    """One webhook or policy: what it is called, whom it matches, and all that it says."""

    name: str
    namespaces: tuple[Any, ...]
    pods: tuple[Any, ...]
    text: str


class Mutators:
    """Tells who changes the pods of a namespace, as far as one may list them. It raises nothing.

    ``notes`` get what went wrong; that one may not list them is no fault.
    """

    def __init__(self, cluster: Cluster, notes: list[str]) -> None:
        self._cluster = cluster
        self._notes = notes
        self._found: list[_Mutator] | None = None
        self._values: dict[str, list[dict[str, Any]]] = {}

    def named(
        self,
        namespace: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        containers: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Return who may have changed a pod with these labels and annotations: those that name a container, if any do.

        Nothing is returned where nobody is known, or where more than a few match.
        """
        marked = [text.format(annotations[key]) for key, text in _MARKS.items() if annotations.get(key)]
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
        names = tuple(item.name for item in naming or matching)
        return names if len(names) <= _MOST else ()

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
        return self._found

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
                break

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
                pass
            except ClusterError as error:
                self._notes.append(f"who changes new pods is not known: {error}")
        return self._values[plural]


def _of_new_pods(rules: Iterable[object]) -> bool:
    """Whether rules match the creation of pods (k8s.io/apiserver, pkg/admission/plugin/webhook/predicates/rules)."""
    return any(
        {"", "*"} & set(rule.get("apiGroups") or ())
        and {"pods", "*", "*/*"} & set(rule.get("resources") or ())
        and {"CREATE", "*"} & set(rule.get("operations") or ())
        for rule in rules
        if isinstance(rule, dict)
    )

"""MutatingAdmissionPolicies that change the new pods of a test's namespace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.control_plane import ApiError, Namespace
from tests.support.fleet import safe
from tests.support.harden import workload

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
NEW_PODS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
CONTEXT = (
    "Object.spec.securityContext{runAsNonRoot: true, runAsUser: 1000, "
    'seccompProfile: Object.spec.securityContext.seccompProfile{type: "RuntimeDefault"}}'
)
OF_CONTAINER = (
    "Object.spec.containers.securityContext{allowPrivilegeEscalation: false, "
    'capabilities: Object.spec.containers.securityContext.capabilities{drop: ["ALL"]}}'
)
COMPLETES = (
    f'[JSONPatch{{op: "add", path: "/spec/securityContext", value: {CONTEXT}}}, '
    f'JSONPatch{{op: "add", path: "/spec/containers/0/securityContext", value: {OF_CONTAINER}}}]'
)


def injects(name: str) -> str:
    security = (
        "Object.spec.initContainers.securityContext{runAsUser: 0, runAsNonRoot: false, capabilities: "
        'Object.spec.initContainers.securityContext.capabilities{add: ["NET_ADMIN"]}}'
    )
    container = (
        f'Object.spec.initContainers{{name: "{name}", image: "example.com/proxy:1", securityContext: {security}}}'
    )
    return f'[JSONPatch{{op: "add", path: "/spec/initContainers", value: [{container}]}}]'


@contextmanager
def mutating(namespace: Namespace, expression: str, shows: str, labels: dict[str, str] | None = None) -> Iterator[str]:
    """Have a MutatingAdmissionPolicy change the namespace's new pods; ``shows`` stands in each of them then.

    With ``labels`` only pods that have these are changed.
    """
    name, plane = f"change-{namespace.name}", namespace.plane
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    condition = {"name": "once", "expression": "!has(object.spec.initContainers)"}
    spec = {
        "matchConstraints": {
            "namespaceSelector": selector,
            "resourceRules": [NEW_PODS],
            **({"objectSelector": {"matchLabels": labels}} if labels else {}),
        },
        "matchConditions": [condition],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    policies = f"{ADMISSION}/mutatingadmissionpolicies"
    plane.request("POST", policies, {"metadata": {"name": name}, "spec": spec})
    bindings = f"{ADMISSION}/mutatingadmissionpolicybindings"
    plane.request("POST", bindings, {"metadata": {"name": name}, "spec": {"policyName": name}})
    trial = safe(workload("Pod", "asked"))
    trial["metadata"]["labels"] = labels or {}

    def changes() -> bool:
        try:
            return shows in str(plane.request("POST", f"{namespace.path('Pod')}?dryRun=All", trial))
        except ApiError as error:
            return shows in str(error)

    try:
        namespace.eventually(changes)
        yield name
    finally:
        plane.request("DELETE", f"{bindings}/{name}")
        plane.request("DELETE", f"{policies}/{name}")
    # Until the API server's cache has dropped them, pods are still changed.
    namespace.eventually(lambda: not changes())

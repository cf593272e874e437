"""The shapes of the objects that an API server returns, as far as anything here reads them.

An API server decodes what it stores by its own types, so its answers always have these shapes; what a proxy, a portal
or a hostile server sends instead is caught here and nowhere else. Source: the types of k8s.io/api and
metav1.ObjectMeta.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["SHAPES", "Shape", "fault"]

Shape = type | tuple[str, ...] | list[Any] | dict[str, Any]
"""A type; a choice of strings; a list of one shape; an object with the shape of each field (``name!`` is required,
``*`` is any field).
"""

_TEXTS: Final[Shape] = {"*": str}
_NAMED: Final[Shape] = [{"name": str}]
_METADATA: Final[dict[str, Shape]] = {
    "name!": str, "uid!": str, "creationTimestamp!": str, "resourceVersion": str, "namespace": str, "generation": int,
    "deletionTimestamp": str, "labels": _TEXTS, "annotations": _TEXTS, "finalizers": [str],
    "ownerReferences": [{"apiVersion!": str, "kind!": str, "name!": str, "uid!": str, "controller": bool}],
    "managedFields": [{"manager": str, "operation": str, "subresource": str, "fieldsV1": dict}],
}  # fmt: skip
_OF_HEADS: Final = ("name!", "uid!", "resourceVersion", "namespace", "labels", "ownerReferences")
"""What is read of an object's metadata where only metadata is requested."""
_CONDITIONS: Final[Shape] = [{"type!": str, "status!": str, "reason": str, "message": str, "lastTransitionTime": str}]

_SECCOMP: Final[Shape] = {"type": str, "localhostProfile": str}
_SECURITY: Final[dict[str, Shape]] = {
    "runAsUser": int, "runAsGroup": int, "runAsNonRoot": bool, "seccompProfile": _SECCOMP, "appArmorProfile": _SECCOMP,
    "seLinuxOptions": {"user": str, "role": str, "type": str, "level": str},
    "windowsOptions": {"hostProcess": bool, "runAsUserName": str},
}  # fmt: skip
_HANDLER: Final[Shape] = {
    "exec": {"command": [str]}, "httpGet": {"host": str, "path": str}, "tcpSocket": {"host": str},
}  # fmt: skip
_PROBES: Final = dict.fromkeys(("livenessProbe", "readinessProbe", "startupProbe"), _HANDLER)
_CONTAINERS: Final[Shape] = [
    {
        "name!": str, "image": str, "command": [str], "args": [str], "workingDir": str, "restartPolicy": str,
        "env": [{"name": str, "value": str}], "envFrom": [dict], **_PROBES,
        "ports": [{"name": str, "containerPort": int, "hostPort": int, "hostIP": str, "protocol": str}],
        "resources": {"requests": dict, "limits": dict},
        "volumeMounts": [{"name!": str, "mountPath": str, "subPath": str, "readOnly": bool}],
        "volumeDevices": [dict], "lifecycle": {"postStart": _HANDLER, "preStop": _HANDLER},
        "securityContext": {
            **_SECURITY, "privileged": bool, "allowPrivilegeEscalation": bool, "readOnlyRootFilesystem": bool,
            "procMount": str, "capabilities": {"add": [str], "drop": [str]},
        },
    }
]  # fmt: skip
_POD_SPEC: Final[Shape] = {
    **dict.fromkeys(("containers", "initContainers", "ephemeralContainers"), _CONTAINERS),
    **dict.fromkeys(("hostNetwork", "hostPID", "hostIPC", "hostUsers", "automountServiceAccountToken"), bool),
    **dict.fromkeys(("serviceAccountName", "nodeName", "runtimeClassName", "restartPolicy"), str),
    "os": {"name": str}, "nodeSelector": _TEXTS, "imagePullSecrets": _NAMED, "tolerations": [dict],
    "securityContext": {
        **_SECURITY, "fsGroup": int, "supplementalGroups": [int], "sysctls": [{"name!": str, "value": str}],
    },
    "volumes": [
        {"name!": str, "hostPath": {"path": str, "type": str}, "emptyDir": dict, "configMap": {"name": str},
         "secret": {"secretName": str}, "persistentVolumeClaim": {"claimName": str},
         "projected": {"sources": [dict]}, "csi": {"driver": str}}
    ],
}  # fmt: skip
_TEMPLATE: Final[Shape] = {"metadata": {"labels": _TEXTS, "annotations": _TEXTS}, "spec": _POD_SPEC}

_SELECTOR: Final[Shape] = {
    "matchLabels": _TEXTS,
    "matchExpressions": [{"key!": str, "operator!": ("In", "NotIn", "Exists", "DoesNotExist"), "values": [str]}],
}  # fmt: skip
_WORKLOAD_SPEC: Final[dict[str, Shape]] = {
    "replicas": int, "parallelism": int, "completions": int, "paused": bool, "suspend": bool, "template": _TEMPLATE,
    "selector": _SELECTOR,
    "strategy": {"type": str, "rollingUpdate": dict},
    "updateStrategy": {"type": str, "rollingUpdate": {"partition": int}},
    "volumeClaimTemplates": [{"metadata": {"name!": str}}], "ordinals": {"start": int},
}  # fmt: skip
_COUNTS: Final = (
    "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "active", "succeeded",
    "failed", "desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled", "numberAvailable",
)  # fmt: skip
_WORKLOAD_STATUS: Final[Shape] = {
    **dict.fromkeys(_COUNTS, int), "conditions": _CONDITIONS, "currentRevision": str, "updateRevision": str,
}  # fmt: skip
_WORKLOAD: Final[dict[str, Shape]] = {"spec!": _WORKLOAD_SPEC, "status": _WORKLOAD_STATUS}

_STATE: Final[Shape] = {
    "waiting": {"reason": str, "message": str}, "running": dict,
    "terminated": {"exitCode": int, "reason": str, "message": str},
}  # fmt: skip
_CONTAINER_STATUSES: Final[Shape] = [
    {"name!": str, "image": str, "imageID": str, "ready": bool, "restartCount": int, "state": _STATE,
     "lastState": _STATE, "user": {"linux": {"uid": int, "gid": int}}}
]  # fmt: skip
_RESOURCES: Final[Shape] = [
    {"resource!": str, "responseKind": {"kind!": str}, "shortNames": [str], "singularResource": str, "scope": str}
]

_NODE_INFO: Final = ("containerRuntimeVersion", "operatingSystem", "architecture", "kernelVersion", "kubeletVersion")
_RULES: Final[Shape] = [{"apiGroups": [str], "resources": [str], "operations": [str]}]
_MATCH: Final[Shape] = {"namespaceSelector": _SELECTOR, "objectSelector": _SELECTOR, "resourceRules": _RULES}
_ADMISSION: Final[dict[str, dict[str, Shape]]] = {
    "MutatingAdmissionPolicy": {"spec": {"matchConstraints": _MATCH}},
    "MutatingAdmissionPolicyBinding": {"spec": {"policyName": str, "matchResources": _MATCH}},
    "MutatingWebhookConfiguration": {
        "webhooks": [
            {"name!": str, "namespaceSelector": _SELECTOR, "objectSelector": _SELECTOR, "rules": _RULES}
        ]
    },
}  # fmt: skip

_KINDS: Final[dict[tuple[str, str], dict[str, Shape]]] = {
    **{("apps/v1", kind): _WORKLOAD for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")},
    ("batch/v1", "Job"): _WORKLOAD,
    ("batch/v1", "CronJob"): {
        "spec!": {"suspend": bool, "concurrencyPolicy": str, "jobTemplate": {"spec": _WORKLOAD_SPEC}},
        "status": {"active": _NAMED},
    },
    ("v1", "ReplicationController"): {
        "spec!": {"replicas": int, "selector": _TEXTS, "template": _TEMPLATE}, "status": _WORKLOAD_STATUS,
    },
    ("v1", "PodTemplate"): {"template": _TEMPLATE},
    ("v1", "Pod"): {
        "spec!": _POD_SPEC,
        "status": {
            "phase": str, "reason": str, "message": str, "conditions": _CONDITIONS,
            "containerStatuses": _CONTAINER_STATUSES, "initContainerStatuses": _CONTAINER_STATUSES,
            "ephemeralContainerStatuses": _CONTAINER_STATUSES,
        },
    },
    ("apps/v1", "ControllerRevision"): {"data": dict},
    **{
        (f"admissionregistration.k8s.io/{version}", kind): fields
        for version in ("v1", "v1beta1", "v1alpha1")
        for kind, fields in _ADMISSION.items()
    },
    ("v1", "Namespace"): {"status": {"phase": str}},
    ("v1", "Node"): {
        "spec": {"taints": [{"key!": str, "value": str, "effect": str}]},
        "status": {
            "nodeInfo": dict.fromkeys(_NODE_INFO, str),
            "runtimeHandlers": [{"name": str, "features": {"userNamespaces": bool}}],
        },
    },
    ("v1", "PersistentVolumeClaim"): {"spec": {"volumeName": str}},
    ("v1", "PersistentVolume"): {"spec": {"csi": {"driver": str}}},
    ("v1", "Event"): {
        "reason": str, "message": str, "eventTime": str, "firstTimestamp": str, "lastTimestamp": str, "type": str,
        "involvedObject!": {"apiVersion": str, "kind": str, "namespace": str, "name": str, "uid": str},
    },
    ("v1", "ResourceQuota"): {
        "spec": {"hard": _TEXTS, "scopes": [str], "scopeSelector": dict}, "status": {"hard": _TEXTS, "used": _TEXTS},
    },
    ("v1", "Secret"): {"type": str, "data": _TEXTS},
    ("v1", "ConfigMap"): {"data": _TEXTS},
    ("v1", "ServiceAccount"): {"imagePullSecrets": _NAMED},
}  # fmt: skip

SHAPES: Final[dict[tuple[str, str], Shape]] = {
    ("", ""): {"metadata!": _METADATA},
    **{about: {"metadata!": _METADATA, **fields} for about, fields in _KINDS.items()},
    ("meta.k8s.io/v1", "PartialObjectMetadata"): {"metadata!": {key: _METADATA[key] for key in _OF_HEADS}},
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview"): {"status!": {"allowed!": bool}},
    # What describes the API itself, in both forms.
    ("", "version"): {"minor!": str},
    ("", "APIGroupDiscoveryList"): {
        "items!": [{"metadata": {"name": str}, "versions": [{"version!": str, "resources": _RESOURCES}]}]
    },
    ("", "APIVersions"): {"versions!": [str]},
    ("", "APIGroupList"): {"groups!": [{"name!": str, "preferredVersion!": {"version!": str}}]},
    ("", "APIResourceList"): {
        "resources!": [
            {"name!": str, "kind!": str, "singularName": str, "shortNames": [str], "namespaced!": bool}
        ]
    },
    ("", "OpenAPI"): {"components": {"schemas": dict}},
    ("", "list"): {"metadata!": {"continue": str, "resourceVersion": str}},
    ("", "event"): {"type!": ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"), "object!": dict},
    ("", "bookmark"): {"metadata!": {"resourceVersion!": str}},
}  # fmt: skip
"""By apiVersion and kind; ("", "") is any object, and what has no apiVersion is named by what it is."""

_WORDS: Final = {str: "a string", int: "an integer", bool: "true or false", dict: "an object", list: "a list"}


def fault(value: object, shape: Shape) -> str | None:
    """Return what is wrong with a value that should have a shape, or None.

    Kubernetes treats null as a missing field: such fields are removed from ``value``.
    """
    found = _check_of(shape)(value)
    return None if found is None else f"{found[0] or 'it'} {found[1]}"


_Fault = tuple[str, str]
"""The path of a field, and what is wrong with it."""
_Check = Callable[[object], _Fault | None]

_CHECKS: Final[dict[int, tuple[_Check, Shape]]] = {}
"""The check of each shape, by identity, since shapes are constants; and the shape itself, so that it stays."""


def _check_of(shape: Shape) -> _Check:
    """Return the function that finds the fault in a value: it is built once and called a million times."""
    known = _CHECKS.get(id(shape))
    if known is None:
        if isinstance(shape, dict):
            made = _check_fields(shape)
        elif isinstance(shape, list):
            made = _check_items(shape[0])
        elif isinstance(shape, tuple):
            made = _check_word(shape)
        else:
            made = _check_type(shape)
        known = _CHECKS[id(shape)] = made, shape
    return known[0]


def _check_type(wanted: type) -> _Check:
    return lambda value: None if type(value) is wanted else ("", f"is not {_WORDS[wanted]}")


def _check_word(words: tuple[str, ...]) -> _Check:
    return lambda value: None if value in words else ("", f"is not one of {', '.join(words)}")


def _check_items(shape: Shape) -> _Check:
    inner = _check_of(shape)

    def check(value: object) -> _Fault | None:
        if type(value) is not list:
            return "", "is not a list"
        for index, item in enumerate(value):
            if type(item) is not shape and (found := inner(item)) is not None:
                path, words = found
                return f"[{index}].{path}" if path and path[0] != "[" else f"[{index}]{path}", words
        return None

    return check


def _check_fields(shape: dict[str, Shape]) -> _Check:
    needed = tuple(key[:-1] for key in shape if key.endswith("!"))
    inner = {key.removesuffix("!"): of if isinstance(of, type) else _check_of(of) for key, of in shape.items()}
    every = inner.get("*")
    of_field: Callable[..., type | _Check | None] = inner.get

    def check(value: object) -> _Fault | None:
        if type(value) is not dict:
            return "", "is not an object"
        nulls: list[str] = []
        for name, item in value.items():
            known = of_field(name, every)
            # Most fields are scalars of the right type: those cost no call.
            if known is None or type(item) is known:
                continue
            if item is None:
                nulls.append(name)
                continue
            found = (_check_type(known) if isinstance(known, type) else known)(item)
            if found is not None:
                path, words = found
                return f"{name}.{path}" if path and path[0] != "[" else f"{name}{path}", words
        for name in nulls:
            del value[name]
        for name in needed:
            if name not in value:
                return name, "is missing"
        return None

    return check

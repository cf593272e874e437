"""Which objects run pods, and where their pod templates are.

Built-in kinds are matched in every version of their groups, retired ones included. Custom resources
are a table of JSON pointers; ``*`` stands for every item of a list or every value of an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from typing import Any, Final, NamedTuple

from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.field_path import parse_pointer
from kubectl_harden.model import Path
from kubectl_harden.objects import api_group

__all__ = [
    "Location",
    "PodPaths",
    "argo_pod",
    "holders_of_pods",
    "holds_pods",
    "locate",
    "parse_pod_path",
    "pod_kinds",
]


PodPaths = Mapping[tuple[str, str], tuple[str, ...]]
"""(group, kind) → JSON pointers to its pod templates."""


MAX_TEMPLATES: Final = 1000
"""Pod templates of one object. Each plan is made on what the ones before it made of the whole object."""

MAX_SHARED: Final = 100_000
"""Containers and volumes of an Argo Workflow, counted in each template that has them."""


class Location(NamedTuple):
    """A pod template inside an object.

    ``value`` has the shape ``{"metadata": …, "spec": …}``. ``moved`` maps paths of that shape to
    paths of the object where the two differ (Argo Workflows); elsewhere ``path`` is the prefix. ``decoded``
    tells that an API server has decoded the value by its own types.
    """

    path: Path
    value: Any
    is_pod: bool = False
    pod_security_context: bool = True
    decoded: bool = False
    moved: tuple[tuple[Path, Path], ...] = ()

    def in_object(self, path: Path) -> Path:
        """Return the object's path for a path of the pod template."""
        for prefix, real in self.moved:
            if path[: len(prefix)] == prefix:
                return real + path[len(prefix) :]
        return self.path + path


_TEMPLATE: Final = ("/spec/template",)
_JOB_TEMPLATE: Final = ("/spec/jobTemplate/spec/template",)
_RAY_CLUSTER: Final = ("headGroupSpec/template", "workerGroupSpecs/*/template")

_BUILT_IN: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): ("",),
    ("", "PodTemplate"): ("/template",),
    ("", "ReplicationController"): _TEMPLATE,
    **{
        (group, kind): _TEMPLATE
        for group in ("apps", "extensions")
        for kind in ("Deployment", "ReplicaSet", "DaemonSet")
    },
    ("apps", "StatefulSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("extensions", "Job"): _TEMPLATE,
    ("batch", "CronJob"): _JOB_TEMPLATE,
    ("batch", "ScheduledJob"): _JOB_TEMPLATE,
    ("batch", "JobTemplate"): ("/template/spec/template",),
}

_CORE: Final = ("Pod", "PodTemplate", "ReplicationController")

_CUSTOM: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("apps.openshift.io", "DeploymentConfig"): _TEMPLATE,
    # As versions of OpenShift before 3.6 have it; later ones take it for the other.
    ("", "DeploymentConfig"): _TEMPLATE,
    ("argoproj.io", "Rollout"): _TEMPLATE,
    # OpenKruise
    ("apps.kruise.io", "CloneSet"): _TEMPLATE,
    ("apps.kruise.io", "StatefulSet"): _TEMPLATE,
    ("apps.kruise.io", "DaemonSet"): _TEMPLATE,
    ("apps.kruise.io", "BroadcastJob"): _TEMPLATE,
    ("apps.kruise.io", "AdvancedCronJob"): (
        "/spec/template/jobTemplate/spec/template",
        "/spec/template/broadcastJobTemplate/spec/template",
    ),
    ("apps.kruise.io", "UnitedDeployment"): (
        "/spec/template/statefulSetTemplate/spec/template",
        "/spec/template/advancedStatefulSetTemplate/spec/template",
        "/spec/template/cloneSetTemplate/spec/template",
        "/spec/template/deploymentTemplate/spec/template",
    ),
    # KubeRay
    ("ray.io", "RayCluster"): tuple(f"/spec/{path}" for path in _RAY_CLUSTER),
    ("ray.io", "RayJob"): (
        *(f"/spec/rayClusterSpec/{path}" for path in _RAY_CLUSTER),
        "/spec/submitterPodTemplate",
    ),
    ("ray.io", "RayService"): tuple(f"/spec/rayClusterConfig/{path}" for path in _RAY_CLUSTER),
    # Batch and serving of the Kubernetes SIGs
    ("jobset.x-k8s.io", "JobSet"): ("/spec/replicatedJobs/*/template/spec/template",),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): (
        "/spec/leaderWorkerTemplate/leaderTemplate",
        "/spec/leaderWorkerTemplate/workerTemplate",
    ),
    ("batch.volcano.sh", "Job"): ("/spec/tasks/*/template",),
    ("keda.sh", "ScaledJob"): ("/spec/jobTargetRef/template",),
    # Kubeflow's training operator
    ("kubeflow.org", "TFJob"): ("/spec/tfReplicaSpecs/*/template",),
    ("kubeflow.org", "PyTorchJob"): ("/spec/pytorchReplicaSpecs/*/template",),
    ("kubeflow.org", "XGBoostJob"): ("/spec/xgbReplicaSpecs/*/template",),
    ("kubeflow.org", "PaddleJob"): ("/spec/paddleReplicaSpecs/*/template",),
    ("kubeflow.org", "JAXJob"): ("/spec/jaxReplicaSpecs/*/template",),
    ("kubeflow.org", "MPIJob"): ("/spec/mpiReplicaSpecs/*/template",),
    # Agones
    ("agones.dev", "GameServer"): _TEMPLATE,
    ("agones.dev", "GameServerSet"): ("/spec/template/spec/template",),
    ("agones.dev", "Fleet"): ("/spec/template/spec/template",),
}

# Knative allows pod-level security fields only behind a feature flag, container-level ones always
# (https://knative.dev/docs/serving/configuration/feature-flags/).
_KNATIVE: Final = {
    ("serving.knative.dev", "Service"): _TEMPLATE,
    ("serving.knative.dev", "Configuration"): _TEMPLATE,
    ("serving.knative.dev", "Revision"): ("",),
}

_ARGO: Final = {
    "Workflow": "/spec",
    "WorkflowTemplate": "/spec",
    "ClusterWorkflowTemplate": "/spec",
    "CronWorkflow": "/spec/workflowSpec",
}


def parse_pod_path(text: str) -> tuple[tuple[str, str], str]:
    """Return ((group, kind), pointer) for ``KIND.GROUP=/json/pointer``; raises UsageError.

    The group of a custom resource has a dot (apiextensions, validateCustomResourceDefinitionSpec): others are
    Kubernetes' own, and where these keep their pods is known.
    """
    name, separator, where = text.partition("=")
    kind, _, group = name.partition(".")
    if not separator or not kind or not where.startswith("/"):
        raise UsageError(
            f'--pod-path "{text}": write KIND.GROUP=/json/pointer, such as Widget.example.com=/spec/template'
        )
    if "." not in group:
        raise UsageError(
            f'"{name}" is a built-in kind: where it keeps its pods is known; write KIND.GROUP=/json/pointer'
        )
    return (group, kind), where


def pod_kinds(extra: PodPaths) -> frozenset[str]:
    """Return the kinds of all objects that can hold a pod, whatever their group."""
    tables = (_BUILT_IN, _CUSTOM, _KNATIVE, extra)
    return frozenset(kind for table in tables for _, kind in table) | _ARGO.keys()


def holders_of_pods(extra: PodPaths) -> Iterator[tuple[str, str]]:
    """Yield the (group, kind) of all objects that can hold a pod, Kubernetes' own first, but for retired ones."""
    for group, kind in (*_BUILT_IN, *_CUSTOM, *_KNATIVE, *extra):
        if group != "extensions" and kind not in ("ScheduledJob", "JobTemplate") and (group or kind in _CORE):
            yield group, kind
    for kind in _ARGO:
        yield "argoproj.io", kind


def holds_pods(group: str, kind: str, extra: PodPaths) -> bool:
    """Whether it is known where objects of a kind hold their pods."""
    key = (group, kind)
    return any(key in table for table in (extra, _BUILT_IN, _CUSTOM, _KNATIVE)) or (
        group == "argoproj.io" and kind in _ARGO
    )


def locate(value: Any, extra: PodPaths) -> list[Location] | None:
    """Return the pod templates of an object, or None where its kind has none.

    ``extra`` maps (group, kind) to further pointers, which take nothing away from what is known of a kind. Raises
    InputError where the kind must have a pod template and the object has none, and for more than MAX_TEMPLATES.
    """
    found = _with_further(value, _located(value), extra)
    if found is not None and len(found) > MAX_TEMPLATES:
        raise InputError(f"has {len(found):,} pod templates; more than {MAX_TEMPLATES:,} are refused")
    return found


def _with_further(value: Any, known: list[Location] | None, extra: PodPaths) -> list[Location] | None:
    """Return the known pod templates of an object, and those that further pointers lead to."""
    pointers = extra.get((api_group(value["apiVersion"]), value["kind"])) if extra and _is_object(value) else None
    if pointers is None:
        return known
    if known is None:
        return _at(value, pointers, required=True)
    paths = {location.path for location in known}
    return [*known, *(more for more in _at(value, pointers, required=False) if more.path not in paths)]


def _is_object(value: Any) -> bool:
    return isinstance(value.get("apiVersion"), str) and isinstance(value.get("kind"), str)


def _located(value: Any) -> list[Location] | None:
    if not _is_object(value):
        return None
    kind = value["kind"]
    key = (api_group(value["apiVersion"]), kind)
    if key in _BUILT_IN:
        return _at(value, _BUILT_IN[key], required=True, is_pod=kind == "Pod")
    if key in _CUSTOM:
        return _at(value, _CUSTOM[key], required=False)
    if key in _KNATIVE:
        return _at(value, _KNATIVE[key], required=True, pod_security_context=False)
    if key[0] == "argoproj.io" and kind in _ARGO:
        return list(_argo_pods(value, parse_pointer(_ARGO[kind])))
    return None


def _at(
    value: Any,
    pointers: tuple[str, ...],
    *,
    required: bool,
    is_pod: bool = False,
    pod_security_context: bool = True,
) -> list[Location]:
    found = []
    for text in pointers:
        for path, template in _walk(value, parse_pointer(text), ()):
            found.append(Location(path, template, is_pod, pod_security_context))
    if required and not found:
        raise InputError("required: there is no pod template here", parse_pointer(pointers[0]))
    return found


def _walk(value: Any, parts: Path, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield what stands where the parts lead; wrong types yield nothing, null as much as absence."""
    if not parts:
        if value is not None:
            yield path, value
        return
    head, rest = parts[0], parts[1:]
    if isinstance(value, list):
        for index, item in enumerate(value):
            if head == "*" or head == str(index):
                yield from _walk(item, rest, (*path, index))
    elif isinstance(value, dict):
        keys = list(value) if head == "*" else [head] if head in value else []
        for key in keys:
            yield from _walk(value[key], rest, (*path, key))


def _argo_pods(value: Any, base: Path) -> Iterator[Location]:
    """Yield each template of an Argo Workflow that runs a pod, as the pod it becomes.

    After workflow/controller/workflowpod.go: the main container, sidecars and volumes are spread
    over the template and the workflow, whose securityContext counts where the template has none.
    """
    shared = 0
    workflow = next((found for _, found in _walk(value, base, ())), None)
    for where, template in _walk(workflow, ("templates", "*"), base):
        location = _argo_location(workflow, base, template, where)
        if location is None:
            continue
        spec = location.value["spec"]
        shared += len(spec["containers"]) + len(spec["volumes"])
        if shared > MAX_SHARED:
            raise InputError(
                f"its templates have more than {MAX_SHARED:,} containers and volumes, which is refused", base
            )
        yield location


def argo_pod(value: Any, known: Location) -> Location:
    """Return the location of a pod template of an Argo Workflow in another state of the Workflow."""
    base = parse_pointer(_ARGO[value["kind"]])
    workflow, template = (reduce(getitem, where, value) for where in (base, known.path))
    found = _argo_location(workflow, base, template, known.path)
    return known if found is None else found._replace(decoded=known.decoded)


def _argo_location(workflow: Any, base: Path, template: Any, where: Path) -> Location | None:
    if not isinstance(template, dict):
        return None
    containers: list[tuple[Path, Any]] = []
    for key in ("container", "script"):
        if isinstance(template.get(key), dict):
            containers.append(((*where, key), {"name": "main", **_without_source(template[key])}))
    containers.extend(_walk(template, ("containerSet", "containers", "*"), where))
    containers.extend(_walk(template, ("sidecars", "*"), where))
    if not containers:
        return None
    volumes = list(_walk(template, ("volumes", "*"), where)) + list(_walk(workflow, ("volumes", "*"), base))
    own = isinstance(template.get("securityContext"), dict)
    spec = {
        "containers": [item for _, item in containers],
        "volumes": [item for _, item in volumes],
        "initContainers": template.get("initContainers"),
        "securityContext": (template if own else workflow).get("securityContext"),
        "hostNetwork": workflow.get("hostNetwork"),
    }
    moved: list[tuple[Path, Path]] = [
        *((("spec", "containers", index), path) for index, (path, _) in enumerate(containers)),
        *((("spec", "volumes", index), path) for index, (path, _) in enumerate(volumes)),
        (("spec", "initContainers"), (*where, "initContainers")),
        (("spec", "securityContext"), (*(where if own else base), "securityContext")),
        (("spec", "hostNetwork"), (*base, "hostNetwork")),
    ]
    return Location(where, {"metadata": template.get("metadata"), "spec": spec}, moved=tuple(moved))


def _without_source(container: dict[str, Any]) -> dict[str, Any]:
    """Return a script template's container without the script, which is no container field."""
    return {key: item for key, item in container.items() if key != "source"}

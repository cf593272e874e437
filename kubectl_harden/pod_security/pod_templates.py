"""Which objects run pods, and where their pod templates are.

Built-in kinds are matched in every version of their groups, retired ones included. Custom resources
are a table of JSON pointers; ``*`` stands for every item of a list or every value of an object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.field_path import parse_pointer
from kubectl_harden.model import Path
from kubectl_harden.objects import api_group
from kubectl_harden.pod_security.location import Location

__all__ = [
    "PodPaths",
    "holders_of_pods",
    "holds_pods",
    "locate",
    "parse_pod_path",
    "pod_kinds",
]


PodPaths = Mapping[tuple[str, str], tuple[str, ...]]
"""(group, kind) → JSON pointers to its pod templates."""


MAX_TEMPLATES: Final = 1000
"""Pod templates of one object. Each plan starts from the whole object as the plans before it have changed it."""

_TEMPLATE: Final = ("/spec/template",)
_JOB_TEMPLATE: Final = ("/spec/jobTemplate/spec/template",)
_JOB_METRICS: Final = ("/spec/metrics/*/provider/job/spec/template",)
_RAY_CLUSTER: Final = ("headGroupSpec/template", "workerGroupSpecs/*/template")
_RAY_JOB: Final = (*(f"rayClusterSpec/{path}" for path in _RAY_CLUSTER), "submitterPodTemplate")

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
_RETIRED: Final = (("batch", "ScheduledJob"), ("batch", "JobTemplate"))

_CUSTOM: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("apps.openshift.io", "DeploymentConfig"): _TEMPLATE,
    # As in OpenShift before 3.6; later versions read it as the other one.
    ("", "DeploymentConfig"): _TEMPLATE,
    # Argo Rollouts: argoproj/argo-rollouts, pkg/apis/rollouts/v1alpha1, types.go (RolloutSpec), experiment_types.go
    # (ExperimentSpec, TemplateSpec), analysis_types.go (Metric, JobMetric; the specs of all three have metrics)
    ("argoproj.io", "Rollout"): _TEMPLATE,
    ("argoproj.io", "Experiment"): ("/spec/templates/*/template",),
    ("argoproj.io", "AnalysisTemplate"): _JOB_METRICS,
    ("argoproj.io", "ClusterAnalysisTemplate"): _JOB_METRICS,
    ("argoproj.io", "AnalysisRun"): _JOB_METRICS,
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
    # KubeRay: ray-project/kuberay, ray-operator/apis/ray/v1, raycluster_types.go, rayjob_types.go, rayservice_types.go,
    # raycronjob_types.go (its jobTemplate is the spec of a RayJob)
    ("ray.io", "RayCluster"): tuple(f"/spec/{path}" for path in _RAY_CLUSTER),
    ("ray.io", "RayJob"): tuple(f"/spec/{path}" for path in _RAY_JOB),
    ("ray.io", "RayCronJob"): tuple(f"/spec/jobTemplate/{path}" for path in _RAY_JOB),
    ("ray.io", "RayService"): tuple(f"/spec/rayClusterConfig/{path}" for path in _RAY_CLUSTER),
    # Batch and serving of the Kubernetes SIGs
    ("jobset.x-k8s.io", "JobSet"): ("/spec/replicatedJobs/*/template/spec/template",),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): (
        "/spec/leaderWorkerTemplate/leaderTemplate",
        "/spec/leaderWorkerTemplate/workerTemplate",
    ),
    # Volcano: volcano-sh/volcano, staging/src/volcano.sh/apis/pkg/apis, batch/v1alpha1/job.go (JobSpec, TaskSpec,
    # CronJobSpec, JobTemplateSpec), flow/v1alpha1/jobtemplate_types.go; the patches of a JobFlow are parts of these
    ("batch.volcano.sh", "Job"): ("/spec/tasks/*/template",),
    ("batch.volcano.sh", "CronJob"): ("/spec/jobTemplate/spec/tasks/*/template",),
    ("flow.volcano.sh", "JobTemplate"): ("/spec/tasks/*/template",),
    # Knative Eventing: knative/eventing, pkg/apis, sources/v1/container_types.go (becomes a Deployment), and
    # sinks/v1alpha1/job_sink_types.go (a Job)
    ("sources.knative.dev", "ContainerSource"): _TEMPLATE,
    ("sinks.knative.dev", "JobSink"): ("/spec/job/spec/template",),
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
_KINDS: Final = frozenset(kind for table in (_BUILT_IN, _CUSTOM, _KNATIVE) for _, kind in table) | _ARGO.keys()


def parse_pod_path(text: str) -> tuple[tuple[str, str], str]:
    """Return ((group, kind), pointer) for ``KIND.GROUP=/json/pointer``; raises UsageError.

    The group of a custom resource has a dot (apiextensions, validateCustomResourceDefinitionSpec): groups without one
    are Kubernetes' own, whose pod templates are known.
    """
    name, separator, where = text.partition("=")
    kind, _, group = name.partition(".")
    if not separator or not kind or not where.startswith("/"):
        raise UsageError(
            f'--pod-path "{text}": write KIND.GROUP=/json/pointer, such as Widget.example.com=/spec/template'
        )
    if "." not in group:
        raise UsageError(f'"{name}" is a built-in kind, whose pod templates are known; write KIND.GROUP=/json/pointer')
    return (group, kind), where


def pod_kinds(extra: PodPaths) -> frozenset[str]:
    """Return the kinds of all objects that can contain a pod, whatever their group."""
    return _KINDS | {kind for _, kind in extra}


def holders_of_pods(extra: PodPaths) -> Iterator[tuple[str, str]]:
    """Yield the (group, kind) of all objects that can contain a pod, Kubernetes' own first, without retired ones."""
    for group, kind in (*_BUILT_IN, *_CUSTOM, *_KNATIVE, *extra):
        retired = group == "extensions" or (group, kind) in _RETIRED or (not group and kind not in _CORE)
        if not retired:
            yield group, kind
    for kind in _ARGO:
        yield "argoproj.io", kind


def holds_pods(group: str, kind: str, extra: PodPaths) -> bool:
    """Whether it is known where objects of a kind have their pod templates."""
    key = (group, kind)
    return any(key in table for table in (extra, _BUILT_IN, _CUSTOM, _KNATIVE)) or (
        group == "argoproj.io" and kind in _ARGO
    )


def locate(value: object, extra: PodPaths) -> list[Location] | None:
    """Return the pod templates of an object, or None where its kind has none.

    ``extra`` maps (group, kind) to further pointers, which are added to the known ones of a kind. Raises
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
        from kubectl_harden.pod_security.argo import argo_pods  # late: few manifests are workflows

        return list(argo_pods(value, parse_pointer(_ARGO[kind])))
    return None


def _at(
    value: object,
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


def _walk(value: Any, parts: Path, path: Path) -> Iterator[tuple[Path, object]]:
    """Yield the values that a pointer's parts lead to; wrong types and null yield nothing, like absent fields."""
    for at, head in enumerate(parts):
        keys: Iterable[str | int]
        if isinstance(value, list):
            keys = (index for index in range(len(value)) if head == "*" or head == str(index))
        elif not isinstance(value, dict):
            return
        elif head == "*":
            keys = list(value)
        elif head in value:
            value, path = value[head], (*path, head)
            continue
        else:
            return
        for key in keys:
            yield from _walk(value[key], parts[at + 1 :], (*path, key))
        return
    if value is not None:
        yield path, value

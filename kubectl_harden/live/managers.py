"""Who else manages a live object, and will revert a patch or conflict with it.

By labels and annotations:

- Helm: helm.sh/docs/chart_best_practices/labels; its hooks: helm.sh/docs/topics/charts_hooks
- Argo CD: argo-cd.readthedocs.io, user-guide/resource_tracking (an instance label of one's own shows only in
  the field managers)
- Flux: fluxcd.io/flux/components/kustomize/kustomizations, fluxcd.io/flux/components/helm/helmreleases
- OLM: olm.operatorframework.io (labels: operator-lifecycle-manager, pkg/controller/operators/olm and pkg/lib/ownerutil)
- the addon manager: kubernetes, cluster/addons/addon-manager/README.md (EnsureExists leaves a person's edits alone)
- Config Sync: cloud.google.com/kubernetes-engine/config-sync/docs/reference/labels-and-annotations
- kapp: carvel.dev/kapp/docs, apps and diff
- Fleet, Rancher and k3s: fleet.rancher.io, docs.k3s.io/installation/packaged-components; github.com/rancher/wrangler,
  pkg/apply (objectset.rio.cattle.io), docs.k3s.io/helm (HelmChart)
- OpenShift: its Cluster Version Operator (github.com/openshift/cluster-version-operator, docs/user/reconciliation.md),
  and its label syncer (docs.redhat.com, understanding and managing pod security admission)
- Pulumi: pulumi.com/docs, providers, kubernetes (annotations); Skaffold: skaffold.dev/docs/references

By field managers: kubernetes.io/docs/reference/using-api/server-side-apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

from kubectl_harden.field_path import field_path
from kubectl_harden.live.ownership import owners_of
from kubectl_harden.model import Path

__all__ = ["Manager", "Reference", "label_managers", "managers_of"]

PEOPLE: Final = frozenset(
    {
        "kubectl",
        "kubectl-annotate",
        "kubectl-autoscale",
        "kubectl-client-side-apply",
        "kubectl-create",
        "kubectl-debug",
        "kubectl-edit",
        "kubectl-expose",
        "kubectl-label",
        "kubectl-last-applied",
        "kubectl-patch",
        "kubectl-replace",
        "kubectl-rollout",
        "kubectl-run",
        "kubectl-set",
        "kubectl-taint",
        "kubectl-harden",
    }
)
"""The field managers of a person at a shell (k8s.io/kubectl/pkg/cmd, AddFieldManagerFlagVar)."""
KUBERNETES: Final = frozenset(
    {
        "before-first-apply",
        "cloud-controller-manager",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubeadm",
        "kubelet",
    }
)
"""The field managers of Kubernetes itself: what its programs call themselves (managedfields/internal for the first)."""


class Reference(NamedTuple):
    """What an object is made from, by its marks; ``namespace`` is empty where they do not name it.

    ``exact`` is what Argo CD's tracking id says about the object that it was put on.
    """

    kind: Literal["Kustomization", "HelmRelease", "Application", "Helm release"]
    namespace: str
    name: str
    exact: str = ""


class Manager(NamedTuple):
    """A system that manages an object: ``name`` says which, ``consequence`` what it will do to a patch.

    ``system`` is the name without that of the release or application, ``made_from`` what the object is made from, where
    its marks name it.
    """

    name: str
    consequence: str
    system: str = ""
    made_from: Reference | None = None


class _Mark(NamedTuple):
    """A label or an annotation (``key``, a prefix where it ends in "/") by which a system is recognized.

    Where ``values`` are given, only they count. ``named`` tells that the value names what made the object.
    """

    system: str
    where: Literal["labels", "annotations"]
    key: str
    consequence: str
    values: tuple[str, ...] = ()
    named: bool = False


_OBJECT_SETS: Final = "Rancher, Fleet or k3s"
_LABEL_SYNCER: Final = "OpenShift's label syncer"

_CLUSTER_SERVICE: Final = "kubernetes.io/cluster-service"
_MODE: Final = "addonmanager.kubernetes.io/mode"

_OLM: Final = "it resets its Deployments to the ClusterServiceVersion; change the operator's bundle or its Subscription"
_ADDON: Final = "it applies its manifest again every minute; change the manifest on the control plane"
_CONFIG_SYNC: Final = "it reverts the patch at once; commit the change to its source"
_KAPP: Final = "the next kapp deploy reverts the patch; put the change into the app's configuration"
_RANCHER: Final = "it applies its own objects again; change what they are made from"
_ARGO_CD: Final = "it shows the patch as out of sync, and self-heal reverts it; commit the change to its repository"
_HOOK: Final = "Helm recreates it from the chart each time the hook runs; put the change into the chart"
_PULUMI: Final = "the next pulumi up reverts the patch or conflicts with it; put the change into the program"
_SKAFFOLD: Final = "the next skaffold run reverts the patch; put the change into its manifests"
_RELEASE: Final = "it resets its objects to the release image"
_SYNCER: Final = (
    "it sets these labels by the SCCs of the service accounts; "
    "the label security.openshift.io/scc.podSecurityLabelSync=false ends that"
)
_FLUX: Final = "its next reconciliation reverts the patch; commit the change to its source"

_MARKS: Final = (
    _Mark("OLM", "labels", "olm.owner", _OLM, named=True),
    _Mark("OLM", "labels", "olm.managed", _OLM, ("true",)),
    _Mark("OLM", "labels", "operators.coreos.com/", _OLM),
    _Mark("the addon manager", "labels", _MODE, _ADDON, ("Reconcile",)),
    _Mark("Config Sync", "annotations", "configmanagement.gke.io/managed", _CONFIG_SYNC, ("enabled",)),
    _Mark("Config Sync", "annotations", "configsync.gke.io/", _CONFIG_SYNC),
    _Mark("Config Sync", "labels", "configsync.gke.io/", _CONFIG_SYNC),
    _Mark("kapp", "labels", "kapp.k14s.io/app", _KAPP),
    _Mark("Fleet", "labels", "fleet.cattle.io/", _RANCHER),
    _Mark("Fleet", "annotations", "fleet.cattle.io/", _RANCHER),
    _Mark(_OBJECT_SETS, "annotations", "objectset.rio.cattle.io/owner-name", _RANCHER, named=True),
    _Mark(_OBJECT_SETS, "annotations", "objectset.rio.cattle.io/", _RANCHER),
    _Mark(_OBJECT_SETS, "labels", "objectset.rio.cattle.io/", _RANCHER),
    _Mark("k3s HelmChart", "labels", "helmcharts.helm.cattle.io/chart", _RANCHER, named=True),
    _Mark("Argo CD", "annotations", "argocd.argoproj.io/", _ARGO_CD),
    _Mark("Helm hook", "annotations", "helm.sh/hook", _HOOK, named=True),
    _Mark("Pulumi", "annotations", "pulumi.com/", _PULUMI),
    _Mark("skaffold", "labels", "skaffold.dev/run-id", _SKAFFOLD),
    _Mark("the Cluster Version Operator", "annotations", "include.release.openshift.io/", _RELEASE),
    _Mark(_LABEL_SYNCER, "labels", "security.openshift.io/scc.podSecurityLabelSync", _SYNCER, ("true",)),
)
_OPT_OUTS: Final = (("Config Sync", "annotations", "configmanagement.gke.io/managed", "disabled"),)
"""What shows that a system leaves an object alone, whatever else it has put there."""

_KEYS: Final = frozenset(
    (
        *("app.kubernetes.io/managed-by", "meta.helm.sh/release-name"),
        *("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/"),
        *(_CLUSTER_SERVICE, *(mark.key for mark in _MARKS), *(key for _, _, key, _ in _OPT_OUTS)),
    )
)
"""All keys and key prefixes by which a manager is recognized."""

_WRITERS: Final = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "helm": "Helm",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "cluster-policy-controller": _LABEL_SYNCER,
    "pod-security-admission-label-synchronization-controller": _LABEL_SYNCER,
}
"""The system of a field manager, so that it is not named twice."""


def managers_of(value: dict[str, object], paths: Iterable[Path], ours: str = "") -> tuple[Manager, ...]:
    """Return who else manages an object, and who owns exactly the fields at the paths that are to be changed.

    ``ours`` is the field manager of this command.
    """
    found = {manager.name: manager for manager in _labelled(value)}
    known = {manager.system for manager in found.values()}
    for path in paths:
        for name in owners_of(value, path):
            system = _WRITERS.get(name, name)
            if name == ours or name.removesuffix(".exe") in PEOPLE or name in KUBERNETES or system in known:
                continue
            owned = f"it owns {field_path(path)} (managedFields) and will set it again; change it at its source"
            manager = Manager(_LABEL_SYNCER, _SYNCER) if system == _LABEL_SYNCER else Manager(name, owned)
            found.setdefault(manager.name, manager)
    return tuple(found.values())


def label_managers(namespace: dict[str, object], labels: Iterable[str], ours: str = "") -> tuple[Manager, ...]:
    """Return who else manages a namespace, or owns some of its labels."""
    paths: list[Path] = [("metadata", "labels", label) for label in labels]
    return managers_of(namespace, paths, ours)


def _labelled(value: dict[str, Any]) -> Iterator[Manager]:
    metadata = value.get("metadata", {})
    labels: dict[str, str] = metadata.get("labels") or {}
    annotations: dict[str, str] = metadata.get("annotations") or {}
    if not _may_be_managed(metadata, labels, annotations):
        return
    release = annotations.get("meta.helm.sh/release-name")
    by = labels.get("app.kubernetes.io/managed-by", "")
    flux = False
    for kind in ("kustomize", "helm"):
        name = labels.get(f"{kind}.toolkit.fluxcd.io/name")
        if name:
            flux = True
            namespace = labels.get(f"{kind}.toolkit.fluxcd.io/namespace", "")
            made_from = Reference("Kustomization" if kind == "kustomize" else "HelmRelease", namespace, name)
            yield Manager(f"Flux {made_from.kind} {namespace}/{name}", _FLUX, "Flux", made_from)
    application = _application(metadata, labels, annotations)
    if application is not None:
        name, _, exact = application.partition(":")
        # For an Application outside Argo CD's own namespace, the name has both (util/argo, AppInstanceName).
        namespace, _, short = name.rpartition("_")
        source = Reference("Application", namespace, short, exact) if name else None
        yield Manager(f"Argo CD Application {name}".rstrip(), _ARGO_CD, "Argo CD", source)
    if (release or by == "Helm") and not flux:
        namespace = annotations.get("meta.helm.sh/release-namespace", metadata.get("namespace", ""))
        yield Manager(
            f"Helm release {namespace}/{release or '?'}",
            "the next upgrade can revert the patch or conflict with it; put the change into the chart",
            "Helm",
            Reference("Helm release", namespace, release) if release else None,
        )
    marked = list(_marked(labels, annotations, argo=application is not None))
    yield from marked
    if not marked and by and by != "Helm" and not by.lower().startswith(("kubectl", "kustomize")):
        yield Manager(f"{by} (app.kubernetes.io/managed-by)", "it may revert the patch; change it at its source")


def _may_be_managed(metadata: dict[str, Any], labels: dict[str, str], annotations: dict[str, str]) -> bool:
    """Whether an object has any mark of a system: most have none."""
    if any(key in _KEYS or f"{key.partition('/')[0]}/" in _KEYS for key in (*labels, *annotations)):
        return True
    return _argo_wrote(metadata)


def _argo_wrote(metadata: dict[str, Any]) -> bool:
    return any(_WRITERS.get(str(entry.get("manager"))) == "Argo CD" for entry in metadata.get("managedFields") or ())


def _application(metadata: dict[str, Any], labels: dict[str, str], annotations: dict[str, str]) -> str | None:
    """Return the Argo CD Application of an object ("" where it is not known), None where it has none.

    Behind a colon comes the object that a tracking id was made for.
    """
    tracking = annotations.get("argocd.argoproj.io/tracking-id") or labels.get("argocd.argoproj.io/instance")
    if tracking or _argo_wrote(metadata):
        return tracking or labels.get("app.kubernetes.io/instance", "")
    return None


def _marked(labels: dict[str, str], annotations: dict[str, str], *, argo: bool) -> Iterator[Manager]:
    """Yield the systems of the table, each once."""
    places = {"labels": labels, "annotations": annotations}
    seen = {system for system, where, key, value in _OPT_OUTS if places[where].get(key) == value}
    if argo:
        seen.add("Argo CD")
    for mark in _MARKS:
        value = _value(places[mark.where], mark.key)
        if value is None or mark.system in seen or (mark.values and value not in mark.values):
            continue
        seen.add(mark.system)
        yield Manager(f"{mark.system} {value}".rstrip() if mark.named else mark.system, mark.consequence, mark.system)
    if labels.get(_CLUSTER_SERVICE) == "true" and _MODE not in labels:
        yield Manager("the addon manager", _ADDON, "the addon manager")


def _value(of: dict[str, str], key: str) -> str | None:
    """Return the value of a label, or of the first one whose key has the prefix."""
    if not key.endswith("/"):
        return of.get(key)
    return next((text for name, text in of.items() if name.startswith(key)), None)

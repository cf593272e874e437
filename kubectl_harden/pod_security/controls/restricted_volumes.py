"""Volumes must be of types that do not reach the node or storage directly.

Restricted, from v1.0. Overrides hostPathVolumes. A volume without a source is an emptyDir by API default.

Fields:
    spec.volumes[*]
Allowed:
    configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected, secret
Without it:
    volume types that reach the node or storage directly, with the node's own credentials: hostPath above all
May break:
    whatever reads or writes the volume: it finds an empty directory or none ("no such file or directory")
Fix:
    remove volumes that no container mounts; use emptyDir, a PersistentVolumeClaim, a ConfigMap, a Secret, or a CSI
    volume; for paths of the node, see hostPathVolumes
Source: policy/check_restrictedVolumes.go
"""

from __future__ import annotations

from typing import Any

from kubectl_harden.model import Finding, FixContext, Obstacle, Remedy
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._host_path import NO_HOST_PATH, fix_host_paths, mounts_of, without_unused
from kubectl_harden.pod_security.controls._words import join_quote, plural
from kubectl_harden.pod_security.pod import Pod

ID = "restrictedVolumes"
_ALLOWED = frozenset(
    (
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    )
)
# In the order in which the evaluator looks for them.
_RESTRICTED = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
)
# The CSI drivers that replace in-tree volume types (k8s.io/csi-translation-lib), and those of the vendors.
_CSI = {
    "gcePersistentDisk": "pd.csi.storage.gke.io",
    "awsElasticBlockStore": "ebs.csi.aws.com",
    "cinder": "cinder.csi.openstack.org",
    "azureDisk": "disk.csi.azure.com",
    "azureFile": "file.csi.azure.com",
    "vsphereVolume": "csi.vsphere.vmware.com",
    "portworxVolume": "pxd.portworx.com",
    "rbd": "rbd.csi.ceph.com",
    "cephfs": "cephfs.csi.ceph.com",
    "nfs": "nfs.csi.k8s.io",
}


def _restricted_type(volume: dict[str, Any]) -> str | None:
    if not _ALLOWED.isdisjoint(volume):
        return None
    return next((name for name in _RESTRICTED if name in volume), "unknown")


def _check_1_0(pod: Pod) -> Finding | None:
    bad = []
    for index, volume in pod.volumes():
        kind = _restricted_type(volume)
        if kind is not None:
            bad.append((index, volume.get("name", ""), kind))
    if not bad:
        return None
    kinds = sorted({kind for _, _, kind in bad})
    return Finding(
        "restricted volume types",
        f"{plural('volume', 'volumes', len(bad))} {join_quote(name for _, name, _ in bad)} "
        f"{plural('uses', 'use', len(bad))} "
        f"{plural('restricted volume type', 'restricted volume types', len(kinds))} {join_quote(kinds)}",
        tuple(("spec", "volumes", index, kind) for index, _, kind in bad),
    )


def _fix(pod: Pod, context: FixContext) -> Remedy:
    kinds = [(index, volume, _restricted_type(volume)) for index, volume in pod.volumes()]
    remedy = fix_host_paths(pod, context, ID, [index for index, _, kind in kinds if kind == "hostPath"])
    edits, obstacles = list(remedy.edits), list(remedy.obstacles)
    for index, volume, kind in kinds:
        if kind is None or kind == "hostPath":
            continue
        name = volume.get("name", "")
        if mounts_of(pod, name):
            obstacles.append(Obstacle(ID, f"volume {name} names its storage directly ({kind})", _choices(kind)))
        else:
            edits.append(without_unused(index, name, ID))
    return Remedy(tuple(edits), tuple(obstacles))


def _choices(kind: str) -> tuple[str, ...]:
    if kind == "gitRepo":
        return ("clone the repository into an emptyDir with an init container",)
    driver = _CSI.get(kind)
    by = f" of the CSI driver {driver}" if driver else ""
    return (f"define it as a PersistentVolume{by}, and mount it through a PersistentVolumeClaim",)


CONTROL = Control(
    ID,
    "restricted",
    (Revision(0, _check_1_0, overrides=("hostPathVolumes",)),),
    _fix,
    reasons=("restricted volume types",),
    changes=(NO_HOST_PATH,),
    cure="replace the volumes named by emptyDir, a persistentVolumeClaim, a configMap or another type that is allowed",
    covers=lambda detail: '"hostPath"' in detail,
)

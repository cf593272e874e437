"""hostPath volumes must not be used.

Baseline, from v1.0 (at restricted, restrictedVolumes says it instead).

Fields:
    spec.volumes[*].hostPath
Allowed:
    undefined
Without it:
    the node's files, and with them the kubelet's credentials, other pods' volumes and the container runtime's
    socket: a way out of the container that needs no exploit
May break:
    whatever reads or writes the node's path: it finds an empty directory or none ("no such file or directory"),
    and data that was kept on the node is not there
Fix:
    use emptyDir for scratch space, a PersistentVolumeClaim for data, a ConfigMap for configuration (--host-path
    NAME=CHOICE); run node agents in a namespace of their own
Source: policy/check_hostPathVolumes.go
"""

from __future__ import annotations

from kubectl_harden.model import Finding, FixContext, Remedy
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls._host_path import NO_HOST_PATH, fix_host_paths
from kubectl_harden.pod_security.controls._words import join_quote, plural
from kubectl_harden.pod_security.pod import Pod

ID = "hostPathVolumes"


def _check_1_0(pod: Pod) -> Finding | None:
    bad = [(index, volume.get("name", "")) for index, volume in pod.volumes() if "hostPath" in volume]
    if not bad:
        return None
    return Finding(
        "hostPath volumes",
        f"{plural('volume', 'volumes', len(bad))} {join_quote(name for _, name in bad)}",
        tuple(("spec", "volumes", index, "hostPath") for index, _ in bad),
    )


def _fix(pod: Pod, context: FixContext) -> Remedy:
    return fix_host_paths(pod, context, ID, [index for index, volume in pod.volumes() if "hostPath" in volume])


CONTROL = Control(
    ID,
    "baseline",
    (Revision(0, _check_1_0),),
    _fix,
    reasons=("hostPath volumes",),
    changes=(NO_HOST_PATH,),
    cure="replace hostPath in the volumes named by emptyDir, a persistentVolumeClaim or a configMap",
)

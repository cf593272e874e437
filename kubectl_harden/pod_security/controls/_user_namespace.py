"""A user namespace for a pod (hostUsers: false), which relaxes several controls: how the edit is judged.

Sources: https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/, pkg/kubelet/userns, and runc's and crun's
errors for ID-mapped mounts.
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.pod_security.conditions import LOW_PORTS, PORTS, always, first, serves_low_port
from kubectl_harden.pod_security.control import Sign
from kubectl_harden.pod_security.risks import Change, Rule

__all__ = ["ENTER", "NO_USER_NAMESPACE"]

_PAGE: Final = "https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/"

ENTER: Final = Change(
    "user namespace",
    (
        Rule(
            "user-namespace-low-port",
            "review",
            "Root without NET_BIND_SERVICE may not bind ports below 1024 unless the node's runtime opens them.",
            PORTS,
            serves_low_port,
            (LOW_PORTS,),
        ),
        Rule(
            "user-namespace-volume",
            "review",
            "A container with a volume whose file system has no ID-mapped mounts (NFS, SMB) does not start.",
            _PAGE,
            first("needs", "volume mapping"),
        ),
        Rule(
            "user-namespace",
            "review",
            "Every node that may run it has to have user namespaces, and root is left without capabilities.",
            _PAGE,
            always,
        ),
    ),
)

NO_USER_NAMESPACE: Final = Sign(
    ("hostusers", "user namespace", "idmap", "mount_setattr"),
    "let it run only on nodes that have user namespaces, with volumes that have ID-mapped mounts, or leave out "
    "--user-namespace",
)

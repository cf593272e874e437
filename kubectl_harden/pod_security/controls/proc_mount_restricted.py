"""The masks over /proc must stay, in a user namespace too.

Restricted, from v1.35. Overrides procMount.

Fields:
    spec.{initContainers,containers,ephemeralContainers}[*].securityContext.procMount
Allowed:
    Default, undefined
Without it:
    the masked paths below /proc (kcore, keys, sysrq-trigger, …) leak the node's memory and can reboot it
May break:
    container builders and other nested containers that mount a /proc of their own: "mount: … Operation not
    permitted"
Fix:
    remove procMount, so that the default applies
Source: policy/check_procMount_restricted.go
"""

from __future__ import annotations

from kubectl_harden.model import FixContext, Remedy
from kubectl_harden.pod_security.control import Control, Revision
from kubectl_harden.pod_security.controls import proc_mount
from kubectl_harden.pod_security.pod import Pod

ID = "procMount_restricted"


def _fix(pod: Pod, context: FixContext) -> Remedy:
    return proc_mount.fix(pod, context, ID)


CONTROL = Control(
    ID,
    "restricted",
    (Revision(35, proc_mount.check_1_0, overrides=("procMount",)),),
    _fix,
    reasons=("procMount",),
    changes=(proc_mount.MASKS,),
    cure="remove securityContext.procMount from each container named",
    # The message does not say whether the pod has a user namespace, where baseline allows more.
    covers=lambda _detail: True,
)

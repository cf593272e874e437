"""Signs that point at edits of more than one control.

Sources of the words: errno's texts, and the container runtimes' errors for seccomp.
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.pod_security.control import Sign

__all__ = ["DENIED", "SECCOMP_ERROR"]

DENIED: Final = Sign(
    ("operation not permitted", "permission denied"),
    "the process does something that only root or a capability allows: change the image so that it does not need to",
    general=True,
)
SECCOMP_ERROR: Final = Sign(("seccomp",), "check the node's seccomp profiles")

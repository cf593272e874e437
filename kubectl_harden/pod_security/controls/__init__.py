"""The controls of the Pod Security Standards: one file each, with its fix.

To add one: write its file, name it here, and give it cases under tests/pod_security/controls/cases/.
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.pod_security.control import Control
from kubectl_harden.pod_security.controls import (
    allow_privilege_escalation,
    app_armor_profile,
    capabilities_baseline,
    capabilities_restricted,
    host_namespaces,
    host_path_volumes,
    host_ports,
    host_probes_and_host_lifecycle,
    privileged,
    proc_mount,
    proc_mount_restricted,
    restricted_volumes,
    run_as_non_root,
    run_as_user,
    se_linux_options,
    seccomp_profile_baseline,
    seccomp_profile_restricted,
    sysctls,
    windows_host_process,
)

__all__ = ["CONTROLS", "DOCUMENTATION"]

# In the order in which the Pod Security Standards page lists them.
_MODULES: Final = (
    windows_host_process,
    host_namespaces,
    privileged,
    capabilities_baseline,
    host_path_volumes,
    host_ports,
    host_probes_and_host_lifecycle,
    app_armor_profile,
    se_linux_options,
    proc_mount,
    proc_mount_restricted,
    seccomp_profile_baseline,
    sysctls,
    restricted_volumes,
    allow_privilege_escalation,
    run_as_non_root,
    run_as_user,
    seccomp_profile_restricted,
    capabilities_restricted,
)
CONTROLS: Final[tuple[Control, ...]] = tuple(module.CONTROL for module in _MODULES)
DOCUMENTATION: Final[dict[str, str]] = {module.CONTROL.id: module.__doc__ or "" for module in _MODULES}
"""The documentation of each control's file, by its ID."""

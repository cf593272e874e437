"""The controls of the Pod Security Standards: one file each, with its fix.

To add one: write its file, name it here, and give it cases under tests/checks/cases/.
"""

from __future__ import annotations

from typing import Final

from kubectl_harden.checks import (
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
from kubectl_harden.control import Control

__all__ = ["CONTROLS"]

# In the order in which the Pod Security Standards page lists them.
CONTROLS: Final[tuple[Control, ...]] = (
    windows_host_process.CONTROL,
    host_namespaces.CONTROL,
    privileged.CONTROL,
    capabilities_baseline.CONTROL,
    host_path_volumes.CONTROL,
    host_ports.CONTROL,
    host_probes_and_host_lifecycle.CONTROL,
    app_armor_profile.CONTROL,
    se_linux_options.CONTROL,
    proc_mount.CONTROL,
    proc_mount_restricted.CONTROL,
    seccomp_profile_baseline.CONTROL,
    sysctls.CONTROL,
    restricted_volumes.CONTROL,
    allow_privilege_escalation.CONTROL,
    run_as_non_root.CONTROL,
    run_as_user.CONTROL,
    seccomp_profile_restricted.CONTROL,
    capabilities_restricted.CONTROL,
)

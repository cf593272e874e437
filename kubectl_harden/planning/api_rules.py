"""The API's own validation rules that a fix could violate.

The API server must never refuse a plan for what it changes. Source of every rule:
pkg/apis/core/validation/validation.go of Kubernetes 1.37 (the function is named with the rule).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kubectl_harden.model import Path
from kubectl_harden.pod_security.pod import Pod

__all__ = ["refusals"]

_LINUX_ONLY: Final = ("appArmorProfile", "seLinuxOptions", "seccompProfile", "runAsUser", "runAsGroup")
_LINUX_ONLY_POD: Final = (
    *_LINUX_ONLY,
    "fsGroup",
    "fsGroupChangePolicy",
    "seLinuxChangePolicy",
    "supplementalGroups",
    "supplementalGroupsPolicy",
)
_LINUX_ONLY_CONTAINER: Final = (
    *_LINUX_ONLY,
    "allowPrivilegeEscalation",
    "capabilities",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
)


def refusals(pod: Pod) -> set[tuple[Path, str]]:
    """Return (field path in the pod template, why) for each rule that the pod breaks."""
    rules = (_containers, _ports, _host_users, _windows, _host_process, _volumes, _annotations)
    return {refusal for rule in rules for refusal in rule(pod)}


def _containers(pod: Pod) -> Iterator[tuple[Path, str]]:
    """ValidateSecurityContext, validateMountPropagation, validateHostNetwork."""
    for container in pod.containers:
        security = container.security
        if security.get("allowPrivilegeEscalation") is False:
            path = container.field("allowPrivilegeEscalation")
            if security.get("privileged"):
                yield path, "allowPrivilegeEscalation cannot be false while privileged is true"
            if "CAP_SYS_ADMIN" in security.get("capabilities", {}).get("add", ()):
                yield path, "allowPrivilegeEscalation cannot be false while capabilities.add has CAP_SYS_ADMIN"
        if not security.get("privileged"):
            for mount in container.fields.get("volumeMounts", ()):
                if mount.get("mountPropagation") == "Bidirectional":
                    yield container.field("privileged"), "Bidirectional mount propagation needs privileged: true"
        if security.get("procMount") == "Unmasked" and not pod.in_user_namespace:
            yield container.field("procMount"), "procMount Unmasked needs hostUsers: false"


def _ports(pod: Pod) -> Iterator[tuple[Path, str]]:
    """checkHostPortConflicts: among the containers, and within each init container."""
    taken: dict[tuple[Any, ...], list[Path]] = {}
    for container in pod.containers:
        group = container.path if container.path[1] == "initContainers" else ()
        for index, port in enumerate(container.fields.get("ports", ())):
            if port.get("hostPort"):
                key = (group, port.get("protocol", "TCP"), port.get("hostIP", ""), port["hostPort"])
                taken.setdefault(key, []).append((*container.path, "ports", index, "hostPort"))
    for key, paths in taken.items():
        if len(paths) > 1:
            for path in paths:
                yield path, f"port {key[-1]} of the node would be taken twice"


def _host_users(pod: Pod) -> Iterator[tuple[Path, str]]:
    """ValidateHostUsers."""
    if not pod.in_user_namespace:
        return
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name):
            yield ("spec", "hostUsers"), f"{name} cannot be true while hostUsers is false"
    if any(container.fields.get("volumeDevices") for container in pod.containers):
        yield ("spec", "hostUsers"), "hostUsers cannot be false with volumeDevices"


def _windows(pod: Pod) -> Iterator[tuple[Path, str]]:
    """ValidateWindows."""
    if not pod.is_windows:
        return
    why = "cannot be set for a Windows pod"
    for name in ("hostUsers", "shareProcessNamespace"):
        if name in pod.spec:
            yield ("spec", name), why
    for name in ("hostPID", "hostIPC"):
        if pod.spec.get(name):
            yield ("spec", name), why
    for name in (*_LINUX_ONLY_POD, *(("sysctls",) if pod.security.get("sysctls") else ())):
        if name in pod.security:
            yield ("spec", "securityContext", name), why
    for container in pod.containers:
        for name in _LINUX_ONLY_CONTAINER:
            if name in container.security:
                yield container.field(name), why


def _host_process(pod: Pod) -> Iterator[tuple[Path, str]]:
    """ValidateWindowsHostProcessPod."""
    pod_value = pod.security.get("windowsOptions", {}).get("hostProcess")
    values = [c.security.get("windowsOptions", {}).get("hostProcess") for c in pod.containers]
    running = [value if value is not None else pod_value for value in values]
    path: Path = ("spec", "securityContext", "windowsOptions", "hostProcess")
    if any(running):
        if not all(running):
            yield path, "either all containers are HostProcess containers or none"
        if not pod.spec.get("hostNetwork"):
            yield ("spec", "hostNetwork"), "HostProcess containers need hostNetwork: true"
    if pod_value is not None and any(value is not None and value != pod_value for value in values):
        yield path, "hostProcess of the pod and its containers must agree"


def _volumes(pod: Pod) -> Iterator[tuple[Path, str]]:
    """ValidateVolumeMounts, ValidateVolumeDevices."""
    volumes = {volume.get("name"): volume for _, volume in pod.volumes()}
    for container in pod.containers:
        mounts = container.fields.get("volumeMounts", ())
        seen: set[Any] = set()
        for index, mount in enumerate(mounts):
            path = (*container.path, "volumeMounts", index)
            if mount.get("name") not in volumes:
                yield path, f"mounts a volume that is not there: {mount.get('name')}"
            if mount.get("mountPath") in seen:
                yield path, f"mounts a second volume at {mount.get('mountPath')}"
            seen.add(mount.get("mountPath"))
        for index, device in enumerate(container.fields.get("volumeDevices", ())):
            volume = volumes.get(device.get("name"), {})
            if "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
                yield (
                    (*container.path, "volumeDevices", index),
                    "a device needs a PersistentVolumeClaim or ephemeral volume",
                )


_SECCOMP: Final[dict[str, tuple[str, ...]]] = {
    "Unconfined": ("unconfined",),
    "RuntimeDefault": ("runtime/default", "docker/default"),
}
_APP_ARMOR: Final[dict[str, tuple[str, ...]]] = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default",)}


def _annotations(pod: Pod) -> Iterator[tuple[Path, str]]:
    """validateSeccompAnnotationsAndFields, validateAppArmorAnnotationsAndFieldsMatchOnCreate."""
    if not pod.annotations:
        return
    pairs: list[tuple[str, Any, Path, dict[str, tuple[str, ...]]]] = []
    key = "seccomp.security.alpha.kubernetes.io/pod"
    pairs.append((key, pod.security.get("seccompProfile"), ("spec", "securityContext", "seccompProfile"), _SECCOMP))
    for container in pod.containers:
        key = "container.seccomp.security.alpha.kubernetes.io/" + container.name
        pairs.append((key, container.security.get("seccompProfile"), container.field("seccompProfile"), _SECCOMP))
        if not pod.is_windows:
            profile = container.security.get("appArmorProfile", pod.security.get("appArmorProfile"))
            key = "container.apparmor.security.beta.kubernetes.io/" + container.name
            pairs.append((key, profile, container.field("appArmorProfile"), _APP_ARMOR))
    for key, profile, path, names in pairs:
        annotation = pod.annotations.get(key)
        if annotation is None or profile is None:
            continue
        kind = profile.get("type")
        expected = names.get(kind, ())
        if kind == "Localhost":
            expected = (f"localhost/{profile.get('localhostProfile', '')}",)
        if kind in (*names, "Localhost") and annotation not in expected:
            yield path, f"the annotation {key} says something else"

"""A pod as Pod Security admission sees it: decoded, defaulted, with its containers in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kubectl_harden.errors import InputError
from kubectl_harden.json_values import ABSENT, value_at
from kubectl_harden.model import Path
from kubectl_harden.pod_security.pod_schema import decode_pod_template

__all__ = ["CONTAINER_LISTS", "Container", "Pod"]

CONTAINER_LISTS: Final = ("initContainers", "containers", "ephemeralContainers")
"""The order of policy/visitor.go."""

_APP_ARMOR_KEY: Final = "container.apparmor.security.beta.kubernetes.io/"
_NO_FIELDS: Final[dict[str, object]] = {}


class Container:
    """One container of a pod. ``path`` is relative to the pod template."""

    __slots__ = ("fields", "name", "path", "security")

    def __init__(self, fields: dict[str, Any], path: Path) -> None:
        self.fields = fields
        self.path = path
        self.name: str = fields.get("name", "")
        self.security: dict[str, Any] = fields.get("securityContext", _NO_FIELDS)

    def field(self, *names: str | int) -> Path:
        """Return the path of a field below this container's securityContext."""
        return (*self.path, "securityContext", *names)


class Pod:
    """A pod or pod template after decoding and API defaulting.

    ``written`` is the pod template as written in the object (decoded, not defaulted);
    ``annotations`` and ``spec`` are what admission sees.
    """

    __slots__ = ("annotations", "containers", "security", "spec", "written")

    def __init__(self, value: Any, *, is_pod: bool, decoded: bool = False) -> None:
        """Decode ``{"metadata": …, "spec": …}``; ``is_pod`` is true for a Pod, false for a template.

        ``decoded`` says that an API server has decoded the value, by the types of its own version. Raises InputError
        for a value that cannot be decoded, or has no containers.
        """
        self.written = value if decoded else decode_pod_template(value)
        spec = self.written.get("spec", {})
        if not spec.get("containers"):
            raise InputError("required: a pod needs at least one container", ("spec", "containers"))
        self.annotations: dict[str, str] = self.written.get("metadata", _NO_FIELDS).get("annotations", _NO_FIELDS)
        self.spec = _defaulted(spec, self.annotations, is_pod=is_pod)
        self.security: dict[str, Any] = self.spec.get("securityContext", _NO_FIELDS)
        self.containers = tuple(
            Container(fields, ("spec", key, index))
            for key in CONTAINER_LISTS
            for index, fields in enumerate(self.spec.get(key, ()))
        )

    @property
    def is_windows(self) -> bool:
        """Whether spec.os.name says windows."""
        return bool(self.spec.get("os", _NO_FIELDS).get("name") == "windows")

    @property
    def in_user_namespace(self) -> bool:
        """Whether hostUsers is explicitly false (policy/helpers.go, relaxPolicyForUserNamespacePod)."""
        return self.spec.get("hostUsers") is False

    def written_at(self, path: Path) -> Any:
        """Return the value that is written in the object itself, not a default, or None."""
        found = value_at(self.written, path)
        return None if found is ABSENT else found

    def volumes(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the index and the fields of each volume."""
        return enumerate(self.spec.get("volumes", ()))


def _defaulted(spec: dict[str, Any], annotations: dict[str, str], *, is_pod: bool) -> dict[str, Any]:
    """Return the spec with the defaults that can change a verdict.

    Sources: pkg/apis/core/v1/defaults.go (SetDefaults_Volume, SetDefaults_Pod) and
    pkg/registry/core/pod/strategy.go (applyAppArmorVersionSkew) of Kubernetes 1.37.
    """
    out = spec
    volumes = spec.get("volumes")
    if volumes:
        out = {**out, "volumes": [_with_source(volume) for volume in volumes]}
    if not is_pod:
        return out
    if spec.get("hostNetwork"):
        for key in ("containers", "initContainers"):
            if key in out:
                out = {**out, key: [_with_host_ports(container) for container in out[key]]}
    if not annotations or spec.get("os", _NO_FIELDS).get("name") == "windows":
        return out
    pod_profile = spec.get("securityContext", _NO_FIELDS).get("appArmorProfile")
    if pod_profile == {"type": "Unconfined"}:
        return out
    for key in CONTAINER_LISTS:
        if key in out:
            out = {**out, key: [_with_app_armor(container, annotations) for container in out[key]]}
    return out


def _with_source(volume: dict[str, object]) -> dict[str, object]:
    return volume if any(key != "name" for key in volume) else {**volume, "emptyDir": {}}


def _with_host_ports(container: dict[str, Any]) -> dict[str, object]:
    ports = container.get("ports")
    if not ports:
        return container
    filled = [port if port.get("hostPort") else {**port, "hostPort": port.get("containerPort", 0)} for port in ports]
    return {**container, "ports": filled}


def _with_app_armor(container: dict[str, Any], annotations: dict[str, str]) -> dict[str, object]:
    security = container.get("securityContext", _NO_FIELDS)
    if "appArmorProfile" in security or annotations.get(_APP_ARMOR_KEY + container.get("name", "")) != "unconfined":
        return container
    return {**container, "securityContext": {**security, "appArmorProfile": {"type": "Unconfined"}}}

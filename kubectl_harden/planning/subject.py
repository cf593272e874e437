"""An object that runs pods, wherever it was read: it is judged and planned for."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import field_path
from kubectl_harden.model import Identity, Path, Policy, Problem, Source
from kubectl_harden.objects import name_of
from kubectl_harden.pod_security.accepted import annotated
from kubectl_harden.pod_security.location import Location
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.pod_templates import PodPaths, locate

__all__ = ["Subject"]

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})
_PATCH: Final = " (if this is a patch, check what it is applied to)"


def _nowhere(_path: Path) -> tuple[None, None]:
    return None, None


class Subject(NamedTuple):
    """An object that runs pods.

    ``identity`` names the object itself (its ``pod_path`` is empty), ``policy`` is the one that it is held to,
    ``pod_paths`` say where custom resources keep their pod templates. ``comments`` are reasons, by control, from
    comments next to the object that accept violations. ``decoded`` says that an API server has decoded the value by its
    own types. ``place`` returns the line and column (from 1) of a field, or of its nearest existing parent, where the
    object was read from a text. ``runtime_classes`` are policies for pods with these runtime classes, whatever the
    namespace asks for.
    """

    value: dict[str, Any]
    identity: Identity
    policy: Policy
    pod_paths: PodPaths = _EMPTY
    comments: Mapping[str, str] = _EMPTY
    decoded: bool = False
    place: Callable[[Path], tuple[int, int] | tuple[None, None]] = _nowhere
    runtime_classes: Mapping[str, Policy] = _EMPTY

    def templates(self) -> list[Location]:
        """Return the pod templates of the object. Raises InputError where its kind must have one and it has none."""
        found = locate(self.value, self.pod_paths) or []
        return [location._replace(decoded=True) for location in found] if self.decoded else found

    def changed(self, value: dict[str, Any]) -> Self:
        """Return the subject with its object in another state."""
        return self._replace(value=value)

    def named(self, location: Location) -> Identity:
        """Return how reports name one of its pod templates."""
        return self.identity._replace(pod_path=location.path)

    def policy_for(self, location: Location) -> Policy:
        """Return the policy that one of its pod templates is held to."""
        spec = location.value.get("spec") if self.runtime_classes and isinstance(location.value, dict) else None
        name = spec.get("runtimeClassName") if isinstance(spec, dict) else None
        return self.runtime_classes.get(name, self.policy) if isinstance(name, str) else self.policy

    def pod(self, location: Location) -> Pod:
        """Return the pod of one of its templates. Raises InputError where it cannot be decoded."""
        return location.pod()

    def accepted(self) -> tuple[Mapping[str, str], tuple[Problem, ...]]:
        """Return the reasons, by control, for which its violations are accepted, and errors in them."""
        try:
            annotations = annotated(self.value)
        except InputError as error:
            return self.comments, (self.problem(error),)
        return {**self.comments, **annotations} if self.comments else annotations, ()

    def problem(self, error: InputError, location: Location | None = None) -> Problem:
        """Return an error as a problem of this object; its path is relative to the pod template, if one is given."""
        source = self.identity.source
        path = location.in_object(error.path or ()) if location is not None else error.path or ()
        message = str(error.args[0])
        if isinstance(source, Source) and message.startswith("required"):
            message += _PATCH
        where = f"{field_path(path)}: " if path else ""
        text = f"{name_of(self.identity.kind, self.value)}: {where}{message}"
        if isinstance(source, Source):
            line, column = self.place(path)
            return Problem(text, source.file, source.document, line, column)
        return Problem(text, namespace=self.identity.namespace or "")

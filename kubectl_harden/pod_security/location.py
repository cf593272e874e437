"""Where a pod template stands in an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.model import Path
from kubectl_harden.pod_security.pod import Pod

__all__ = ["PATCHED", "Location"]

PATCHED: Path = ("podSpecPatch",)
"""The path, in a pod template that is spread over an object, of what its controller patches the pod with."""


class Location(NamedTuple):
    """A pod template inside an object.

    ``value`` has the shape ``{"metadata": …, "spec": …}``. ``decoded`` tells that an API server has decoded the value
    by its own types. Where its fields are spread over the object (Argo Workflows), ``source`` maps paths of that shape
    to paths of the object; elsewhere ``path`` is the prefix. ``shared`` are the object's fields outside of ``path``
    that the template has in common with others. ``undecided`` is why the pod cannot be judged from these fields, if it
    cannot.
    """

    path: Path
    value: Any
    is_pod: bool = False
    pod_security_context: bool = True
    decoded: bool = False
    source: Callable[[Path], Path] | None = None
    shared: frozenset[Path] = frozenset()
    undecided: str = ""

    @property
    def spread(self) -> bool:
        """Whether the fields of the pod template are spread over the object: its controller makes another pod of it."""
        return self.source is not None

    def in_object(self, path: Path) -> Path:
        """Return the object's path for a path of the pod template."""
        return self.path + path if self.source is None else self.source(path)

    def pod(self) -> Pod:
        """Return the pod of the template. Raises InputError where it cannot be decoded, or judged from its fields."""
        if self.undecided:
            raise InputError(self.undecided, PATCHED)
        return Pod(self.value, is_pod=self.is_pod, decoded=self.decoded)

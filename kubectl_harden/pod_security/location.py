"""Where a pod template is in an object."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
from typing import Any, NamedTuple, Protocol

from kubectl_harden.errors import InputError
from kubectl_harden.model import Path
from kubectl_harden.pod_security.pod import Pod

__all__ = ["PATCHED", "Layout", "Location"]

PATCHED: Path = ("podSpecPatch",)
"""The path, in a pod template that is spread over an object, of the patch that its controller applies to the pod."""


class Layout(Protocol):
    """Where the fields of a pod template are when it is spread over an object."""

    def source(self, path: Path) -> Path:
        """Return the object's path for a path of the pod template."""

    def sees(self, path: Path) -> bool:
        """Whether changing the object at a path outside of the template's own fields changes the pod template."""

    def beneath(self, path: Path) -> bool:
        """Whether a field of the pod template is both in the template's own fields and in the defaults below them."""


class Location(NamedTuple):
    """A pod template inside an object.

    ``value`` has the shape ``{"metadata": …, "spec": …}``. ``decoded`` says that an API server has decoded the value by
    its own types. ``layout`` says where its fields are when they are spread over the object (Argo Workflows); otherwise
    ``path`` is their prefix. ``undecided`` is why the pod cannot be judged from its fields, or "".
    """

    path: Path
    value: Any
    is_pod: bool = False
    pod_security_context: bool = True
    decoded: bool = False
    layout: Layout | None = None
    undecided: str = ""

    @property
    def spread(self) -> bool:
        """Whether the fields of the pod template are spread over the object: its controller makes another pod of it."""
        return self.layout is not None

    def in_object(self, path: Path) -> Path:
        """Return the object's path for a path of the pod template."""
        return self.path + path if self.layout is None else self.layout.source(path)

    def pod(self) -> Pod:
        """Return the pod of the template. Raises InputError where it cannot be decoded, or judged from its fields."""
        if self.undecided:
            raise InputError(self.undecided, PATCHED)
        return Pod(self.value, is_pod=self.is_pod, decoded=self.decoded)

"""The options of a plan, and the interface of its evidence."""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from kubectl_harden.model import Edit, HostPathChoice, Identity, Learned, Risk
from kubectl_harden.planning.companions import Asked

__all__ = ["Choose", "FixOptions", "Learn"]

# It is sent to other processes, which a MappingProxyType cannot be.
_EMPTY: Final[Mapping[Any, Any]] = {}


class Learn(Protocol):
    """Returns what is known about the containers of a pod template besides the template; raises nothing.

    ``looks_around``: it asks other systems, so ``prepare`` is called with many (namespace, template) at once.
    """

    @property
    def looks_around(self) -> bool: ...  # noqa: D102

    def prepare(self, templates: Iterable[tuple[str, Any]], /) -> None: ...  # noqa: D102

    def begin(self, namespaces: Iterable[str], /) -> None:
        """Prepare for ``add`` with all pods of some namespaces."""

    def add(self, pod: Any, /) -> None:
        """Take note of a pod that was listed."""

    def __call__(self, identity: Identity, value: Any, template: Any, /) -> Learned:
        """Return the facts by container name; ``value`` is the object that the template is in."""


class _Nothing(NamedTuple):
    """No evidence: nothing is known but the manifest."""

    looks_around: bool = False

    def prepare(self, _templates: Iterable[tuple[str, Any]]) -> None:
        """Do nothing."""

    def begin(self, _namespaces: Iterable[str]) -> None:
        """Do nothing."""

    def add(self, _pod: Any) -> None:
        """Do nothing."""

    def __call__(self, _identity: Identity, _value: Any, _template: Any) -> Learned:
        """Return nothing."""
        return _EMPTY


Choose = Callable[[Identity, object, list[Edit]], list[Edit]]
"""Returns the edits of an object that a person wants, some of them with another value."""


class FixOptions(NamedTuple):
    """What the user asked for.

    ``only`` empty means every control; ``learn`` returns the evidence; ``choose`` asks about every edit. ``partial``
    also makes edits that reach no level; those that a person chooses are made in any case.
    """

    max_risk: Risk = "review"
    only: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()
    host_paths: Mapping[str, HostPathChoice] = _EMPTY
    asked: Asked = Asked()
    learn: Learn = _Nothing()
    choose: Choose | None = None
    partial: bool = False

    def leaves(self, check: str) -> bool:
        """Whether the violations of a control are left, by the user's --only or --skip."""
        return check in self.skip or bool(self.only and check not in self.only)

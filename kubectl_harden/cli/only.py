"""The controls that --only and --skip name, and the violations that they leave out of a check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kubectl_harden.errors import UsageError, meant

if TYPE_CHECKING:
    from kubectl_harden.model import Checked, Checks

__all__ = ["checks_named", "of_controls"]


def checks_named(names: tuple[str, ...], option: str) -> frozenset[str]:
    """Return the ids of the controls that the values of an option name, also several with commas. Raises UsageError."""
    from kubectl_harden.pod_security.control_names import controls_named
    from kubectl_harden.pod_security.controls import CONTROLS

    found: set[str] = set()
    for name in (name for given in names for name in given.split(",") if name):
        controls = controls_named(name)
        if not controls:
            ids = sorted(control.id for control in CONTROLS)
            raise UsageError(f'{option}: unknown check "{name}".{meant(name, ids)} Known: {", ".join(ids)}')
        found |= {control.id for control in controls}
    return frozenset(found)


def of_controls(results: Iterable[Checks], only: frozenset[str], skip: frozenset[str]) -> Iterator[Checks]:
    """Yield verdicts with the violations of ``only`` (of all controls, where it is empty) without those of ``skip``.

    The others are counted, and the levels do not change.
    """
    for found in results:
        yield found._replace(checked=tuple(_of_controls(checked, only, skip) for checked in found.checked))


def _of_controls(checked: Checked, only: frozenset[str], skip: frozenset[str]) -> Checked:
    chosen = tuple(one for one in checked.violations if (not only or one.check in only) and one.check not in skip)
    return checked._replace(violations=chosen, left_out=len(checked.violations) - len(chosen))

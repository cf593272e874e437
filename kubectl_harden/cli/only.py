"""The controls that --only and --skip name."""

from __future__ import annotations

from kubectl_harden.errors import UsageError, meant

__all__ = ["checks_named"]


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

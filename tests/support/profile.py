"""How many examples a property gets."""

from __future__ import annotations

from hypothesis import settings


def fewer(divisor: int) -> settings:
    """Return settings with a share of the profile's examples, for properties whose examples are slow."""
    default = settings.default
    assert default is not None
    return settings(max_examples=max(20, default.max_examples // divisor))

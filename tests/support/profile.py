"""How many examples a property gets."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

EXAMPLES: Final = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
"""How many examples every property gets, also those whose examples are slow; 0 where the profile tells it."""


def fewer(divisor: int) -> settings:
    """Return settings with a share of the profile's examples, for properties whose examples are slow."""
    if EXAMPLES:
        return settings(max_examples=EXAMPLES)
    default = settings.default
    assert default is not None
    return settings(max_examples=max(20, default.max_examples // divisor))

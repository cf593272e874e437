"""Profiles and fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.oracle import Oracle

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("ordinary", max_examples=2_000, derandomize=True, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("nightly", max_examples=20_000, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("quick", max_examples=100, **_COMMON)  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ordinary"))


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    """The official Go code, as a process."""
    running = Oracle()
    yield running
    running.close()

"""Profiles and fixtures for all tests."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.control_plane import ApiError, ControlPlane, Namespace, shared
from tests.support.fleet import Fleet
from tests.support.harden import Harden
from tests.support.oracle import Oracle
from tests.support.profile import EXAMPLES
from tests.support.proxy import FaultProxy
from tests.support.registry import Images

# What the tests read is as a terminal of 80 columns shows it; nothing is wrapped in a pipe without it.
os.environ["COLUMNS"] = "80"
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("ordinary", max_examples=2_000, derandomize=True, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("nightly", max_examples=20_000, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("quick", max_examples=100, **_COMMON)  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ordinary"))
if EXAMPLES:
    settings.register_profile("counted", max_examples=EXAMPLES, **_COMMON)  # type: ignore[arg-type]
    settings.load_profile("counted")


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    """The official Go code, as a process."""
    running = Oracle()
    yield running
    running.close()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The control plane of the test run."""
    own = tmp_path_factory.getbasetemp()
    # pytest-xdist gives each of its processes a directory below the run's own.
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with shared(run / "control-plane") as running:
        yield running


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """An image registry."""
    running = Images(tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace of the test's own; ``@pytest.mark.pod_security(enforce="restricted")`` labels it."""
    marker = request.node.get_closest_marker("pod_security")
    labels = {key.replace("_", "-"): value for key, value in marker.kwargs.items()} if marker else {}
    made = Namespace(control_plane, f"t-{uuid.uuid4().hex[:10]}", labels)
    yield made
    with contextlib.suppress(ApiError):
        control_plane.request("DELETE", f"/api/v1/namespaces/{made.name}")


@pytest.fixture
def harden(namespace: Namespace, tmp_path: Path) -> Harden:
    """The command, in the test's namespace."""
    return Harden(namespace, tmp_path)


@pytest.fixture
def fleet(control_plane: ControlPlane) -> Iterator[Fleet]:
    """Namespaces of the test's own, which a label selects."""
    made = Fleet(control_plane)
    yield made
    made.close()


@pytest.fixture
def proxy(harden: Harden) -> Iterator[FaultProxy]:
    """A proxy for faults between the command and the API server."""
    plane = harden.namespace.plane
    running = FaultProxy(plane)
    harden.use(plane.configuration(plane.token, running.url))
    yield running
    running.stop()

"""What the tests of the way to an API server share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.answering_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()

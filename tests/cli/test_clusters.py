"""``cli/clusters.py``: runs side by side, whose results come in their order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from kubectl_harden.cli.clusters import side_by_side
from kubectl_harden.errors import ClusterError


def test_many_long_runs_come_whole_and_in_their_order() -> None:
    """More runs than begin at once, each with more results than may wait."""
    running, most = 0, 0
    lock = threading.Lock()

    def run(number: int) -> Iterator[tuple[int, int]]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        # The first is the slowest: all others wait for it.
        time.sleep(0.2 if number == 0 else 0)
        yield from ((number, item) for item in range(200))
        with lock:
            running -= 1

    runs = [(f"c{number}", lambda number=number: run(number)) for number in range(9)]
    found = list(side_by_side(runs))
    assert found == [(f"c{number}", (number, item)) for number in range(9) for item in range(200)]
    assert 1 < most <= 4


def test_an_error_of_ours_ends_its_run_alone_and_a_bug_ends_all() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ClusterError("gone")

    found = list(side_by_side([("a", failing), ("b", lambda: [2])]))
    assert [(name, str(item)) for name, item in found] == [("a", "1"), ("a", "gone"), ("b", "2")]

    def broken() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(side_by_side([("a", broken), ("b", lambda: [2])]))

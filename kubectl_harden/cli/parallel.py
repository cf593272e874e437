"""Many things at a time: workloads to change, namespaces to migrate; with one meaning of Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from threading import Event
from typing import Final, TypeVar

from kubectl_harden.cli.interrupts import calling

__all__ = ["in_parallel"]

_TICK: Final = 0.2
"""Seconds after which a signal is told of, at the latest."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def in_parallel(
    items: Iterable[Item],
    work: Callable[[Item], Outcome],
    at_once: int,
    *,
    stages: Sequence[Event],
    ended: Callable[[Outcome], None],
    interrupted: Callable[[], None],
) -> bool:
    """Do the ``work`` for each item, ``at_once`` of them at a time; returns whether a signal came.

    Each Ctrl-C (SIGTERM, SIGHUP) sets the next event of ``stages``: after the first one, work ends where the step
    that it is in ends; after the last one, it waits for nothing. ``ended`` is called with every outcome, in the order
    in which they come, ``interrupted`` once; both in the calling thread.
    """
    signals = 0

    def signalled(count: int) -> None:
        nonlocal signals
        signals = count
        for stage in stages[:count]:
            stage.set()

    with calling(signalled), ThreadPoolExecutor(at_once) as pool:
        begun, told = {pool.submit(work, item) for item in items}, False
        while begun:
            done, begun = wait(begun, _TICK, FIRST_COMPLETED)
            if signals and not told:
                told = True
                interrupted()
            for future in done:
                ended(future.result())
    return signals > 0

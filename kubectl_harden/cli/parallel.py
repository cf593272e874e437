"""Many things at a time: workloads to change, namespaces to migrate; with one meaning of Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Event
from typing import Final, TypeVar

import click

from kubectl_harden.cli.interrupts import calling

__all__ = ["Parallel"]

_TICK: Final = 0.2
"""The longest delay, in seconds, until a signal or a question is noticed."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Parallel:
    """Does work for many items, ``at_once`` of them at a time.

    Each Ctrl-C (SIGTERM, SIGHUP) sets the next event of ``stages``: after the first one, work ends at the end of its
    current step; after the last one, it does not wait for anything. ``interrupted`` is called once, in the main thread.
    """

    def __init__(self, at_once: int, stages: Sequence[Event], interrupted: Callable[[], None]) -> None:
        self._at_once, self._stages, self._interrupted = at_once, stages, interrupted
        self._signals = 0
        self._questions: SimpleQueue[tuple[Callable[[], bool], Future[bool]]] = SimpleQueue()

    def __call__(
        self, items: Iterable[Item], work: Callable[[Item], Outcome], ended: Callable[[Outcome], None]
    ) -> bool:
        """Do the work for each item; returns whether a signal came.

        ``ended`` is called with every outcome, in the order in which they come, in the main thread.
        """
        told = False
        with calling(self._signalled), ThreadPoolExecutor(self._at_once) as pool:
            begun = {pool.submit(work, item) for item in items}
            while begun:
                done, begun = wait(begun, _TICK, FIRST_COMPLETED)
                if self._signals and not told:
                    told = True
                    self._interrupted()
                for future in done:
                    ended(future.result())
                while not self._questions.empty():
                    question, answer = self._questions.get()
                    answer.set_result(self._answered(question))
        return self._signals > 0

    def ask(self, question: Callable[[], bool]) -> bool:
        """Ask a worker's question in the main thread, which gets the signals: they answer it with no."""
        answer: Future[bool] = Future()
        self._questions.put((question, answer))
        return answer.result()

    def _answered(self, question: Callable[[], bool]) -> bool:
        if self._signals or self._stages[0].is_set():
            return False
        try:
            return question()
        except (KeyboardInterrupt, click.Abort):
            self._signalled(self._signals + 1)
            return False

    def _signalled(self, count: int) -> None:
        self._signals = count
        for stage in self._stages[:count]:
            stage.set()

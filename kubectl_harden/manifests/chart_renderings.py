"""A chart, rendered again and again with other values: renderings are cached by their values.

Helm takes most of the time of a search, so renderings that are likely to be needed next are begun early, where there
are processors for them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Final, NamedTuple

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.chart_effects import Rendering
from kubectl_harden.manifests.discovery import Found
from kubectl_harden.manifests.generators import gathered, helm_documents
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.manifests.value_candidates import Setting, written
from kubectl_harden.yaml_text.tree import dump

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["AHEAD", "Renderings"]

_WORKERS: Final = 4
AHEAD: Final = 6
"""At most this many renderings are begun before it is known whether they are needed."""


class _Job(NamedTuple):
    """What to render: a values file on top of the chart's, or none; a proof is always rendered again."""

    values: str | None
    is_proof: bool = False


class _Done(NamedTuple):
    """A rendering, or helm's error."""

    rendering: Rendering | None
    refusal: str = ""


class Renderings:
    """Renders a chart, whose values are ``values``, with settings on top of them; on exit, unneeded renderings are
    ended.

    ``count`` is how many renderings were asked for, ``said`` helm's first error about settings that it refused.
    """

    def __init__(self, chart: Chart, values: Mapping[str, object]) -> None:
        self.chart, self.values = chart, values
        self._kept: dict[str, Rendering | None] = {}
        self._texts: dict[str, str] = {}
        self._begun: dict[_Job, Future[_Done]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self.count = 0
        self.said = ""

    def __enter__(self) -> Renderings:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def twice(self, rendered: Iterable[Found]) -> tuple[Rendering, Rendering]:
        """Return two renderings with the chart's current values; ``rendered`` is the first of them, if it is equal.

        Raises InputError where it cannot be rendered.
        """
        one = self._own()
        if gathered(one) == list(rendered):
            return one, one
        return self._own(), one

    def begin_own(self) -> None:
        """Begin a rendering with the chart's current values."""
        self._begin([_Job(None)])

    def begin(self, settings: Sequence[Setting]) -> None:
        """Begin a rendering with settings that is likely to be needed."""
        self._begin([_Job(self._file(settings))])

    def foresee(self, settings: Sequence[Setting]) -> None:
        """Begin the renderings for the case that all settings are needed: with all, without each of the first ones, a
        proof.

        Other renderings that have been begun are dropped.
        """
        file = self._file(settings)
        shorter = [[one for one in settings if one is not left_out] for left_out in settings[: AHEAD - 2]]
        jobs = [_Job(file), *(_Job(self._file(each)) for each in shorter), _Job(file, is_proof=True)]
        self._drop(jobs)
        self._begin(jobs)

    def each(self, sets: Sequence[Sequence[Setting]]) -> list[Rendering | None]:
        """Return what the chart renders with each of several sets of settings; None for what helm refuses."""
        return list(self.come(sets))

    def come(self, sets: Sequence[Sequence[Setting]]) -> Iterator[Rendering | None]:
        """Yield what ``each`` returns, each as soon as it is known: it can be judged while helm renders the next."""
        files = [self._file(settings) for settings in sets]
        new = [_Job(file) for file in dict.fromkeys(files) if file not in self._kept]
        self.count += len(new)
        if new and not any(job in self._begun for job in new):
            # The search went another way: what is needed now comes before what was foreseen.
            self._drop(new)
        if len(new) > 1:
            self._begin(new)
        for file in files:
            if file not in self._kept:
                self._kept[file] = self._result(_Job(file))
            yield self._kept[file]

    def anew(self, settings: Sequence[Setting]) -> Rendering | None:
        """Return a new rendering with settings, even where there is a cached one: for a proof."""
        self.count += 1
        return self._result(_Job(self._file(settings), is_proof=True))

    def _file(self, settings: Sequence[Setting]) -> str:
        """Return the text of a values file."""
        return dump(written(settings, self.values))

    def _begin(self, jobs: Iterable[_Job]) -> None:
        workers = min(_WORKERS, os.cpu_count() or 1)
        new = [job for job in jobs if job not in self._begun and (job.is_proof or job.values not in self._kept)]
        if workers > 1 and new:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor  # late: it is slow to import

                self._pool = ThreadPoolExecutor(workers)
            self._begun.update((job, self._pool.submit(self._render, job)) for job in new)

    def _drop(self, needed: Sequence[_Job]) -> None:
        """Drop what waits for a worker, except what is needed."""
        for job in [job for job, future in self._begun.items() if job not in needed and future.cancel()]:
            del self._begun[job]

    def _own(self) -> Rendering:
        """Return the rendering with the chart's own values. Raises InputError where it cannot be rendered."""
        self.count += 1
        done = self._done(_Job(None))
        if done.rendering is None:
            raise InputError(done.refusal)
        return self._interned(done.rendering)

    def _result(self, job: _Job) -> Rendering | None:
        done = self._done(job)
        if done.rendering is None:
            self.said = self.said or done.refusal
            return None
        return self._interned(done.rendering)

    def _interned(self, rendering: Rendering) -> Rendering:
        """Return a rendering that shares equal texts, as most are, with earlier renderings."""
        return [(file, self._texts.setdefault(text, text)) for file, text in rendering]

    def _done(self, job: _Job) -> _Done:
        begun = self._begun.pop(job, None)
        return self._render(job) if begun is None else begun.result()

    def _render(self, job: _Job) -> _Done:
        try:
            if job.values is None:
                return _Done(helm_documents(self.chart))
            with tempfile.TemporaryDirectory(prefix="kubectl-harden-") as directory:
                file = FilePath(directory, "values.yaml")
                file.write_bytes(job.values.encode())
                return _Done(helm_documents(self.chart._replace(values=(*self.chart.values, str(file)))))
        except InputError as error:
            return _Done(None, error.args[0])

"""A chart, rendered again and again with other values: what has been rendered with the same values is kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Final

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.chart_effects import Rendering
from kubectl_harden.manifests.discovery import Found
from kubectl_harden.manifests.generators import Chart, gathered, helm_documents
from kubectl_harden.manifests.value_candidates import Setting, written
from kubectl_harden.yaml_text.tree import dump

__all__ = ["Renderings"]

_WORKERS: Final = 4


class Renderings:
    """Renders a chart, whose values are ``values``, with settings on top of them.

    ``count`` is how often helm was run, ``said`` what it first said of settings that it refused.
    """

    def __init__(self, chart: Chart, values: Mapping[str, object]) -> None:
        self._chart, self._values = chart, values
        self._kept: dict[str, Rendering | None] = {}
        self._texts: dict[str, str] = {}
        self.count = 0
        self.said = ""

    def twice(self, rendered: Iterable[Found]) -> tuple[Rendering, Rendering]:
        """Return two renderings with the values that the chart has; ``rendered`` is the first of them, if it is equal.

        Raises InputError where it cannot be rendered.
        """
        self.count += 1
        one = self._interned(helm_documents(self._chart))
        if gathered(one) == list(rendered):
            return one, one
        self.count += 1
        return self._interned(helm_documents(self._chart)), one

    def each(self, sets: Sequence[Sequence[Setting]]) -> list[Rendering | None]:
        """Return what the chart renders with each of several sets of settings; None for what helm refuses."""
        files = [self._file(settings) for settings in sets]
        new = [file for file in dict.fromkeys(files) if file not in self._kept]
        self.count += len(new)
        if len(new) > 1:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(min(_WORKERS, max(2, os.cpu_count() or 1))) as pool:
                self._kept.update(zip(new, pool.map(self._with, new), strict=True))
        else:
            self._kept.update((file, self._with(file)) for file in new)
        return [self._kept[file] for file in files]

    def anew(self, settings: Sequence[Setting]) -> Rendering | None:
        """Return what it renders with settings now, whatever it has rendered with them before: for a proof."""
        self.count += 1
        return self._with(self._file(settings))

    def _file(self, settings: Sequence[Setting]) -> str:
        """Return the text of a file of values."""
        return dump(written(settings, self._values))

    def _with(self, values: str) -> Rendering | None:
        with tempfile.TemporaryDirectory(prefix="kubectl-harden-") as directory:
            file = FilePath(directory, "values.yaml")
            file.write_bytes(values.encode())
            try:
                documents = helm_documents(self._chart._replace(values=(*self._chart.values, str(file))))
            except InputError as error:
                self.said = self.said or error.args[0]
                return None
        return self._interned(documents)

    def _interned(self, rendering: Rendering) -> Rendering:
        """Return a rendering whose texts are those of earlier ones where they are equal, as most are."""
        return [(file, self._texts.setdefault(text, text)) for file, text in rendering]

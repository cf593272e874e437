"""Charts by name: directories, archives, and charts that helm has or fetches."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubectl_harden.manifests.programs import Chart, Program

__all__ = ["begun", "opened"]


def begun(name: str, values: tuple[str, ...], namespace: str, options: tuple[str, ...]) -> Program | None:
    """Have helm render a chart that is here, while what judges it is loaded; None for one that is elsewhere."""
    from kubectl_harden.manifests.programs import Chart, rendering

    if not os.path.exists(name):
        return None
    program = rendering(Chart(name, values, namespace, options))
    atexit.register(program.end)
    return program


def opened(name: str, values: tuple[str, ...], namespace: str, options: tuple[str, ...]) -> Chart:
    """Return a chart by the name that helm takes; a remote one is fetched by helm, once.

    Raises InputError where helm cannot fetch it.
    """
    from kubectl_harden.manifests.generators import helm_cached, helm_pulled
    from kubectl_harden.manifests.programs import Chart

    if os.path.exists(name) or not _is_elsewhere(name):
        return Chart(name, values, namespace, options)
    cached = helm_cached(name)
    if cached is None:
        # Imported late: few charts are fetched.
        import shutil
        import tempfile

        directory = tempfile.mkdtemp(prefix="kubectl-harden-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        cached = helm_pulled(name, directory)
    return Chart(cached, values, namespace, options, name)


def _is_elsewhere(name: str) -> bool:
    """Whether a name is that of a chart in a registry or in a repository that helm knows: ``repo/chart``."""
    return name.startswith("oci://") or (
        name.count("/") == 1 and not name.startswith((".", "/")) and not name.endswith(".tgz")
    )

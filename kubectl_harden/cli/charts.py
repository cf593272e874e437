"""Charts by name: directories, archives, and charts that helm has or fetches."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubectl_harden.manifests.generators import Chart

__all__ = ["opened"]


def opened(name: str, values: tuple[str, ...], namespace: str, options: tuple[str, ...]) -> Chart:
    """Return a chart by the name that helm takes; a remote one is fetched by helm, once.

    Raises InputError where helm cannot fetch it.
    """
    from kubectl_harden.manifests.generators import Chart, helm_cached, helm_pulled

    if os.path.exists(name) or not _is_elsewhere(name):
        return Chart(name, values, namespace, options)
    cached = helm_cached(name)
    if cached is None:
        directory = tempfile.mkdtemp(prefix="kubectl-harden-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        cached = helm_pulled(name, directory)
    return Chart(cached, values, namespace, options, name)


def _is_elsewhere(name: str) -> bool:
    """Whether a name is that of a chart in a registry or in a repository that helm knows: ``repo/chart``."""
    return name.startswith("oci://") or (
        name.count("/") == 1 and not name.startswith((".", "/")) and not name.endswith(".tgz")
    )

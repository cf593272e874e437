"""Charts of repositories in helm's cache, by the url of the repository: nothing is fetched.

Sources: helm.sh/docs/helm/helm (HELM_CACHE_HOME, HELM_CONFIG_HOME, HELM_REPOSITORY_CONFIG), helm, pkg/repo (the index
of a repository: NAME-index.yaml, with the digest of each archive).
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from kubectl_harden.errors import InputError
from kubectl_harden.json_values import mapping
from kubectl_harden.manifests.generators import helm_repositories
from kubectl_harden.text_files import opened, read_text
from kubectl_harden.yaml_text.documents import readable

__all__ = ["cached_chart"]


def cached_chart(url: str, chart: str, version: str) -> str | None:
    """Return the archive of a version of a chart, if helm has it and it is the one in the repository's index."""
    directory = helm_repositories()
    for name in _repositories(url):
        index = _value(os.path.join(directory, f"{os.path.basename(name)}-index.yaml"))
        listed = mapping(index.get("entries")).get(chart)
        for entry in listed if isinstance(listed, list) else ():
            if mapping(entry).get("version") == version:
                file = os.path.join(directory, f"{os.path.basename(chart)}-{os.path.basename(version)}.tgz")
                return file if _digest(file) == mapping(entry).get("digest") else None
    return None


def _repositories(url: str) -> Iterator[str]:
    """Yield the names under which helm knows a repository."""
    file = os.environ.get("HELM_REPOSITORY_CONFIG") or os.path.join(_config(), "repositories.yaml")
    listed = _value(file).get("repositories")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and str(one.get("url")).rstrip("/") == url.rstrip("/"):
            yield str(one.get("name"))


def _config() -> str:
    home = os.path.expanduser("~")
    default = (
        os.path.join(home, "Library", "Preferences") if sys.platform == "darwin" else os.path.join(home, ".config")
    )
    return os.environ.get("HELM_CONFIG_HOME") or os.path.join(os.environ.get("XDG_CONFIG_HOME") or default, "helm")


def _value(file: str) -> dict[str, Any]:
    try:
        text = read_text(file, regular=True) if os.path.isfile(file) else ""
    except InputError:
        return {}
    return next((one.value for one in readable(text) if isinstance(one.value, dict)), {})


def _digest(file: str) -> str | None:
    try:
        with opened(file, regular=True) as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except InputError:
        return None

"""Charts in helm's cache, as helm itself packs and lists them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kubectl_harden.manifests.helm_cache import cached_chart

URL = "https://charts.example.com"


@pytest.fixture
def cache(tmp_path: Path, programs: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has version 0.1.0 of a chart of one repository."""
    directory = tmp_path / "cache" / "repository"
    directory.mkdir(parents=True)
    monkeypatch.setenv("PATH", programs)
    monkeypatch.setenv("HELM_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HELM_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HELM_REPOSITORY_CONFIG", raising=False)
    for command in (("create", "web"), ("package", "web", "-d", str(directory)), ("repo", "index", str(directory))):
        subprocess.run(["helm", *command], cwd=tmp_path, check=True, capture_output=True)
    shutil.move(directory / "index.yaml", directory / "shop-index.yaml")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "repositories.yaml").write_text(f"repositories:\n- name: shop\n  url: {URL}/\n")
    return directory


def test_the_archive_of_a_version(cache: Path) -> None:
    assert cached_chart(URL, "web", "0.1.0") == str(cache / "web-0.1.0.tgz")
    assert cached_chart(URL, "web", "0.2.0") is None
    assert cached_chart(URL, "api", "0.1.0") is None
    assert cached_chart("https://other.example.com", "web", "0.1.0") is None


def test_another_archive_of_that_name_is_not_it(cache: Path) -> None:
    """Charts of all repositories lie side by side."""
    (cache / "web-0.1.0.tgz").write_bytes(b"another")
    assert cached_chart(URL, "web", "0.1.0") is None
    (cache / "web-0.1.0.tgz").unlink()
    assert cached_chart(URL, "web", "0.1.0") is None


def test_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HELM_REPOSITORY_CONFIG", str(tmp_path / "none.yaml"))
    assert cached_chart(URL, "web", "0.1.0") is None
    (tmp_path / "none.yaml").write_text("a: [")
    assert cached_chart(URL, "web", "0.1.0") is None

"""Which files Flux and Argo CD take, as their own patterns say."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.files_taken import takes
from kubectl_harden.origin_model import FilesTaken


@pytest.mark.parametrize(
    ("include", "exclude", "path", "is_taken"),
    [
        ("", "", "a.yaml", True),
        ("*.yaml", "", "a.yaml", True),
        ("*.yaml", "", "below/a.yaml", True),  # An asterisk stands for slashes, too.
        ("*.yaml", "", "a.json", False),
        ("", "dev-*", "dev-a.yaml", False),
        ("", "dev-*", "below/dev-a.yaml", True),
        ("*.yaml", "secret.yaml", "secret.yaml", False),
        ("{a,b}.yaml", "", "b.yaml", True),
        ("{a,b}.yaml", "", "c.yaml", False),
        ("{a,{b,c}}.{yaml,yml}", "", "c.yml", True),
        ("[ab].yaml", "", "b.yaml", True),
        ("[!ab].yaml", "", "b.yaml", False),
        ("?.yaml", "", "ab.yaml", False),
    ],
)
def test_directories_of_argo_cd(include: str, exclude: str, path: str, is_taken: bool, tmp_path: Path) -> None:
    test = takes(FilesTaken(include, exclude), str(tmp_path), str(tmp_path / "apps"))
    assert test(str(tmp_path / "apps" / path)) is is_taken


@pytest.mark.parametrize("pattern", ["{a", "a}", "{a,b}" * 20])
def test_patterns_that_are_not_judged(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not judged"):
        takes(FilesTaken(include=pattern), str(tmp_path), str(tmp_path))


@pytest.mark.parametrize(
    ("files", "ignore", "path", "is_taken"),
    [
        ({}, None, "apps/a.yaml", True),
        ({}, None, ".github/a.yaml", False),
        ({}, None, "apps/.sops.yaml", False),
        ({}, None, "apps/cloudbuild.yaml", False),
        # Patterns of a person's take the place of those.
        ({}, "/docs\n", ".github/a.yaml", True),
        ({}, "# none\n", ".github/a.yaml", False),
        ({}, "/*\n!/apps\n", "apps/a.yaml", True),
        ({}, "/*\n!/apps\n", "other/a.yaml", False),
        ({}, "/*\n!/apps\n", ".git/a.yaml", False),
        ({".sourceignore": "*.yaml\n"}, None, "apps/a.yaml", False),
        ({".sourceignore": "*.yaml\n"}, "!apps/a.yaml\n", "apps/a.yaml", True),
        ({"apps/.sourceignore": "a.yaml\n"}, None, "apps/a.yaml", False),
        ({"apps/.sourceignore": "a.yaml\n"}, None, "other/a.yaml", True),
        ({".sourceignore": "apps/\n", "apps/.sourceignore": "!a.yaml\n"}, None, "apps/a.yaml", True),
        ({".sourceignore": "apps/\n", "apps/.sourceignore": "!a.yaml\n"}, None, "apps/b.yaml", False),
    ],
)
def test_sources_of_flux(files: dict[str, str], ignore: str | None, path: str, is_taken: bool, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    test = takes(FilesTaken(by_flux=True, ignore=ignore), str(tmp_path), str(tmp_path / "apps"))
    assert test(str(tmp_path / path)) is is_taken
    # Argo CD knows no such files.
    assert takes(FilesTaken(), str(tmp_path), str(tmp_path))(str(tmp_path / path)) is True

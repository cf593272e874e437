"""Nothing is lost or half written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubectl_harden import atomic_files as write_back
from kubectl_harden.errors import EditError


def test_a_file_that_changed_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("changed")
    with pytest.raises(EditError, match="changed since it was read; not written"):
        write_back.write_text(str(file), "read", "new")
    assert file.read_text() == "changed"


def test_a_change_while_writing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("old")
    real = os.fsync

    def intrude(descriptor: int) -> None:
        file.write_text("theirs")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", intrude)
    with pytest.raises(EditError, match="changed since it was read; not written"):
        write_back.write_text(str(file), "old", "new")
    assert file.read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_a_failed_write_leaves_the_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EditError, match="No space left on device; not written"):
        write_back.write_text(str(file), "old", "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]

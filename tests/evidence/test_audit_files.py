"""``evidence/audit_files.py``: the files of a log, while the API server goes on with it."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.evidence.audit_files import LogFiles, files_of
from kubectl_harden.evidence.audit_log import LogSpan, read_audit_log
from tests.evidence.test_audit_log import event, text


def log(*names: str) -> bytes:
    return text(*(event(name=name, auditID=name) for name in names))


def pods(*names: object) -> list[str]:
    return [found.name for found in read_audit_log(map(str, names), LogSpan())]


def test_a_directory_is_its_logs(tmp_path: Path) -> None:
    for name in ("audit.log", "audit-2026-11-20T10-00-00.000.log", "audit-2026.log.gz", "notes.md", "audit.log.1"):
        (tmp_path / name).write_text("")
    (tmp_path / "old.log").mkdir()
    names = ["audit-2026-11-20T10-00-00.000.log", "audit-2026.log.gz", "audit.log", "audit.log.1"]
    logs, others = files_of(str(tmp_path))
    assert [Path(name).name for name in logs] == names
    assert [Path(name).name for name in others] == ["notes.md", "old.log"]
    span = LogSpan()
    assert list(read_audit_log([str(tmp_path)], span)) == []
    assert span.left_out_files == others
    with pytest.raises(InputError, match="no file in this directory is named like a log"):
        pods(tmp_path / "old.log")


def test_what_is_rotated_while_it_is_read_is_not_missed(tmp_path: Path) -> None:
    """Its new name was not there when the directory was listed."""
    (tmp_path / "a.log").write_bytes(log("first"))
    (tmp_path / "audit.log").write_bytes(log("second"))
    found = []
    for file, stream in LogFiles([str(tmp_path)]):
        if not found:
            (tmp_path / "audit.log").rename(tmp_path / "Audit-2026-11-28.log")
            (tmp_path / "audit.log").write_bytes(log("third"))
        found.append((Path(file).name, stream.read()))
    assert found == [("a.log", log("first")), ("audit.log", log("third")), ("Audit-2026-11-28.log", log("second"))]


def test_what_is_deleted_or_packed_while_it_is_read(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.log").write_bytes(log(name))
    found = []
    for file, stream in LogFiles([str(tmp_path)]):
        if not found:
            (tmp_path / "b.log").unlink()
            (tmp_path / "c.log.gz").write_bytes(gzip.compress(log("c")))
            (tmp_path / "c.log").unlink()
            (tmp_path / "a.log.gz").write_bytes(gzip.compress(log("a")))
        found.append((Path(file).name, stream.read()))
    assert found == [("a.log", log("a")), ("c.log.gz", log("c"))]


def test_a_file_counts_once(tmp_path: Path) -> None:
    """By whichever name, and while it is being packed."""
    (tmp_path / "audit-1.log").write_bytes(log("a", "b"))
    (tmp_path / "audit-1.log.gz").write_bytes(gzip.compress(log("a", "b"))[:-9])
    (tmp_path / "link.log").symlink_to("audit-1.log")
    assert pods(tmp_path, tmp_path / "audit-1.log") == ["a", "b"]


def test_files_that_begin_alike_or_are_named_alike_are_two(tmp_path: Path) -> None:
    """A copy may be older than what it was made of; what was packed under a name may be another log."""
    (tmp_path / "audit.log").write_bytes(log("a"))
    (tmp_path / "audit.log.gz").write_bytes(gzip.compress(log("b")))
    shutil.copy(tmp_path / "audit.log", tmp_path / "copy.log")
    assert pods(tmp_path) == ["a", "b", "a"]


def test_files_of_other_logs_are_named(tmp_path: Path) -> None:
    """A directory may have the logs of other programs."""
    (tmp_path / "audit.log").write_bytes(log("a"))
    (tmp_path / "kwok.log").write_text('{"time":"2026-11-28","msg":"ready"}\n' * 2)
    (tmp_path / "torn.log").write_text('{"kind":\n')
    span = LogSpan()
    list(read_audit_log([str(tmp_path)], span))
    assert [what for what, _ in span.lost(0)] == [
        f"1 line of the audit log cannot be read (in {tmp_path / 'torn.log'})",
        f"2 lines of the audit log are not audit events (in {tmp_path / 'kwok.log'})",
    ]


def test_a_pipe(tmp_path: Path) -> None:
    """As a shell's ``<(zcat …)`` is."""
    ours, its = os.pipe()
    with os.fdopen(its, "wb") as end:
        end.write(gzip.compress(log("a")))
    assert pods(f"/dev/fd/{ours}") == ["a"]
    os.close(ours)


def test_what_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.log: No such file"):
        pods(tmp_path / "no.log")

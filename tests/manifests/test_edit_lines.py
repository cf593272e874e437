"""The lines of a file that an edit changes."""

from __future__ import annotations

from pathlib import Path

from kubectl_harden.manifests.edit_lines import edit_lines
from kubectl_harden.model import Edit, Identity, LiveSource, Source
from kubectl_harden.yaml_text.editor import spliced
from tests.support.command import GOOD

EDIT = Edit("add", ("spec", "hostPID"), False, ("hostNamespaces",), "review", "")
PIDS = GOOD + "  hostPID: true # why\n"


def pod(source: Source | LiveSource, *path: str) -> Identity:
    return Identity(source, "v1", "Pod", None, "good", path)


def test_the_document_and_the_item_that_are_meant(tmp_path: Path) -> None:
    file = str(tmp_path / "x.yaml")
    body = "".join(f"  {line}\n" for line in PIDS.splitlines()[1:])
    listed = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n" + body
    text = f"{PIDS}---\n{listed}"
    Path(file).write_text(text)
    before, splices = edit_lines(pod(Source(file, 0, 1)), [EDIT])
    assert spliced(before, splices) == text.replace("hostPID: true # why\n---", "hostPID: false # why\n---")
    before, splices = edit_lines(pod(Source(file, 1, 1, 0)), [EDIT])
    assert spliced(before, splices) == f"{PIDS}---\n" + listed.replace("hostPID: true", "hostPID: false")


def test_none_where_there_are_none(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(PIDS)
    live = LiveSource("uid", "1")
    for identity in (
        pod(Source("-", 0, 1)),
        pod(live),
        pod(Source(str(file), 3, 1)),
        pod(Source(str(file), 0, 1, 2)),
        pod(Source(str(file), 0, 1), "spec", "template"),
        pod(Source(str(tmp_path / "absent.yaml"), 0, 1)),
    ):
        assert edit_lines(identity, [EDIT])[1] == []

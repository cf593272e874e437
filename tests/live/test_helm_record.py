"""Charts out of the records of releases: also of records that were made to do harm."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.live.helm_record import Record, digest, write_chart

CHART: dict[str, Any] = {
    "metadata": {"apiVersion": "v2", "name": "web", "version": "1.2.0"},
    "values": {"replicas": 1},
    "templates": [{"name": "templates/web.yaml", "data": base64.b64encode(b"kind: Deployment\r\n").decode()}],
    "files": [{"name": "files/logo.png", "data": base64.b64encode(b"\x89PNG\0").decode()}],
}


def record(**value: Any) -> Record:
    return Record("shop", "front", 3, "deployed", "secret", "uid", {"chart": CHART, **value})


def data(name: Any, content: Any = "") -> Record:
    return record(chart={**CHART, "files": [{"name": name, "data": content}]})


def test_a_chart_is_written_byte_by_byte(tmp_path: Path) -> None:
    schema = base64.b64encode(b'{"type": "object"}').decode()
    write_chart(record(chart={**CHART, "schema": schema}), str(tmp_path))
    files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "Chart.yaml": b"apiVersion: v2\nname: web\nversion: 1.2.0\n",
        "values.yaml": b"replicas: 1\n",
        "values.schema.json": b'{"type": "object"}',
        "templates/web.yaml": b"kind: Deployment\r\n",
        "files/logo.png": b"\x89PNG\0",
    }


@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/tmp/out", "..", "a\\..\\..\\out", "C:out", "", "a\0b", None, 7, ["x"]]
)
def test_no_file_is_written_outside(name: Any, tmp_path: Path) -> None:
    inside = tmp_path / "a" / "chart"
    inside.mkdir(parents=True)
    with pytest.raises(InputError, match="which lies outside of it"):
        write_chart(data(name), str(inside))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and inside not in path.parents] == []


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (data("x", "not base64!"), "not complete base64"),
        (data("templates/web.yaml/below"), "cannot be written"),
        (data("."), "cannot be written"),
        (data("n" * 300), "cannot be written"),
        (
            record(chart={"files": [{"name": f"f{number}", "data": ""} for number in range(6000)]}),
            "more than 5000 files",
        ),
    ],
    ids=range(5),
)
def test_what_is_no_chart_is_said(broken: Record, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        write_chart(broken, str(tmp_path))


def test_sub_charts_are_known_by_the_metadata_and_by_what_was_rendered() -> None:
    assert record().missing() == []
    metadata = {"dependencies": [{"name": "redis", "version": "1.x", "alias": "cache"}, "x", {}]}
    assert record(chart={"metadata": metadata}).missing() == ["redis 1.x"]
    manifest = "---\n# Source: web/charts/db/templates/db.yaml\nkind: StatefulSet\n"
    assert record(manifest=manifest).missing() == ["db"]
    assert record(chart=None, manifest=7, hooks=[3, {}]).missing() == []


def test_hooks_of_some_events() -> None:
    hooks = [
        {"kind": "Job", "name": "a", "events": ["pre-upgrade", "post-upgrade"]},
        {"kind": "Job", "name": "b", "events": ["test"]},
        {"kind": "Job", "name": "c", "events": 7},
        "x",
    ]
    assert record(hooks=hooks).hooks("pre-upgrade", "pre-rollback") == ["Job a (pre-upgrade)"]


def test_values_are_known_again_as_helm_writes_them() -> None:
    ours = {"b": 1.0, "a": {"y": None, "x": [1e6, {"z": None}]}, "gone": None}
    helms = {"a": {"x": [1000000, {}]}, "b": 1}
    assert digest(ours, "salt") == digest(helms, "salt") != digest(helms, "pepper")
    assert digest({"a": True}, "") != digest({"a": 1}, "") != digest({"a": "1"}, "")

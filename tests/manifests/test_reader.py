"""One input that fails costs only itself: the rest is read, and the report is whole."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.cli.main import cli
from kubectl_harden.manifests.reader import PARALLEL_BYTES, Inputs, Manifest, each_file
from kubectl_harden.model import Finding
from kubectl_harden.pod_security import policy
from kubectl_harden.pod_security.control import Revision
from kubectl_harden.pod_security.pod import Pod
from tests.support.command import run

POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {{name: {}}}\nspec:\n  hostPID: true\n  containers: [{{name: c, image: a}}]\n"
)
JSON_POD = '{{"apiVersion": "v1", "kind": "Pod", {} "spec": {{"hostPID": true, "containers": [{{"name": "c"}}]}}}}'


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def lists(depth: int) -> str:
    return '{"apiVersion": "v1", "kind": "List", "items": [' * depth + JSON_POD.format("") + "]}" * depth


FAULTS = {
    "digits.yaml": POD.format("m") + f"x: {'9' * 5000}\n",
    "digits.json": JSON_POD.format(f'"x": {"9" * 5000},'),
    "deep-400.json": JSON_POD.format(f'"x": {nested(400)},'),
    "deep-5000.json": JSON_POD.format(f'"x": {nested(5000)},'),
    "deep-400.yaml": POD.format("m") + f"x: {nested(400)}\n",
    "deep-5000.yaml": POD.format("m") + f"x: {nested(5000)}\n",
    "lists-200.json": lists(200),
    "lists-200.yaml": "# c\n" + lists(200),
    "lists-400.yaml": "# c\n" + lists(400),
    os.fsdecode(b"latin-\xff.yaml"): POD.format("m"),
    "metadata.yaml": "apiVersion: v1\nkind: Pod\nmetadata: true\nspec: 1\n",
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(POD.format("a"))
    (tmp_path / "z.yaml").write_text(POD.format("z"))
    for name, text in FAULTS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def names_in(report: Any) -> set[str]:
    return {workload["name"] for workload in report["workloads"]}


def test_the_rest_is_checked_and_the_report_is_whole(files: Path) -> None:
    done = run("check", "-f", "a.yaml", *(f"-f{name}" for name in FAULTS), "-f", "z.yaml", "-o", "json", cwd=files)
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert {"a", "z"} <= names_in(report)
    told = {os.path.basename(error["file"]) for error in report["errors"]}
    assert {"deep-5000.json", "deep-5000.yaml", "metadata.yaml"} <= told
    assert not any("bug" in error["message"] for error in report["errors"])
    # The number that no type of Kubernetes can hold is a string to kubectl, and the pod is one all the same.
    assert {"digits.yaml", "digits.json"} <= {workload["source"]["file"] for workload in report["workloads"]}


@pytest.mark.parametrize("output", ["sarif", "junit", "html", "text"])
def test_every_format_holds_what_can_be_read(files: Path, output: str) -> None:
    done = run("check", "-f", "a.yaml", *(f"-f{name}" for name in FAULTS), "-f", "z.yaml", "-o", output, cwd=files)
    assert done.returncode == 3
    assert b"bug" not in done.stderr
    if output == "sarif":
        uris = {
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
            for result in json.loads(done.stdout)["runs"][0]["results"]
        }
        assert {"a.yaml", "z.yaml", "latin-%FF.yaml"} <= uris


@pytest.mark.parametrize("output", ["diff", "json", "yaml"])
def test_the_rest_is_fixed(files: Path, output: str) -> None:
    done = run("fix", "-f", "a.yaml", *(f"-f{name}" for name in FAULTS), "-f", "z.yaml", "-o", output, cwd=files)
    assert done.returncode == 3
    assert b"this is a bug" not in done.stderr
    if output == "json":
        edited = {workload["name"] for workload in json.loads(done.stdout)["workloads"] if workload["edits"]}
        assert {"a", "z"} <= edited


def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a control fail on the pods of containers with the image "boom"."""

    def check(pod: Pod) -> Finding | None:
        if any(container.fields.get("image") == "boom" for container in pod.containers):
            raise LookupError("no such thing")
        return None

    controls = policy.controls_of(policy.Policy("restricted", policy.NEWEST))
    broken = (*controls, (controls[0][0], Revision(0, check)))
    monkeypatch.setattr(policy, "controls_of", lambda _policy: broken)


@pytest.mark.parametrize("command", ["check", "fix"])
def test_an_object_that_fails_inside_is_its_own_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    item = "- " + POD.replace("\n", "\n  ").rstrip(" ")
    items = [item.format("a"), item.format("b").replace("image: a", "image: boom"), item.format("z")]
    (tmp_path / "list.yaml").write_text("apiVersion: v1\nkind: List\nitems:\n" + "".join(items))
    (tmp_path / "more.yaml").write_text(POD.format("more"))
    failing(monkeypatch)
    files = [f"-f{tmp_path / name}" for name in ("list.yaml", "more.yaml")]
    assert cli.main([command, *files, "-o", "json"], standalone_mode=False) == 3
    report = json.loads(capsys.readouterr().out)
    assert names_in(report) == {"a", "z", "more"}
    (error,) = report["errors"]
    assert error["message"].startswith("Pod b: cannot be evaluated: LookupError at test_reader.py:")
    assert "no such thing; this is a bug in kubectl harden, please report it" in error["message"]
    assert error["line"] is not None


def _or_killed(manifest: Manifest) -> str:
    if "kill" in manifest.file:
        os.kill(os.getpid(), signal.SIGKILL)
    return manifest.file


def _unread(file: str, message: str) -> str:
    return f"{file}: {message}"


def test_a_worker_that_is_killed_ends_nothing(tmp_path: Path) -> None:
    for index in range(6):
        (tmp_path / f"{index}{'-kill' * (index == 3)}.yaml").write_text("#" * (PARALLEL_BYTES // 4))
    found = list(each_file(Inputs((str(tmp_path),)), _or_killed, _unread))
    assert len(found) == 6
    assert [os.path.basename(item)[0] for item in found] == list("012345")
    assert "was killed (out of memory?)" in found[3]


def test_no_worker_is_left_for_the_end_of_the_interpreter(tmp_path: Path) -> None:
    for index in range(6):
        (tmp_path / f"{index}.yaml").write_text("#" * (PARALLEL_BYTES // 4))
    assert len(list(each_file(Inputs((str(tmp_path),)), _or_killed, _unread))) == 6
    assert multiprocessing.active_children() == []

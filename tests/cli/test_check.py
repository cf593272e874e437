"""``check -f`` as users and scripts meet it.

By the command line alone this tests ``manifests/check.py``, ``reports/check.py``, ``reports/check_json.py``,
``reports/entries.py``, ``reports/tally.py``, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.yaml_text.tree import parse, value_of
from tests.support.command import GOOD, REJECTED, ROOT, run
from tests.support.oracle import Oracle


def test_check_json_is_the_contract(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("# first\n---\n" + REJECTED)
    result = run("check", "-f", "web.yaml", "-o", "json", cwd=tmp_path)
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert report["apiVersion"], report["kind"] == ("kubectl-harden/v1", "CheckReport")
    assert report["policy"] == {"level": "restricted", "version": "v1.37"}
    (workload,) = report["workloads"]
    assert workload["source"] == {"file": "web.yaml", "document": 1, "line": 4}
    assert (workload["kind"], workload["namespace"], workload["name"]) == ("Deployment", "shop", "web")
    assert (workload["podPath"], workload["level"], workload["allowed"]) == ("/spec/template", "privileged", False)
    first = workload["violations"][0]
    assert first == {
        "check": "hostNamespaces",
        "level": "baseline",
        "reason": "host namespaces",
        "detail": "hostNetwork=true",
        "paths": ["/spec/template/spec/hostNetwork"],
        "line": 17,
    }
    assert report["errors"] == []
    assert report["summary"] == {
        "workloads": 1, "restricted": 0, "baseline": 0, "privileged": 1, "violations": 6, "accepted": 0, "known": 0, "exempt": 0, "errors": 0
    }  # fmt: skip


def test_wide_gives_the_api_servers_message(oracle: Oracle, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    value, _ = value_of(parse(REJECTED))
    verdict = oracle.verdicts(op="admit", object=value)["restricted", 37]
    message = ", ".join(f"{reason} ({detail})" if detail else reason for reason, detail in verdict)
    shown = run("check", "-f", "web.yaml", "-o", "wide", cwd=tmp_path).stdout.decode()
    assert f'violates PodSecurity "restricted:v1.37": {message}' in " ".join(shown.split())


def test_repeated_keys_count_as_kubectl_reads_them_and_stay(tmp_path: Path) -> None:
    text = GOOD.replace("metadata: {name: good}", "metadata: {name: bad, name: good}").replace(
        "drop: [ALL]", "drop: [X]"
    )
    text += "  hostPID: false\n  hostPID: true   # the last one counts\n"
    (tmp_path / "x.yaml").write_text(text)
    checked = run("check", "-f", "x.yaml", "-o", "json", cwd=tmp_path)
    (workload,) = json.loads(checked.stdout)["workloads"]
    assert (workload["name"], workload["violations"][0]["line"]) == ("good", 11)
    fixed = run("fix", "-f", "x.yaml", "--write", cwd=tmp_path)
    assert (checked.returncode, fixed.returncode) == (3, 3)
    assert b'x.yaml:3:23: the key "name" is repeated; kubectl takes the last one' in fixed.stderr
    expected = text.replace("drop: [X]", "drop: [X, ALL]").replace("hostPID: true ", "hostPID: false ")
    assert (tmp_path / "x.yaml").read_text() == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_tells_the_encoding_which_edits_keep(tmp_path: Path, encoding: str, newline: str) -> None:
    text = ("\ufeff# größer\n" + GOOD.replace("drop: [ALL]}}", "drop: []}}  # 漢字")).replace("\n", newline)
    file = tmp_path / "x.yaml"
    file.write_bytes(text.encode(encoding))
    checked = run("check", "-f", "x.yaml", "-o", "json", cwd=tmp_path)
    assert json.loads(checked.stdout)["summary"]["workloads"] == 1
    fixed = run("fix", "-f", "x.yaml", "--write", cwd=tmp_path)
    assert fixed.returncode == 0, fixed.stderr
    assert file.read_bytes() == text.replace("drop: []", "drop: [ALL]").encode(encoding)


def test_every_value_of_a_json_stream_with_a_byte_order_mark_is_seen(tmp_path: Path) -> None:
    values = [{**value_of(parse(REJECTED))[0], "metadata": {"name": name}} for name in "ab"]
    (tmp_path / "x.json").write_text("\ufeff" + "\n".join(map(json.dumps, values)), encoding="utf-8")
    result = run("check", "-f", "x.json", "-o", "name", cwd=tmp_path)
    assert result.stdout == b"deployment.apps/a\ndeployment.apps/b\n"


def test_a_repeated_key_in_json_is_told_and_the_last_one_counts(tmp_path: Path) -> None:
    text = json.dumps(value_of(parse(GOOD))[0]).replace('"spec": {', '"spec": {"hostPID": true, "hostPID": false, ', 1)
    (tmp_path / "x.json").write_text(text)
    result = run("check", "-f", "x.json", "-o", "json", cwd=tmp_path)
    assert b'the key "hostPID" is repeated; kubectl takes the last one' in result.stderr
    assert json.loads(result.stdout)["summary"]["restricted"] == 1


def test_concise_is_a_line_for_each_violation(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("# first\n---\n" + REJECTED)
    (tmp_path / "bad.yaml").write_text("a: [")
    result = run("check", "-f", "web.yaml", "-f", "bad.yaml", "-o", "concise", cwd=tmp_path, COLUMNS="40")
    assert result.returncode == 3
    lines = result.stdout.decode().splitlines()
    assert lines[0] == "web.yaml:17: hostNamespaces: host namespaces (hostNetwork=true)"
    report = json.loads(run("check", "-f", "web.yaml", "-o", "json", cwd=tmp_path).stdout)
    expected = [
        f"web.yaml:{item['line']}: {item['check']}: {item['reason']} ({item['detail']})"
        for item in report["workloads"][0]["violations"]
    ]
    assert lines == expected
    assert b"bad.yaml" in result.stderr


def test_controls_are_named_in_any_letter_case(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    wanted = run("fix", "-f", "web.yaml", "--only", "runAsNonRoot", cwd=tmp_path)
    assert run("fix", "-f", "web.yaml", "--only", "RUNASNONROOT", cwd=tmp_path).stdout == wanted.stdout != b""


def test_directories(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "values.yml").write_text("replicas: 3\n")
    (tmp_path / "sub" / "b.json").write_text(json.dumps(value_of(parse(REJECTED))[0]))
    (tmp_path / "notes.txt").write_text("a: b: c")
    assert run("check", "-f", ".", cwd=tmp_path).returncode == 0
    deep = run("check", "-f", ".", "-R", "-o", "name", cwd=tmp_path)
    assert deep.stdout == b"deployment.apps/web\n"
    (tmp_path / "empty").mkdir()
    empty = run("check", "-f", "empty", cwd=tmp_path)
    assert empty.returncode == 3
    assert b"the directory has no .yaml, .yml or .json files (-R looks into subdirectories)" in empty.stderr


def test_broken_links_and_odd_names_do_not_stop_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a: b.yaml").write_text(REJECTED)
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    result = run("check", "-f", ".", "-f", "missing: x.yaml", "-o", "name", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (3, b"deployment.apps/web\n")
    assert b"error: ./gone.yaml: No such file or directory" in result.stderr
    assert b"error: missing: x.yaml: no such file or directory" in result.stderr


def test_shell_globs(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml", "c.yaml"):
        (tmp_path / name).write_text(REJECTED)
    assert len(run("check", "-f", "a.yaml", "b.yaml", "c.yaml", "-o", "name", cwd=tmp_path).stdout.splitlines()) == 3


def test_lists_and_custom_resources(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n- apiVersion: example.com/v1\n  kind: Widget\n"
        "  metadata: {name: w}\n  spec:\n    pod:\n      spec: {containers: [{name: c, image: i}]}\n"
        "---\napiVersion: apps/v1\nkind: DeploymentList\nitems:\n- metadata: {name: d}\n  spec: {template: {spec: {containers: [{name: c, image: i}]}}}\n"
    )
    result = run("check", "-f", "x.yaml", "-o", "json", "--pod-path", "Widget.example.com=/spec/pod", cwd=tmp_path)
    workloads = json.loads(result.stdout)["workloads"]
    assert [
        (w["kind"], w["name"], w["podPath"], w["source"].get("item"), w["source"]["document"]) for w in workloads
    ] == [
        ("Widget", "w", "/spec/pod", 1, 0),
        ("Deployment", "d", "/spec/template", 0, 1),
    ]
    fixed = run("fix", "-f", "x.yaml", "-o", "yaml", "--pod-path", "Widget.example.com=/spec/pod", cwd=tmp_path)
    assert fixed.returncode == 0
    assert b"kind: Deployment\n" not in fixed.stdout


def test_many_files_are_told_in_order_on_all_cores(tmp_path: Path) -> None:
    padding = "# " + "x" * 20_000 + "\n"
    for index in range(120):
        (tmp_path / f"{index:03}.yaml").write_text(padding + REJECTED.replace("name: web", f"name: web-{index:03}", 1))
    result = run("check", "-f", ".", "-o", "name", cwd=tmp_path)
    assert result.stdout.decode().splitlines() == [f"deployment.apps/web-{index:03}" for index in range(120)]


def test_data_keeps_its_bytes_but_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_bytes(b"# a\xe2\x80\xaeb\xef\xb7\x92 \xc2\xad\r\n" + REJECTED.encode())
    for arguments in (["-o", "yaml"], []):
        assert b"\xe2\x80\xaeb\xef\xb7\x92 \xc2\xad\r\n" in run("fix", "-f", "-", "-o", "yaml", cwd=tmp_path,
                                                                  stdin=(tmp_path / "web.yaml").read_bytes()).stdout  # fmt: skip
        script = (
            f"{sys.executable} -c 'from kubectl_harden.cli import main; main()' fix -f web.yaml {' '.join(arguments)}"
        )
        shown = subprocess.run(
            ["script", "-qec", script, "/dev/null"], cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TERM": "xterm", "NO_COLOR": "1"},
        ).stdout.decode()  # fmt: skip
        assert not {"\u202e", "\ufdd2", "\xad", "\x1b"} & set(shown)
        if arguments:
            assert "# a\\u202eb\\ufdd2 \\xad\r\n" in shown


def test_controls_that_are_left_out_do_not_count_and_are_told(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    names = [one["check"] for one in _json("check", "-f", "web.yaml", cwd=tmp_path)["workloads"][0]["violations"]]
    one = run("check", "-f", "web.yaml", "--only", "RUNASNONROOT", cwd=tmp_path)
    assert (one.returncode, one.stdout.count(b"web.yaml:"), b"runAsNonRoot" in one.stdout) == (1, 1, True)
    assert b"(1 violation)" in one.stderr and b"left out here" in one.stderr
    assert b"--only RUNASNONROOT" in one.stderr, "the fix is that of the same controls"
    skip = ("--skip", ",".join(names))
    none = run("check", "-f", "web.yaml", *skip, cwd=tmp_path, COLUMNS="")
    assert (none.returncode, none.stdout) == (0, b"")
    said = "6 violations of other controls are left out here, but not by Pod Security admission"
    assert none.stderr.decode() == f"1 workload: none violates the selected controls; {said}\n"
    report = _json("check", "-f", "web.yaml", *skip, cwd=tmp_path)
    (workload,) = report["workloads"]
    assert (workload["allowed"], workload["level"], workload["leftOut"]) == (False, "privileged", 6)
    assert (report["summary"]["leftOut"], report["summary"]["violations"]) == (6, 0)
    for output in ("wide", "junit", "html"):
        shown = run("check", "-f", "web.yaml", "-o", output, *skip, cwd=tmp_path, COLUMNS="")
        assert said in shown.stdout.decode(), output
        assert "all meet" not in shown.stderr.decode()
    for output in ("sarif", "concise", "name", "github", "gitlab", "rdjson"):
        assert said in run("check", "-f", "web.yaml", "-o", output, *skip, cwd=tmp_path).stderr.decode()
    (tmp_path / "good.yaml").write_text(GOOD)
    assert b"all meet" in run("check", "-f", "good.yaml", *skip, cwd=tmp_path).stderr
    assert run("check", "-f", "web.yaml", "--only", "nonsense", cwd=tmp_path).returncode == 2
    assert run("check", "-f", "web.yaml", *skip, "--write-known", "k.json", cwd=tmp_path).returncode == 2


def test_evidence_is_text_with_more(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    wide = run("check", "-f", "web.yaml", "-o", "wide", cwd=tmp_path)
    assert run("check", "-f", "web.yaml", "--evidence", cwd=tmp_path).stdout == wide.stdout
    assert run("check", "-f", "web.yaml", "--evidence", "-o", "json", cwd=tmp_path).returncode == 2


def _json(*arguments: str, cwd: Path) -> Any:
    return json.loads(run(*arguments, "-o", "json", cwd=cwd).stdout)


@pytest.mark.parametrize(
    "arguments",
    [("check",), ("fix",), ("check", "--only", "hostPorts"), ("check", "--upgrade-to", "--policy-version", "v1.20")],
)
def test_what_could_not_be_read_is_part_of_what_is_said_to_be_well(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    well = run(*arguments, "-f", "good.yaml", cwd=tmp_path)
    assert (well.returncode, b"not all was checked" in well.stderr) == (0, False), well
    (tmp_path / "broken.yaml").write_text("kind: [\n")
    result = run(*arguments, "-f", ".", cwd=tmp_path)
    assert (result.returncode, b"; not all was checked (1 error)" in b" ".join(result.stderr.split())) == (3, True), (
        result
    )

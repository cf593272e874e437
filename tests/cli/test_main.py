"""The command as users and scripts meet it: outputs, exit codes, messages."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.field_path import parse_pointer
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.pod_security.risks import Judgement
from kubectl_harden.yaml_text.tree import parse, value_of
from tests.support.oracle import Oracle

ROOT = Path(__file__).parents[2]
REJECTED = (ROOT / "examples" / "rejected-deployment.yaml").read_text()
GOOD = """\
apiVersion: v1
kind: Pod
metadata: {name: good}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: c
    image: i
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""


def run(*arguments: str, stdin: str | bytes = "", cwd: Path | None = None, **environment: str) -> Any:
    data = stdin if isinstance(stdin, bytes) else stdin.encode()
    return subprocess.run(
        [sys.executable, "-c", "from kubectl_harden.cli import main; main()", *arguments],
        input=data,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
        timeout=120,
    )


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


def test_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(REJECTED)
    (tmp_path / "broken.yaml").write_text("a: b: c\n")
    for arguments, code in [
        (("check", "-f", "good.yaml"), 0),
        (("check", "-f", "bad.yaml"), 1),
        (("check", "-f", "bad.yaml", "--level", "nonsense"), 2),
        (("check", "-f", "bad.yaml", "-f", "broken.yaml"), 3),
        (("check", "-f", "missing.yaml", "-f", "good.yaml"), 3),
        (("check",), 2),
        (("chek",), 2),
        (("fix", "-f", "good.yaml"), 0),
        (("fix", "-f", "bad.yaml"), 1),
        (("fix", "-f", "bad.yaml", "-o", "yaml"), 0),
        (("fix", "-f", "bad.yaml", "-o", "yaml", "--skip", "runAsNonRoot"), 1),
        (("fix", "-f", "bad.yaml", "--skip", "runAsNonrot"), 2),
        (("fix", "-f", "bad.yaml", "--host-path", "x=y"), 2),
        (("fix", "-f", "-", "--write"), 2),
        (("fix", "-f", "bad.yaml", "--write"), 0),
        (("check", "-f", "bad.yaml"), 0),
        (("version",), 0),
        (("--help",), 0),
    ]:
        assert run(*arguments, cwd=tmp_path).returncode == code, arguments


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


def test_suggestions(tmp_path: Path) -> None:
    assert b'Did you mean "check"?' in run("chek").stderr
    assert b'Did you mean "runAsNonRoot"?' in run("fix", "-f", "-", "--only", "runAsNonrot").stderr
    assert b"use latest, or one of v1.0 to v1.37" in run("check", "-f", "-", "--policy-version", "v2").stderr


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (b"a: b: c\n", "1:5", "mapping values are not allowed in this context"),
        (b"apiVersion: v1\nkind: Pod\nspec:\n  hostPID: \"true\"\n  containers: [{name: c}]\n", "4:3",
         'spec.hostPID: must be true or false, not the string "true"'),
        (b"apiVersion: v1\nkind: Pod\nspec:\n  containers: {name: c}\n", "4:3", "spec.containers: must be a list, not an object"),
        (b"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: 5\n", "5:5", "spec.containers[0].name: must be a string, not the number 5"),
        (b"apiVersion: v1\nkind: Pod\nspec: {}\n", "3:1", "spec.containers: required: a pod needs at least one container"),
        (b"apiVersion: apps/v1\nkind: Deployment\nspec: {}\n", "3:1", "spec.template: required: there is no pod template here"),
        (b"a: 1\n", "1:1", "this is no Kubernetes object: apiVersion and kind not set"),
        (b"apiVersion: v1\nkind: Pod\nspec: {a: 1, a: 2, containers: [{name: c}]}\n# {{\n", "3:14", 'the key "a" is repeated; kubectl takes the last one'),
        (b"a: \xff\n", "", "line 1, column 4: not valid UTF-8 (byte 0xff)"),
        (b"\x7fELF\x00\x00", "", "has NUL bytes: this is a binary file"),
        (b"a\x00:\x00", "", "has NUL bytes: this is a binary file"),
        (b"\xff\xfea\x00", "1:1", "this is no Kubernetes object: apiVersion and kind not set"),
        (b"\xff\xfea\x00\n\x00b", "", "line 2, column 1: not valid UTF-16 (byte 0x62)"),
        (b"\xfe\xff\x00a\xdc\x00", "", "line 1, column 3: not valid UTF-16 (byte 0xdc)"),
        (b"\xef\xbb\xbfa: b: c\n", "1:5", "mapping values are not allowed in this context"),
        (b'{"apiVersion": "v1" "kind": "Pod"}', "1:21", "expecting \',\' delimiter"),
        (b"a: *b\n", "1:4", "unknown anchor 'b' referenced"),
        (b"a:\n" + b"  x: {{ .Values.x }}\n  y: {{ .Values.y }}\n", "2", "a template, not YAML yet: render it first"),
        (b"kind: Pod\x1b[31m\n", "1:10", "control characters are not allowed"),
    ],
)  # fmt: skip
def test_bad_input_is_told_with_its_place_and_the_rest_is_done(
    tmp_path: Path, text: bytes, place: str, message: str
) -> None:
    (tmp_path / "bad.yaml").write_bytes(text)
    (tmp_path / "web.yaml").write_text(REJECTED)
    result = run("check", "-f", "bad.yaml", "-f", "web.yaml", "-o", "json", cwd=tmp_path)
    assert result.returncode == 3
    assert json.loads(result.stdout)["summary"]["privileged"] == 1
    assert f"error: bad.yaml{':' if place else ''}{place}: " in result.stderr.decode()
    assert message in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()


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


def test_control_characters_from_files_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        GOOD.replace("name: good", '"name": "a\\e[31m\\u202eb"').replace("drop: [ALL]", "drop: []")
    )
    result = run("check", "-f", "x.yaml", cwd=tmp_path)
    assert b"\x1b" not in result.stdout
    assert b"Pod a\\x1b[31m\\u202eb" in result.stdout
    assert "\u202e" not in result.stdout.decode()


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


def test_fix_as_a_filter_keeps_other_documents(tmp_path: Path) -> None:
    other = "# kept\r\nkind:   Service\r\napiVersion: v1\r\n"
    stream = f"{other}---\r\n{REJECTED}---\n{other}"
    result = run("fix", "-f", "-", "-o", "yaml", stdin=stream)
    assert result.returncode == 0
    text = result.stdout.decode()
    assert text.startswith(other) and text.endswith(other)
    assert run("check", "-f", "-", stdin=text).returncode == 0


def test_git_applies_the_diff(tmp_path: Path) -> None:
    texts = {
        "plain.yaml": REJECTED,
        "unended.yaml": GOOD.replace("drop: [ALL]", "drop: []").rstrip("\n"),
        "windows.yaml": REJECTED.replace("\n", "\r\n"),
        "sub/deep.json": json.dumps(value_of(parse(REJECTED))[0], indent=4),
    }
    (tmp_path / "sub").mkdir()
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
    expected = {name: run("fix", "-f", name, "-o", "yaml", cwd=tmp_path).stdout for name in texts}
    diff = run("fix", "-f", ".", "-R", cwd=tmp_path).stdout
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "--whitespace=nowarn"], cwd=tmp_path, input=diff, check=True)
    for name, text in expected.items():
        assert (tmp_path / name).read_bytes() == text


def test_write_keeps_mode_and_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "web.yaml"
    target.write_text(REJECTED)
    target.chmod(0o640)
    (tmp_path / "link.yaml").symlink_to("real/web.yaml")
    assert run("fix", "-f", "link.yaml", "--write", cwd=tmp_path).returncode == 0
    assert (tmp_path / "link.yaml").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert "runAsNonRoot: true" in target.read_text()
    assert [path.name for path in target.parent.iterdir()] == ["web.yaml"]
    again = run("fix", "-f", "link.yaml", "--write", cwd=tmp_path)
    assert again.returncode == 0
    assert b"nothing to do" in again.stderr


def test_a_kill_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    new = run("fix", "-f", "-", "-o", "yaml", stdin=REJECTED).stdout
    outcomes = set()
    for attempt in range(12):
        file.write_text(REJECTED)
        process = subprocess.Popen(
            [sys.executable, "-c", "from kubectl_harden.cli import main; main()", "fix", "-f", str(file), "--write"],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        time.sleep(0.02 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert file.read_bytes() in (REJECTED.encode(), new)
        outcomes.add(file.read_bytes())
    assert REJECTED.encode() in outcomes


def test_plan_json_edits_are_rfc_6902(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    plan = json.loads(run("fix", "-f", "web.yaml", "-o", "json", cwd=tmp_path).stdout)
    (workload,) = plan["workloads"]
    assert (workload["before"], workload["after"], workload["remaining"]) == ("privileged", "restricted", [])
    import jsonpatch

    operations = [{k: v for k, v in edit.items() if k in ("op", "path", "value")} for edit in workload["edits"]]
    fixed = jsonpatch.apply_patch(value_of(parse(REJECTED))[0], operations)
    assert fixed == value_of(parse(run("fix", "-f", "web.yaml", "-o", "yaml", cwd=tmp_path).stdout.decode()))[0]
    assert all(
        edit["risk"] in ("safe", "review", "breaks") and edit["why"] and edit["checks"] for edit in workload["edits"]
    )


def test_patches_mean_the_same_to_their_tools(oracle: Oracle, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    value = value_of(parse(REJECTED))[0]
    expected = value_of(parse(run("fix", "-f", "web.yaml", "-o", "yaml", cwd=tmp_path).stdout.decode()))[0]
    strategic = run("fix", "-f", "web.yaml", "-o", "strategic-patch", cwd=tmp_path).stdout.decode()
    patched = oracle.ask(op="strategic", object=value, patch=value_of(parse(strategic))[0])
    assert patched["documents"][0]["json"] == expected
    component = run("fix", "-f", "web.yaml", "-o", "kustomize", cwd=tmp_path).stdout.decode()
    built = oracle.ask(op="kustomize", files={"web.yaml": REJECTED, "component/kustomization.yaml": component,
                       "kustomization.yaml": "resources: [web.yaml]\ncomponents: [component]\n"})  # fmt: skip
    assert "error" not in built, built
    assert built["documents"][0]["json"] == expected
    (patch,) = json.loads(run("fix", "-f", "web.yaml", "-o", "json-patch", cwd=tmp_path).stdout)
    assert patch["target"] == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
        "name": "web",
        "namespace": "shop",
    }
    edits = [Judgement("safe", "").edit(op["op"], _path(op["path"]), op.get("value")) for op in patch["patch"]]
    assert apply(value, edits) == expected


def _path(pointer: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in map(str, parse_pointer(pointer)))


def test_colour_only_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    assert b"\x1b[" not in run("fix", "-f", "web.yaml", cwd=tmp_path).stdout
    script = f"{sys.executable} -c 'from kubectl_harden.cli import main; main()' fix -f web.yaml"
    for environment, coloured in [({}, True), ({"NO_COLOR": "1"}, False)]:
        shown = subprocess.run(
            ["script", "-qec", script, "/dev/null"], cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment},
        )  # fmt: skip
        assert (b"\x1b[" in shown.stdout) == coloured


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


def test_many_files_are_told_in_order_on_all_cores(tmp_path: Path) -> None:
    padding = "# " + "x" * 20_000 + "\n"
    for index in range(120):
        (tmp_path / f"{index:03}.yaml").write_text(padding + REJECTED.replace("name: web", f"name: web-{index:03}", 1))
    result = run("check", "-f", ".", "-o", "name", cwd=tmp_path)
    assert result.stdout.decode().splitlines() == [f"deployment.apps/web-{index:03}" for index in range(120)]


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    for index in range(40):
        (tmp_path / f"{index}.yaml").write_text(REJECTED)
    command = f"{sys.executable} -c 'from kubectl_harden.cli import main; main()' check -f . -o wide | head -n 1"
    result = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert result.stdout.startswith(b"Deployment shop/web")
    assert b"Traceback" not in result.stderr
    assert b"BrokenPipe" not in result.stderr


def test_interrupting_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for index in range(2000):
        (tmp_path / f"{index:04}.yaml").write_text("# " + "x" * 5_000 + "\n" + REJECTED)
    process = subprocess.Popen(
        [sys.executable, "-c", "from kubectl_harden.cli import main; main()", "fix", "-f", ".", "-o", "json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted" in err
    assert b"Traceback" not in err
    assert out == b""


def test_reports_do_not_move_the_cursor(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        GOOD.replace("name: good", '"name": "a\\x9b31m\\u202eb"').replace("drop: [ALL]", "drop: []")
    )
    for output in ("json", "yaml", "name", "wide"):
        shown = run("check", "-f", "x.yaml", "-o", output, cwd=tmp_path).stdout.decode()
        assert not {"\x9b", "\u202e"} & set(shown), output
    report = json.loads(run("check", "-f", "x.yaml", "-o", "json", cwd=tmp_path).stdout)
    assert report["workloads"][0]["name"] == "a\x9b31m\u202eb"

"""The project file: what it sets, what is wrong in it, and its schema."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.errors import UsageError
from kubectl_harden.manifests.project_file import FILE, find_project, misnamed, read_project
from kubectl_harden.pod_security.pod_templates import holders_of_pods, locate
from kubectl_harden.pod_security.policy import NEWEST
from kubectl_harden.yaml_text.tree import dump
from tests.support.command import GOOD, REJECTED, ROOT, run

SCHEMA = json.loads((ROOT / "docs" / "project-file.schema.json").read_text())
WIDGET = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {pod: {spec: {hostPID: true, containers: [{name: c, image: i}]}}}\n"


def report(directory: Path, *arguments: str, **more: Any) -> Any:
    return json.loads(run("check", *arguments, "-o", "json", cwd=directory, **more).stdout)


def test_it_sets_level_version_excludes_and_pod_paths_and_options_win(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(
        "# ours\nlevel: baseline\npolicyVersion: v1.30\nexclude: [charts/, '*.gen.yaml', '!keep.gen.yaml']\n"
        "podPaths: {Widget.example.com: /spec/pod}\n"
    )
    for name in (".git", "deploy", "charts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "good.yaml").write_text(GOOD)
    for name in ("a.gen.yaml", "keep.gen.yaml", "widget.yaml"):
        (tmp_path / "deploy" / name).write_text(WIDGET)
    found = report(tmp_path, "-f", ".", "-R")
    assert found["policy"] == {"level": "baseline", "version": "v1.30"}
    assert [w["source"]["file"] for w in found["workloads"]] == [
        f"./deploy/{name}" for name in ("good.yaml", "keep.gen.yaml", "widget.yaml")
    ]
    # From below, with other names for the files, and with options that say otherwise.
    found = report(tmp_path / "deploy", "-f", "widget.yaml", "-f", "../charts/good.yaml", "--level", "restricted",
                   "--policy-version", "v1.25", "--pod-path", "Widget.example.com=/spec/other")  # fmt: skip
    assert found["policy"] == {"level": "restricted", "version": "v1.25"}
    assert [w["name"] for w in found["workloads"]] == []
    done = run("check", "-f", "a.gen.yaml", cwd=tmp_path / "deploy")
    assert f"note: ../{FILE} excludes everything that you named".encode() in done.stderr


def test_fix_leaves_out_what_is_excluded(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("exclude: [gen]\n")
    (tmp_path / "gen").mkdir()
    for name in ("web.yaml", "gen/web.yaml"):
        (tmp_path / name).write_text(REJECTED)
    run("fix", "-f", ".", "-R", "--write", cwd=tmp_path)
    assert (tmp_path / "gen" / "web.yaml").read_text() == REJECTED != (tmp_path / "web.yaml").read_text()


def test_its_baseline_file_is_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "web.yaml").write_text(REJECTED)
    (tmp_path / FILE).write_text("known: known.json\n")
    assert run("check", "-f", "deploy", "--write-known", "known.json", cwd=tmp_path).returncode == 0
    done = run("check", "-f", "web.yaml", cwd=tmp_path / "deploy")
    assert done.returncode == 0
    assert b"of the baseline file ../known.json" in b" ".join(done.stderr.split())
    (tmp_path / "known.json").unlink()
    assert run("check", "-f", "web.yaml", cwd=tmp_path / "deploy").returncode == 3


def test_it_is_looked_for_up_to_the_root_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "repository" / "a" / "b").mkdir(parents=True)
    (tmp_path / FILE).write_text("level: baseline\n")
    assert find_project(str(tmp_path / "repository" / "a" / "b")) is None
    assert find_project(str(tmp_path)) == str(tmp_path / FILE)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "repository", check=True)
    assert find_project(str(tmp_path / "repository" / "a" / "b")) is None
    (tmp_path / "repository" / FILE).write_text("level: baseline\n")
    assert find_project(str(tmp_path / "repository" / "a" / "b")) == str(tmp_path / "repository" / FILE)


EXCLUDING = 'exclude: ["*"]\n'


@pytest.mark.parametrize("is_repository", [True, False])
@pytest.mark.parametrize("command", ["check", "fix"])
def test_one_above_the_repository_is_not_obeyed_and_told(tmp_path: Path, is_repository: bool, command: str) -> None:
    below = tmp_path / "work" / "deploy"
    below.mkdir(parents=True)
    if is_repository:
        (tmp_path / "work" / ".git").mkdir()
    (below / "web.yaml").write_text(REJECTED)
    (tmp_path / FILE).write_text(EXCLUDING)
    done = run(command, "-f", "web.yaml", cwd=below)
    assert done.returncode == 1
    told = " ".join(done.stderr.decode().split())
    assert f"note: ../../{FILE} is not obeyed: it is outside of this repository; --config names it" in told
    named = run(command, "-f", "web.yaml", "--config", f"../../{FILE}", cwd=below)
    assert named.returncode == 0 and b"is not obeyed" not in named.stderr


def of_another_user(file: Path, text: str) -> None:
    """Make a file that belongs to somebody else; who may not give files away has a link to one of the system's."""
    if os.geteuid() == 0:
        file.write_text(text)
        os.chown(file, 65534, 65534)
    else:
        file.symlink_to("/etc/passwd")


@pytest.mark.parametrize("where", [".", ".."])
def test_one_of_another_user_is_not_obeyed_and_told(tmp_path: Path, where: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "web.yaml").write_text(REJECTED)
    of_another_user(tmp_path / "deploy" / where / FILE, EXCLUDING)
    done = run("check", "-f", "web.yaml", cwd=tmp_path / "deploy")
    assert done.returncode == 1
    assert f"note: {os.path.normpath(f'{where}/{FILE}')} is not obeyed: it " in done.stderr.decode()


def test_links_out_of_the_repository_are_not_obeyed(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / ".git").mkdir(parents=True)
    (here / "web.yaml").write_text(REJECTED)
    (tmp_path / "elsewhere").write_text(EXCLUDING)
    (here / FILE).symlink_to("../elsewhere")
    done = run("check", "-f", "web.yaml", cwd=here)
    assert done.returncode == 1
    assert f"note: {FILE} is not obeyed: it is a link that leads out of this repository".encode() in done.stderr
    (here / FILE).unlink()
    (here / "inside").write_text(EXCLUDING)
    (here / FILE).symlink_to("inside")
    assert run("check", "-f", "web.yaml", cwd=here).returncode == 0


@pytest.mark.parametrize("command", ["check", "fix"])
def test_the_summary_says_which_file_excludes_how_much(tmp_path: Path, command: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "deploy" / "gen").mkdir(parents=True)
    (tmp_path / FILE).write_text("exclude: [gen/, '/deploy/bad.yaml']\n")
    for name in ("gen/a.yaml", "gen/b.yaml", "bad.yaml"):
        (tmp_path / "deploy" / name).write_text(REJECTED)
    (tmp_path / "deploy" / "good.yaml").write_text(GOOD)

    def told(*arguments: str) -> str:
        done = run(command, *arguments, cwd=tmp_path / "deploy")
        assert done.returncode == 0
        return " ".join(done.stderr.decode().split())

    assert told("-f", ".", "-R").endswith(f"; ../{FILE} excludes 3 paths")
    assert told("-f", "good.yaml", "-f", "bad.yaml").endswith(f"; ../{FILE} excludes 1 path")
    assert told("-f", "bad.yaml").endswith(f"no workloads found; ../{FILE} excludes 1 path")
    assert told("-f", ".", "-R", "-o", "json").endswith(f"note: ../{FILE} excludes 3 paths")
    assert "excludes" not in told("-f", "good.yaml")
    if command == "check":
        assert told("-f", ".", "-R", "--write-known", "k.json").startswith(f"note: ../{FILE} excludes 3 paths")


@pytest.mark.parametrize("name", ["../known.json", "a/../../known.json", "link.json", "/dev/stdin", "/etc/passwd"])
def test_a_baseline_file_outside_of_the_repository_is_refused(tmp_path: Path, name: str) -> None:
    here = tmp_path / "here"
    (here / ".git").mkdir(parents=True)
    (here / "web.yaml").write_text(REJECTED)
    (here / "link.json").symlink_to("../known.json")
    run("check", "-f", "web.yaml", "--write-known", "../known.json", cwd=here)
    (here / FILE).write_text(f"level: restricted\nknown: {name}\n")
    done = run("check", "-f", "web.yaml", cwd=here)
    assert done.returncode == 2
    assert f"error: {FILE}:2:1: known: ".encode() in done.stderr
    (here / FILE).unlink()
    assert run("check", "-f", "web.yaml", "--known", "../known.json", cwd=here).returncode == 0


def test_a_baseline_file_of_the_project_is_a_regular_one_of_a_size(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    (tmp_path / FILE).write_text("known: known.json\n")
    os.mkfifo(tmp_path / "known.json")
    done = run("check", "-f", "web.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, b"error: known.json: this is not a regular file\n")
    (tmp_path / "known.json").unlink()
    with (tmp_path / "known.json").open("wb") as file:
        file.truncate(1 << 40)
    done = run("check", "-f", "web.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, b"error: known.json: larger than 64 MiB, which is refused\n")


def test_a_project_file_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(GOOD)
    with (tmp_path / FILE).open("wb") as file:
        file.truncate(1 << 40)
    done = run("check", "-f", "web.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"error: {FILE}: larger than 1 MiB, which is refused\n".encode())


@pytest.mark.parametrize("kind", ["Pod", "Deployment.apps", "Namespace", "List", "Job.batch", "CronJob.batch"])
def test_built_in_kinds_are_not_redefined(tmp_path: Path, kind: str) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    (tmp_path / FILE).write_text(f"podPaths: {{{kind}: /metadata}}\n")
    done = run("check", "-f", "web.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert f'{FILE}:1:1: podPaths: "{kind}" is a built-in kind'.encode() in done.stderr


@given(st.sampled_from(list(holders_of_pods({}))), st.sampled_from(["/metadata", "/spec", "/spec/template", "/x/y"]))
def test_further_paths_hide_nothing_that_is_known(kind: tuple[str, str], pointer: str) -> None:
    pod = {"spec": {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]}}
    spec = {
        "template": pod,
        "jobTemplate": {"spec": {"template": pod}},
        "templates": [{"container": {"image": "i"}}],
        **pod["spec"],
    }
    value = {"apiVersion": f"{kind[0]}/v1".lstrip("/"), "kind": kind[1], "template": pod, "metadata": {}, "spec": spec}
    known = locate(value, {})
    more = locate(value, {kind: (pointer,)})
    assert known is not None and more is not None
    # Layouts are objects that are made each time.
    assert [location._replace(layout=None) for location in more[: len(known)]] == [
        location._replace(layout=None) for location in known
    ]


def test_another_one_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(GOOD)
    (tmp_path / FILE).write_text("level: nonsense\n")
    (tmp_path / "other.yaml").write_text("level: baseline\n")
    assert report(tmp_path, "-f", "web.yaml", "--config", "other.yaml")["policy"]["level"] == "baseline"
    done = run("check", "-f", "web.yaml", "--config", "none.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, b"error: none.yaml: No such file or directory\n")


@pytest.mark.parametrize(
    "text, message",
    [
        ("levle: baseline\n", '.kubectl-harden.yaml:1:1: unknown key "levle". Did you mean "level"?'),
        ("# x\nlevel: high\n", '.kubectl-harden.yaml:2:1: unknown level "high": use baseline or restricted'),
        ("level: baseline\nlevel: restricted\n", '.kubectl-harden.yaml:2:1: the key "level" is repeated'),
        ("policyVersion: 1.30\n", ".kubectl-harden.yaml:1:1: policyVersion: write latest, or a version such as v1.30"),
        ("policyVersion: v1.99\n", '.kubectl-harden.yaml:1:1: unknown policy version "v1.99"'),
        ("exclude: charts\n", ".kubectl-harden.yaml:1:1: exclude: write a list of patterns"),
        ("podPaths: {Widget: /spec}\n", '.kubectl-harden.yaml:1:1: podPaths: "Widget" is a built-in kind'),
        ("podPaths: {Widget: spec}\n", '.kubectl-harden.yaml:1:1: podPaths: "Widget": write KIND.GROUP: /json/pointer'),
        ("known: ''\n", ".kubectl-harden.yaml:1:1: known: write the name of the baseline file"),
        ("a: b: c\n", ".kubectl-harden.yaml:1:5: mapping values are not allowed in this context"),
        ("- level\n", ".kubectl-harden.yaml: a project file is one mapping of keys"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_it_has_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / FILE).write_text(text)
    (tmp_path / "web.yaml").write_text(GOOD)
    done = run("check", "-f", "web.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"error: {message}" in done.stderr.decode()


def test_an_empty_one_says_nothing(tmp_path: Path) -> None:
    for text in ("", "# nothing yet\n", "---\n{}\n"):
        (tmp_path / FILE).write_text(text)
        assert read_project(str(tmp_path / FILE)).level is None


_WORDS = st.sampled_from(
    [
        "baseline",
        "restricted",
        "latest",
        "v1.0",
        f"v1.{NEWEST}",
        "",
        "/spec",
        "/a/b",
        "x",
        "Widget.example.com",
        "Pod",
        "Job.batch",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | _WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_WORDS, inner, max_size=2),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "other"]), _VALUES, max_size=3))
def test_the_schema_says_what_the_reader_says(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    file = tmp_path_factory.getbasetemp() / f"project-{id(SCHEMA)}.yaml"
    file.write_text(dump(value))
    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    try:
        read_project(str(file))
    except UsageError:
        assert not valid
    else:
        assert valid


@pytest.mark.parametrize(
    "name",
    [
        ".kubectl-harden.yml",
        ".kubectl_harden.yaml",
        "kubectl-harden.yaml",
        ".kubectlharden.json",
        ".Kubectl-Harden.YAML",
        ".kubectl-hardn.yaml",
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_a_mistyped_name_is_a_note(tmp_path: Path, name: str, beside: bool) -> None:
    (tmp_path / ".git").mkdir()
    below = tmp_path / "deploy"
    below.mkdir()
    (tmp_path / name).write_text("level: baseline\n")
    (below / "pod.yaml").write_text(GOOD)
    if beside:
        (tmp_path / FILE).write_text("level: restricted\n")
    done = run("check", "-f", "pod.yaml", cwd=below)
    assert f"note: ../{name} is not read: a project file is named {FILE}".encode() in done.stderr
    assert done.returncode == 0
    assert b"is not read" not in run("check", "-f", "pod.yaml", "--config", f"../{name}", cwd=below).stderr


def test_other_files_are_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for name in (FILE, "kubeconfig.yaml", "hardened.yaml", "kubectl.yaml", "charts.yaml", "kubectl-harden.txt"):
        (tmp_path / name).write_text("level: baseline\n")
    (tmp_path / "kubectl-harden.yaml").write_text(GOOD)
    assert misnamed(str(tmp_path)) is None
    (tmp_path.parent / ".kubectl-harden.yml").write_text("level: baseline\n")
    assert misnamed(str(tmp_path)) is None
    (tmp_path.parent / ".kubectl-harden.yml").unlink()

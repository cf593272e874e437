"""What is named on the command line is looked at, or told; a run in which nothing was judged does not read as well.

By the command line alone this tests ``reports/passed.py``, too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import GOOD, REJECTED, run

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
WIDGET = (
    "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {pod: {spec: {containers: [{image: i}]}}}\n"
)


def words(text: bytes) -> str:
    return " ".join(text.decode().split())


@pytest.mark.parametrize("command", ["check", "fix"])
def test_objects_that_are_passed_over_are_counted_by_kind(tmp_path: Path, command: str) -> None:
    (tmp_path / "a.yaml").write_text(f"{CONFIG}---\n{SERVICE}---\n# none\n")
    (tmp_path / "b.json").write_text('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}}')
    done = run(command, "-f", ".", cwd=tmp_path)
    assert words(done.stderr) == "no workloads found; 3 objects skipped: ConfigMap 2, Service 1"
    assert done.returncode == 0
    (tmp_path / "c.yaml").write_text(GOOD)
    assert "skipped" not in words(run(command, "-f", ".", cwd=tmp_path).stderr)


def test_many_kinds_are_not_all_named(tmp_path: Path) -> None:
    texts = [f"apiVersion: example.com/v1\nkind: Kind{number:02}\nmetadata: {{name: a}}\n" for number in range(12)]
    (tmp_path / "a.yaml").write_text("---\n".join(texts))
    said = words(run("check", "-f", "a.yaml", cwd=tmp_path).stderr)
    assert "12 objects skipped: Kind00 1, " in said and said.endswith("Kind09 1 and 2 further kinds")


@pytest.mark.parametrize("command", ["check", "fix"])
def test_a_run_that_judges_some_says_that_others_are_not(tmp_path: Path, command: str) -> None:
    (tmp_path / "a.yaml").write_text(f"{GOOD}---\n{WIDGET}")
    done = run(command, "-f", "a.yaml", cwd=tmp_path)
    assert "note: a.yaml:14:14: Widget w: spec.pod.spec: looks like the spec of a pod" in words(done.stderr)
    assert words(done.stderr).endswith("; the notes say what is not judged")
    assert done.returncode == 0
    for output in ("json", "yaml"):
        assert b"Widget.example.com=/spec/pod" in run(command, "-f", "a.yaml", "-o", output, cwd=tmp_path).stderr


def test_a_workload_of_a_wrong_group_fails(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(REJECTED.replace("apps/v1", "v1") + f"---\n{GOOD}")
    done = run("check", "-f", "a.yaml", cwd=tmp_path)
    assert 'no matches for kind "Deployment" in version "v1"' in words(done.stderr)
    assert done.returncode == 3


@pytest.mark.parametrize("option", ["-k", "--helm-chart"])
@pytest.mark.parametrize("command", ["check", "fix"])
def test_a_second_one_does_not_replace_the_first(tmp_path: Path, command: str, option: str) -> None:
    done = run(command, option, "a", option, "b", cwd=tmp_path)
    assert done.returncode == 2
    assert "a b: give only one" in words(done.stderr)


@pytest.mark.parametrize("text", ["", "\n \n", "---\n", "# a comment\n---\n", "\ufeff"])
@pytest.mark.parametrize("command", ["check", "fix"])
def test_nothing_on_stdin_is_an_error(command: str, text: str) -> None:
    done = run(command, "-f", "-", stdin=text)
    assert done.returncode == 3
    assert b"error: stdin: no objects passed" in done.stderr
    assert run(command, "-f", "-", stdin=text + "\n---\n" + CONFIG).returncode == 0


def test_quoted_patterns_and_urls_are_taken_as_kubectl_takes_them(tmp_path: Path) -> None:
    for name in ("deploy/a.yaml", "deploy/b.yaml", "deploy/.c.yaml", "deploy/d.txt", "more/x/a.yaml", "odd[1].yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(REJECTED)

    def files(*names: str) -> int:
        done = run("check", *(word for name in names for word in ("-f", name)), "-o", "name", cwd=tmp_path)
        return len(done.stdout.splitlines()) if done.returncode < 2 else -done.returncode

    # As filepath.Glob of Go: names that begin with a dot match too, and ** is no more than *.
    assert files("deploy/*.yaml") == 3
    assert files("deploy/[ab].yaml") == 2
    assert files("*/?.yaml") == 2
    assert files("**/a.yaml") == 1
    assert files("more/*") == 1
    assert files("odd[1].yaml") == 1
    assert files("deploy/a.yaml,deploy/b*") == 2
    assert files(str(tmp_path / "deploy" / "a*")) == 1
    assert files("deploy/*.json") == -3
    done = run("check", "-f", "https://example.com/a b.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert "curl -fsSL 'https://example.com/a b.yaml' | kubectl harden check -f -" in words(done.stderr)
    fixed = run("fix", "-f", "deploy/*.yaml", "--write", cwd=tmp_path)
    assert fixed.returncode in (0, 1)
    assert (tmp_path / "deploy" / ".c.yaml").read_text() != REJECTED

"""What runs in other repositories: the pre-commit hooks and the GitHub Action."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.yaml_text.tree import parse, value_of
from tests.support.command import GOOD, REJECTED, ROOT

BIN = Path(sys.executable).parent
PATH = f"{BIN}:{os.environ['PATH']}"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with manifests, and with YAML that is none."""
    (tmp_path / "web.yaml").write_text(REJECTED)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "other.yaml").write_text("on: [push]\n")
    (tmp_path / "data.json").write_text("[1, 2]\n")
    subprocess.run("git init -q && git add .", shell=True, cwd=tmp_path, check=True)
    return tmp_path


def try_hook(directory: Path, hook: str) -> subprocess.CompletedProcess[str]:
    """Run a hook on all files, as pre-commit installs it from this repository's working tree."""
    command = [BIN / "pre-commit", "try-repo", ROOT, hook, "--all-files", "--verbose"]
    environment = {**os.environ, "PRE_COMMIT_HOME": str(directory / ".git" / "pre-commit")}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_pre_commit_runs_the_hooks(repository: Path) -> None:
    done = try_hook(repository, "kubectl-harden-check")
    assert done.returncode == 1, done.stderr
    assert "web.yaml:15  host namespaces (hostNetwork=true)" in done.stdout
    assert "error:" not in done.stdout
    done = try_hook(repository, "kubectl-harden-fix")
    assert "files were modified by this hook" in done.stdout
    assert (repository / "good.yaml").read_text() == GOOD
    assert "runAsNonRoot: true" in (repository / "web.yaml").read_text()


def test_the_hooks_take_options_before_the_files(repository: Path) -> None:
    hooks, _ = value_of(parse((ROOT / ".pre-commit-hooks.yaml").read_text()))
    files = sorted(path.name for path in repository.glob("[a-z]*.*"))
    for hook in hooks:
        command = [*hook["entry"].split(), "--level", "baseline", *files]
        done = subprocess.run(command, cwd=repository, env={**os.environ, "PATH": PATH}, capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode in (0, 1) and "2 workloads: 1 " in done.stderr, done.stderr


EVIL = ("--write-known={}", "--known=known.yaml", "-f{}", "--config=c.yaml", "--observed={}", "--registry-ca={}")


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("hook", [0, 1])
@pytest.mark.parametrize("before", [(), ("--level", "restricted")])
def test_a_name_is_not_an_option_of_a_hook(repository: Path, name: str, hook: int, before: tuple[str, ...]) -> None:
    victim = repository.with_name("victim.yaml")
    victim.write_text("precious\n")
    (repository / "c.yaml").write_text("exclude: ['*']\n")
    run_in(repository, "check", "-f", "web.yaml", "--write-known", "known.yaml")
    file = repository / name.format(victim)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(REJECTED)
    hooks, _ = value_of(parse((ROOT / ".pre-commit-hooks.yaml").read_text()))
    names = subprocess.run(["git", "ls-files", "-oc"], cwd=repository, capture_output=True, text=True, check=True)
    done = run_in(repository, *hooks[hook]["entry"].split()[1:], *before, *names.stdout.splitlines())
    assert done.returncode == 2
    assert "is an option and the name of a file here: for the file write" in done.stderr
    assert victim.read_text() == "precious\n"
    assert (repository / "web.yaml").read_text() == REJECTED
    # By its path, and behind the end of the options, it is a file as others are.
    for words in ((f"./{file.relative_to(repository)}",), ("--", str(file.relative_to(repository)))):
        done = run_in(repository, *hooks[0]["entry"].split()[1:], *before, *words)
        assert done.returncode == 1 and "host namespaces" in done.stdout, done.stderr
    assert victim.read_text() == "precious\n"


@pytest.mark.parametrize("command", ["check", "fix"])
def test_a_name_that_a_shells_pattern_brings_is_not_an_option(repository: Path, command: str) -> None:
    for name in ("--known=known.yaml", "-R", "--"):
        (repository / name).write_text(REJECTED)
    for words, refused in ((("--", "-R"), "--"), (("-R", "--"), "-R"), (("web.yaml", "--", "-R"), "--")):
        done = run_in(repository, command, "-f", *words)
        assert done.returncode == 2 and f'"{refused}" is an option and the name of a file here' in done.stderr
    done = run_in(repository, command, "-f", "web.yaml", "--known=known.yaml")
    assert done.returncode == 2 and 'for the file write "./--known=known.yaml"' in done.stderr
    (repository / "-R").unlink()
    assert run_in(repository, command, "-f", ".", "-R").returncode == 1


def test_a_hook_writes_no_baseline_file(repository: Path) -> None:
    done = run_in(repository, "check", "--skip-others", f"--write-known={repository}/known.yaml", "web.yaml")
    assert done.returncode == 2 and "a hook (--skip-others) must not" in done.stderr
    assert not (repository / "known.yaml").exists()


def test_names_of_a_hook_are_names_only(repository: Path) -> None:
    """Not lists, patterns or standard input; and a link among them, which nobody named, is not written through."""
    elsewhere = repository.with_name("elsewhere.yaml")
    elsewhere.write_text(REJECTED)
    for name in (f"good.yaml,{elsewhere}", "../*.yaml", "-"):
        done = run_in(repository, "check", "--skip-others", "good.yaml", name)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"error: {'./-' if name == '-' else name}: no such file or directory" in done.stderr
    (repository / "-").write_text(REJECTED)
    assert run_in(repository, "check", "--skip-others", "-").returncode == 1
    (repository / "link.yaml").symlink_to(elsewhere)
    done = run_in(repository, "fix", "--write", "--skip-others", "link.yaml")
    assert done.returncode == 3 and "a symbolic link leads out of ." in done.stderr
    assert elsewhere.read_text() == REJECTED


def run_in(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["kubectl-harden", *words]
    return subprocess.run(command, cwd=directory, env={**os.environ, "PATH": PATH}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)  # fmt: skip


def action(directory: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run the action's own script with inputs, as GitHub's runner does."""
    value, _ = value_of(parse((ROOT / "action.yml").read_text()))
    inputs = {name: item["default"] for name, item in value["inputs"].items()} | {
        name.replace("_", "-"): text for name, text in given.items()
    }
    step = value["runs"]["steps"][-1]
    environment = {
        name: inputs[text.removeprefix("${{ inputs.").removesuffix(" }}")] for name, text in step["env"].items()
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, cwd=directory, env={**os.environ, "PATH": PATH, **environment},
                          capture_output=True, text=True, check=False)  # fmt: skip


def test_the_action_annotates_and_writes_a_log(repository: Path) -> None:
    done = action(repository, files="web.yaml\ngood.yaml\n", sarif="log.sarif", args="--skip-others")
    assert done.returncode == 1
    assert done.stdout.startswith("::error file=web.yaml,line=15,title=hostNamespaces::Deployment shop/web:")
    log: Any = json.loads((repository / "log.sarif").read_text())
    assert len(log["runs"][0]["results"]) == 6
    assert action(repository, files="good.yaml", level="baseline").returncode == 0
    assert action(repository).returncode == 1
    assert action(repository, kustomize="nowhere").returncode == 3


def test_the_action_writes_the_summary_of_its_job(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = repository / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    summary.write_text("what another step wrote\n")
    assert action(repository, files="web.yaml").returncode == 1
    text = summary.read_text()
    assert text.startswith("what another step wrote\n## ✗ Pod Security\n")
    assert "`Deployment shop/web`<br>web.yaml:2" in text and "`hostNamespaces`" in text


def test_the_action_takes_every_line_of_its_arguments(repository: Path) -> None:
    done = action(repository, files="web.yaml", args="--known known.json\n\n  --policy-version   v1.20\n-v 6")
    assert done.returncode == 3 and "known.json" in done.stderr
    run_in(repository, "check", "-f", "web.yaml", "--write-known", "known.json", "--policy-version", "v1.20")
    assert action(repository, files="web.yaml", args="--known known.json\n--policy-version v1.20\n").returncode == 0
    done = action(repository, files="web.yaml", args="--policy-version v1.20\n--known=known.json\n--nonsense")
    assert done.returncode == 2 and "--nonsense" in done.stderr


def changed(directory: Path) -> list[str]:
    names = subprocess.run(["git", "diff", "--name-only"], cwd=directory, capture_output=True, text=True, check=True)
    return names.stdout.split()


def test_the_action_leaves_fixed_files_for_a_pull_request(repository: Path) -> None:
    done = action(repository, mode="fix", args="--skip-others")
    assert done.returncode == 0 and "1 edited in 1 file" in done.stderr
    assert changed(repository) == ["web.yaml"]
    assert (repository / "good.yaml").read_text() == GOOD
    assert action(repository, args="--skip-others").returncode == 0
    fixed = (repository / "web.yaml").read_bytes()
    assert action(repository, mode="fix", files="web.yaml").returncode == 0
    assert (repository / "web.yaml").read_bytes() == fixed


def test_the_action_fails_where_something_is_left(repository: Path) -> None:
    done = action(repository, mode="fix", files="web.yaml\n", level="baseline", args="--only hostNamespaces\n")
    assert done.returncode == 1 and "with something left below baseline" in done.stderr
    assert "hostNetwork: false" in (repository / "web.yaml").read_text()
    assert "runAsNonRoot" not in (repository / "web.yaml").read_text()
    assert action(repository, mode="fix", kustomize="nowhere").returncode == 3


@pytest.mark.parametrize("given", [{"mode": "Fix"}, {"mode": ""}, {"mode": "fix", "sarif": "log.sarif"}])
def test_the_action_writes_nothing_in_a_mode_that_it_does_not_know(repository: Path, given: dict[str, str]) -> None:
    done = action(repository, **given)
    assert (done.returncode, done.stdout[:9]) == (2, "::error::")
    assert changed(repository) == [] and not (repository / "log.sarif").exists()


@pytest.mark.parametrize("mode", ["check", "fix"])
@pytest.mark.parametrize("name", ["files", "kustomize", "helm_chart", "level"])
def test_no_input_of_the_action_is_an_option(repository: Path, name: str, mode: str) -> None:
    (repository / "known.json").write_text("precious\n")
    for word in ("--write-known=known.json", "-fweb.yaml", "--", "-h"):
        (repository / word).mkdir()
        done = action(repository, mode=mode, **{name: word})
        assert done.returncode in (2, 3), done.stderr
        assert "Usage:" not in done.stdout and "file=web.yaml" not in done.stdout and changed(repository) == []
        assert (repository / "known.json").read_text() == "precious\n"


def test_workflows_and_the_action_meet_githubs_schemas() -> None:
    for schema, files in (
        ("vendor.github-actions", [ROOT / "action.yml"]),
        ("vendor.github-workflows", sorted((ROOT / ".github" / "workflows").glob("*.yml"))),
    ):
        assert files
        subprocess.run([BIN / "check-jsonschema", "--builtin-schema", schema, *files], check=True)

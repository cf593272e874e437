"""Every command that is printed works when it is pasted."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest

from kubectl_harden.cli.main import cli
from tests.live.test_questions import at_a_terminal
from tests.support.control_plane import Namespace, executable
from tests.support.fleet import safe
from tests.support.harden import Harden, pod_spec, workload

CONTEXT = "prod of 'the' shop"


def printed(text: str) -> list[list[str]]:
    """Return the commands of a text as a shell reads them: each ends its line."""
    return [shlex.split(found) for found in re.findall(r"(?:^|: |\s)(kubectl .*)$", text, re.MULTILINE)]


def parsed(words: list[str]) -> click.Context:
    """Return what the command line makes of the words. Raises UsageError."""
    assert words[:2] == ["kubectl", "harden"]
    command = cli.get_command(click.Context(cli), words[2])
    assert command is not None, words
    return command.make_context(words[2], words[3:])


class Elsewhere:
    """Runs the command with a kubeconfig, a context, and a user to act as, given as options."""

    def __init__(self, namespace: Namespace, harden: Harden, directory: Path) -> None:
        self._harden = harden
        configuration = namespace.plane.configuration(namespace.plane.token)
        configuration["contexts"][0] = {"name": CONTEXT, "context": {"cluster": "tests", "user": "tests"}}
        del configuration["current-context"]
        self.file = directory / "a kubeconfig"
        self.file.write_text(json.dumps(configuration))
        self.given = (
            "--kubeconfig",
            str(self.file),
            "--context",
            CONTEXT,
            "--as",
            "anna",
            "--as-group",
            "system:masters",
        )
        self.commands: list[list[str]] = []

    def __call__(self, *arguments: str) -> str:
        """Run the command, check what it prints, and return it."""
        done = self._harden(*arguments, *self.given, "--token", "administrator-of-the-tests")
        assert "administrator-of-the-tests" not in done.out + done.err
        for words in printed(done.out + "\n" + done.err):
            assert " ".join(words).endswith(" ".join(self.given)), words
            if words[1] == "harden":
                parsed(words)
            self.commands.append(words[:3] if words[1] == "harden" else words[:2])
        return done.out + done.err


def test_commands_of_many_runs(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    run = Elsewhere(namespace, harden, tmp_path)
    where = ("-n", namespace.name)
    namespace.label(enforce="restricted")
    namespace.create(workload("Deployment", "web"), workload("StatefulSet", "db"))
    namespace.eventually(lambda: harden("rejected").out.count("missing") == 2)
    run("check", *where, "-l", "app in (web, db)")
    shown = run("rejected", *where)
    assert shown.count("to make this change: kubectl harden fix ") == 2
    fix, both = (words for words in printed(shown) if "deployment/web" in words)
    assert "statefulset/db" in both
    pasted = harden(*fix[2:], "--yes")
    assert (pasted.code, "web: applied" in pasted.err) == (0, True), pasted
    assert ["kubectl", "harden", "undo"] in [words[:3] for words in printed(pasted.err)]
    shown = run("fix", "sts/db", *where, "--apply", "--yes")
    (undo,) = printed(shown)
    # The namespace refuses the pods that it would bring back.
    refused = harden(*undo[2:], "--yes")
    assert (refused.code, "--even-if-refused" in refused.err) == (1, True), refused
    assert "db: applied" in harden(*undo[2:], "--yes", "--even-if-refused").err
    run("undo", "--last", "--yes")
    job = safe(workload("Job", "once", "example.com/app:finished"))
    del job["spec"]["template"]["spec"]["securityContext"]
    namespace.label(enforce=None)
    namespace.create(job)
    namespace.eventually(lambda: [p for p in namespace.pods() if p["status"].get("phase") in ("Succeeded", "Failed")])
    plan = tmp_path / "the plan.json"
    shown = run("migrate", *where, "--plan-out", str(plan))
    delete = next(words for words in printed(shown) if words[1] == "delete")
    kubectl = [str(executable("kubectl")), *delete[1:], "--dry-run=server"]
    deleted = subprocess.run(kubectl, capture_output=True, text=True, check=True, env=harden.environment).stdout
    assert "deleted" in deleted
    carry_out = next(words for words in printed(shown) if "--plan" in words)
    assert carry_out[carry_out.index("--plan") + 1] == str(plan)
    run("migrate", *where, "--level", "baseline", "--apply", "--yes")
    assert {tuple(words) for words in run.commands} == {
        ("kubectl", "harden", "fix"),
        ("kubectl", "harden", "undo"),
        ("kubectl", "harden", "migrate"),
        ("kubectl", "delete"),
    }


def test_check_hands_its_options_on(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    run = Elsewhere(namespace, harden, tmp_path)
    namespace.create(workload("Deployment", "web"))
    more = ("--level", "restricted", "--policy-version", "v1.30", "--pod-path", "Widget.example.com=/spec/template")
    shown = run("check", "-n", namespace.name, "-l", "app=web", *more, "-o", "text")
    (words,) = printed(shown)
    context = parsed(words)
    assert context.params["selector"] == "app=web"
    assert (context.params["level"], context.params["policy_version"]) == ("restricted", "v1.30")
    assert context.params["pod_paths"] == ("Widget.example.com=/spec/template",)
    assert (context.params["namespace"], context.params["context"]) == (namespace.name, CONTEXT)
    assert harden(*words[2:]).code == 1


def test_the_question_names_the_cluster(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    run = Elsewhere(namespace, harden, tmp_path)
    namespace.create(workload("Deployment", "web"))
    words = ("fix", "deploy/web", "-n", namespace.name, "--level", "restricted", "--apply", *run.given)
    _, answered = at_a_terminal(harden, [b"n\n"], *words)
    server = namespace.plane.server
    asked = f"Change Deployment {namespace.name}/web in context {CONTEXT} ({server})? [y/N]: "
    assert asked.strip() in " ".join(answered.split())
    _, answered = at_a_terminal(harden, [b"n\n"], "migrate", namespace.name, "--apply", *run.given)
    assert f"in context {CONTEXT} ({server})? [y/N]: " in " ".join(answered.split()) + " "


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "nonsense"),
        ("undo", "nosuch"),
        ("check", "-f", "a 'file'.yaml"),
        ("check", "-f", "a 'file'.yaml", "--policy-version", "v1.30", "--level", "baseline"),
    ],
)
def test_commands_without_a_cluster(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: Any, harden: Harden
) -> None:
    monkeypatch.chdir(tmp_path)
    value = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod_spec(hostPID=True)}
    (tmp_path / "a 'file'.yaml").write_text(json.dumps(value))
    done = harden(*arguments)
    (words,) = printed(done.err)
    context = parsed(words)
    if arguments[0] == "check":
        given = parsed(["kubectl", "harden", *arguments]).params
        assert {key: context.params[key] for key in given if key in context.params and key != "output"} == {
            key: value for key, value in given.items() if key in context.params and key != "output"
        }
        assert context.params["files"] == ("a 'file'.yaml",)

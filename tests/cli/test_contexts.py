"""Contexts are opened side by side, by the command line: their credential plugins, and the questions of these."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.answering import answered
from tests.support.harden import COMMAND, ROOT
from tests.support.signals import heed_signals

TOGETHER = (
    'touch "$0.$1"; for i in $(seq 600); do [ -e "$0.$2" ] && echo "no key for $1" >&2 && exit 1; sleep 0.1; done'
)
"""Fails once the other plugin has begun, too."""
ASKS = 'printf "code of %s: " "$1" >&2; read code; echo "$1 was given $code" >&2; exit 1'


def kubeconfig(directory: Path, plugins: dict[str, Sequence[str]], **more: str) -> dict[str, str]:
    """Return an environment with a context for each plugin, which is a script for sh with its words."""
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "sh", **more}
    file = directory / "kubeconfig"
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.invalid"}} for name in plugins],
        "users": [
            {"name": name, "user": {"exec": {**plugin, "args": ["-c", *words]}}} for name, words in plugins.items()
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in plugins],
    }
    file.write_text(json.dumps(value))
    return {**os.environ, "KUBECONFIG": str(file), "XDG_STATE_HOME": str(directory), "PYTHONPATH": str(ROOT)}


def waiting_for_each_other(directory: Path, **more: str) -> dict[str, str]:
    mark = str(directory / "begun")
    return kubeconfig(directory, {"a": (TOGETHER, mark, "a", "b"), "b": (TOGETHER, mark, "b", "a")}, **more)


COMMANDS = pytest.mark.parametrize("command", [("check", "-A"), ("rejected", "-A"), ("migrate", "-A")], ids=" ".join)


@COMMANDS
def test_plugins_run_side_by_side_and_fail_each_for_its_own_context(tmp_path: Path, command: tuple[str, ...]) -> None:
    environment = waiting_for_each_other(tmp_path)
    arguments = [*COMMAND, *command, "--all-contexts", "-o", "json"]
    done = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert done.returncode == 4, done
    errors = json.loads(done.stdout)["errors"]
    assert [(one["cluster"], one["message"]) for one in errors] == [
        ("a", "no credentials: exec: process returned 1. no key for a"),
        ("b", "no credentials: exec: process returned 1. no key for b"),
    ]


def test_those_that_may_ask_do_so_one_after_another(tmp_path: Path) -> None:
    environment = kubeconfig(tmp_path, {name: (ASKS, "plugin", name) for name in "ab"})
    command = [*COMMAND, "check", "-A", "--all-contexts"]
    code, shown = answered(command, b"code of ", [b"one\n", b"two\n"], environment, output=True)
    assert code == 4
    places = [shown.index(words) for words in ("code of a", "a was given one", "code of b", "b was given two", "error")]
    assert places == sorted(places), shown
    assert "error: a: no credentials: exec: the credential plugin failed; its own message is above" in " ".join(
        shown.split()
    )


def test_those_that_never_ask_run_side_by_side_at_a_terminal_too(tmp_path: Path) -> None:
    environment = waiting_for_each_other(tmp_path, interactiveMode="Never")
    code, shown = answered([*COMMAND, "check", "-A", "--all-contexts"], b"never asked", [], environment, output=True)
    assert (code, shown.count("no key for a"), shown.count("no key for b")) == (4, 1, 1), shown


@COMMANDS
def test_one_that_hangs_is_named_when_the_run_is_interrupted(tmp_path: Path, command: tuple[str, ...]) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    hangs = ('sleep 1; echo > "$0"; exec sleep 60', str(begun))
    environment = kubeconfig(tmp_path, {"a": hangs, "b": ("exit 1",)})
    process = subprocess.Popen(
        [*COMMAND, *command, "--all-contexts"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_signals, start_new_session=True,
    )  # fmt: skip
    begun.read_text()
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=50)[1]
    assert process.returncode == 130 and "note: still waiting for a\n" in told, told


@pytest.mark.parametrize("option", [("--request-timeout", "soon"), ("--as-group", "x")])
def test_options_that_are_wrong_are_wrong_for_all(tmp_path: Path, option: tuple[str, str]) -> None:
    environment = kubeconfig(tmp_path, {"a": ("exit 1",), "b": ("exit 1",)})
    command = [*COMMAND, "check", "-A", "--all-contexts", *option]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stderr.count(option[0])) == (2, 1), done

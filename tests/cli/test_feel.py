"""How the command behaves towards a person: widths, colours, mistakes, faults of its own.

By the command line alone this tests ``cli/explain.py``, ``reports/explain.py``, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kubectl_harden import __version__
from tests.support.command import REJECTED, ROOT, run
from tests.support.terminal import Terminal

HARDEN = Path(sys.executable).parent / "kubectl-harden"
RED = "\x1b[31m"


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    (tmp_path / "web.yaml").write_text(REJECTED)
    return tmp_path


def shown(directory: Path, command: str, columns: int, *, joined: bool = False, **environment: str) -> str:
    """Return the screen of a terminal after a command, with its colours, or with broken lines in one."""
    line = f"cd {directory} && {HARDEN} {command}; echo done; cat"
    terminal = Terminal("bash", "-c", line, environment={**os.environ, **environment}, columns=columns, rows=250)
    try:
        terminal.wait("done")
        return terminal.screen(escapes=not joined, joined=joined)
    finally:
        terminal.close()


@pytest.mark.parametrize("command", ["check -f web.yaml", "fix -f web.yaml", "check -f web.yaml -o wide", "explain runAsNonRoot",
                                     "explain", "check --help", "fix --help", "migrate --help", "krm --help"])  # fmt: skip
def test_sixty_columns_are_enough(manifests: Path, command: str) -> None:
    """Only a word that has no room by itself is broken by the terminal, lines of a diff, and commands to copy."""
    screen = shown(manifests, command, 60, joined=True)
    lines = re.sub(r"(?s)  Examples:.*?(?:Options|Targets|Global options[^:]*):", "", screen).splitlines()
    assert len(lines) > 5
    long = [line.rstrip() for line in lines if len(line.rstrip()) > 60 and line[:1] not in ("+", "-")]
    assert not [line for line in long if " " in line.strip()]


@pytest.mark.parametrize("command", ["check -f web.yaml", "check -f web.yaml -o wide", "fix -f web.yaml",
                                     "explain runAsNonRoot", "explain"])  # fmt: skip
def test_nothing_is_cut_or_wrapped_in_a_pipe_and_columns_count(manifests: Path, command: str) -> None:
    piped, fits, small = (
        "".join(text.decode() for text in (done.stdout, done.stderr))
        for done in (run(*command.split(), cwd=manifests, COLUMNS=columns) for columns in ("", "5000", "80"))
    )
    assert piped == fits
    assert len(small.splitlines()) > len(piped.splitlines())
    assert re.findall(r"\w+", piped) == re.findall(r"\w+", small), "words are wrapped, and never cut"
    assert max(map(len, piped.splitlines())) > 90


def test_colours_on_a_terminal_and_as_asked_for(manifests: Path) -> None:
    assert RED in shown(manifests, "check -f web.yaml", 80)
    assert "\x1b[3" not in shown(manifests, "check -f web.yaml", 80, NO_COLOR="1")
    assert "\x1b[3" not in shown(manifests, "check -f web.yaml --color never", 80)
    assert RED in shown(manifests, "check -f web.yaml --color always", 80, NO_COLOR="1")
    piped = run("check", "-f", "web.yaml", "--color=always", cwd=manifests)
    assert RED.encode() in piped.stdout
    assert b"\x1b" not in run("check", "-f", "web.yaml", cwd=manifests).stdout
    assert b"\x1b[32m" in run("fix", "-f", "web.yaml", "--color=always", cwd=manifests).stderr
    assert RED.encode() in run("--color", "always", "check", "-f", "web.yaml", cwd=manifests).stdout


@pytest.mark.parametrize(
    "words, said",
    [
        (("check", "--levle", "x"), "error: No such option '--levle'. (Did you mean one of: '--level'"),
        (("check", "-f", "x", "-o", "sari"), 'Did you mean "sarif"?'),
        (("chek",), "error: No such command 'chek'. Did you mean \"check\"?"),
        (("check", "-v", "x"), "error: Invalid value for '-v' / '--v': 'x' is not a valid integer"),
        (("explain", "runasroot"), 'unknown check "runasroot". Did you mean "runAsNonRoot"?'),
    ],
)
def test_mistakes_are_told_as_kubectl_tells_them(words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        ("-f=web.yaml", "-o=name"), ("-fweb.yaml", "-oname"), ("-f", "web.yaml", "-o", "name"),
        ("--filename=web.yaml", "--output=name"), ("-Rf", "web.yaml", "-v=0", "-o", "name"),
    ],
)  # fmt: skip
def test_short_options_take_their_values_as_kubectls_do(manifests: Path, words: tuple[str, ...]) -> None:
    plain = run("check", "--filename", "web.yaml", "--output", "name", cwd=manifests)
    done = run("-v=0", "check", *words, cwd=manifests)
    assert (done.returncode, done.stdout, done.stderr) == (1, plain.stdout, plain.stderr)


def test_an_api_server_that_never_answered_is_asked_once(tmp_path: Path) -> None:
    done = run("check", "-A", "-s", "https://127.0.0.1:1", "-v=6", cwd=tmp_path, KUBECONFIG="/dev/null")
    assert done.returncode == 4
    assert done.stderr.count(b"GET https://127.0.0.1:1/") == 1
    assert b"error: the API server at https://127.0.0.1:1 cannot be reached" in done.stderr


def test_help_in_all_the_ways_that_people_ask_for_it() -> None:
    bare = run()
    assert (bare.returncode, bare.stderr) == (0, b"")
    assert bare.stdout.startswith(b"Usage: kubectl harden [OPTIONS] COMMAND [ARGS]...\n")
    assert run("help").stdout == run("--help").stdout == run("-h").stdout == bare.stdout
    assert run("help", "check").stdout == run("check", "-h").stdout != b""
    unknown = run("help", "chek")
    assert (unknown.returncode, b'Did you mean "check"?' in unknown.stderr) == (2, True)
    assert run("--version").stdout == f"kubectl-harden {__version__}\n".encode()
    assert b"\n  help" not in bare.stdout


BUG = """
import sys
from kubectl_harden.manifests import check as checking
def broken(*_, **__): raise KeyError("spec")
checking.check_files = broken
from kubectl_harden.cli import main
main()
"""


def faulty(manifests: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BUG, "check", "-f", "web.yaml"], cwd=manifests, capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, check=False)  # fmt: skip


def test_a_fault_of_its_own_is_a_sentence_and_a_traceback_only_when_asked_for(manifests: Path) -> None:
    done = faulty(manifests)
    assert done.returncode == 3
    assert "error: this is a bug in kubectl harden, not in your input: KeyError at <string>:4: 'spec'" in done.stderr
    assert "KUBECTL_HARDEN_DEBUG=1 shows the traceback" in done.stderr and "Traceback" not in done.stderr
    assert "Traceback (most recent call last)" in faulty(manifests, KUBECTL_HARDEN_DEBUG="1").stderr
    done = run("check", "-f", "web.yaml", "--level", "x", cwd=manifests, KUBECTL_HARDEN_DEBUG="1")
    assert b"Traceback" in done.stderr and done.stderr.decode().endswith("use baseline or restricted\n")

"""The documentation: what it shows is what happens, what it names is there."""

from __future__ import annotations

import html
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import click
import pytest

from kubectl_harden.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")]
)
PROGRAMS = {"#", "apk", "apt", "cd", "export", "git", "helm", "install", "kubectl", "kubectl-harden", "kustomize", "ln",
            "make", "pipx", "python3", "python3.13", "sha256sum", "source", "tar", "uv"}  # fmt: skip
"""What lines of shell blocks begin with: a line that has been wrapped begins with something else."""
MISTAKES = ("host-root", "runtime-socket", "privileged-host-namespaces", "root-by-default", "added-capabilities")


def script(name: str) -> ModuleType:
    """Return a script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_a_page_shows_is_what_the_commands_print(page: Path) -> None:
    transcripts = script("transcripts")
    ran = 0
    for _, results in transcripts.printed(page):
        for step, output in results:
            assert transcripts.agrees(step.shown, output), f"make docs\n{step.command}\n{output}"
            ran += 1
    if page.parent.name in MISTAKES:
        assert ran >= 2


def test_transcripts_that_lie_are_found() -> None:
    transcripts = script("transcripts")
    assert transcripts.agrees("a\n…\nd\n", "a\nb\nc\nd\n") and transcripts.agrees("", "")
    assert not transcripts.agrees("a\n…\ne\n", "a\nb\nc\nd\n")
    assert not transcripts.agrees("", "a\n") and not transcripts.agrees("a\n", "")


BENCHMARKS = ("run", "start", "live", "fleet", "survey", "migration", "report")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_page_of_speed_has_the_tables_of_the_benchmarks(name: str) -> None:
    page, source = (ROOT / file for file in ("docs/speed.md", f"benchmarks/{name}.py"))
    printed = re.findall(r'"(?:\\n)?(\|.*\|)\\n(\|.* \|)"', source.read_text())
    shown = re.findall(rf"(?m)^<!-- benchmarks/{name}\.py -->\n\n(.*)\n(.*)\n\|", page.read_text())
    assert shown and shown == printed


def test_tables_that_are_printed_replace_those_of_the_page() -> None:
    speed = script("speed")
    table, other = "| a |\n| --- |\n| 1 |\n", "| a |\n| --- |\n| 2 |\n| 3 |\n"
    page = f"x\n\n<!-- benchmarks/run.py -->\n\n{table}\ny\n\n<!-- benchmarks/live.py -->\n\n{table}\n"
    assert speed.with_tables(page, "live", f"words\n\n{other}\nwords\n") == page[: -len(table) - 1] + other + "\n"
    assert speed.with_tables(page, "run", table) == page
    for name, printed in (("run", ""), ("run", table + "\n" + table), ("fleet", table)):
        with pytest.raises(ValueError, match=f"benchmarks/{name}.py printed"):
            speed.with_tables(page, name, printed)


def test_every_mistake_has_its_page() -> None:
    for name in MISTAKES:
        text = (ROOT / "examples" / name / "README.md").read_text()
        heads = re.findall(r"(?m)^## (.*)$", text)
        assert heads[0] == "What an attacker gains" and heads[1] == "What kubectl harden says"
        assert heads[2].startswith("The diff that fixes ")
        assert heads[3:] == ["What stays, and why", "What Pod Security cannot see, and what would"]
        assert f"examples/{name}" in (ROOT / "README.md").read_text()


def test_the_reference_of_the_commands_is_current() -> None:
    # In a process of its own: click keeps the help option of a command as the first context made it.
    write = "import runpy; print(runpy.run_path('docs/commands.py')['reference'](), end='')"
    made = subprocess.run([sys.executable, "-c", write], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "commands.md").read_text() == made.stdout, "make docs"


def test_the_picture_of_the_terminal_is_current() -> None:
    """By its words: how they are drawn is up to the version of rich."""
    terminal = script("terminal")
    texts = re.findall(r"<text[^>]*>(.*?)</text>", terminal.FILE.read_text())
    drawn = "".join(html.unescape(text) for text in texts).replace("\u00a0", " ")
    for arguments in terminal.COMMANDS:
        printed = re.sub(r"\x1b\[[0-9;]*m", "", terminal.printed(arguments))
        for word in printed.split():
            assert word in drawn, "make docs"
    assert "cdn" not in terminal.FILE.read_text()


def commands_of(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each line of a page's shell blocks, and the words behind each ``kubectl harden`` in it."""
    for block in re.findall(r"(?ms)^ *```sh\n(.*?)^ *```$", page.read_text()):
        for line in filter(str.strip, block.replace("\\\n", " ").splitlines()):
            assert line.split()[0] in PROGRAMS, line
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
            starts = [at + 2 for at, pair in enumerate(pairwise(words)) if pair == ("kubectl", "harden")]
            for start in starts:
                rest = words[start:]
                yield line, rest[: next((at for at, word in enumerate(rest) if set(word) <= set("|&;<>()")), None)]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_commands_of_a_page_are_understood(page: Path) -> None:
    """Parsed by the command line itself, and not run."""
    for line, (name, *words) in commands_of(page):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, line
        assert "kubectl" not in words, f"two commands in a line: {line}"
        with command.make_context(name, words) as context:
            assert context.args == [], line


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", re.sub(r"(?ms)^```.*?^```$", "", page.read_text())):
        if "://" not in target:
            assert (page.parent / target).exists(), target

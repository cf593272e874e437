"""Runs the commands that the documentation shows, and holds what it shows to what they print.

    make docs    # writes what they print now

A block that is marked ``console`` is run if all its commands work without a cluster: each line behind ``$`` in bash, in
a copy of the examples, with kubectl and this checkout's kubectl-harden on the PATH, one after the other. What stands
below is the output, stdout before stderr; a line with only an ellipsis stands for any lines.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.control_plane import executable
from tests.support.programs import HELM_4
from tests.support.tools import build

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/README.md")])
BLOCK = re.compile(r"(?ms)^```console\n(.*?)^```$")
OFFLINE = re.compile(r" -f | -k | --helm-chart | explain|harden version|^(cat|git|helm|diff|cp) ")
ELLIPSIS = "…"


class Step(NamedTuple):
    """A command of a block, and what the page says that it prints."""

    command: str
    shown: str


def steps(block: str) -> list[Step]:
    """Return the commands of a block."""
    out: list[Step] = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            out.append(Step(line[2:].rstrip("\n"), ""))
        elif out:
            out[-1] = Step(out[-1].command, out[-1].shown + line)
    return out


def is_offline(block: str) -> bool:
    """Whether all commands of a block work without a cluster."""
    found = steps(block)
    return bool(found) and all(OFFLINE.search(step.command) for step in found)


def printed(page: Path) -> Iterator[tuple[str, list[tuple[Step, str]]]]:
    """Yield each block of a page that can be run, with what each of its commands prints."""
    with tempfile.TemporaryDirectory() as directory:
        programs, work = Path(directory, "bin"), Path(directory, "work")
        programs.mkdir()
        (programs / "kubectl").symlink_to(executable("kubectl"))
        (programs / "helm").symlink_to(build(HELM_4))
        (programs / "kubectl-harden").symlink_to(Path(sys.executable).with_name("kubectl-harden"))
        shutil.copytree(ROOT / "examples", work / "examples")
        here = work / page.parent.relative_to(ROOT) if page.is_relative_to(ROOT / "examples") else work
        clean = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        environment = {**clean, "COLUMNS": "80", "PATH": f"{programs}:{os.environ['PATH']}", "HOME": directory}
        for block in BLOCK.findall(page.read_text()):
            if is_offline(block):
                yield block, [(step, _run(step.command, here, environment)) for step in steps(block)]


def _run(command: str, directory: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=directory, env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    return done.stdout + done.stderr


def agrees(shown: str, output: str) -> bool:
    """Whether an output is what a page shows, where an ellipsis stands for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == ELLIPSIS else re.escape(line.rstrip()) + r"[ ]*\n"
        for line in shown.splitlines()
    )
    return re.fullmatch(pattern, output if output.endswith("\n") or not output else output + "\n") is not None


def main() -> None:
    """Write what the commands print into the pages."""
    for page in PAGES:
        text = page.read_text()
        for block, results in printed(page):
            if all(agrees(step.shown, output) for step, output in results):
                continue
            made = "".join(f"$ {step.command}\n{output}" for step, output in results)
            text = text.replace(f"```console\n{block}```", f"```console\n{made}```", 1)
            print(f"{page.relative_to(ROOT)}: {results[0][0].command}")
        page.write_text(text)


if __name__ == "__main__":
    main()

"""Programs that Debian's package manager installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

SHELLS = {"bash": "bash", "zsh": "zsh", "fish": "fish", "tmux": "tmux"}
"""Programs by their packages' names, for the tests in a terminal."""


def install(programs: Mapping[str, str]) -> None:
    """Install the packages of the programs that are missing, where that is possible."""
    missing = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise RuntimeError(f"the tests need {', '.join(missing)}: install them")
    sys.stderr.write(f"installing {', '.join(missing)} (once per machine) …\n")
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", *command], check=True, stdout=subprocess.DEVNULL)

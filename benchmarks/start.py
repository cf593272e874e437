"""Start-up of the archive and the zipapp that make dist built, beside the installed package, paired in one run.

    make bench-start

Every round runs every command once, in turn, so that noise falls on all alike; the table shows medians. The archive is
unpacked once, as krew does it, and started by a symlink.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.run import HARDEN, SMALL, compare, times, unpacked

ROUNDS = 41


def main() -> None:
    """Print the table, and what the archive takes beside the package."""
    dist = Path(__file__).parents[1] / "dist"
    with tempfile.TemporaryDirectory() as directory:
        link = unpacked(directory)
        if link is None:
            sys.exit("no archive: make dist builds it")
        print("| command | from | wall | CPU | peak memory |\n| --- | --- | ---: | ---: | ---: |")
        for name, arguments in (("version", ["version"]), ("check", ["check", "-f", str(SMALL)])):
            runs = compare(
                name,
                {
                    "python -c 'import click, yaml'": [sys.executable, "-c", "import click, yaml"],
                    "the package": [str(HARDEN), *arguments],
                    "the archive": [str(link), *arguments],
                    "kubectl-harden.pyz": [sys.executable, str(dist / "kubectl-harden.pyz"), *arguments],
                },
                ROUNDS,
            )
            wall, cpu = times(runs, "the archive", "the package")
            print(f"| {name} | the archive, times the package | {wall:.2f} | {cpu:.2f} | |")


if __name__ == "__main__":
    main()

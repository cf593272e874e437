"""Start-up of the archive and the zipapp that make dist built, beside the installed package, paired in one run.

    make bench-start

Every round runs every command once, in turn, so that noise falls on all alike; the table shows medians. The archive is
unpacked once, as krew does it, and started by a symlink.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.run import HARDEN, SMALL, compare

ROUNDS = 41


def main() -> None:
    """Print the table."""
    dist = Path(__file__).parents[1] / "dist"
    (archive,) = dist.glob("kubectl-harden_v*.tar.gz")
    with tempfile.TemporaryDirectory() as directory:
        with tarfile.open(archive) as tar:
            tar.extractall(directory, filter="data")
        link = Path(directory, "bin-kubectl-harden")
        link.symlink_to(Path(directory, "kubectl-harden", "kubectl-harden"))
        print("| command | from | wall | peak memory |\n| --- | --- | ---: | ---: |")
        for name, arguments in (("version", ["version"]), ("check", ["check", "-f", str(SMALL)])):
            compare(
                name,
                {
                    "python -c 'import click, yaml'": [sys.executable, "-c", "import click, yaml"],
                    "the package": [str(HARDEN), *arguments],
                    "the archive": [str(link), *arguments],
                    "kubectl-harden.pyz": [sys.executable, str(dist / "kubectl-harden.pyz"), *arguments],
                },
                ROUNDS,
            )


if __name__ == "__main__":
    main()

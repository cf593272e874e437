"""Builds what is released, into dist/: make dist.

- the wheel, the same bytes wherever it is built;
- kubectl-harden_vVERSION_SYSTEM_MACHINE.tar.gz for the platform of this machine, which needs no Python: the
  executable, its modules, the completion for kubectl, the licences of all that is in it;
- kubectl-harden.pyz, for any platform that has Python 3.11 and PyYAML with libyaml;
- their bills of materials (CycloneDX), krew's manifest, checksums.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import manifest
from pyz import contained, pyz
from shipped import complete, licences, only, versions_of

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
DIST = ROOT / "dist"
SYSTEM = {"linux": "linux", "darwin": "darwin", "win32": "windows"}[sys.platform]
MACHINE = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine().lower()]
EPOCH = 1577836800  # a date for all files; zip has none before 1980

COMPLETE = """\
#!/bin/sh
# Completion of "kubectl harden", where kubectl looks for it.
here=$(dirname "$(readlink -f "$0")")
exec "$here/kubectl-harden" __complete "$@"
"""


def run(*command: object, **environment: str) -> None:
    """Run a program that must succeed."""
    subprocess.run([str(word) for word in command], check=True, env={**os.environ, **environment}, cwd=ROOT)


def wheel() -> Path:
    """Build the wheel."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", DIST, ROOT,
        SOURCE_DATE_EPOCH=str(EPOCH))  # fmt: skip
    return next(DIST.glob("*.whl"))


def runtime(built: Path) -> tuple[Path, Path]:
    """Install the wheel, and nothing else, into an environment; returns its interpreter and its packages."""
    home = BUILD / "runtime"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / ("Scripts/python.exe" if SYSTEM == "windows" else "bin/python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile", built)
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return python, Path(subprocess.check_output(ask, text=True).strip())


def frozen(packages: Path) -> Path:
    """Make the directory that is archived."""
    tree = BUILD / "kubectl-harden"
    run(sys.executable, Path(__file__).with_name("freeze.py"), packages, tree)
    if SYSTEM == "linux":
        for file in [tree / "kubectl-harden", *tree.rglob("*.so*")]:
            run("strip", "--strip-unneeded", file)
    # Certificates come with certifi.
    shutil.rmtree(tree / "share", ignore_errors=True)
    shutil.copyfile(ROOT / "LICENSE", tree / "LICENSE")
    licences(packages, tree)
    if SYSTEM != "windows":
        script = tree / "kubectl_complete-harden"
        script.write_text(COMPLETE)
        script.chmod(0o755)
    return tree


def archive(tree: Path, target: Path) -> None:
    """Write a directory as tar.gz, with one order and no trace of who made it when."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = EPOCH
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, EPOCH) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for file in [tree, *sorted(tree.rglob("*"))]:
            tar.add(file, file.relative_to(tree.parent).as_posix(), recursive=False, filter=plain)


def sboms(python: Path, packages: Path, tree: Path, target: Path, portable: Path) -> None:
    """Write the bills of materials of the archive and of the zipapp."""
    run(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON",
        "--pyproject", ROOT / "pyproject.toml", "-o", target, python)  # fmt: skip
    bill = json.loads(target.read_text())
    for file, own in (
        (target, complete(bill, packages, tree, versions_of(tree))),
        (portable, only(bill, contained(packages, tree))),
    ):
        file.write_text(json.dumps(own, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Build everything anew."""
    for directory in (BUILD, DIST):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
    python, packages = runtime(wheel())
    name = f"kubectl-harden_v{manifest.version()}_{SYSTEM}_{MACHINE}"
    tree = frozen(packages)
    archive(tree, DIST / f"{name}.tar.gz")
    pyz(packages, tree, DIST / "kubectl-harden.pyz")
    sboms(python, packages, tree, DIST / f"{name}.cdx.json", DIST / "kubectl-harden.pyz.cdx.json")
    manifest.main()
    for file in sorted(DIST.iterdir()):
        print(f"{file.stat().st_size:>12,} {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

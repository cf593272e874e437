"""Go programs that the tests run, built once into the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]


class Program(NamedTuple):
    """An executable: the Go module (below tests/) that pins it, the package in it, and linker flags."""

    name: str
    module: str
    package: str = "."
    ldflags: str = ""


def cache_directory() -> Path:
    """Return the directory for built tools, under XDG_CACHE_HOME."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "kubectl-harden-tests"


def build(program: Program) -> Path:
    """Return a program's executable, building it when its sources are new to this machine."""
    source = TESTS / program.module
    digest = hashlib.sha256(repr(program).encode())
    for path in [*sorted(source.glob("*.go")), source / "go.mod", source / "go.sum"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(subprocess.check_output(["go", "env", "GOVERSION"], cwd=source))
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    # A directory for each build: a program's own name shows in managedFields.
    binary = cache / f"{program.name}-{digest.hexdigest()[:16]}" / program.name
    with (cache / f"{program.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            binary.parent.mkdir(exist_ok=True)
            partial = binary.with_suffix(".partial")
            _compile(program, source, partial)
            partial.rename(binary)
    return binary


def _compile(program: Program, source: Path, target: Path) -> None:
    """Compile with a line that tells how far it is."""
    sys.stderr.write(f"building {program.name} (once per machine) …\n")
    dependencies = subprocess.check_output(["go", "list", "-deps", program.package], cwd=source, text=True)
    total = dependencies.count("\n")
    command = ["go", "build", "-v", "-o", str(target), "-ldflags", f"-s -w {program.ldflags}", program.package]
    said = []
    with subprocess.Popen(command, cwd=source, stderr=subprocess.PIPE, text=True) as compiler:
        for done, line in enumerate(compiler.stderr or (), start=1):
            said.append(line)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r  {done:,} of at most {total:,} packages ")
            elif done % 250 == 0:
                sys.stderr.write(f"  {done:,} of at most {total:,} packages\n")
            sys.stderr.flush()
    if compiler.returncode:
        raise RuntimeError(f"building {program.name} failed:\n{''.join(said[-30:])}")
    sys.stderr.write("\n" if sys.stderr.isatty() else "")


def module_directory(module: str, go_module: str) -> Path:
    """Return where Go keeps the sources of a module that the one in ``tests/GO_MODULE`` requires."""
    source = TESTS / go_module
    subprocess.run(["go", "mod", "download", module], cwd=source, check=True)
    out = subprocess.check_output(["go", "list", "-m", "-f", "{{.Dir}}", module], cwd=source, text=True)
    return Path(out.strip())


def downloaded(module: str) -> Path:
    """Return where Go keeps the sources of MODULE@VERSION, which Go's checksum database vouches for."""
    out = subprocess.check_output(["go", "mod", "download", "-json", module], cwd="/", text=True)
    return Path(json.loads(out)["Dir"])


def build_all(programs: Sequence[Program]) -> None:
    """Build what is missing."""
    for program in programs:
        build(program)


if __name__ == "__main__":
    from tests.support.browser import install_browser
    from tests.support.control_plane import missing_programs
    from tests.support.debian import SHELLS, install
    from tests.support.oracle import ORACLE
    from tests.support.programs import ALL
    from tests.support.registry import CRANE

    build_all([ORACLE, CRANE, *ALL, *missing_programs()])
    install_browser()
    install(SHELLS)

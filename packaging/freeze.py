"""Freezes the command with an interpreter of its own: python freeze.py SITE_PACKAGES TARGET.

What is installed in SITE_PACKAGES, and what of the standard library it needs, becomes the directory TARGET; modules
stay files there, so nothing is unpacked when the command starts. cx_Freeze does it, with an interpreter that it built
on an old base; PyInstaller's archives of modules take twice as long to start.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from cx_Freeze import Executable, setup

UNUSED = [
    "distutils", "ensurepip", "idlelib", "lib2to3", "pip", "pkg_resources", "pydoc_data", "readline", "setuptools",
    "sqlite3", "test", "tkinter", "unittest",
    # Formats of zip files that nobody opens here, and highlighting of source code, which rich does where it is asked.
    "_bz2", "bz2", "_lzma", "lzma", "_uuid", "pygments",
]  # fmt: skip
if os.name != "nt":
    UNUSED += ["_ctypes", "ctypes"]  # Consoles of Windows are spoken to with it.
# Requests are made without the generated classes: two thirds of the package, which it loads where they are asked for.
GENERATED = ("kubernetes/client/api", "kubernetes/client/models")


def freeze(site_packages: Path, target: Path) -> None:
    """Make the directory ``target`` with the executable ``kubectl-harden`` and its ``lib``."""
    own = [
        entry for entry in sys.path if entry and "site-packages" not in entry and Path(entry) != Path(__file__).parent
    ]
    generated = [
        f"{folder.replace('/', '.')}.{file.stem}"
        for folder in GENERATED
        for file in (site_packages / folder).glob("*.py")
        if file.stem != "__init__"
    ]
    options = {
        # zlib is not counted to the libraries that every system has.
        "bin_includes": ["libz.so"],
        "build_exe": str(target),
        "excludes": [*UNUSED, *generated],
        # Each module is a file: to find and unpack one in a zip file takes longer.
        "no_compress": True,
        "includes": ["pydoc"],  # kubernetes.watch reads docstrings with it
        "include_path": [],
        "optimize": 0,
        "packages": ["kubectl_harden"],
        "path": [str(site_packages), *own],
        # Tracebacks name modules, not the machine that built them.
        "replace_paths": [("*", "")],
        "silent": 3,
    }
    with tempfile.TemporaryDirectory() as empty:
        # Away from the project, whose pyproject.toml is not for setuptools.
        os.chdir(empty)
        start = Path(empty) / "start.py"
        start.write_text("from kubectl_harden.cli import main\n\nmain()\n")
        suffix = ".exe" if os.name == "nt" else ""
        setup(
            name="kubectl-harden",
            script_args=["--quiet", "build_exe"],
            options={"build_exe": options},
            executables=[Executable(str(start), target_name=f"kubectl-harden{suffix}")],
        )


if __name__ == "__main__":
    freeze(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())

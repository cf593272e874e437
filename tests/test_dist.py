"""What is released: the archive in a system without Python, krew's manifest, the wheel, checksums, the bill."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from kubectl_harden import __version__
from kubectl_harden.yaml_text.tree import parse, value_of
from tests.support.archive import DIST, ROOT, EmptySystem, built
from tests.support.programs import KREW, VALIDATE_KREW_MANIFEST
from tests.support.tools import build

EXAMPLE = ROOT / "examples" / "rejected-deployment.yaml"


@pytest.fixture(scope="module")
def archive() -> Path:
    return built()


@pytest.fixture(scope="module")
def system(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> EmptySystem:
    return EmptySystem(tmp_path_factory.mktemp("system") / "root", archive)


def test_the_archive_is_small_and_says_what_is_in_it(archive: Path) -> None:
    assert archive.stat().st_size < 16 << 20
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
        owners = {(entry.uid, entry.uname, entry.mtime) for entry in tar}
    assert {name.split("/")[0] for name in names} == {"kubectl-harden"}
    assert {f"kubectl-harden/{name}" for name in ("LICENSE", "kubectl-harden", "kubectl_complete-harden")} < names
    assert len(owners) == 1


def test_each_module_in_it_is_a_file(system: EmptySystem) -> None:
    assert [file.name for file in system.home.rglob("*.zip")] == []
    assert (system.home / "lib" / "enum.pyc").is_file()


def test_nothing_in_it_names_the_machine_that_built_it(system: EmptySystem) -> None:
    for file in system.home.rglob("*"):
        if file.is_file():
            assert os.fsencode(ROOT) not in file.read_bytes(), file


def needed_glibc(file: Path) -> set[tuple[int, ...]]:
    """Return the versions of glibc whose symbols an ELF file needs."""
    found = set()
    with file.open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return found
        for section in ELFFile(stream).iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for _, versions in section.iter_versions():
                    for version in versions:
                        if version.name.startswith("GLIBC_"):
                            found.add(tuple(int(part) for part in version.name.removeprefix("GLIBC_").split(".")))
    return found


def test_it_needs_of_the_system_what_every_one_has(system: EmptySystem) -> None:
    """glibc's own libraries and GCC's; every other one is in the archive."""
    needed = set()
    for file in system.home.rglob("*"):
        if file.is_file() and file.read_bytes()[:4] == b"\x7fELF":
            with file.open("rb") as stream:
                section = ELFFile(stream).get_section_by_name(".dynamic")
                needed.update(tag.needed for tag in section.iter_tags() if tag.entry.d_tag == "DT_NEEDED")
    own = {file.name for file in system.home.rglob("*.so*")}
    assert {name.split(".so")[0] for name in needed - own} == {
        "ld-linux-x86-64", "libc", "libdl", "libgcc_s", "libm", "libpthread", "librt", "libutil"
    }  # fmt: skip


def test_it_needs_a_glibc_of_2012(system: EmptySystem) -> None:
    needed = {file: needed_glibc(file) for file in system.home.rglob("*") if file.is_file()}
    assert sum(bool(versions) for versions in needed.values()) > 10
    newest = max(version for versions in needed.values() for version in versions)
    assert newest <= (2, 17)
    assert f"glibc {'.'.join(map(str, newest))}" in (ROOT / "docs" / "install.md").read_text()


def test_it_runs_where_there_is_no_python(system: EmptySystem) -> None:
    assert not list(system.root.glob("usr/bin/python*")) and not list(system.root.rglob("python3*"))
    shutil.copyfile(EXAMPLE, system.root / "work" / "web.yaml")
    done = system.run("kubectl-harden", "check", "-f", "web.yaml")
    assert (done.returncode, b"Deployment shop/web: privileged" in done.stdout) == (1, True), done.stderr
    done = system.run("kubectl-harden", "fix", "-f", "web.yaml", "--write")
    assert done.returncode == 0, done.stderr
    done = system.run("kubectl-harden", "check", "-f", "-", stdin=(system.root / "work" / "web.yaml").read_bytes())
    assert done.returncode == 0, done.stderr
    about = json.loads(system.run("kubectl-harden", "version", "-o", "json").stdout)
    assert (about["version"], about["frozen"]) == (__version__, True)


def test_every_command_of_it_is_in_it(system: EmptySystem) -> None:
    """All modules are there, and all that they import, late imports included."""
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in (ROOT / "kubectl_harden").rglob("*.py")
        if file.name != "__init__.py"
    }
    shipped = {
        ".".join(file.relative_to(system.home / "lib").with_suffix("").parts)
        for file in (system.home / "lib" / "kubectl_harden").rglob("*.pyc")
    }
    assert modules <= shipped
    for file in (ROOT / "kubectl_harden").rglob("*"):
        if file.is_file() and file.suffix not in (".py", ".pyc"):
            assert (system.home / "lib" / file.relative_to(ROOT)).read_bytes() == file.read_bytes()


@pytest.fixture(scope="module")
def installed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory with links of krew's, after an installation by krew."""
    root = tmp_path_factory.mktemp("krew")
    command = [build(KREW), "install", f"--manifest={DIST / 'krew-manifest.yaml'}", f"--archive={archive}"]
    done = subprocess.run(
        command, env={**os.environ, "KREW_ROOT": str(root)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Nothing changes in files without --write, or in a cluster without --apply." in done.stderr + done.stdout
    return root / "bin"


def test_krew_installs_it(installed: Path) -> None:
    assert (installed / "kubectl-harden").is_symlink()
    done = subprocess.run(["kubectl-harden", "check", "-f", EXAMPLE], env={"PATH": str(installed)}, check=False,
                          executable=installed / "kubectl-harden", capture_output=True)  # fmt: skip
    assert done.returncode == 1 and b"Deployment shop/web" in done.stdout


def test_the_manifest_is_one_that_krews_index_takes(archive: Path, tmp_path: Path) -> None:
    # The file of the index is named as the plugin.
    shutil.copyfile(DIST / "krew-manifest.yaml", tmp_path / "harden.yaml")
    command = [build(VALIDATE_KREW_MANIFEST), "-manifest", tmp_path / "harden.yaml", "-skip-install"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "structural validation OK" in done.stderr, done.stderr
    spec = value_of(parse((DIST / "krew-manifest.yaml").read_text()))[0]["spec"]
    (platform,) = spec["platforms"]
    assert platform["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert platform["uri"].endswith(f"/releases/download/v{__version__}/{archive.name}")
    committed = value_of(parse((ROOT / "krew-manifest.yaml").read_text()))[0]["spec"]
    assert {**committed, "platforms": None} == {**spec, "platforms": None}
    assert committed["platforms"] == []
    # What krew's reviewers ask for.
    assert len(committed["shortDescription"]) <= 50
    assert not re.search(r"(?m)^ *(\$ |kubectl )", committed["caveats"])


def test_checksums_and_the_bill_of_materials(archive: Path, system: EmptySystem) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=DIST, capture_output=True, check=False
    )
    assert done.returncode == 0
    listed = {line.split()[1] for line in (DIST / "SHA256SUMS").read_text().splitlines()}
    assert listed == {file.name for file in DIST.iterdir()} - {"SHA256SUMS"}


def bill_of(archive: Path) -> dict[str, Any]:
    bill: dict[str, Any] = json.loads(Path(str(archive).replace(".tar.gz", ".cdx.json")).read_text())
    return bill


def test_the_bill_of_materials_lists_what_is_shipped_and_nothing_else(archive: Path, system: EmptySystem) -> None:
    bill = bill_of(archive)
    assert bill["bomFormat"] == "CycloneDX"
    versions = {component["name"].lower(): component["version"] for component in bill["components"]}
    about = json.loads(system.run("kubectl-harden", "version", "-o", "json").stdout)
    assert about["libraries"].items() <= versions.items()
    assert set(about["libraries"]) == {"cpython", "openssl", "zlib", "expat", "libmpdec", "libyaml"}
    assert about["libraries"]["cpython"] == about["python"]
    # What is in the tree, seen from its own side: packages of Python by their directories and modules.
    entries = [entry for entry in (system.home / "lib").iterdir() if entry.suffix != ".dist-info"]
    packages = {entry.stem for entry in entries if entry.is_dir() or entry.suffix == ".pyc"}
    packages -= {*sys.stdlib_module_names, "kubectl_harden", "kubectl-harden"}
    packages = {name for name in packages if "kubectl_harden" not in name and name not in OF_THE_FREEZER}
    named = {name.replace("-", "_").lower() for name in versions} - set(about["libraries"])
    modules = {"pyyaml": "yaml", "python_dateutil": "dateutil", "attrs": "attr",
               "websocket_client": "websocket", "markdown_it_py": "markdown_it"}  # fmt: skip
    assert {modules.get(name, name) for name in named} == packages - {"attrs"}
    # A module in Rust is what its crates are: its wheel names them.
    (core,) = (component for component in bill["components"] if component["name"] == "pydantic_core")
    assert {"pyo3", "memchr"} <= {part["name"] for part in core["components"]}
    for unused in ("aiohttp", "cx-freeze", "pytest", "pygments", "deepdiff", "python-dxf"):
        assert unused not in versions


# Written by cx_Freeze, or of the standard library under a name of the platform.
OF_THE_FREEZER = {"BUILD_CONSTANTS", "_sysconfigdata__linux_x86_64-linux-gnu"}


def test_every_library_is_in_the_bill_with_its_hash(archive: Path, system: EmptySystem) -> None:
    parts = [part for component in bill_of(archive)["components"] for part in component.get("components", ())]
    files = [part for part in parts if part["type"] == "file"]
    hashes = {file["name"]: file["hashes"][0]["content"] for file in files}
    for name, content in hashes.items():
        assert hashlib.sha256((system.home / name).read_bytes()).hexdigest() == content, name
    assert all((system.home / name).read_bytes()[:4] == b"\x7fELF" for name in hashes)
    libraries = {file.relative_to(system.home).as_posix() for file in system.home.rglob("lib*.so*")}
    assert len(libraries) > 2 and libraries <= set(hashes)


def test_every_part_of_the_bill_has_the_text_of_its_licence(archive: Path, system: EmptySystem) -> None:
    folders = {
        entry.name.partition(".txt")[0] if entry.is_file() else entry.name.rpartition("-")[0]: entry
        for entry in (system.home / "licenses").iterdir()
    }
    names = {component["name"].lower() for component in bill_of(archive)["components"]}
    assert {name.lower() for name in folders} == {*names, "cx_freeze", "kubectl-harden"}
    for name, entry in folders.items():
        texts = [entry] if entry.is_file() else list(entry.iterdir())
        assert max(len(text.read_text()) for text in texts) > 100, name


def test_what_nobody_has_named_is_not_shipped(tmp_path: Path, archive: Path, system: EmptySystem) -> None:
    """A library that comes along with another release of the freezer is seen when the archive is built."""
    tree = tmp_path / "kubectl-harden"
    shutil.copytree(system.home, tree, symlinks=True)
    shutil.copyfile(next(tree.rglob("libz.so*")), tree / "lib" / "libnew.so.1")
    done = subprocess.run(
        [sys.executable, "-c", "import sys, pathlib, shipped; shipped.complete("
         "{'components': [], 'dependencies': [], 'metadata': {'component': {'bom-ref': 'a'}}},"
         "pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]), {})", tree],
        cwd=ROOT / "packaging", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "libnew.so.1 is shipped, and in no bill" in done.stderr, done.stderr


def test_the_wheel_has_the_same_bytes_wherever_it_is_built(archive: Path, tmp_path: Path) -> None:
    """From a copy elsewhere, whose files are of another day."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "dist", "tests", "__pycache__"))
    shutil.copyfile(ROOT / ".gitignore", copy / ".gitignore")
    for file in copy.rglob("*"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "out", copy],
        check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1577836800"},
    )  # fmt: skip
    (other,) = (tmp_path / "out").iterdir()
    assert other.read_bytes() == (DIST / other.name).read_bytes()

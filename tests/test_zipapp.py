"""kubectl-harden.pyz, run by a Python that has PyYAML and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.support.archive import DIST, ROOT, built
from tests.support.control_plane import Namespace, executable
from tests.support.harden import workload

EXAMPLE = ROOT / "examples" / "rejected-deployment.yaml"
DATE = (2020, 1, 1, 0, 0, 0)


@pytest.fixture(scope="module")
def zipapp() -> Path:
    built()
    return DIST / "kubectl-harden.pyz"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python without any packages."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    return home


@pytest.fixture(scope="module")
def python(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a Python that has PyYAML, with the zipapp's name for kubectl and kubectl beside it."""
    home = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    shutil.copytree(Path(yaml.__file__).parent, packages / "yaml")
    return home / "bin"


def run(python: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in arguments]
    clean = {"PATH": f"{python}:/usr/bin:/bin", "HOME": str(python), **environment}
    return subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=300)


def test_it_says_what_the_package_says(zipapp: Path, python: Path) -> None:
    done = run(python, python / "python3", zipapp, "check", "-f", EXAMPLE, "-o", "json")
    assert done.returncode == 1, done.stderr
    package = [Path(sys.executable), "-c", "from kubectl_harden.cli import main; main()"]
    asked = subprocess.run(
        [*package, "check", "-f", EXAMPLE, "-o", "json"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert json.loads(done.stdout) == json.loads(asked.stdout)
    done = run(python, python / "python3", zipapp, "fix", "-f", EXAMPLE, "-o", "yaml")
    assert done.returncode == 0 and "runAsNonRoot: true" in done.stdout, done.stderr


@pytest.mark.parametrize("output", ["html", "sarif", "junit"])
def test_it_has_the_files_beside_its_modules(zipapp: Path, python: Path, output: str) -> None:
    done = run(python, python / "python3", zipapp, "check", "-f", EXAMPLE, "-o", output)
    assert done.returncode == 1 and len(done.stdout) > 500, done.stderr


def test_kubectl_finds_it_as_a_plugin_and_completes_it(zipapp: Path, python: Path, tmp_path: Path) -> None:
    shutil.copy(zipapp, tmp_path / "kubectl-harden")
    path = f"{tmp_path}:{python}:/usr/bin:/bin"
    done = run(python, executable("kubectl"), "harden", "check", "-f", EXAMPLE, PATH=path)
    assert done.returncode == 1 and "Deployment shop/web" in done.stdout, done.stderr
    done = run(python, executable("kubectl"), "harden", "completion", "--install", PATH=path)
    assert done.returncode == 0, done.stderr
    done = run(python, executable("kubectl"), "__complete", "harden", "rej", PATH=path)
    assert "rejected\t" in done.stdout, done.stderr


def test_it_logs_in_to_a_cluster(zipapp: Path, python: Path, namespace: Namespace, tmp_path: Path) -> None:
    namespace.create(workload("Deployment", "web"))
    configuration = tmp_path / "kubeconfig"
    configuration.write_text(json.dumps(namespace.plane.configuration(namespace.plane.token)))
    done = run(python, python / "python3", zipapp, "check", "deploy/web", "-n", namespace.name,
               "--level", "restricted", KUBECONFIG=str(configuration))  # fmt: skip
    assert done.returncode == 1 and "runAsNonRoot" in done.stdout, done.stderr


def test_what_it_needs_is_named(zipapp: Path, bare: Path) -> None:
    """With a code that no verdict has."""
    done = run(bare / "bin", bare / "bin" / "python3", zipapp, "check", "-f", EXAMPLE)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: kubectl-harden.pyz needs PyYAML with libyaml") and "py3-yaml" in done.stderr
    old = "import runpy, sys; sys.version_info = (3, 9, 6); sys.version = '3.9.6 (old)'; runpy.run_path(sys.argv[1], run_name='__main__')"
    done = run(bare / "bin", bare / "bin" / "python3", "-c", old, zipapp)
    assert done.returncode == 3
    assert done.stderr == "error: kubectl-harden.pyz needs Python 3.11 or later, and this is Python 3.9.6\n"


def test_nothing_in_it_is_of_a_platform_or_of_the_machine_that_built_it(zipapp: Path) -> None:
    assert os.access(zipapp, os.X_OK) and zipapp.stat().st_size < 4 << 20
    with zipfile.ZipFile(zipapp) as packed:
        for entry in packed.infolist():
            assert not entry.filename.endswith((".so", ".pyd", ".pyc")), entry.filename
            assert entry.date_time == DATE
            assert os.fsencode(ROOT) not in packed.read(entry), entry.filename


def test_its_bill_of_materials_lists_what_is_in_it_with_its_licences(zipapp: Path) -> None:
    bill = json.loads((DIST / "kubectl-harden.pyz.cdx.json").read_text())
    listed = {f"{component['name']}-{component['version']}".lower() for component in bill["components"]}
    with zipfile.ZipFile(zipapp) as packed:
        names = packed.namelist()
    licences = {name.split("/")[1].lower() for name in names if name.startswith("licenses/")}
    assert {name for name in licences if not name.startswith("kubectl-harden-")} == {
        name for name in listed if not name.startswith("kubectl-harden-")
    }
    own = {name.removesuffix(".py").split("/")[0] for name in names} - {"licenses", "LICENSE", "__main__", "pydantic"}
    modules = {"python_dateutil": "dateutil", "websocket_client": "websocket", "markdown_it_py": "markdown_it",
               "attrs": "attr"}  # fmt: skip
    parts = {component["name"].replace("-", "_").lower() for component in bill["components"]}
    assert {modules.get(name, name) for name in parts} | {"kubectl_harden"} == own - {"attrs"}

"""Tests mirror the code: a module has a test of its name, or a test whose docstring says that it is tested there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("yaml_text", "cluster", "live", "migration", "manifests", "reports", "cli")
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


@cache
def said() -> set[str]:
    """Return the modules that the docstrings of tests name."""
    docstrings = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "" for file in TESTS)
    return {name for text in docstrings for name in re.findall(r"``(\w+/\w+\.py)``", text)}


def own_tests(package: str, module: str) -> list[Path]:
    """Return the tests of a module by their names: of its folder, or the live ones of a command."""
    folders = (package, "live") if package in ("cli", "migration", "reports") else (package,)
    name = re.compile(rf"test_(\w+_)?{module}(_\w+)?")
    return [file for file in TESTS if file.parent.name in folders and name.fullmatch(file.stem)]


@pytest.mark.parametrize("package", PACKAGES)
def test_each_module_has_a_test(package: str) -> None:
    modules = [file.stem for file in (ROOT / "kubectl_harden" / package).glob("*.py") if file.stem != "__init__"]
    without = [name for name in modules if not own_tests(package, name) and f"{package}/{name}.py" not in said()]
    assert without == []


def test_no_docstring_names_a_module_that_is_not_there() -> None:
    assert {name for name in said() if not (ROOT / "kubectl_harden" / name).is_file()} == set()


def test_no_file_is_too_long_to_be_read_in_one_sitting() -> None:
    files = [*(ROOT / "kubectl_harden").rglob("*.py"), *(ROOT / "tests" / "live").rglob("*.py")]
    assert [file.name for file in files if len(file.read_text(encoding="utf-8").splitlines()) > 500] == []

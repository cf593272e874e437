"""What writes to a terminal and what reads text files each stand in one module; no other goes around it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kubectl_harden"
WRITES = {"reports/output.py"}
READS = {"text_files.py", "atomic_files.py"}
OWN_DATA = {"pod_security/pod_schema.py", "reports/page.py"}
"""They read what the package itself brings."""

_WRITING = {"write", "writelines", "buffer"}
_ASKING = {"echo", "secho", "echo_via_pager", "confirm", "prompt", "pause", "progressbar", "get_text_stream",
           "get_binary_stream", "open_file"}  # fmt: skip


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def printing(source: str) -> Iterator[str]:
    """Yield what in a module's text writes to a terminal by itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _dotted(node.func) in ("print", "input", "traceback.print_exc", "os.write"):
            if not (_dotted(node.func) == "os.write" and not isinstance(node.args[0], ast.Constant)):
                yield _dotted(node.func)
        elif isinstance(node, ast.Attribute):
            name = _dotted(node)
            owner, _, attribute = name.rpartition(".")
            if (owner == "click" and attribute in _ASKING) or name == "logging.StreamHandler":
                yield name
            elif owner in ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__") and attribute in _WRITING:
                yield name
        elif isinstance(node, ast.ImportFrom) and node.module in ("click", "click.termui", "click.utils", "sys"):
            for alias in node.names:
                if alias.name in (*_ASKING, "stdout", "stderr"):
                    yield f"{node.module}.{alias.name}"


def reading(source: str) -> Iterator[str]:
    """Yield what in a module's text opens a file as text, or turns bytes to text in whatever encoding there is."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        if name.rpartition(".")[2] in ("read_text", "write_text") and "." in name:
            yield name
        elif name in ("open", "io.open", "os.fdopen") or (name.endswith(".open") and not name.startswith("tarfile")):
            modes = [*node.args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
            if name != "os.open" and not any(
                isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes
            ):
                yield name


def _modules() -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", _modules())
def test_each_module_goes_through_the_doors(module: str) -> None:
    source = (PACKAGE / module).read_text(encoding="utf-8")
    assert module in WRITES or list(printing(source)) == []
    assert module in READS | OWN_DATA or list(reading(source)) == []


@pytest.mark.parametrize(
    "source",
    ["print(1)", "click.echo('x')", "click.confirm('x')", "sys.stdout.write('x')", "sys.stderr.writelines([])",
     "w = sys.stdout.write", "from click import prompt", "from sys import stdout", "traceback.print_exc()",
     "logging.StreamHandler()", "sys.stdout.buffer.write(b'')"],
)  # fmt: skip
def test_a_way_around_the_door_is_seen(source: str) -> None:
    assert list(printing(source))


@pytest.mark.parametrize("source", ["open(f)", "open(f, 'w')", "open(f, encoding='utf-8')", "p.read_text()",
                                    "Path(p).write_text('')", "path.open()", "io.open(f)"])  # fmt: skip
def test_a_text_file_beside_the_door_is_seen(source: str) -> None:
    assert list(reading(source))


def test_what_is_allowed_is_not_taken_for_it() -> None:
    assert list(printing("sys.stdout.isatty(); sys.stdout.flush(); click.edit('x'); os.write(file, data)")) == []
    assert list(reading("open(f, 'rb'); open(d, mode='wb'); os.open(f, 0); read_text(f)")) == []

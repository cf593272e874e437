"""kubectl-harden.pyz: the command as one file, wherever Python 3.11 or later and PyYAML with libyaml are."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

from shipped import canonical, licence_texts, shipped

OWN = Path(__file__).with_name("portable")
COMPILED = frozenset(("pyyaml", "pydantic", "pydantic-core", "annotated-types", "typing-inspection"))
"""Distributions that are compiled for one platform, and what only they need. PyYAML is taken from the machine."""
UNUSED = ("kubernetes/client/api/", "kubernetes/client/models/", "kubernetes/aio/", "kubernetes/test/")
DATE = (2020, 1, 1, 0, 0, 0)
SHEBANG = b"#!/usr/bin/env python3\n"


def contained(packages: Path, tree: Path) -> list[Distribution]:
    """Return the distributions of the frozen directory ``tree`` that the zipapp has, too."""
    return [part for part in shipped(packages, tree) if canonical(part.metadata["Name"]) not in COMPILED]


def pyz(packages: Path, tree: Path, target: Path) -> None:
    """Write the zipapp. Raises ValueError for a module that exists in compiled form only."""
    entries = {file.name: file for file in OWN.glob("*.py")}
    entries["LICENSE"] = tree / "LICENSE"
    for distribution in contained(packages, tree):
        entries.update(_modules(distribution))
        folder = f"licenses/{distribution.metadata['Name']}-{distribution.version}"
        entries.update({f"{folder}/{text.name}": text for text in licence_texts(distribution)})
    with target.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
            for name, source in sorted(entries.items()):
                entry = zipfile.ZipInfo(name, DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                packed.writestr(entry, source.read_bytes())
    target.chmod(0o755)


def _modules(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    """Yield the modules of a distribution, and the data beside them, by their names in the zipapp."""
    files = {file.as_posix(): Path(str(file.locate())) for file in distribution.files or ()}
    for name, source in files.items():
        if name.startswith("../") or ".dist-info/" in name or (name.startswith(UNUSED) and "__init__" not in name):
            continue
        if source.suffix in (".so", ".pyd"):
            # mypyc's shared part stands beside the modules; what it is part of has a .py file.
            if "__mypyc" not in name and f"{name.partition('.')[0]}.py" not in files:
                raise ValueError(f"{name} has no form in Python: kubectl-harden.pyz cannot have it")
        elif source.suffix != ".pyc":
            yield name, source

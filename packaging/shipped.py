"""What lies in the frozen directory: Python distributions, C libraries, their licences, and the bill of it all."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, NamedTuple

LICENCES = Path(__file__).with_name("licences")
LICENCE_NAMES = ("licen", "copying", "notice", "authors")


class Library(NamedTuple):
    """A library of C: names of files that it is, or is linked into, and the SPDX identifier of its licence."""

    files: tuple[str, ...]
    licence: str


LIBRARIES = {
    "cpython": Library(("kubectl-harden", "kubectl-harden.exe"), "PSF-2.0"),
    "openssl": Library(("libcrypto*", "libssl*"), "Apache-2.0"),
    "zlib": Library(("libz.*", "zlib.*"), "Zlib"),
    "expat": Library(("pyexpat.*",), "MIT"),
    "libmpdec": Library(("_decimal.*",), "BSD-2-Clause"),
    "libyaml": Library(("_yaml.*",), "MIT"),
}


def shipped(packages: Path, tree: Path) -> Iterator[Distribution]:
    """Yield the installed distributions of which a module lies in the frozen directory."""
    modules = {file.relative_to(tree / "lib").as_posix().partition(".")[0] for file in (tree / "lib").rglob("*")}
    for distribution in distributions(path=[str(packages)]):
        files = distribution.files or ()
        if any(file.suffix in (".py", ".so", ".pyd") and _module(file.as_posix()) in modules for file in files):
            yield distribution


def _module(file: str) -> str:
    """Return ``yaml/_yaml`` of ``yaml/_yaml.cpython-311-x86_64-linux-gnu.so``."""
    return file.partition(".")[0]


def licences(packages: Path, tree: Path) -> None:
    """Put the licence texts of all that is shipped into ``licenses``. Raises ValueError where one is not known."""
    target = tree / "licenses"
    for distribution in shipped(packages, tree):
        place = target / f"{distribution.metadata['Name']}-{distribution.version}"
        place.mkdir(parents=True, exist_ok=True)
        for text in licence_texts(distribution):
            shutil.copyfile(text, place / text.name)
    (tree / "frozen_application_license.txt").rename(target / "cx_freeze.txt")
    for name in LIBRARIES:
        shutil.copyfile(LICENCES / f"{name}.txt", target / f"{name}.txt")


def licence_texts(distribution: Distribution) -> list[Path]:
    """Return the files with the licence of a distribution. Raises ValueError where there are none."""
    name = distribution.metadata["Name"]
    texts = [
        Path(str(file.locate()))
        for file in distribution.files or ()
        if ".dist-info" in str(file) and any(word in file.name.lower() for word in LICENCE_NAMES)
    ] or list(LICENCES.glob(f"{name.lower()}.txt"))
    if not texts:
        raise ValueError(f"{name} comes without the text of its licence: put it into {LICENCES}")
    return texts


def complete(bill: dict[str, Any], packages: Path, tree: Path, versions: dict[str, str]) -> dict[str, Any]:
    """Return the bill of an environment as that of the frozen directory: what is not shipped goes, libraries come.

    ``versions`` are those of the libraries by name. Raises ValueError for a shared library that is nobody's.
    """
    _refuse_unknown(tree)
    own = {canonical(distribution.metadata["Name"]): _linked(distribution) for distribution in shipped(packages, tree)}
    kept = [
        {**part, "components": own[name]} if own[name] else part
        for part in bill["components"]
        if (name := canonical(part["name"])) in own
    ]
    parts = [_library(tree, name, library, versions[name]) for name, library in LIBRARIES.items()]
    refs = {part["bom-ref"] for part in (*kept, *parts)} | {bill["metadata"]["component"]["bom-ref"]}
    links = [
        {**link, "dependsOn": [ref for ref in link.get("dependsOn", ()) if ref in refs]}
        for link in (*bill["dependencies"], *({"ref": part["bom-ref"]} for part in parts))
        if link["ref"] in refs
    ]
    return {**bill, "components": [*kept, *parts], "dependencies": links}


def only(bill: dict[str, Any], contained: list[Distribution]) -> dict[str, Any]:
    """Return the bill of an environment as that of these distributions alone."""
    names = {canonical(distribution.metadata["Name"]) for distribution in contained}
    parts = [part for part in bill["components"] if canonical(part["name"]) in names]
    refs = {part["bom-ref"] for part in parts} | {bill["metadata"]["component"]["bom-ref"]}
    links = [
        {**link, "dependsOn": [ref for ref in link.get("dependsOn", ()) if ref in refs]}
        for link in bill["dependencies"]
        if link["ref"] in refs
    ]
    return {**bill, "components": parts, "dependencies": links}


def _linked(distribution: Distribution) -> list[dict[str, Any]]:
    """Return what a distribution's own bill names (PEP 770), such as the crates that its modules are built of."""
    bills = [file for file in distribution.files or () if "/sboms/" in file.as_posix() and file.name.endswith(".json")]
    parts = [part for file in bills for part in json.loads(file.read_text()).get("components", ())]
    name = canonical(distribution.metadata["Name"])
    return [{**part, "bom-ref": f"{name}/{number}"} for number, part in enumerate(parts)]


def _files(tree: Path, library: Library) -> list[Path]:
    return sorted({file for pattern in library.files for file in tree.rglob(pattern) if _is_binary(file)})


def _is_binary(file: Path) -> bool:
    return file.suffix not in (".pyc", ".txt")


def _refuse_unknown(tree: Path) -> None:
    """Raise ValueError for a shared library that is none of the known ones, nor a module of Python."""
    known = {file for library in LIBRARIES.values() for file in _files(tree, library)}
    for file in tree.rglob("lib*.so*"):
        if file not in known:
            raise ValueError(f"{file.name} is shipped, and in no bill: name it in LIBRARIES")


def canonical(name: str) -> str:
    """Return the name of a distribution in the one form in which names are compared."""
    return name.lower().replace("_", "-").replace(".", "-")


def _library(tree: Path, name: str, library: Library, version: str) -> dict[str, Any]:
    files = _files(tree, library)
    if not files:
        raise ValueError(f"{name} is in none of {', '.join(library.files)}")
    return {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "version": version,
        "purl": f"pkg:generic/{name}@{version}",
        "licenses": [{"license": {"id": library.licence}}],
        "components": [
            {
                "type": "file",
                "bom-ref": f"{name}/{file.name}",
                "name": file.relative_to(tree).as_posix(),
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}],
            }
            for file in files
        ],
    }


def versions_of(tree: Path) -> dict[str, str]:
    """Return the versions of the libraries, as the frozen interpreter has them."""
    done = subprocess.run([tree / "kubectl-harden", "version", "-o", "json"], check=True, capture_output=True)
    found: dict[str, str] = json.loads(done.stdout)["libraries"]
    return found

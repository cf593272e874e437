"""Writes dist/krew-manifest.yaml and dist/SHA256SUMS for the archives that lie in dist/.

    python packaging/manifest.py

The manifest is krew-manifest.yaml of the repository with a platform for each archive, and no other
(https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"

PLATFORM = """\
  - selector:
      matchLabels:
        os: {system}
        arch: {machine}
    uri: {homepage}/releases/download/v{version}/{name}
    sha256: {digest}
    bin: kubectl-harden{suffix}
    files:
    - from: kubectl-harden/*
      to: .
"""


def version() -> str:
    """Return the version of the checkout, such as ``0.1.0``."""
    text = (ROOT / "kubectl_harden" / "__init__.py").read_text()
    found = re.search(r'__version__ = "([^"]+)"', text)
    if found is None:
        raise SystemExit("kubectl_harden/__init__.py has no version")
    return found[1]


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def manifest(template: str, archives: list[Path]) -> str:
    """Return the template with the platforms of the archives, which are named …_vVERSION_SYSTEM_MACHINE.tar.gz."""
    homepage = re.search(r"^  homepage: (\S+)$", template, re.MULTILINE)
    head, mark, _ = template.partition("  # No archive has been released yet")
    if homepage is None or not mark:
        raise SystemExit("krew-manifest.yaml has no homepage, or its platforms are not where they are filled in")
    head = re.sub(r"^  version: .*$", f"  version: v{version()}", head, flags=re.MULTILINE)
    platforms = []
    for archive in sorted(archives):
        *_, system, machine = archive.name.removesuffix(".tar.gz").split("_")
        platforms.append(
            PLATFORM.format(
                system=system,
                machine=machine,
                homepage=homepage[1],
                version=version(),
                name=archive.name,
                digest=digest(archive),
                suffix=".exe" if system == "windows" else "",
            )
        )
    return f"{head}  platforms:\n{''.join(platforms)}"


def main() -> None:
    """Write the manifest and the checksums."""
    archives = list(DIST.glob(f"kubectl-harden_v{version()}_*.tar.gz"))
    template = (ROOT / "krew-manifest.yaml").read_text()
    (DIST / "krew-manifest.yaml").write_text(manifest(template, archives), newline="\n")
    files = sorted(file for file in DIST.iterdir() if file.is_file() and file.name != "SHA256SUMS")
    (DIST / "SHA256SUMS").write_text("".join(f"{digest(file)}  {file.name}\n" for file in files), newline="\n")


if __name__ == "__main__":
    main()

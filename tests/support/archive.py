"""What make dist builds, and an empty system to run it in."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"


def built() -> Path:
    """Return the archive of this machine's platform, made anew where the sources are newer."""
    with (ROOT / "Makefile").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "--silent", "dist"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (archive,) = DIST.glob("kubectl-harden_v*_linux_*.tar.gz")
    return archive


class EmptySystem:
    """A root directory with the C library, GCC's, a shell without any commands, and the archive as krew links it."""

    def __init__(self, root: Path, archive: Path) -> None:
        self.root = root
        for name in ("bin", "tmp", "work", "root", "etc", "proc", "dev", "store"):
            (root / name).mkdir(parents=True)
        (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
        # Not the device where one is not root, but what is read from it is the same.
        (root / "dev" / "null").touch()
        with tarfile.open(archive) as tar:
            tar.extractall(root / "store", filter="data")
        self.home = root / "store" / "kubectl-harden"
        for file in (self.home / "kubectl-harden", *self.home.rglob("*.so*")):
            self.add_libraries(file)
        self.add_program(Path("/bin/sh").resolve(), "sh")
        (root / "bin" / "kubectl-harden").symlink_to("/store/kubectl-harden/kubectl-harden")

    def add_libraries(self, program: Path) -> None:
        """Bring in what of the C library a program is linked with."""
        for line in subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout.splitlines():
            for word in line.split():
                if word.startswith("/") and not word.startswith(str(self.root)):
                    target = self.root / word.lstrip("/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(word, target)
                    target.chmod(0o755)

    def add_program(self, program: Path, name: str) -> None:
        """Bring a program in."""
        shutil.copyfile(program, self.root / "bin" / name)
        (self.root / "bin" / name).chmod(0o755)
        self.add_libraries(program)

    def run(
        self, *command: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in it, in /work, with nothing of this system's environment."""
        enter = ["chroot", str(self.root)]
        if os.geteuid() != 0:
            enter = ["unshare", "--user", "--map-root-user", f"--root={self.root}"]
        go = ["/bin/sh", "-c", 'cd /work && exec "$@"', "sh", *command]
        clean = {"PATH": "/bin", "HOME": "/root", **(environment or {})}
        # Found by the full name: the command itself has another PATH.
        enter[0] = shutil.which(enter[0], path="/usr/sbin:/usr/bin:/sbin:/bin") or enter[0]
        return subprocess.run([*enter, *go], input=stdin, capture_output=True, env=clean, check=False, timeout=300)

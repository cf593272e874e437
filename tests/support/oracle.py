"""The Go oracle (tests/oracle): built once into the user's cache, spoken to over pipes."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "oracle"


def cache_directory() -> Path:
    """Return the directory for built tools, under XDG_CACHE_HOME."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "kubectl-harden-tests"


def build() -> Path:
    """Return the oracle's executable, building it when its sources are new to this machine."""
    digest = hashlib.sha256()
    for path in [*sorted(SOURCE.glob("*.go")), SOURCE / "go.mod", SOURCE / "go.sum"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(subprocess.check_output(["go", "env", "GOVERSION"], cwd=SOURCE))
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    binary = cache / f"oracle-{digest.hexdigest()[:16]}"
    with (cache / "oracle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            sys.stderr.write("building the Go oracle (minutes, once per machine) …\n")
            partial = binary.with_suffix(".partial")
            subprocess.run(["go", "build", "-o", str(partial), "."], cwd=SOURCE, check=True)
            partial.rename(binary)
    return binary


def module_directory(module: str) -> Path:
    """Return where Go keeps the sources of a module that the oracle requires."""
    subprocess.run(["go", "mod", "download", module], cwd=SOURCE, check=True)
    out = subprocess.check_output(["go", "list", "-m", "-f", "{{.Dir}}", module], cwd=SOURCE, text=True)
    return Path(out.strip())


class Oracle:
    """A running oracle; see tests/oracle/main.go for its requests and answers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([build()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and return its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def yaml(self, text: str) -> tuple[Any, str | None]:
        """Return (value, None) or (None, error) of sigs.k8s.io/yaml for one document."""
        answer = self.ask(op="yaml", data=base64.b64encode(text.encode()).decode())
        return (None, answer["error"]) if "error" in answer else (answer["documents"][0].get("json"), None)

    def stream(self, data: bytes) -> list[dict[str, Any]]:
        """Return the documents of a stream as kubectl reads them; the last may be an error."""
        documents: list[dict[str, Any]] = self.ask(op="stream", data=base64.b64encode(data).decode()).get(
            "documents", []
        )
        return documents

    def verdicts(self, **request: Any) -> dict[tuple[str, int], list[tuple[str, str]]]:
        """Return (level, minor) → [(reason, detail), …] of an evaluate or admit request."""
        answer = self.ask(**request)
        if "error" in answer:
            raise ValueError(answer["error"])
        return {
            (run["level"], minor): list(zip(run["reasons"] or (), run["details"] or (), strict=True))
            for run in answer["verdicts"]
            for minor in range(run["first"], run["last"] + 1)
        }


if __name__ == "__main__":
    build()

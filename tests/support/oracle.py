"""The Go oracle (tests/oracle): built once into the user's cache, spoken to over pipes."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support import tools

ORACLE = tools.Program("oracle", "oracle")


def module_directory(module: str) -> Path:
    """Return where Go keeps the sources of a module that the oracle requires."""
    return tools.module_directory(module, "oracle")


class Oracle:
    """A running oracle; see tests/oracle/main.go for its requests and answers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([tools.build(ORACLE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

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

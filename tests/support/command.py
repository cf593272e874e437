"""The command as users run it, and manifests for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.signals import heed_signals

ROOT = Path(__file__).parents[2]
REJECTED = (ROOT / "examples" / "rejected-deployment.yaml").read_text()
GOOD = """\
apiVersion: v1
kind: Pod
metadata: {name: good}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: c
    image: i
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""


def run(*arguments: str, stdin: str | bytes = "", cwd: Path | None = None, **environment: str) -> Any:
    data = stdin if isinstance(stdin, bytes) else stdin.encode()
    return subprocess.run(
        [sys.executable, "-c", "from kubectl_harden.cli import main; main()", *arguments],
        input=data,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
        timeout=120,
        preexec_fn=heed_signals,
    )

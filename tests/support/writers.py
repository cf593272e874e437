"""The programs that people write to a cluster with, run as they run them: kubectl, and Helm 3 and 4."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.control_plane import Namespace, executable
from tests.support.programs import HELM_3, HELM_4
from tests.support.tools import build

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 0.1.0\n",
    "values.yaml": "escalate: true\nreplicas: 1\n",
    "templates/web.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      hostPID: true
      containers:
      - name: app
        image: example.com/app:1
        securityContext:
          allowPrivilegeEscalation: {{ .Values.escalate }}
          capabilities: {add: [NET_ADMIN]}
""",
}


class Writers:
    """Runs programs in a namespace; ``directory`` is where charts and Helm's own files are."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.chart = directory / "chart"
        for name, text in CHART.items():
            (self.chart / name).parent.mkdir(parents=True, exist_ok=True)
            (self.chart / name).write_text(text)
        self._home = directory / "helm"

    def _run(self, program: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        home = {name: str(self._home / name) for name in ("HELM_DATA_HOME", "HELM_CONFIG_HOME", "HELM_CACHE_HOME")}
        environment = {**os.environ, "KUBECONFIG": str(self.namespace.plane.kubeconfig), **home}
        command = [str(program), *arguments, "-n", self.namespace.name]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=120)

    def apply(self, *objects: dict[str, Any], server_side: bool = False) -> subprocess.CompletedProcess[str]:
        """``kubectl apply -f -``; a manifest's namespace is the test's own."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        flags = ["--server-side"] if server_side else []
        return self._run(executable("kubectl"), "apply", "-f", "-", *flags, stdin=text)

    def upgrade(self, helm: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``helm upgrade --install shop`` of Helm 3 or 4."""
        program = build(HELM_3 if helm == 3 else HELM_4)
        return self._run(program, "upgrade", "--install", "shop", str(self.chart), *arguments)


def owners(value: dict[str, Any]) -> list[Any]:
    """Return who owns what of an object, without times and without what is written to its status."""
    entries = (entry for entry in value["metadata"].get("managedFields", ()) if "subresource" not in entry)
    return sorted(({key: item for key, item in entry.items() if key != "time"} for entry in entries), key=str)

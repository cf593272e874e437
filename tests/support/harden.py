"""The command, run as its users run it, against the control plane of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.control_plane import Namespace
from tests.support.signals import heed_signals

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from kubectl_harden.cli import main; main()"]


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Harden:
    """Runs ``kubectl harden`` in a namespace, with a state directory of its own."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.state = directory / "state"
        self.kubeconfig = directory / "kubeconfig"
        self.use(namespace.plane.configuration(namespace.plane.token))

    def use(self, configuration: dict[str, Any]) -> None:
        """Log in otherwise."""
        configuration["contexts"][0]["context"]["namespace"] = self.namespace.name
        self.kubeconfig.write_text(json.dumps(configuration))

    @property
    def environment(self) -> dict[str, str]:
        own = {"KUBECONFIG": str(self.kubeconfig), "XDG_STATE_HOME": str(self.state), "PYTHONPATH": str(ROOT)}
        return {**os.environ, **own, "PYTHONUTF8": "1", "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": ""}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command and return its process."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            preexec_fn=heed_signals,
        )

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        done = subprocess.run(
            [*COMMAND, *arguments], input=stdin, capture_output=True, text=True, env=self.environment, timeout=180
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def journal(self) -> list[dict[str, Any]]:
        """Return all events of all runs."""
        found = []
        for path in sorted((self.state / "kubectl-harden" / "journal").glob("*.jsonl")):
            found.extend(json.loads(line) for line in path.read_text().splitlines() if line)
        return found


def pod_spec(image: str = "example.com/app:1", **spec: Any) -> dict[str, Any]:
    """Return a pod spec of one container named ``app``, with nothing of what ``restricted`` wants."""
    return {"containers": [{"name": "app", "image": image}], **spec}


def workload(kind: str, name: str, image: str = "example.com/app:1", replicas: int = 1, **spec: Any) -> dict[str, Any]:
    """Return a workload whose pods are labelled app=NAME."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(image, **spec)}
    versions = {
        "Job": "batch/v1",
        "CronJob": "batch/v1",
        "Pod": "v1",
        "ReplicationController": "v1",
        "PodTemplate": "v1",
    }
    head = {"apiVersion": versions.get(kind, "apps/v1"), "kind": kind, "metadata": {"name": name, "labels": labels}}
    if kind == "Pod":
        return {**head, "spec": template["spec"]}
    if kind == "PodTemplate":
        return {**head, "template": template}
    if kind in ("Job", "CronJob"):
        template["spec"]["restartPolicy"] = "Never"
        job = {"template": template}
        return {**head, "spec": job if kind == "Job" else {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}}
    body: dict[str, Any] = {
        "selector": labels if kind == "ReplicationController" else {"matchLabels": labels},
        "template": template,
    }
    if kind != "DaemonSet":
        body["replicas"] = replicas
    if kind == "StatefulSet":
        body["serviceName"] = name
    return {**head, "spec": body}


SAFE = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
}
SAFE_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}

"""``fix`` of workloads that belong to Helm releases: values found, proved, and set by helm itself.

By the command line alone this tests ``cli/fix_helm.py``, ``cli/helm_plans.py``, ``live/helm_upgrade.py``,
``live/helm_record.py``, ``cluster/helm.py``, ``reports/helm.py``, too.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane import Namespace
from tests.support.harden import Harden, Result
from tests.support.programs import HELM_3, HELM_4
from tests.support.tools import build

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {revision: "{{ .Release.Name }}"}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations:
        checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}
    spec:
      {{- with .Values.podSecurityContext }}
      securityContext: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
      - name: app
        image: {{ .Values.image }}
        {{- with .Values.securityContext }}
        securityContext: {{- toYaml . | nindent 10 }}
        {{- end }}
"""
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-config}
data:
  password: {{ .Values.password | quote }}
  file: {{ .Files.Get "files/motd.txt" | quote }}
"""
CHART = {
    "Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.2.0\n",
    "values.yaml": """\
# Written by hand.
replicas: 1
image: example.com/app:1
password: ""
podSecurityContext: {}
securityContext: {}
""",
    "files/motd.txt": "welcome\n",
    "templates/web.yaml": WEB,
    "templates/config.yaml": CONFIG,
    "templates/NOTES.txt": "It runs as {{ .Release.Name }}.\n",
}
VALUES = {"password": "hunter2", "replicas": 2, "port": 8080, "large": 12345678}
FAILING = "example.com/runs-as-root:1"


class Releases:
    """Real releases in a namespace, of helm 3 or 4, and the command with that helm on its PATH."""

    def __init__(self, namespace: Namespace, harden: Harden, directory: Path, major: int) -> None:
        self.namespace, self.harden, self._directory = namespace, harden, directory
        self.major = major
        bin_directory = directory / "bin"
        bin_directory.mkdir()
        (bin_directory / "helm").symlink_to(build(HELM_3 if major == 3 else HELM_4))
        self.path = f"{bin_directory}{os.pathsep}{os.environ['PATH']}"
        self.driver = "secret"

    def helm(self, *words: str, values: Any = None) -> str:
        """Run helm as its users do."""
        home = {name: str(self._directory / name) for name in ("HELM_DATA_HOME", "HELM_CONFIG_HOME", "HELM_CACHE_HOME")}
        environment = {**os.environ, **home, "KUBECONFIG": str(self.namespace.plane.kubeconfig), "PATH": self.path}
        command = ["helm", *words, "-n", self.namespace.name, *(["--values", "-"] if values is not None else [])]
        done = subprocess.run(
            command, input=json.dumps(values), capture_output=True, text=True, timeout=120,
            env={**environment, "HELM_DRIVER": self.driver},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, values: Any = VALUES, name: str = "front", **files: str) -> None:
        """Install a chart, CHART with other ``files`` (``__`` stands for a slash, and the name has no suffix)."""
        chart = self._directory / "charts" / name
        for file, text in {**CHART, **{f"templates/{key}.yaml": value for key, value in files.items()}}.items():
            (chart / file).parent.mkdir(parents=True, exist_ok=True)
            (chart / file).write_text(text)
        self.helm("upgrade", "--install", name, str(chart), values=values)

    def history(self, name: str = "front") -> list[tuple[int, str]]:
        """Return the revisions of a release, with their states."""
        found = json.loads(self.helm("history", name, "-o", "json"))
        return [(item["revision"], item["status"]) for item in found]

    def values(self, name: str = "front") -> Any:
        return json.loads(self.helm("get", "values", name, "-o", "json"))


@pytest.fixture(params=[3, 4])
def releases(
    request: pytest.FixtureRequest,
    namespace: Namespace,
    harden: Harden,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Releases:
    found = Releases(namespace, harden, tmp_path, request.param)
    monkeypatch.setenv("PATH", found.path)
    return found


def words(result: Result) -> str:
    return " ".join(result.err.split())


def test_the_values_of_a_release_are_shown_and_applied(releases: Releases) -> None:
    releases.install()
    namespace = releases.namespace.name
    result = releases.harden("fix", "deploy/front", "--level", "restricted")
    assert result.code == 1, result
    head = f"--- live/{namespace}/front/values.yaml\n+++ fixed/{namespace}/front/values.yaml\n"
    assert result.out.startswith(head)
    assert "+podSecurityContext:\n+  runAsNonRoot: true\n" in result.out
    assert "hunter2" not in result.out + result.err
    told = "these values cure 4 of 4 violations, proved by rendering, and by helm's dry-run on the server"
    assert f"of Helm release {namespace}/front (chart web 1.2.0, revision 1): {told}" in words(result)
    plan = releases.harden("fix", "deploy/front", "--level", "restricted", "-o", "json").json["workloads"][0]
    assert (plan["before"], plan["after"], plan["remaining"]) == ("baseline", "restricted", [])
    assert plan["notApplicable"] is None
    assert plan["helmRelease"] == {
        "namespace": namespace,
        "name": "front",
        "revision": 1,
        "chart": "web 1.2.0",
        "values": {
            "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        },
        "hooks": [],
        "alsoChanges": [],
        "setsBack": [],
        "notApplicable": None,
    }
    assert releases.history() == [(1, "deployed")]
    before = releases.helm("get", "manifest", "front")
    releases.namespace.eventually(lambda: len(releases.namespace.ready_pods()) == 2)
    applied = releases.harden("fix", "deploy/front", "--level", "restricted", "--apply", "--yes", "--timeout", "60s")
    assert applied.code == 0, applied
    assert f"Deployment {namespace}/front: applied" in words(applied)
    assert releases.history() == [(1, "superseded"), (2, "deployed")]
    assert releases.values() == {**VALUES, **plan["helmRelease"]["values"]}
    assert releases.helm("get", "notes", "front").strip().endswith("It runs as front.")
    assert "hunter2" not in applied.out + applied.err + json.dumps(releases.harden.journal())
    assert releases.harden("check", "deploy/front", "--level", "restricted").code == 0
    again = releases.harden("fix", "deploy/front", "--level", "restricted", "--apply", "--yes")
    assert again.err.endswith("nothing to do\n"), again
    undone = releases.harden("undo", "--last", "--yes", "--timeout", "60s")
    assert undone.code == 0, undone
    assert releases.history() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert releases.values() == VALUES
    assert releases.helm("get", "manifest", "front") == before

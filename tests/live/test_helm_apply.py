"""``fix`` of workloads that belong to Helm releases: values found, proved, and set by helm itself.

By the command line alone this tests ``cli/fix_helm.py``, ``cli/helm_plans.py``, ``live/helm_upgrade.py``,
``live/helm_record.py``, ``cluster/helm.py``, ``reports/helm.py``, too.
"""

from __future__ import annotations

import json
import os
import shutil
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
VALUES = {
    "password": "hunter2",
    "replicas": 2,
    "large": 12345678,
    "texts": ["yes", "0123", "1e3", "2020-01-01", "~", "a: b\n#c", " ", "null"],
    "others": [1.5, True, {"empty": {}}, []],
}
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
        self.chart = directory / "chart"

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start helm, and return its process."""
        return subprocess.Popen(["helm", *words, "-n", self.namespace.name], env=self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        home = {
            name: str(self._directory / "own" / name)
            for name in ("HELM_DATA_HOME", "HELM_CONFIG_HOME", "HELM_CACHE_HOME")
        }
        own = {key: value for key, value in os.environ.items() if not key.startswith("HELM_")}
        cluster = {"KUBECONFIG": str(self.namespace.plane.kubeconfig), "PATH": self.path, "HELM_DRIVER": self.driver}
        return {**own, **home, **cluster}

    def helm(self, *words: str, values: Any = None) -> str:
        """Run helm as its users do."""
        command = ["helm", *words, "-n", self.namespace.name, *(["--values", "-"] if values is not None else [])]
        done = subprocess.run(
            command, input=json.dumps(values), capture_output=True, text=True, timeout=120, env=self._environment
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, values: Any = VALUES, files: dict[str, str] | None = None, *words: str) -> None:
        """Install or upgrade ``front``: CHART with other ``files``, whose pods then are ready."""
        chart = self.chart
        for file, text in {**CHART, **(files or {})}.items():
            (chart / file).parent.mkdir(parents=True, exist_ok=True)
            (chart / file).write_text(text)
        self.helm("upgrade", "--install", "front", str(chart), *words, values=values)
        self.namespace.eventually(lambda: len(self.namespace.ready_pods()) == values.get("replicas", 1))

    def fix(self, *words: str) -> Result:
        """``fix deploy/front`` to restricted."""
        return self.harden("fix", "deploy/front", "--level", "restricted", *words)

    def apply(self, *words: str) -> Result:
        return self.fix("--apply", "--yes", *words)

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
    result = releases.fix()
    assert result.code == 1, result
    head = f"--- live/{namespace}/front/values.yaml\n+++ fixed/{namespace}/front/values.yaml\n"
    assert result.out.startswith(head)
    assert "+podSecurityContext:\n+  runAsNonRoot: true\n" in result.out
    assert "hunter2" not in result.out + result.err
    told = "these values fix 4 of 4 violations, proved by rendering, and by helm's dry-run on the server"
    assert f"of Helm release {namespace}/front (chart web 1.2.0, revision 1): {told}" in words(result)
    plan = releases.fix("-o", "json").json["workloads"][0]
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
    applied = releases.apply("--timeout", "60s")
    assert applied.code == 0, applied
    assert f"Deployment {namespace}/front: applied" in words(applied)
    assert releases.history() == [(1, "superseded"), (2, "deployed")]
    assert releases.values() == {**VALUES, **plan["helmRelease"]["values"]}
    assert releases.helm("get", "notes", "front").strip().endswith("It runs as front.")
    assert "hunter2" not in applied.out + applied.err + json.dumps(releases.harden.journal())
    assert releases.harden("check", "deploy/front", "--level", "restricted").code == 0
    again = releases.apply()
    assert again.err.endswith("nothing to do\n"), again
    undone = releases.harden("undo", "--last", "--yes", "--timeout", "60s")
    assert undone.code == 0, undone
    assert releases.history() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert releases.values() == VALUES
    assert releases.helm("get", "manifest", "front") == before


def test_pods_that_fail_are_rolled_back(releases: Releases) -> None:
    releases.install({**VALUES, "image": FAILING})
    before = releases.helm("get", "manifest", "front")
    result = releases.apply("--timeout", "60s")
    assert result.code == 1, result
    assert "ROLLED BACK" in result.err
    assert "container has runAsNonRoot and image will run as root" in words(result)
    assert "the cause is the edit for runAsNonRoot" in words(result)
    assert "rolled back to revision 1" in words(result)
    assert releases.history() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert releases.helm("get", "manifest", "front") == before
    assert releases.values() == {**VALUES, "image": FAILING}
    assert len(releases.namespace.ready_pods()) == 2
    assert releases.harden("undo", "--last", "--yes").code == 2
    left = releases.apply("--timeout", "60s", "--no-rollback")
    assert left.code == 1, left
    assert "FAILED, left in place" in left.err
    assert releases.history()[-1] == (4, "deployed")
    assert releases.harden("undo", "--last", "--yes", "--timeout", "60s").code == 0
    assert releases.helm("get", "manifest", "front") == before


HOOK = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-migrate
  annotations: {helm.sh/hook: pre-upgrade, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true}
      containers: [{name: migrate, image: "example.com/runs-as-root:1"}]
"""


def test_a_hook_is_told_and_an_upgrade_that_it_ends_is_rolled_back(releases: Releases) -> None:
    releases.install(files={"templates/hook.yaml": HOOK})
    shown = releases.fix()
    assert "hook helm upgrade runs Job front-migrate (pre-upgrade)" in words(shown)
    result = releases.apply("--timeout", "5s")
    assert result.code == 1, result
    assert "pre-upgrade hooks failed" in words(result)
    assert "rolled back to revision 1" in words(result)
    assert [status for _, status in releases.history()][-1] == "deployed"
    assert releases.values() == VALUES


@pytest.mark.parametrize("releases", [4], indirect=True)
def test_what_no_value_reaches_is_said(releases: Releases) -> None:
    fixed = WEB[: WEB.index("      {{- with .Values.podSec")] + "      hostPID: true\n      containers:\n"
    fixed += "      - {name: app, image: {{ .Values.image }}}\n"
    releases.install(files={"templates/web.yaml": fixed})
    result = releases.fix()
    assert result.code == 1, result
    said = words(result)
    assert "its values are not changed: no values of its chart fix it, of " in said
    assert (
        "A post-renderer makes the changes that no value can: helm upgrade --install front CHART --post-renderer"
        in said
    )
    assert f"cannot be applied: managed by Helm release {releases.namespace.name}/front" in said
    told = releases.fix("-o", "json").json["workloads"][0]
    assert told["helmRelease"]["problem"].startswith("no values of its chart fix it, of ")
    assert told["notApplicable"].startswith("managed by Helm release")
    assert releases.apply().code == 1
    assert releases.history() == [(1, "deployed")]


@pytest.mark.parametrize("releases", [4], indirect=True)
def test_values_that_cure_a_part(releases: Releases) -> None:
    web = WEB.replace("      containers:\n", "      hostPID: true\n      containers:\n")
    releases.install(files={"templates/web.yaml": web})
    result = releases.fix("--partial")
    assert result.code == 1, result
    assert "these values fix 4 of 5 violations" in words(result)
    assert "no value of the chart was found that sets it" in words(result)
    assert "A post-renderer makes the changes that no value can" in words(result)


DB = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: {{ .Release.Name }}-db}
spec:
  serviceName: db
  replicas: 0
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      {{- with .Values.podSecurityContext }}
      securityContext: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers: [{name: db, image: "example.com/db:1"}]
"""


@pytest.mark.parametrize("releases", [3], indirect=True)
def test_what_else_an_upgrade_does_is_told(releases: Releases) -> None:
    releases.install(files={"templates/db.yaml": DB})
    namespace = releases.namespace
    namespace.patch("Deployment", "front", {"spec": {"replicas": 1}})
    shown = releases.fix()
    assert f"also changes the pods of StatefulSet {namespace.name}/front-db" in words(shown)
    assert f"resets Deployment {namespace.name}/front: replicas from 1 to 2, as the release has it" in words(shown)
    assert releases.apply("--timeout", "60s").code == 0
    assert namespace.get("StatefulSet", "front-db")["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]


@pytest.mark.parametrize("releases", [4], indirect=True)
@pytest.mark.parametrize(
    ("files", "why"),
    [
        (
            {"templates/config.yaml": CONFIG.replace("{{ .Values.password | quote }}", "{{ randAlphaNum 12 }}")},
            "helm upgrade would change more than these values do (ConfigMap front-config: data.password)",
        ),
        (
            {
                "templates/job.yaml": DB.replace("apps/v1", "batch/v1").replace("StatefulSet", "Job")
                .replace("  serviceName: db\n  replicas: 0\n  selector: {matchLabels: {app: db}}\n", "  suspend: true\n")
                .replace("      containers", "      restartPolicy: Never\n      containers")
            },
            "cannot be changed in place, and helm upgrade would fail on it",
        ),
    ],
    ids=["random", "job"],
)  # fmt: skip
def test_an_upgrade_that_would_do_more_or_fail_is_refused(releases: Releases, files: dict[str, str], why: str) -> None:
    releases.install(files=files)
    shown = releases.fix()
    assert (shown.code, "+podSecurityContext:" in shown.out) == (1, True), shown
    assert why in words(shown)
    result = releases.apply()
    assert result.code == 1, result
    assert "not applied" in result.err
    assert why in words(result)
    assert releases.history() == [(1, "deployed")]


def test_sub_charts_are_not_in_a_release_but_may_be_in_helms_cache(
    releases: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = {"charts/db/Chart.yaml": "apiVersion: v2\nname: db\nversion: 3.0.0\n", "charts/db/templates/db.yaml": DB}
    releases.install(files=below)
    result = releases.fix()
    assert result.code == 1, result
    said = words(result)
    assert "its values are not changed: Helm keeps no sub-charts in a release, and chart web 1.2.0 has db" in said
    assert "fix --helm-chart CHART" in said
    cache = tmp_path / "HELM_CACHE_HOME" / "repository"
    cache.mkdir(parents=True)
    monkeypatch.setenv("HELM_CACHE_HOME", str(cache.parent))
    other = tmp_path / "other" / "web"
    shutil.copytree(releases.chart, other)
    (other / "templates" / "web.yaml").write_text("# another chart of this name and version\n")
    releases.helm("package", str(other), "-d", str(cache))
    assert "Helm keeps no sub-charts" in words(releases.fix())
    releases.helm("package", str(releases.chart), "-d", str(cache))
    if releases.major == 4:
        # As Helm 4 names what it has fetched.
        content = cache.parent / "content" / "ab" / f"{'ab' * 32}.chart"
        content.parent.mkdir(parents=True)
        (cache / "web-1.2.0.tgz").rename(content)
    applied = releases.apply("--timeout", "60s")
    assert applied.code == 0, applied
    assert f"also changes the pods of StatefulSet {releases.namespace.name}/front-db" not in words(applied)
    assert releases.namespace.get("StatefulSet", "front-db")
    assert releases.values()["podSecurityContext"]["runAsNonRoot"]


@pytest.mark.parametrize("releases", [3], indirect=True)
def test_releases_in_config_maps(releases: Releases) -> None:
    releases.driver = "configmap"
    releases.install()
    assert releases.apply("--timeout", "60s").code == 0
    assert releases.history() == [(1, "superseded"), (2, "deployed")]
    assert releases.harden("undo", "--last", "--yes", "--timeout", "60s").code == 0
    assert releases.history()[-1] == (3, "deployed")


@pytest.mark.parametrize("releases", [4], indirect=True)
def test_helm_3_leaves_alone_what_helm_4_has_applied(releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    releases.install()
    monkeypatch.setenv("HELM_BIN", str(build(HELM_3)))
    assert "which Helm 3 does not support: put helm 4 on the PATH" in words(releases.fix())


@pytest.mark.parametrize("releases", [3], indirect=True)
def test_no_pods_are_taken_down_that_could_not_come_back(releases: Releases) -> None:
    releases.install(
        files={"templates/web.yaml": WEB.replace("  replicas:", "  strategy: {type: Recreate}\n  replicas:")}
    )
    releases.namespace.label(enforce="restricted")
    result = releases.apply("--timeout", "60s")
    assert result.code == 1, result
    assert "down that could not come back, since they would be refused now" in words(result)
    assert releases.history() == [(1, "deployed")]
    assert releases.apply("--timeout", "60s", "--no-rollback").code == 0

"""Charts: what real helm renders of them is checked and fixed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden import __version__
from kubectl_harden.yaml_text.tree import parse, value_of
from tests.manifests.conftest import BASE
from tests.support.command import ROOT, run


@pytest.fixture(params=["helm", "helm4"])
def helm(request: pytest.FixtureRequest, programs: str, tmp_path: Path) -> dict[str, str]:
    """Which helm renders, for the command's environment; with a chart of its own making."""
    environment = {**os.environ, "PATH": programs}
    subprocess.run([request.param, "create", "web"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    return {"HELM_BIN": request.param}


def test_check_names_the_template_and_proposes_values(harden: Any, helm: dict[str, str], tmp_path: Path) -> None:
    done = harden("check", "--helm-chart", "web", **helm)
    assert done.returncode == 1, done.stderr
    text = done.stdout.decode()
    assert "  web/templates/deployment.yaml  runAsNonRoot != true" in text
    assert "  web/templates/tests/test-connection.yaml  runAsNonRoot != true" in text
    head, _, proposed = text.partition("These values fix 4 of 8 violations, proved by rendering again:\n")
    assert head
    (tmp_path / "more.yaml").write_text(proposed)
    report = json.loads(harden("check", "--helm-chart", "web", "--values", "more.yaml", "-o", "json", **helm).stdout)
    assert {w["source"]["file"]: w["allowed"] for w in report["workloads"]} == {
        "web/templates/deployment.yaml": True, "web/templates/tests/test-connection.yaml": False
    }  # fmt: skip


def test_fix_adds_the_values_and_their_files_other_bytes_stay(
    harden: Any, helm: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "web" / "values.yaml"
    before = file.read_text()
    done = harden("fix", "--helm-chart", "web", **helm)
    assert (done.returncode, file.read_text()) == (1, before)
    done = harden("fix", "--helm-chart", "web", "--write", **helm)
    assert done.returncode == 1 and b"fix 4 of 8 violations" in done.stderr  # The chart's test pod takes no values.
    assert file.read_text() == before.replace(
        "podSecurityContext: {}\n",
        "podSecurityContext:\n  runAsNonRoot: true\n  seccompProfile:\n    type: RuntimeDefault\n",
    ).replace(
        "\nsecurityContext: {}\n",
        "\nsecurityContext:\n  allowPrivilegeEscalation: false\n  capabilities:\n    drop:\n    - ALL\n",
    )
    again = harden("fix", "--helm-chart", "web", **helm)
    assert again.stdout == b"" and b"no values of the chart fix them" in again.stderr


def test_values_are_found_by_where_they_arrive(harden: Any, programs: str, tmp_path: Path) -> None:
    """Names that mislead, keys that must be enabled, fields that are copied one by one, two workloads and nesting."""
    chart = tmp_path / "odd"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: odd-name\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text(
        "api:\n  securityContext: {enabled: false, fsGroup: 1}   # for the pod\n  containerSecurityContext: {}\n"
        "worker: {containerSecurityContext: {privileged: true, capabilities: {add: [NET_ADMIN]}}}\n"
        "other: {podSecurityContext: {}}\n"
    )
    (chart / "templates" / "all.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: api}\nspec:\n"
        "  {{- if .Values.api.securityContext.enabled }}\n"
        '  securityContext: {{- omit .Values.api.securityContext "enabled" | toYaml | nindent 4 }}\n  {{- end }}\n'
        "  containers: [{name: c, image: i, securityContext: {{ toJson .Values.api.containerSecurityContext }}}]\n"
        "---\napiVersion: v1\nkind: Pod\nmetadata: {name: worker}\nspec:\n"
        "  containers: [{name: c, image: i, securityContext: {{ toJson .Values.worker.containerSecurityContext }}}]\n"
    )
    done = harden("fix", "--helm-chart", "odd", "--write")
    assert done.returncode == 0, done.stderr
    values, _ = value_of(parse((chart / "values.yaml").read_text()))
    profile = {"type": "RuntimeDefault"}
    assert values["api"]["securityContext"] == {
        "enabled": True, "fsGroup": 1, "runAsNonRoot": True, "seccompProfile": profile
    }  # fmt: skip
    assert values["worker"]["containerSecurityContext"]["seccompProfile"] == profile
    assert values["worker"]["containerSecurityContext"]["privileged"] is False
    # What a level demands to be absent is taken away from what the values have: nothing would be merged away.
    assert values["worker"]["containerSecurityContext"]["capabilities"] == {"add": [], "drop": ["ALL"]}
    assert values["other"] == {"podSecurityContext": {}}
    assert "# for the pod" in (chart / "values.yaml").read_text()
    assert harden("check", "--helm-chart", "odd").returncode == 0


def test_values_of_charts_below_a_chart(harden: Any, programs: str, tmp_path: Path) -> None:
    """One as a directory, one as an archive; the parent's values name neither."""
    parent = tmp_path / "shop"
    (parent / "charts").mkdir(parents=True)
    (parent / "values.yaml").write_text("# nothing yet\nreplicas: 1\n")
    dependencies = "".join(f"- {{name: {name}, version: 0.1.0}}\n" for name in ("front", "back"))
    (parent / "Chart.yaml").write_text(f"apiVersion: v2\nname: shop\nversion: 0.1.0\ndependencies:\n{dependencies}")
    environment = {**os.environ, "PATH": programs}
    for name in ("front", "back"):
        subprocess.run(
            ["helm", "create", name], cwd=parent / "charts", env=environment, check=True, capture_output=True
        )
    subprocess.run(["helm", "package", "back"], cwd=parent / "charts", env=environment, check=True, capture_output=True)
    shutil.rmtree(parent / "charts" / "back")
    done = harden("fix", "--helm-chart", "shop", "--write")
    assert b"fix 8 of 16 violations" in done.stderr, done.stderr
    values, _ = value_of(parse((parent / "values.yaml").read_text()))
    assert values["front"]["podSecurityContext"]["runAsNonRoot"] is True
    assert values["back"]["securityContext"]["allowPrivilegeEscalation"] is False
    assert (parent / "values.yaml").read_text().startswith("# nothing yet\nreplicas: 1\n")
    files = {
        w["source"]["file"]
        for w in json.loads(harden("check", "--helm-chart", "shop", "-o", "json").stdout)["workloads"]
    }
    assert "shop/charts/back/templates/deployment.yaml" in files


@pytest.mark.parametrize("text", [None, "", "# all is default", "---\n"])
def test_values_where_there_are_none(harden: Any, programs: str, tmp_path: Path, text: str | None) -> None:
    chart = tmp_path / "bare"
    (chart / "templates").mkdir(parents=True)
    (chart / "charts" / "sub").mkdir(parents=True)
    subprocess.run(["helm", "create", "sub"], cwd=chart / "charts", env={**os.environ, "PATH": programs}, check=True,
                   capture_output=True)  # fmt: skip
    (chart / "Chart.yaml").write_text(
        "apiVersion: v2\nname: bare\nversion: 0.1.0\ndependencies: [{name: sub, version: 0.1.0}]\n"
    )
    if text is not None:
        (chart / "values.yaml").write_text(text)
    done = harden("fix", "--helm-chart", "bare", "--write")
    assert b"fix 4 of 8 violations" in done.stderr, done.stderr
    after = (chart / "values.yaml").read_text()
    assert after.startswith(text or "")
    assert value_of(parse(after))[0]["sub"]["podSecurityContext"]["runAsNonRoot"] is True


def test_a_chart_that_takes_no_further_values_is_checked_all_the_same(
    harden: Any, helm: dict[str, str], tmp_path: Path
) -> None:
    schema = {"properties": {key: {"maxProperties": 0} for key in ("securityContext", "podSecurityContext")}}
    (tmp_path / "web" / "values.schema.json").write_text(json.dumps(schema))
    done = harden("check", "--helm-chart", "web", **helm)
    assert done.returncode == 1 and b"runAsNonRoot != true" in done.stdout
    assert b"No values are proposed, because the chart accepts none to try: helm" in done.stdout


def test_a_chart_that_cannot_be_rendered_says_why(harden: Any, helm: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "web" / "templates" / "bad.yaml").write_text("{{ .Values.x.y }}\n")
    done = harden("check", "--helm-chart", "web", **helm)
    assert done.returncode == 3 and b"web/templates/bad.yaml" in done.stderr
    done = harden("check", "--helm-chart", "web", HELM_BIN="no-such-helm")
    assert done.returncode == 3 and b"no-such-helm is not on the PATH" in done.stderr


def test_a_template_is_checked_as_a_filter(programs: str, helm: dict[str, str], tmp_path: Path) -> None:
    command = f"set -o pipefail; {helm['HELM_BIN']} template web | kubectl-harden fix -f - -o yaml | kubectl-harden check -f -"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env={**os.environ, "PATH": programs}, capture_output=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert b"2 workloads: all meet restricted" in done.stderr


def rendered(programs: str, directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    home = {name: str(directory / ".helm" / name) for name in ("HELM_DATA_HOME", "HELM_CONFIG_HOME", "HELM_CACHE_HOME")}
    environment = {**os.environ, **home, "PATH": programs}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def chart(programs: str, tmp_path: Path) -> Path:
    """A chart as helm makes it."""
    assert rendered(programs, tmp_path, "helm", "create", "web").returncode == 0
    return tmp_path / "web"


def allowed(text: str) -> list[bool]:
    report = json.loads(run("check", "-f", "-", "-o", "json", stdin=text).stdout)
    return [workload["allowed"] for workload in report["workloads"]]


def test_a_post_renderer_of_helm_3(programs: str, chart: Path) -> None:
    words = ["fix", "-f", "-", "-o", "yaml"]
    post = ["--post-renderer", "kubectl-harden", *(f"--post-renderer-args={word}" for word in words)]
    done = rendered(programs, chart.parent, "helm", "template", "web", *post)
    assert done.returncode == 0, done.stderr
    # Helm 3 gives its post-renderers no hooks, such as the chart's test pod.
    assert allowed(done.stdout) == [True, False]
    # What stays below the level stops helm.
    done = rendered(
        programs, chart.parent, "helm", "template", "web", *post, "--post-renderer-args=--skip=runAsNonRoot"
    )
    assert done.returncode != 0


def test_a_post_renderer_plugin_of_helm_4(programs: str, chart: Path) -> None:
    plugin = ROOT / "packaging" / "helm-plugin"
    value, _ = value_of(parse((plugin / "plugin.yaml").read_text()))
    assert value["version"] == __version__
    done = rendered(programs, chart.parent, "helm4", "plugin", "install", str(plugin))
    assert done.returncode == 0, done.stderr
    done = rendered(programs, chart.parent, "helm4", "template", "web", "--post-renderer", "harden")
    assert done.returncode == 0, done.stderr
    assert allowed(done.stdout) == [True, True]
    done = rendered(programs, chart.parent, "helm4", "template", "web", "--post-renderer", "harden",
                    "--post-renderer-args=--skip=runAsNonRoot")  # fmt: skip
    assert done.returncode != 0


NAMESPACE = (
    "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: prod\n"
    "  labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/warn: Baseline}\n"
)


def test_a_chart_is_held_to_the_namespace_that_it_renders(harden: Any, helm: dict[str, str], tmp_path: Path) -> None:
    """Workloads without a namespace go to that of the release, as -n names it."""
    templates = tmp_path / "own" / "templates"
    templates.mkdir(parents=True)
    (tmp_path / "own" / "Chart.yaml").write_text("apiVersion: v2\nname: c\nversion: 1.0.0\n")
    (templates / "ns.yaml").write_text(NAMESPACE)
    (templates / "web.yaml").write_text(BASE)
    for words, level in ((("-n", "prod"), "baseline"), ((), "restricted")):
        done = harden("check", "--helm-chart", "own", *words, "-o", "json", **helm)
        assert done.returncode == 3
        assert b"Namespace prod: metadata.labels[pod-security.kubernetes.io/warn]: Invalid value" in done.stderr
        report = json.loads(done.stdout)
        (workload,) = report["workloads"]
        assert workload.get("policy", report["policy"])["level"] == level


def test_values_bring_no_user_namespace(harden: Any, helm: dict[str, str]) -> None:
    plain = harden("fix", "--helm-chart", "web", **helm)
    done = harden("fix", "--helm-chart", "web", "--user-namespace", **helm)
    assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout)
    assert b"note: --user-namespace is not done: values reach security contexts" in done.stderr

"""Values of charts that cure: each directory of ``charts`` is a chart, its values afterwards, and what is said.

Through the whole this tests ``manifests/chart_effects.py``, ``manifests/chart_files.py``,
``manifests/chart_references.py``, ``manifests/chart_templates.py``, ``manifests/chart_words.py``,
``manifests/value_candidates.py``, ``manifests/value_plans.py``, ``manifests/value_search.py``,
``manifests/values_file.py`` and ``cli/charts.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.manifests.chart_files import chart_files
from kubectl_harden.manifests.chart_references import references
from kubectl_harden.yaml_text.tree import dump, parse, value_of

CASES = Path(__file__).parent / "charts"


def text_of(stderr: bytes) -> str:
    """Return what is said as one line: where a terminal's lines end is not what is looked at."""
    return re.sub(r"\s+", " ", stderr.decode())


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_values_that_cure(harden: Any, tmp_path: Path, name: str) -> None:
    shutil.copytree(CASES / name / "chart", tmp_path / "chart")
    case, _ = value_of(parse((CASES / name / "case.yaml").read_text()))
    before = (tmp_path / "chart" / "values.yaml").read_text()
    done = harden("fix", "--helm-chart", "chart", "--write", *case.get("arguments", ()))
    after = CASES / name / "values.after.yaml"
    said = text_of(done.stderr)
    assert (tmp_path / "chart" / "values.yaml").read_text() == (after.read_text() if after.exists() else before), said
    assert done.returncode == case["exit"], said
    for words in case["says"]:
        assert re.sub(r"\s+", " ", words) in said
    if done.returncode == 0:
        assert harden("check", "--helm-chart", "chart").returncode == 0
        assert harden("fix", "--helm-chart", "chart", "--write").returncode == 0, "nothing is left to do"


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_every_value_is_needed(harden: Any, tmp_path: Path, name: str) -> None:
    """Whatever is taken out of the values, something is left that was not."""
    case, _ = value_of(parse((CASES / name / "case.yaml").read_text()))
    if (
        not (CASES / name / "values.after.yaml").exists()
        or case["exit"]
        or "--write-templates" in case.get("arguments", ())
    ):
        return
    shutil.copytree(CASES / name / "chart", tmp_path / "chart")
    before = (tmp_path / "chart" / "values.yaml").read_text()
    done = harden("fix", "--helm-chart", "chart", "--values-out", "more.yaml")
    assert done.returncode == 0 and (tmp_path / "chart" / "values.yaml").read_text() == before
    more, _ = value_of(parse((tmp_path / "more.yaml").read_text()))
    for path in leaves(more):
        if path[0] in case.get("together", ()):
            continue
        less = without(more, path)
        (tmp_path / "less.yaml").write_text(dump(less))
        assert harden("check", "--helm-chart", "chart", "--values", "less.yaml").returncode == 1, path


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict) or not value:
        return [path]
    return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]


def without(value: Any, path: tuple[Any, ...]) -> Any:
    if len(path) == 1:
        return {key: item for key, item in value.items() if key != path[0]}
    return {**value, path[0]: without(value[path[0]], path[1:])}


def test_templates_that_are_edited_render_the_same_until_a_value_is_set(
    harden: Any, programs: str, tmp_path: Path
) -> None:
    shutil.copytree(CASES / "write-templates" / "chart", tmp_path / "chart")
    environment = {**os.environ, "PATH": programs}

    def rendered(*words: str) -> bytes:
        command = ["helm", "template", "chart", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True).stdout

    every = ("--set", "metrics=true")
    before = rendered(), rendered(*every)
    assert harden("fix", "--helm-chart", "chart", "--write-templates").returncode == 0
    (tmp_path / "none.yaml").write_text("podSecurityContext: null\ncontainerSecurityContext: null\n")
    assert (rendered("--values", "none.yaml"), rendered("--values", "none.yaml", *every)) == before
    # What is off with the chart's values meets the level too, once it is on.
    assert harden("check", "--helm-chart", "chart", *every).returncode == 0
    assert harden("fix", "-f", "chart", "--write-templates").returncode == 2


@pytest.fixture
def packed(programs: str, tmp_path: Path) -> str:
    """The archive of a chart that one boolean cures."""
    shutil.copytree(CASES / "boolean" / "chart", tmp_path / "boolean")
    environment = {**os.environ, "PATH": programs}
    subprocess.run(["helm", "package", "boolean"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    shutil.rmtree(tmp_path / "boolean")
    return "boolean-0.1.0.tgz"


def test_values_of_an_archive_go_to_a_file_of_the_users(harden: Any, packed: str, tmp_path: Path) -> None:
    done = harden("fix", "--helm-chart", packed)
    assert done.returncode == 1 and b"--values-out FILE writes them" in done.stderr
    archive = (tmp_path / packed).read_bytes()
    done = harden("fix", "--helm-chart", packed, "--write")
    assert done.returncode == 2 and b"--values-out FILE" in done.stderr
    done = harden("fix", "--helm-chart", packed, "--values-out", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.yaml").read_text() == "seccompProfile:\n  enable: true\n"
    assert (tmp_path / packed).read_bytes() == archive
    assert harden("check", "--helm-chart", packed, "--values", "mine.yaml").returncode == 0
    # A file that is there counts when it is named: what it says already stays.
    done = harden("fix", "--helm-chart", packed, "--values-out", "mine.yaml")
    assert done.returncode == 2 and b"also pass it as the last --values" in done.stderr
    (tmp_path / "mine.yaml").write_text("# mine\nreplicas: 2\n")
    done = harden("fix", "--helm-chart", packed, "--values", "mine.yaml", "--values-out", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.yaml").read_text() == "# mine\nreplicas: 2\nseccompProfile:\n  enable: true\n"


def test_a_chart_in_the_cache_of_helm(harden: Any, packed: str, programs: str, tmp_path: Path) -> None:
    """Nothing is fetched: the repository is at an address where nobody answers."""
    cache = tmp_path / ".helm" / "HELM_CACHE_HOME" / "repository"
    cache.mkdir(parents=True)
    shutil.move(tmp_path / packed, cache / packed)
    (cache / "shop-index.yaml").write_text(
        "apiVersion: v1\nentries:\n  boolean:\n  - {name: boolean, version: 0.2.0-rc.1}\n"
        "  - {name: boolean, version: 0.1.0, urls: ['http://127.0.0.1:9/boolean-0.1.0.tgz']}\n"
    )
    done = harden("check", "--helm-chart", "shop/boolean")
    assert done.returncode == 1 and b"shop/boolean/templates/web.yaml" in done.stdout
    done = harden("fix", "--helm-chart", "shop/boolean", "--values-out", "mine.yaml")
    assert done.returncode == 0, done.stderr
    # What helm does not have is for helm to fetch, and to say why it cannot.
    for name in ("shop/other", "oci://127.0.0.1:9/other"):
        done = harden("check", "--helm-chart", name)
        assert done.returncode == 3 and b"error: helm pull: " in done.stderr


OPTIONS = """\
apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Namespace }}-{{ .Values.name }}-{{ .Capabilities.KubeVersion.Minor }}
  labels: {has: "{{ .Capabilities.APIVersions.Has "example.com/v1" }}"}
spec:
  containers: [{name: c, image: i}]
---
apiVersion: v1
kind: Pod
metadata: {name: tried, annotations: {helm.sh/hook: "test-success,test"}}
spec:
  containers: [{name: c, image: i}]
---
apiVersion: v1
kind: Pod
metadata: {name: before, annotations: {helm.sh/hook: "pre-install,test"}}
spec:
  containers: [{name: c, image: i}]
"""


@pytest.mark.parametrize("program", ["helm", "helm4"])
def test_the_options_of_helm(harden: Any, programs: str, tmp_path: Path, program: str) -> None:
    (tmp_path / "c" / "templates").mkdir(parents=True)
    (tmp_path / "c" / "Chart.yaml").write_text("apiVersion: v2\nname: c\nversion: 0.1.0\nkubeVersion: '>=1.33'\n")
    (tmp_path / "c" / "templates" / "all.yaml").write_text(OPTIONS)
    words = ("--helm-chart", "c", "-n", "shop", "--set", "name=web", "--kube-version", "1.34.2", "--api-versions",
             "example.com/v1")  # fmt: skip
    done = harden("check", *words, "-o", "name", HELM_BIN=program)
    assert done.stdout.decode().split() == ["pod/shop-web-34", "pod/tried", "pod/before"]
    done = harden("fix", *words, HELM_BIN=program)
    assert "4 violations left in pods that only helm test runs: --skip-tests" in text_of(done.stderr)
    done = harden("check", *words, HELM_BIN=program)
    assert b"4 violations left in pods that only helm test runs: --skip-tests" in done.stdout
    done = harden("check", *words, "--skip-tests", "-o", "name", HELM_BIN=program)
    assert b"tried" not in done.stdout
    assert harden("check", "-f", "c", "--set", "name=web").returncode == 2


TEMPLATES = """\
{{- define "of" }}{{ .sc.runAsUser }} {{ .ctx.Values.top }}{{ end }}
{{- define "dot" }}{{ .inner }}{{ end }}
{{/* .Values.commented */}}
{{ $v := .Values.variable }}{{ $v.field }}
{{ with .Values.a.b }}{{ .c }}{{ range .list }}{{ .item }}{{ end }}{{ $.Values.rooted }}{{ end }}
{{ range $key, $value := .Values.map }}{{ $value.security }}{{ end }}
{{ include "of" (dict "sc" .Values.given "ctx" $) }}
{{ include "dot" .Values.passed | nindent 2 }}
{{ index .Values "with-dash" "deep" }} {{ get .Values.got "ten" }} {{ dig "x" "y" "no" .Values.dug }}
{{ "a string with .Values.text in it }}" }} {{ .Values.global.shared }}
"""


def test_what_templates_refer_to(tmp_path: Path) -> None:
    below = tmp_path / "charts" / "sub" / "templates"
    below.mkdir(parents=True)
    (tmp_path / "Chart.yaml").write_text("name: top\ndependencies: [{name: sub, alias: other}]\n")
    (tmp_path / "charts" / "sub" / "Chart.yaml").write_text("name: sub\n")
    (below / "all.yaml").write_text(TEMPLATES)
    found = {".".join(path) for path in references(chart_files(str(tmp_path))).paths}
    expected = (
        "variable.field a.b.c a.b.list.*.item rooted map.*.security given.runAsUser top passed.inner with-dash.deep "
        "got.ten dug.x.y"
    )
    assert {f"other.{path}" for path in expected.split()} | {"global.shared"} <= found
    assert not {path for path in found if "commented" in path or path.startswith("other.global")}


def test_a_template_that_does_not_show_where_its_pods_are_is_not_edited(harden: Any, tmp_path: Path) -> None:
    shutil.copytree(CASES / "write-templates" / "chart", tmp_path / "chart")
    pod = tmp_path / "chart" / "templates" / "pod.yaml"
    pod.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: one-line}\nspec: {containers: [{name: c, image: i}]}\n")
    before = pod.read_text()
    done = harden("fix", "--helm-chart", "chart", "--write-templates")
    assert (done.returncode, pod.read_text()) == (1, before), done.stderr
    assert re.search(r"templates not edited, since .*: .*Pod one-line", text_of(done.stderr))

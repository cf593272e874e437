"""``--build``: the charts and kustomizations in directories are rendered by the real programs, beside plain files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.manifests.test_directories import written
from tests.support.command import REJECTED

CHART = "apiVersion: v2\nname: {}\nversion: 0.1.0\n"
ALLOWED = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"


def pod(name: str) -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: i}}]}}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An overlay over two bases, a chart with another one in it, a plain manifest, and what .gitignore leaves out."""
    (tmp_path / ".git").mkdir()
    component = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "resources": ["pod.yaml"]}
    return written(
        tmp_path,
        {
            ".gitignore": "out/\n",
            "base/kustomization.yaml": {"resources": ["pod.yaml"]},
            "base/pod.yaml": pod("base"),
            "mid/kustomization.yaml": {"resources": ["../base"], "namePrefix": "mid-"},
            "prod/kustomization.yaml": {"resources": ["../mid"], "components": ["../used"], "namePrefix": "prod-"},
            "used/kustomization.yaml": component,
            "used/pod.yaml": pod("used"),
            "unused/kustomization.yaml": component,
            "unused/pod.yaml": pod("unused"),
            "chart/Chart.yaml": CHART.format("chart"),
            "chart/templates/pod.yaml": pod("{{ .Release.Name }}-chart"),
            "chart/charts/sub/Chart.yaml": CHART.format("sub"),
            "chart/charts/sub/templates/pod.yaml": pod("sub"),
            "lib/Chart.yaml": CHART.format("lib") + "type: library\n",
            "lib/templates/_x.yaml": '{{- define "x" }}{{ end }}',
            "out/kustomization.yaml": {"resources": ["pod.yaml"]},
            "out/pod.yaml": pod("out"),
            "plain.yaml": pod("plain"),
        },
    )


def workloads(done: Any) -> list[tuple[str, str]]:
    return sorted((item["source"]["file"], item["name"]) for item in json.loads(done.stdout)["workloads"])


BUILT = [
    ("./plain.yaml", "plain"),
    ("./unused/pod.yaml", "unused"),
    ("base/pod.yaml", "prod-mid-base"),
    ("chart/charts/sub/templates/pod.yaml", "sub"),
    ("chart/templates/pod.yaml", "release-name-chart"),
    ("used/pod.yaml", "prod-used"),
]


def test_each_root_is_built_once_beside_the_plain_files(harden: Any, tree: Path) -> None:
    done = harden("check", "-f", ".", "-R", "--build", "-o", "json")
    assert (done.returncode, workloads(done)) == (1, BUILT), done.stderr
    notes = [line for line in done.stderr.decode().splitlines() if line.startswith("note:")]
    assert [line.split(": ")[1] for line in notes] == [".", "chart", "lib", "./prod/kustomization.yaml"]
    assert notes[1].endswith("rendered with its own values, as by kubectl harden check --helm-chart chart")
    assert notes[3].endswith("built as by kubectl harden check -k ./prod")
    # Without it only the files are judged, and a library chart is not said to be rendered.
    plain = harden("check", "-f", ".", "-R", "-o", "json")
    assert [name for _, name in workloads(plain)] == ["base", "plain", "unused", "used"]


@pytest.mark.parametrize("option", [("-k", "prod"), ("--helm-chart", "chart")])
def test_what_is_built_is_judged_as_by_its_own_command(harden: Any, tree: Path, option: tuple[str, str]) -> None:
    alone, together = (
        json.loads(harden("check", *words, "-o", "json").stdout)["workloads"]
        for words in (option, ("-f", ".", "-R", "--build"))
    )
    assert alone and all(workload in together for workload in alone)


def test_what_fails_is_a_problem_of_its_directory_and_the_rest_goes_on(harden: Any, tree: Path) -> None:
    written(
        tree,
        {
            "bad/kustomization.yaml": {"resources": ["gone.yaml"]},
            "circle/a/kustomization.yaml": {"resources": ["../b"]},
            "circle/b/kustomization.yaml": {"resources": ["../a"]},
            "broken/Chart.yaml": CHART.format("broken"),
            "broken/templates/pod.yaml": '{{ fail "no luck" }}',
        },
    )
    done = harden("check", "-f", ".", "-R", "--build", "-o", "json")
    assert (done.returncode, workloads(done)) == (3, BUILT)
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("error:")]
    assert [line.split(": ")[1] for line in errors] == ["broken", "./bad", "./circle/a"]
    assert "no luck" in errors[0] and "gone.yaml" in errors[1] and "cycle detected" in errors[2]


def test_a_base_that_its_overlay_lifts_is_not_below_the_level(harden: Any, tmp_path: Path) -> None:
    patch = "- {op: remove, path: /spec/hostNetwork}\n"
    written(
        tmp_path,
        {
            "base/pod.yaml": pod("web").replace("spec: {", "spec: {hostNetwork: true, "),
            "base/kustomization.yaml": {"resources": ["pod.yaml"]},
            "prod/kustomization.yaml": {"resources": ["../base"], "patches": [{"path": "p.yaml", "target": {"kind": "Pod"}}]},
            "prod/p.yaml": patch,
        },
    )  # fmt: skip
    words = ("check", "-f", ".", "-R", "--level", "baseline")
    assert [harden(*words, *more).returncode for more in ((), ("--build",))] == [1, 0]


def test_a_directory_whose_name_looks_like_an_option_is_a_directory(harden: Any, tmp_path: Path) -> None:
    written(tmp_path, {"--help/Chart.yaml": CHART.format("c"), "--help/templates/pod.yaml": pod("web")})
    done = harden("check", "-f", ".", "-R", "--build", "-o", "json")
    assert [name for _, name in workloads(done)] == ["web"], done.stderr
    assert b"--helm-chart ./--help\n" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fix", "-f", "."), b"--build is for check: fix -k DIR"),
        (("check", "-k", "."), b"--build renders what is in directories"),
        (("check", "--helm-chart", "."), b"--build renders what is in directories"),
        (("check", "--skip-others", "plain.yaml"), b"--build renders what is in directories"),
        (("check", "-n", "x"), b"--build is for manifests"),
    ],
)
def test_where_it_has_no_place_it_is_refused(harden: Any, tmp_path: Path, words: tuple[str, ...], said: bytes) -> None:
    written(tmp_path, {"plain.yaml": REJECTED})
    done = harden(*words, "--build")
    assert (done.returncode, done.stdout) == (2, b"") and said in done.stderr

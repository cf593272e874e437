"""A directory is what it is: charts and kustomizations are told apart from manifests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.manifests.directories import parts_of
from kubectl_harden.yaml_text.tree import dump
from tests.support.command import REJECTED, run

TEMPLATE = "apiVersion: apps/v1\nkind: Deployment\nspec: {{- toYaml .Values.spec | nindent 2 }}\n"


def written(directory: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else dump(content))
    return directory


@pytest.fixture
def mono(tmp_path: Path) -> Path:
    """A repository with a base, an overlay with patches, a chart with another one in it, and a plain manifest."""
    sidecar = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    sidecar["spec"] = {"template": {"spec": {"containers": [{"name": "log", "image": "registry.example/log:1"}]}}}  # type: ignore[assignment]
    return written(
        tmp_path,
        {
            "base/kustomization.yaml": {"resources": ["web.yaml"]},
            "base/web.yaml": REJECTED,
            "overlays/prod/kustomization.yml": {
                "resources": ["../../base"],
                "patches": [{"path": "../patches/sidecar.yaml"}, {"patch": "- op: remove\n  path: /x\n"}],
                "components": ["../../components/log"],
            },
            "overlays/patches/sidecar.yaml": sidecar,
            "components/log/kustomization.yaml": {
                "apiVersion": "kustomize.config.k8s.io/v1alpha1",
                "kind": "Component",
                "patchesStrategicMerge": ["more.yaml"],
            },
            "components/log/more.yaml": sidecar,
            "charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
            "charts/web/templates/a.yaml": TEMPLATE,
            "charts/web/templates/b/c.yaml": TEMPLATE,
            "charts/web/charts/db/Chart.yaml": "apiVersion: v2\nname: db\nversion: 0.1.0\n",
            "charts/web/charts/db/templates/d.yaml": TEMPLATE,
            "plain.yaml": REJECTED,
        },
    )


def told(done: Any) -> list[str]:
    return [line for line in done.stderr.decode().splitlines() if line.startswith(("note:", "error:"))]


def test_a_chart_and_a_kustomization_are_a_note_each_with_their_command(mono: Path) -> None:
    done = run("check", "-f", ".", "-R", "-o", "name", cwd=mono)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [b"deployment.apps/web"] * 2
    chart, component, overlay = told(done)
    assert chart.startswith("note: charts/web: ") and chart.endswith(" kubectl harden check --helm-chart charts/web")
    assert component.startswith("note: ./components/log/kustomization.yaml: ") and "more.yaml" in component
    assert overlay.startswith("note: ./overlays/prod/kustomization.yml: ")
    assert "kubectl harden check -k ./overlays/prod (" in overlay and "../patches/sidecar.yaml" in overlay


def test_what_is_used_as_a_patch_is_not_rewritten(mono: Path) -> None:
    before = {file: file.read_bytes() for file in mono.rglob("*") if file.is_file()}
    done = run("fix", "-f", ".", "-R", "--write", cwd=mono)
    assert len(told(done)) == 3
    changed = {str(file.relative_to(mono)) for file, content in before.items() if file.read_bytes() != content}
    assert changed == {"base/web.yaml", "plain.yaml"}


@pytest.mark.parametrize(
    ("where", "name"), [("charts/web", "."), ("charts/web/templates/b", "."), (".", "charts/web/charts/db")]
)
def test_a_chart_is_known_from_within(mono: Path, where: str, name: str) -> None:
    done = run("check", "-f", name, "-R", cwd=mono / where)
    (note,) = told(done)
    assert note.endswith(f"--helm-chart {os.path.relpath(mono / 'charts' / 'web', mono / where)}")
    assert done.returncode == 0


def test_what_pre_commit_names_is_what_it_is(mono: Path) -> None:
    names = [
        "charts/web/templates/a.yaml",
        "charts/web/Chart.yaml",
        "components/log/more.yaml",
        "base/kustomization.yaml",
    ]
    done = run("check", "--skip-others", *names, cwd=mono)
    assert done.returncode == 0, done.stderr
    assert run("check", "-f", names[0], cwd=mono).returncode == 3
    named = run("check", "-f", names[3], cwd=mono)
    assert b"this is a kustomization: kubectl harden check -k base" in named.stderr


def test_a_kustomization_outside_of_the_repository_hides_nothing(tmp_path: Path) -> None:
    """One above may be anybody's: what it uses as a patch is judged."""
    written(tmp_path, {"kustomization.yaml": {"patches": [{"path": "here/web.yaml"}]}, "here/web.yaml": REJECTED})
    for is_repository in (False, True):
        if is_repository:
            (tmp_path / "here" / ".git").mkdir()
        assert run("check", "--skip-others", "web.yaml", cwd=tmp_path / "here").returncode == 1
    (tmp_path / "here" / ".git").rmdir()
    (tmp_path / ".git").mkdir()
    assert run("check", "--skip-others", "web.yaml", cwd=tmp_path / "here").returncode == 0


def test_what_is_excluded_gets_no_note(mono: Path) -> None:
    written(mono, {".kubectl-harden.yaml": {"exclude": ["charts/", "overlays/", "components/", "base/"]}})
    done = run("check", "-f", ".", "-R", "-o", "name", cwd=mono)
    # Not of what a chart or a kustomization is, but of how much is left out.
    assert (told(done), done.stdout) == (["note: .kubectl-harden.yaml excludes 11 paths"], b"deployment.apps/web\n")


USES = [
    {"patches": [{"path": "x.yaml", "target": {"kind": "Pod"}}]},
    {"patchesStrategicMerge": ["x.yaml", "apiVersion: v1\nkind: Pod\n"]},
    {"patchesJson6902": [{"path": "./x.yaml"}]},
    {"replacements": [{"path": "x.yaml"}]},
    {"transformers": ["x.yaml"]},
    {"generators": ["../here/x.yaml"]},
    {"validators": ["x.yaml"]},
    {"configurations": ["x.yaml"]},
    {"configMapGenerator": [{"name": "c", "files": ["x.yaml"]}]},
    {"secretGenerator": [{"name": "c", "files": ["key=x.yaml"]}]},
    {"configMapGenerator": [{"name": "c", "envs": ["x.yaml"]}]},
    {"helmCharts": [{"name": "c", "valuesFile": "x.yaml"}]},
    {"helmCharts": [{"name": "c", "additionalValuesFiles": ["x.yaml"]}]},
    {"openapi": {"path": "x.yaml"}},
]
USED_ELSE = [
    {"resources": ["x.yaml"]},
    {"resources": ["x.yaml"], "configMapGenerator": [{"name": "c", "files": ["x.yaml"]}]},
    {"patches": "x.yaml", "transformers": {"x.yaml": 1}, "configMapGenerator": ["x.yaml"], "openapi": ["x.yaml"]},
    {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "patches": [{"path": "x.yaml"}]},
]


@pytest.mark.parametrize(("value", "is_part"), [*((use, True) for use in USES), *((use, False) for use in USED_ELSE)])
@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_the_files_that_a_kustomization_uses(tmp_path: Path, value: dict[str, Any], is_part: bool, name: str) -> None:
    written(tmp_path, {f"here/{name}": value, "here/x.yaml": REJECTED})
    files = [str(tmp_path / "here" / name), str(tmp_path / "here" / "x.yaml")]
    assert (files[1] in parts_of(files, lambda _file: False).files) == is_part


def test_a_kustomization_that_cannot_be_read_stays_an_error(tmp_path: Path) -> None:
    written(tmp_path, {"kustomization.yaml": "resources: [\n", "a.yaml": REJECTED})
    done = run("check", "-f", ".", cwd=tmp_path)
    assert done.returncode == 3 and told(done)[0].startswith("error: ./kustomization.yaml:")

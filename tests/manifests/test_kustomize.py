"""Kustomizations: what real kubectl builds of them is checked and fixed.

By the command line alone this tests ``cli/built.py``, too.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_harden.errors import EditError
from kubectl_harden.manifests.kustomize import fix_kustomization, write_overlay
from kubectl_harden.manifests.policies import Rules
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.yaml_text.documents import Document, documents
from kubectl_harden.yaml_text.tree import dump, parse, value_of
from tests.manifests.conftest import BASE, VENV
from tests.support.command import run


def kustomize(directory: Path, programs: str) -> list[Any]:
    out = subprocess.check_output(["kubectl", "kustomize", directory], env={**os.environ, "PATH": programs}, text=True)
    return [found.value for found in documents(out) if isinstance(found, Document)]


def test_check_names_the_file_that_an_object_comes_from(harden: Any, overlay: Path) -> None:
    done = harden("check", "-k", "overlays/prod", "-o", "json")
    assert done.returncode == 1, done.stderr
    (workload,) = json.loads(done.stdout)["workloads"]
    assert (workload["namespace"], workload["name"]) == ("prod", "p-b-web-x")
    assert workload["source"] == {"file": "bases/web/deployment.yaml", "document": 0, "line": None}
    assert {violation["line"] for violation in workload["violations"]} == {None}
    text = harden("check", "-k", ".", cwd=overlay)
    assert b"bases/web/deployment.yaml host namespaces hostNetwork=true" in b" ".join(text.stdout.split())
    assert b"kubectl harden fix -k ." in text.stderr


def test_fix_puts_patches_beside_it_and_its_other_bytes_stay(harden: Any, overlay: Path, programs: str) -> None:
    file = overlay / "kustomization.yaml"
    before, built = file.read_bytes(), kustomize(overlay, programs)
    shown = harden("fix", "-k", "overlays/prod", "-o", "kustomize")
    assert (shown.returncode, file.read_bytes()) == (1, before)
    assert [path.name for path in overlay.iterdir()] == ["kustomization.yaml"]
    done = harden("fix", "-k", "overlays/prod", "-o", "kustomize", "--write")
    # The data volume stays, as for files: what it is for is not known.
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout == shown.stdout
    entry = (
        "patches:\r\n- path: harden-deployment-b-web.yaml\r\n  target:\r\n    kind: Deployment\r\n    name: b-web\r\n"
    )
    expected = before + entry.encode()
    assert file.read_bytes() == expected
    assert sorted(path.name for path in overlay.iterdir()) == ["harden-deployment-b-web.yaml", "kustomization.yaml"]
    # Built again it is what fixing the built stream makes of it.
    stream = harden("fix", "-f", "-", "-o", "yaml", stdin="---\n".join(map(dump, built))).stdout.decode()
    assert kustomize(overlay, programs) == [d.value for d in documents(stream) if isinstance(d, Document)]
    assert harden("check", "-k", "overlays/prod").returncode == done.returncode
    # And there is nothing left to do.
    again = harden("fix", "-k", "overlays/prod", "--write")
    assert (again.stdout, file.read_bytes()) == (b"", expected)


def test_the_diff_can_be_applied_by_git(harden: Any, overlay: Path, programs: str, tmp_path: Path) -> None:
    patch = harden("fix", "-k", "overlays/prod").stdout
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "-"], input=patch, cwd=tmp_path, check=True)
    mine = {path.name: path.read_bytes() for path in overlay.iterdir()}
    subprocess.run(["git", "apply", "-R", "-"], input=patch, cwd=tmp_path, check=True)
    assert [path.name for path in overlay.iterdir()] == ["kustomization.yaml"]
    harden("fix", "-k", "overlays/prod", "--write")
    assert {path.name: path.read_bytes() for path in overlay.iterdir()} == mine


def test_what_comes_later_gets_a_patch_of_its_own(harden: Any, overlay: Path, tmp_path: Path) -> None:
    harden("fix", "-k", "overlays/prod", "--write")
    base = tmp_path / "bases" / "web" / "deployment.yaml"
    base.write_text(
        base.read_text().replace("      containers:\n", "      containers:\n        - {name: side, image: i}\n")
    )
    assert harden("check", "-k", "overlays/prod").returncode == 1
    assert harden("fix", "-k", "overlays/prod", "--write").returncode == 0
    assert harden("check", "-k", "overlays/prod").returncode == 0
    assert "harden-deployment-b-web-2.yaml" in (overlay / "kustomization.yaml").read_text()


def test_patches_that_kustomize_would_not_carry_out_are_not_written(harden: Any, overlay: Path) -> None:
    """A transformer behind the patches takes away what they set."""
    (overlay / "last.yaml").write_text(
        "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: last}\ntarget: {kind: Deployment}\npatch: |-\n"
        "  - {op: replace, path: /spec/template/spec/hostNetwork, value: true}\n"
    )
    with (overlay / "kustomization.yaml").open("a") as file:
        file.write("transformers: [last.yaml]\n")
    before = {path.name: path.read_bytes() for path in overlay.iterdir()}
    done = harden("fix", "-k", "overlays/prod", "--write")
    assert done.returncode == 3
    assert b"kustomize does not make what was planned of the patches" in done.stderr
    assert {path.name: path.read_bytes() for path in overlay.iterdir()} == before


def test_a_kustomization_that_has_changed_meanwhile_stays_and_no_patch_is_left(
    overlay: Path, programs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs)
    planned = fix_kustomization(str(overlay), Rules(), FixOptions(), {})
    assert len(planned.files) == 2
    file = overlay / "kustomization.yaml"
    file.write_text(file.read_text() + "# somebody else\n")
    changed = file.read_bytes()
    with pytest.raises(EditError, match="changed since it was read"):
        write_overlay(planned)
    assert file.read_bytes() == changed
    assert [path.name for path in overlay.iterdir()] == ["kustomization.yaml"]


@pytest.mark.parametrize("step", range(3))
def test_ended_between_any_two_steps_no_entry_names_a_patch_that_is_not_there(
    overlay: Path, programs: str, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """As by kill -9: nothing is cleaned up. The same command again completes it."""
    monkeypatch.setenv("PATH", programs)
    (overlay.parents[1] / "bases" / "web" / "deployment.yaml").write_text(
        BASE + "---\n" + BASE.replace("name: web", "name: api")
    )
    file = overlay / "kustomization.yaml"
    before = file.read_bytes()
    planned = fix_kustomization(str(overlay), Rules(), FixOptions(), {})
    replace, calls = os.replace, []

    def ended(source: Any, target: Any) -> None:
        if len(calls) == step:
            raise SystemExit
        calls.append(target)
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", ended)
        with pytest.raises(SystemExit):
            write_overlay(planned)
    assert file.read_bytes() == before
    again = fix_kustomization(str(overlay), Rules(), FixOptions(), {})
    write_overlay(again)
    value, _ = value_of(parse(file.read_text()))
    paths = {entry["path"] for entry in value["patches"]}
    assert paths == {"harden-deployment-b-api.yaml", "harden-deployment-b-web.yaml"}
    assert {path.name for path in overlay.iterdir()} == {file.name, *paths}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kustomization.yml", "resources: [../../bases/web]\npatches: []\n"),
        ("Kustomization", "# c\nresources: [../../bases/web]\npatches:\n"),
        ("kustomization.yaml", '{"resources": ["../../bases/web"], "patches": [{"patch": "[]", "target": {"kind": "X"}}]}'),
        ("kustomization.yaml", "---\nresources:\n- ../../bases/web\nreplicas: [{name: b-web, count: 5}]   # more\n"),
        ("kustomization.yaml", "resources: [../../bases/web]\npatches:\n- target: {kind: Deployment}\n  patch: |-\n"
                               "    - {op: add, path: /spec/replicas, value: 2}"),
    ],
)  # fmt: skip
def test_kustomizations_as_people_write_them(harden: Any, overlay: Path, name: str, text: str) -> None:
    (overlay / "kustomization.yaml").unlink()
    (overlay / name).write_text(text)
    done = harden("fix", "-k", "overlays/prod", "--write")
    assert b"not patched" not in done.stderr, done.stderr
    assert harden("check", "-k", "overlays/prod").returncode == done.returncode
    stays = text.partition("patches")[0]
    assert (overlay / name).read_text().startswith(stays)


def test_a_component_is_checked_by_itself(harden: Any, overlay: Path) -> None:
    text = (overlay / "kustomization.yaml").read_text()
    (overlay / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n" + text
    )
    done = harden("check", "-k", "overlays/prod")
    assert done.returncode == 1 and b"overlays/prod/kustomization.yaml" in done.stdout


PORT = "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: c, image: i, ports: {}}}]}}\n"
PORTS = {
    "a protocol": "[{containerPort: 80, hostPort: 80, name: http, protocol: TCP}, {containerPort: 443, protocol: TCP}]",
    "none": "[{containerPort: 80, hostPort: 80, name: http}]",
    "some": "[{containerPort: 80, hostPort: 80}, {containerPort: 443, hostPort: 443, protocol: TCP}]",
    "two of a number": "[{containerPort: 53, hostPort: 53, protocol: UDP}, {containerPort: 53, hostPort: 53, protocol: TCP}]",
}  # fmt: skip


@pytest.mark.parametrize("ports", PORTS.values(), ids=PORTS)
def test_host_ports_go_whatever_their_protocol(harden: Any, programs: str, tmp_path: Path, ports: str) -> None:
    (tmp_path / "pod.yaml").write_text(PORT.format(ports))
    (tmp_path / "kustomization.yaml").write_text("resources: [pod.yaml]\n")
    done = harden("fix", "-k", ".", "--write", "--level", "baseline")
    assert done.returncode == 0, done.stderr
    (pod,) = kustomize(tmp_path, programs)
    (was,) = [found.value for found in documents((tmp_path / "pod.yaml").read_text()) if isinstance(found, Document)]
    expected = [{key: item for key, item in port.items() if key != "hostPort"}
                for port in was["spec"]["containers"][0]["ports"]]  # fmt: skip
    assert pod["spec"]["containers"][0]["ports"] == expected


def test_what_kustomize_does_not_carry_out_changes_nothing(harden: Any, tmp_path: Path) -> None:
    """It cannot tell a port that names no protocol from another of the same number."""
    (tmp_path / "pod.yaml").write_text(
        PORT.format("[{containerPort: 53, hostPort: 53, protocol: UDP}, {containerPort: 53}]")
    )
    (tmp_path / "kustomization.yaml").write_text("resources: [pod.yaml]\n")
    done = harden("fix", "-k", ".", "--write", "--level", "baseline")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"not patched: kustomize does not make what was planned of the patches" in done.stderr
    assert done.stderr.endswith(b"1 workload: nothing is changed\n")
    assert {path.name for path in tmp_path.iterdir()} == {"pod.yaml", "kustomization.yaml"}


def test_what_cannot_be_built_says_why(harden: Any, overlay: Path, tmp_path: Path) -> None:
    assert b"there is no kustomization.yaml here" in harden("check", "-k", "bases").stderr
    (tmp_path / "bases" / "web" / "deployment.yaml").unlink()
    done = harden("check", "-k", "overlays/prod")
    assert done.returncode == 3 and b"deployment.yaml" in done.stderr
    assert b"kubectl-harden-" not in done.stderr
    done = run("check", "-k", "overlays/prod", cwd=tmp_path, PATH=str(VENV))
    assert done.returncode == 3 and b"kustomize is not on the PATH" in done.stderr


NAMES = st.from_regex(r"[a-z]([a-z0-9]{0,4}[a-z0-9])?", fullmatch=True)


@settings(max_examples=15)
@given(prefix=st.sampled_from(["", "p-"]), suffix=st.sampled_from(["", "-s"]), namespace=st.sampled_from(["", "prod"]),
       names=st.lists(NAMES, min_size=1, max_size=3, unique=True), depth=st.integers(1, 2), patches=st.booleans())  # fmt: skip
def test_every_overlay_is_lifted_and_nothing_else_in_it_changes(
    programs: str, tmp_path_factory: pytest.TempPathFactory, prefix: str, suffix: str, namespace: str,
    names: list[str], depth: int, patches: bool,
) -> None:  # fmt: skip
    root = tmp_path_factory.mktemp("overlay")
    (root / "base").mkdir()
    pods = [BASE.replace("name: web", f"name: {name}", 1).replace("hostPath", "emptyDir", 0) for name in names]
    (root / "base" / "all.yaml").write_text("---\n".join(pods))
    (root / "base" / "kustomization.yaml").write_text("resources: [all.yaml]\nnamePrefix: base-\n")
    directory = root.joinpath(*(f"level{n}" for n in range(depth)))
    directory.mkdir(parents=True)
    value = {"resources": ["../" * depth + "base"], "namePrefix": prefix, "nameSuffix": suffix, "namespace": namespace}
    if patches:
        value["patches"] = [
            {"target": {"kind": "Deployment"}, "patch": '[{"op": "add", "path": "/spec/replicas", "value": 3}]'}
        ]
    (directory / "kustomization.yaml").write_text(dump({key: item for key, item in value.items() if item}))
    built = kustomize(directory, programs)
    done = run("fix", "-k", str(directory), "--write", cwd=root, PATH=programs)
    assert done.returncode in (0, 1) and b"not patched" not in done.stderr, done.stderr
    stream = run("fix", "-f", "-", "-o", "yaml", stdin="---\n".join(map(dump, built))).stdout.decode()
    assert kustomize(directory, programs) == [d.value for d in documents(stream) if isinstance(d, Document)]


NAMESPACE = (
    "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: prod\n"
    "  labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/warn: Baseline}\n"
)


def test_a_kustomization_is_held_to_the_namespace_that_it_builds(harden: Any, overlay: Path, programs: str) -> None:
    """Its field ``namespace`` says where workloads go that name none."""
    (overlay / "ns.yaml").write_text(NAMESPACE.replace(", pod-security.kubernetes.io/warn: Baseline", ""))
    kustomization = overlay / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("../../bases/web ", "ns.yaml\n- ../../bases/web "))
    report = json.loads(harden("check", "-k", "overlays/prod", "-o", "json").stdout)
    (policy,) = (workload["policy"] for workload in report["workloads"])
    assert (policy["level"], policy["origin"]) == ("baseline", "Namespace prod in overlays/prod/ns.yaml")
    done = harden("fix", "-k", "overlays/prod", "--write")
    assert done.returncode == 0, done.stderr
    assert harden("check", "-k", "overlays/prod").returncode == 0
    assert harden("check", "-k", "overlays/prod", "--level", "restricted").returncode == 1
    assert "runAsNonRoot" not in "".join(file.read_text() for file in overlay.glob("harden-*.yaml"))


def test_equal_patches_are_one_with_a_target_that_names_all(harden: Any, overlay: Path) -> None:
    """Others of the kind are not among them, also where a name begins with that of another."""
    base = overlay.parents[1] / "bases" / "web"
    rejected = [BASE.replace("name: web", f"name: {name}", 1) for name in ("web", "api", "web.v2")]
    fine = BASE.replace("name: web", "name: webapp", 1).replace("name: web\n", "name: other\n")
    (base / "deployment.yaml").write_text("---\n".join([*rejected, fine]))
    done = harden("fix", "-k", "overlays/prod", "--write")
    assert done.returncode == 0, done.stderr
    value, _ = value_of(parse((overlay / "kustomization.yaml").read_text()))
    entries = {entry["path"]: entry["target"] for entry in value["patches"]}
    assert entries == {
        "harden-deployments.yaml": {"kind": "Deployment", "name": r"(b-api|b-web|b-web\.v2)"},
        "harden-deployment-b-webapp.yaml": {"kind": "Deployment", "name": "b-webapp"},
    }
    assert harden("check", "-k", "overlays/prod").returncode == 0


def test_a_base_in_the_same_repository_is_offered(harden: Any, overlay: Path, tmp_path: Path) -> None:
    assert b"same repository" not in harden("fix", "-k", "overlays/prod").stderr
    (tmp_path / ".git").mkdir()
    done = harden("fix", "-k", "overlays/prod")
    assert b"kubectl harden fix -k bases/web --write" in done.stderr.replace(b"\n", b" ")
    (tmp_path / "bases" / ".git").mkdir()
    assert b"same repository" not in harden("fix", "-k", "overlays/prod").stderr

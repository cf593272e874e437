"""Kustomizations and charts: what real kubectl and helm build of them is checked and fixed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_harden import __version__
from kubectl_harden.errors import EditError
from kubectl_harden.manifests.kustomize import fix_kustomization, write_overlay
from kubectl_harden.manifests.policies import Rules
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.yaml_text.documents import Document, documents
from kubectl_harden.yaml_text.tree import dump, parse, value_of
from tests.cli.test_main import REJECTED, ROOT, run
from tests.support.control_plane import executable
from tests.support.programs import HELM_3, HELM_4
from tests.support.tools import build

VENV = Path(sys.executable).parent
BASE = REJECTED.replace("  namespace: shop\n", "")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with kubectl, helm (3), helm4 and kubectl-harden."""
    directory = tmp_path_factory.mktemp("programs")
    for name, target in (("kubectl", executable("kubectl")), ("helm", build(HELM_3)), ("helm4", build(HELM_4))):
        (directory / name).symlink_to(target)
    return f"{directory}:{VENV}:{os.environ['PATH']}"


@pytest.fixture
def harden(programs: str, tmp_path: Path) -> Any:
    """The command, in the test's directory, with those programs."""
    home = {name: str(tmp_path / ".helm" / name) for name in ("HELM_DATA_HOME", "HELM_CONFIG_HOME", "HELM_CACHE_HOME")}

    def call(*arguments: str, **more: Any) -> Any:
        return run(*arguments, cwd=more.pop("cwd", tmp_path), PATH=programs, **home, **more)

    return call


def kustomize(directory: Path, programs: str) -> list[Any]:
    out = subprocess.check_output(["kubectl", "kustomize", directory], env={**os.environ, "PATH": programs}, text=True)
    return [found.value for found in documents(out) if isinstance(found, Document)]


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """An overlay, over a base, over another base."""
    (tmp_path / "bases" / "web").mkdir(parents=True)
    (tmp_path / "bases" / "web" / "deployment.yaml").write_text(BASE)
    (tmp_path / "bases" / "web" / "kustomization.yaml").write_text("resources: [deployment.yaml]\nnamePrefix: b-\n")
    directory = tmp_path / "overlays" / "prod"
    directory.mkdir(parents=True)
    (directory / "kustomization.yaml").write_text(
        "# production\r\nresources:\r\n- ../../bases/web   # the app\r\nnamePrefix: 'p-'\r\nnameSuffix: -x\r\n"
        "namespace: prod\r\nimages: [{name: web, newTag: '1'}]\r\n# the end\r\n"
    )
    return directory


def test_check_names_the_file_that_an_object_comes_from(harden: Any, overlay: Path) -> None:
    done = harden("check", "-k", "overlays/prod", "-o", "json")
    assert done.returncode == 1, done.stderr
    (workload,) = json.loads(done.stdout)["workloads"]
    assert (workload["namespace"], workload["name"]) == ("prod", "p-b-web-x")
    assert workload["source"] == {"file": "bases/web/deployment.yaml", "document": 0, "line": None}
    assert {violation["line"] for violation in workload["violations"]} == {None}
    text = harden("check", "-k", ".", cwd=overlay)
    assert b"bases/web/deployment.yaml  host namespaces (hostNetwork=true)" in text.stdout
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
    assert b"kustomize makes something else of the patches than was planned" in done.stderr
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
        BASE + "---\n" + BASE.replace("name: web", "name: api", 1)
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
    assert b"not patched: kustomize makes something else of the patches" in done.stderr
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


# -- helm ------------------------------------------------------------------------------------------


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
    head, _, proposed = text.partition("These values cure 4 of 8 violations, proved by rendering again:\n")
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
    assert done.returncode == 1 and b"cure 4 of 8 violations" in done.stderr  # The chart's test pod takes no values.
    assert file.read_text() == before.replace(
        "podSecurityContext: {}\n",
        "podSecurityContext:\n  runAsNonRoot: true\n  seccompProfile:\n    type: RuntimeDefault\n",
    ).replace(
        "\nsecurityContext: {}\n",
        "\nsecurityContext:\n  allowPrivilegeEscalation: false\n  capabilities:\n    drop:\n    - ALL\n",
    )
    again = harden("fix", "--helm-chart", "web", **helm)
    assert again.stdout == b"" and b"no values of the chart cure them" in again.stderr


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
    assert values["worker"]["containerSecurityContext"]["capabilities"] == {"add": None, "drop": ["ALL"]}
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
    assert b"cure 8 of 16 violations" in done.stderr, done.stderr
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
    assert b"cure 4 of 8 violations" in done.stderr, done.stderr
    after = (chart / "values.yaml").read_text()
    assert after.startswith(text or "")
    assert value_of(parse(after))[0]["sub"]["podSecurityContext"]["runAsNonRoot"] is True


def test_a_chart_that_takes_no_further_values_is_checked_all_the_same(
    harden: Any, helm: dict[str, str], tmp_path: Path
) -> None:
    schema = {"properties": {"securityContext": {"properties": {"runAsUser": {"type": "string"}}}}}
    (tmp_path / "web" / "values.schema.json").write_text(json.dumps(schema))
    done = harden("check", "--helm-chart", "web", **helm)
    assert done.returncode == 1 and b"runAsNonRoot != true" in done.stdout
    assert b"No values are proposed, since the chart takes none to try: helm" in done.stdout


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

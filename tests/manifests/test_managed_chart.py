"""Charts as HelmReleases and Applications render them: which layer of values is edited, and what is patched instead."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.managed_chart import ChartFix, Layer, ManagedChart, fix_managed, values_of
from kubectl_harden.manifests.manager_manifest import held_in
from kubectl_harden.manifests.programs import Chart
from kubectl_harden.manifests.source import NOBODY, Sought, tree_of
from kubectl_harden.model import Policy
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.yaml_text.editor import spliced
from kubectl_harden.yaml_text.tree import parse, value_of

RESTRICTED = Policy("restricted", 37, "latest")
WEB = Sought("apps", "Deployment", "shop", "web", RESTRICTED)
MANAGER = Sought("helm.toolkit.fluxcd.io", "HelmRelease", "shop", "shop", NOBODY)
WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      {{- with PODS }}
      securityContext: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: c
          image: i
          {{- with CONTAINERS }}
          securityContext: {{- toYaml . | nindent 12 }}
          {{- end }}
---
"""
NOISE = "apiVersion: v1\nkind: Secret\nmetadata: {name: made}\nstringData: {password: {{ randAlphaNum 9 | quote }}}\n"
MANIFEST = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: shop}\nspec:\n  interval: 1m\n"


@pytest.fixture(autouse=True, params=["helm", "helm4"])
def helm(request: pytest.FixtureRequest, programs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs)
    monkeypatch.setenv("HELM_BIN", request.param)


def chart(root: Path, *templates: str, values: str = "web: {}\n") -> Chart:
    directory = root / "chart"
    (directory / "templates").mkdir(parents=True)
    (directory / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 0.1.0\n")
    (directory / "values.yaml").write_text(values)
    for number, text in enumerate(templates):
        (directory / "templates" / f"{number}.yaml").write_text(text)
    return Chart(str(directory), namespace="shop", options=("--name-template", "shop"))


def workload(name: str, key: str = "") -> str:
    values = f".Values.{key or name}"
    text = WORKLOAD.replace("NAME", name).replace("PODS", f"{values}.podSecurityContext")
    return text.replace("CONTAINERS", f"{values}.securityContext")


def closed(text: str, *values: str) -> str:
    """Return a template that does not take these values."""
    for value in values or ("podSecurityContext", "securityContext"):
        text = re.sub(rf"\.Values\.\w+\.{value}\b", ".Release.No", text)
    return text


def flux(root: Path, made: Chart, text: str = MANIFEST, *layers: Layer) -> ManagedChart:
    (root / "apps").mkdir()
    (root / "apps" / "release.yaml").write_text(text)
    held = held_in(tree_of(str(root), str(root / "apps"), {}, recursive=True), MANAGER, {})
    spec = held.value["spec"]
    every = (*layers, Layer(spec.get("values") or {}, field=("spec", "values")))
    return ManagedChart(
        "HelmRelease shop/shop", made, every, len(every) - 1, held, tuple(spec.get("postRenderers", ()))
    )


def fixed(managed: ManagedChart, *sought: Sought, **options: Any) -> tuple[ChartFix, dict[str, Any]]:
    found = fix_managed(managed, sought or (WEB,), FixOptions(**options), {})
    texts = {Path(one.file).name: spliced(one.before, one.splices) for one in found.files}
    return found, {name: value_of(parse(text))[0] for name, text in texts.items()}


def level(found: ChartFix) -> list[str]:
    return [item.plan.after for item in found.planned]


def test_values_of_a_manifest_that_has_none(tmp_path: Path) -> None:
    found, made = fixed(flux(tmp_path, chart(tmp_path, workload("web"), NOISE)))
    assert found.problems == ()
    assert level(found) == ["restricted"]
    assert made["release.yaml"]["spec"]["values"]["web"]["podSecurityContext"]["runAsNonRoot"] is True
    assert "postRenderers" not in made["release.yaml"]["spec"]
    ((identity, before, after),) = found.objects
    assert identity.name == "web"
    assert "securityContext" not in before["spec"]["template"]["spec"]
    assert after["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_values_go_where_their_key_stands(tmp_path: Path) -> None:
    file = tmp_path / "prod.yaml"
    file.write_text("web: {replicas: 2}   # of production\n")
    layer = Layer(values_of(file.read_text()), file=str(file))
    _, made = fixed(flux(tmp_path, chart(tmp_path, workload("web")), MANIFEST, layer))
    assert sorted(made) == ["prod.yaml"]
    assert made["prod.yaml"]["web"]["replicas"] == 2
    assert made["prod.yaml"]["web"]["podSecurityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_what_a_later_layer_overrides_goes_there(tmp_path: Path) -> None:
    file = tmp_path / "prod.yaml"
    file.write_text("web: {}\n")
    text = MANIFEST + "  values:\n    web: {podSecurityContext: {runAsNonRoot: false}}\n"
    _, made = fixed(flux(tmp_path, chart(tmp_path, workload("web")), text, Layer({"web": {}}, file=str(file))))
    assert sorted(made) == ["release.yaml"]
    assert made["release.yaml"]["spec"]["values"]["web"]["podSecurityContext"]["runAsNonRoot"] is True


def test_a_value_that_changes_another_workload_is_not_set(tmp_path: Path) -> None:
    """Both take the same values, and only one is to change: it is patched."""
    made_of = chart(tmp_path, workload("web", "both"), workload("api", "both"), values="both: {}\n")
    found, made = fixed(flux(tmp_path, made_of))
    assert level(found) == ["restricted"]
    assert "values" not in made["release.yaml"]["spec"]
    (renderer,) = made["release.yaml"]["spec"]["postRenderers"]
    assert [patch["target"]["name"] for patch in renderer["kustomize"]["patches"]] == ["web"]


def test_pods_of_helm_test_keep_no_value_from_being_set(tmp_path: Path) -> None:
    test = workload("try", "both").replace("{name: try}\n", '{name: try, annotations: {"helm.sh/hook": test}}\n', 1)
    found, made = fixed(flux(tmp_path, chart(tmp_path, workload("web", "both"), test, values="both: {}\n")))
    assert level(found) == ["restricted"]
    assert made["release.yaml"]["spec"]["values"]["both"]["podSecurityContext"]["runAsNonRoot"] is True
    assert "postRenderers" not in made["release.yaml"]["spec"]


def test_a_value_for_both_where_both_are_to_change(tmp_path: Path) -> None:
    made_of = chart(tmp_path, workload("web", "both"), workload("api", "both"), values="both: {}\n")
    found, made = fixed(flux(tmp_path, made_of), WEB, WEB._replace(name="api"))
    assert level(found) == ["restricted", "restricted"]
    assert "postRenderers" not in made["release.yaml"]["spec"]


def test_values_and_patches_together(tmp_path: Path) -> None:
    """No value reaches the containers."""
    template = closed(workload("web"), "securityContext")
    found, made = fixed(flux(tmp_path, chart(tmp_path, template)))
    assert level(found) == ["restricted"]
    assert found.problems == ()
    spec = made["release.yaml"]["spec"]
    assert "postRenderers" in spec
    # What a post-renderer of before does stays, and the new one comes after it.
    old = "  postRenderers:\n    - kustomize: {images: [{name: i, newTag: v2}]}\n"
    (tmp_path / "more").mkdir()
    found, made = fixed(flux(tmp_path / "more", chart(tmp_path / "more", template), MANIFEST + old))
    assert level(found) == ["restricted"]
    assert len(made["release.yaml"]["spec"]["postRenderers"]) == 2
    assert found.objects[0][2]["spec"]["template"]["spec"]["containers"][0]["image"] == "i:v2"


def test_a_hook_is_not_patched(tmp_path: Path) -> None:
    hook = workload("web").replace("{name: web}\n", '{name: web, annotations: {"helm.sh/hook": pre-install}}\n', 1)
    template = closed(hook)
    found, made = fixed(flux(tmp_path, chart(tmp_path, template)))
    assert made == {}
    assert "Deployment web: no value of the chart fixes it, and it is a hook" in found.notes[0].message
    assert found.planned[0].plan.remaining
    assert level(found) == ["baseline"]
    # It does not keep others from being lifted.
    (tmp_path / "more").mkdir()
    more = tmp_path / "more"
    found, made = fixed(flux(more, chart(more, template, closed(workload("api")))), WEB, WEB._replace(name="api"))
    (renderer,) = made["release.yaml"]["spec"]["postRenderers"]
    assert [patch["target"]["name"] for patch in renderer["kustomize"]["patches"]] == ["api"]
    assert sorted(zip((item.identity.name for item in found.planned), level(found), strict=True)) == [
        ("api", "restricted"), ("web", "baseline")
    ]  # fmt: skip


def test_unknown_post_renderers_are_not_guessed(tmp_path: Path) -> None:
    text = MANIFEST + "  postRenderers: [{kustomize: {patchesJson6902: []}}]\n"
    with pytest.raises(InputError, match="postRenderers have patchesJson6902, which is not judged"):
        fixed(flux(tmp_path, chart(tmp_path, workload("web")), text))


def test_null_goes_into_files_only(tmp_path: Path) -> None:
    """By null helm takes a value away, but an API server takes away the null."""
    volumes = """\
      volumes:
        - {name: t, emptyDir: {}}
        {{- if kindIs "string" .Values.web.hostPath }}
        - {name: v, hostPath: {path: {{ .Values.web.hostPath | default "/" }}}}
        {{- end }}
      containers:"""
    template = workload("web").replace("      containers:", volumes)
    made_of = chart(tmp_path, template, values="web: {hostPath: /etc/x}\n")
    found, made = fixed(flux(tmp_path, made_of), max_risk="breaks")
    assert "null" not in json.dumps(made["release.yaml"]["spec"].get("values", {}))
    (tmp_path / "more").mkdir()
    file = tmp_path / "more" / "prod.yaml"
    file.write_text("web: {replicas: 1}\n")
    layer = Layer({"web": {"replicas": 1}}, file=str(file))
    argo = ManagedChart("Application argocd/shop", made_of, (layer,), 0)
    found, made = fixed(argo, max_risk="breaks")
    assert made["prod.yaml"]["web"]["hostPath"] is None
    assert level(found) == ["restricted"]


def test_argo_cd_has_no_post_renderers(tmp_path: Path) -> None:
    """Without a value nothing is edited, and what can be done is said."""
    made_of = chart(tmp_path, closed(workload("web")))
    own = Layer({"web": {}}, str(tmp_path / "chart" / "values.yaml"), own=True)
    managed = ManagedChart("Application argocd/shop", made_of, (own,), 0, beyond="use a kustomization")
    found, made = fixed(managed)
    assert made == {}
    assert [note.message for note in found.notes] == ["Application argocd/shop: use a kustomization"]
    assert found.planned[0].plan.remaining
    assert found.planned[0].plan.after == "baseline"


def test_values_of_the_chart_itself(tmp_path: Path) -> None:
    made_of = chart(tmp_path, workload("web"), values="# of the chart\nweb: {}\n")
    file = tmp_path / "chart" / "values.yaml"
    own = Layer({"web": {}}, str(file), own=True)
    found, made = fixed(ManagedChart("Application argocd/shop", made_of, (own,), 0))
    assert level(found) == ["restricted"]
    assert made["values.yaml"]["web"]["podSecurityContext"]["runAsNonRoot"] is True
    assert file.read_text() == "# of the chart\nweb: {}\n"
    assert "the values of the chart itself are changed, for all that render it" in found.notes[0].message


def test_values_that_nothing_takes_are_told(tmp_path: Path) -> None:
    made_of = chart(tmp_path, workload("web"))
    with pytest.raises(InputError, match=r'no file of a checkout takes the values that fix it: \{"web": \{'):
        fixed(ManagedChart("Application argocd/shop", made_of, (Layer({}, field=("spec",)),), 0))


def test_an_object_that_the_chart_does_not_render(tmp_path: Path) -> None:
    managed = flux(tmp_path, chart(tmp_path, workload("web")))
    found, made = fixed(managed, WEB, WEB._replace(name="other"))
    assert [problem.message for problem in found.problems] == [
        "Deployment shop/other: the chart does not render it with the values that are known"
    ]
    assert (level(found), list(made)) == (["restricted"], ["release.yaml"])
    with pytest.raises(InputError, match="Deployment shop/other: the chart does not render it"):
        fixed(managed, WEB._replace(name="other"))
    template = workload("web").replace("{name: web}", "{name: web, namespace: x}")
    (tmp_path / "chart" / "templates" / "0.yaml").write_text(template)
    with pytest.raises(InputError, match="Deployment elsewhere/web: the chart does not render it"):
        fixed(managed, WEB._replace(namespace="elsewhere"))


@pytest.mark.parametrize("text", ["- a\n", "a: 1\n---\nb: 1\n", "text"])
def test_what_does_not_hold_values(text: str) -> None:
    with pytest.raises(InputError):
        values_of(text)
    assert values_of("# nothing\n") == {}

"""Post-renderers: what kustomize makes of what a chart renders, and the one that carries out a plan."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.manifests.post_render import is_hook, post_rendered, renderer_of
from kubectl_harden.model import Identity, Source
from kubectl_harden.yaml_text.tree import parse, value_of

WEB = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web.x}\nspec: {replicas: 1}\n"
HOOK = 'apiVersion: batch/v1\nkind: Job\nmetadata: {name: web.x, annotations: {"helm.sh/hook": pre-install}}\n'
RENDERING = [("a.yaml", WEB), ("b.yaml", HOOK)]


@pytest.fixture(autouse=True)
def path(programs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs)


def values(rendering: list[tuple[str, str]]) -> list[Any]:
    return [value_of(parse(text))[0] for _, text in rendering]


def test_hooks_are_not_given_to_post_renderers() -> None:
    patch = {"patch": "- {op: add, path: /metadata/labels, value: {a: b}}", "target": {"name": "web.x"}}
    web, hook = values(post_rendered(RENDERING, [{"kustomize": {"patches": [patch]}}]))
    assert web["metadata"]["labels"] == {"a": "b"}
    assert hook == value_of(parse(HOOK))[0]
    assert [is_hook(web), is_hook(hook)] == [False, True]


def test_one_after_the_other() -> None:
    one = {"patch": "- {op: replace, path: /spec/replicas, value: 2}", "target": {"kind": "Deployment"}}
    two = {"patch": '- {op: test, path: /spec/replicas, value: 2}\n- {op: replace, path: /spec/replicas, value: 3}',
           "target": {"kind": "Deployment"}}  # fmt: skip
    web, _ = values(post_rendered(RENDERING, [{"kustomize": {"patches": [one]}}, {"kustomize": {"patches": [two]}}]))
    assert web["spec"]["replicas"] == 3


def test_without_any_the_objects_are_the_same() -> None:
    assert values(post_rendered(RENDERING, ())) == values(RENDERING)


def test_a_plan_as_a_post_renderer() -> None:
    before = value_of(parse(WEB))[0]
    assert isinstance(before, dict)
    after = {**before, "spec": {"replicas": 1, "paused": True}}
    identity = Identity(Source("a.yaml", 0, 1), "apps/v1", "Deployment", "shop", "web.x", ())
    renderer = renderer_of([(identity, before, after)])
    assert renderer["kustomize"]["patches"][0]["target"] == {  # type: ignore[index]
        "group": "apps", "kind": "Deployment", "name": "web\\.x"
    }  # fmt: skip
    assert values(post_rendered([("a.yaml", WEB)], [renderer])) == [after]


@pytest.mark.parametrize(
    ("renderer", "told"),
    [
        ({"kustomize": {"components": ["/etc"]}}, "postRenderers have components, which is not judged"),
        ({"exec": "rm"}, "postRenderers have exec, which is not judged"),
        ({"kustomize": {"patches": [{"patch": "a: [", "target": {"kind": "X"}}]}}, "kustomize"),
    ],
)
def test_what_is_not_judged(renderer: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        post_rendered(RENDERING, [renderer])


def test_no_file_is_read_for_a_patch() -> None:
    assert values(post_rendered(RENDERING, [{"kustomize": {"patches": []}}])) == values(RENDERING)
    with pytest.raises(InputError):
        post_rendered(RENDERING, [{"kustomize": {"patches": [{"path": "/etc/passwd", "target": {"kind": "Job"}}]}}])

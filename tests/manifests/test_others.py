"""What is not judged is told: patches, what looks like a workload, and what other programs render."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.others import may_be_workload, pod_spec
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Manifest
from kubectl_harden.model import Checks
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.pod_templates import holders_of_pods, holds_pods, locate
from kubectl_harden.pod_security.policy import NEWEST, Policy
from kubectl_harden.yaml_text.tree import dump
from tests.support.harden import workload

RESTRICTED = Policies(Policy("restricted", NEWEST))
POD_SPEC = {"containers": [{"name": "web", "image": "registry.example/web:1"}]}


def check(*values: Any, listed: bool = False, **more: Any) -> Checks:
    return check_text(Manifest("f.yaml", "---\n".join(map(dump, values)), listed, **more), RESTRICTED)


def notes(found: Checks) -> list[str]:
    return [other.note.message for other in found.others if other.note is not None]


def named(api_version: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web", "namespace": "shop"}, **fields}


@pytest.mark.parametrize(
    ("api_version", "kind", "meant"),
    [
        ("v1", "Deployment", "apiVersion: apps/v1"),
        ("batch/v1", "DaemonSet", "apiVersion: apps/v1"),
        ("apps/v1", "CronJob", "apiVersion: batch/v1"),
        ("apps/v1", "Pod", "apiVersion: v1"),
        ("app/v1", "Deployment", "apiVersion: apps/v1"),
        ("apps/v1", "deployment", "kind: Deployment"),
        ("apps/v1", "Statefulset", "kind: StatefulSet"),
        ("apps/v1", "Deploymnet", "kind: Deployment"),
        ("batch/v1", "Cronjob", "kind: CronJob"),
        ("v1", "daemonset", "apiVersion: apps/v1, kind: DaemonSet"),
        ("argoproj.io/v1alpha1", "rollout", "kind: Rollout"),
        ("v1", "Gadget", ""),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_a_workload_that_the_api_server_does_not_know_is_an_error(
    api_version: str, kind: str, meant: str, listed: bool
) -> None:
    found = check(named(api_version, kind, spec={"template": {"spec": POD_SPEC}}), listed=listed)
    (problem,) = found.problems
    assert f'no matches for kind "{kind}" in version "{api_version}": the API server refuses it.' in problem.message
    assert problem.message.endswith(f" Did you mean {meant}?" if meant else "refuses it.")
    assert problem.line in (1, 2)
    assert not found.checked


def test_every_kind_is_recognised_by_its_name_alone() -> None:
    for _, kind in holders_of_pods({}):
        for written in (kind.lower(), kind.upper()):
            (problem,) = check(named("apps/v1", written, spec={"template": {"spec": POD_SPEC}})).problems
            assert f"kind: {kind}?" in problem.message


@pytest.mark.parametrize("missing", ["apiVersion", "kind"])
def test_a_workload_without_its_kind_or_version_is_not_passed_over(missing: str) -> None:
    value = workload("Deployment", "web")
    del value[missing]
    (problem,) = check(value, listed=True).problems
    assert f"{missing} not set" in problem.message
    assert not check({"kind": "values", "image": "x"}, {"containers": POD_SPEC["containers"]}, listed=True).problems


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"template": {"spec": POD_SPEC}}, "/spec/template"),
        ({"pools": [{}, {"pod": {"spec": POD_SPEC}}]}, "/spec/pools/*/pod"),
        ({"a/b": {"c~d": {"spec": POD_SPEC}}}, "/spec/a~1b/c~0d"),
    ],
)
def test_an_unknown_kind_that_looks_like_a_workload_is_a_note_with_the_option_that_judges_it(
    spec: dict[str, Any], path: str
) -> None:
    value = named("example.com/v1", "Widget", spec=spec)
    found = check(value)
    (words,) = notes(found)
    assert words.startswith("Widget shop/web: spec") and "is not judged" in words
    assert f"Widget.example.com={path}" in words
    assert not found.problems
    (judged,) = check(value, pod_paths={("example.com", "Widget"): (path,)}).checked
    assert judged.violations


def test_what_has_no_pod_template_is_offered_no_option() -> None:
    (words,) = notes(check(named("example.com/v1", "Widget", spec=POD_SPEC)))
    assert "is not judged" in words and "--pod-path" not in words


def test_a_custom_kind_by_a_known_name_is_asked_for() -> None:
    (words,) = notes(check(named("k8s.io/v1", "Deployment", spec={"template": {"spec": POD_SPEC}})))
    assert words.endswith(" Did you mean apiVersion: apps/v1?")


@pytest.mark.parametrize(
    "value",
    [
        named("v1", "ConfigMap", data={"x": dump(workload("Deployment", "web"))}),
        named("apps/v1", "ControllerRevision", data={"spec": {"template": {"spec": POD_SPEC}}}),
        named("kyverno.io/v1", "ClusterPolicy", spec={"rules": [{"validate": {"pattern": {"spec": POD_SPEC}}}]}),
        named("example.com/v1", "Widget", spec={"containers": {"web": {"image": "x"}}}),
        named("example.com/v1", "Widget", spec={"containers": ["web"]}),
        named("example.com/v1", "Widget", spec={"containers": [{"name": "web", "resources": {}}]}),
        named("example.com/v1", "Widget", spec={}, status=POD_SPEC),
    ],
)
def test_what_only_mentions_containers_is_passed_over(value: dict[str, Any]) -> None:
    found = check(value)
    assert (found.problems, found.checked, notes(found)) == ((), (), [])
    assert [other.kind for other in found.others] == [value["kind"]]


KEYS = st.sampled_from(["spec", "template", "pools", "containers", "metadata", "data"])
TREES = st.recursive(
    st.sampled_from(["x", 1, None, [{"name": "c", "image": "i"}]]),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=12,
)


@given(spec=TREES)
def test_no_pod_spec_is_missed_because_its_document_is_not_read(spec: Any) -> None:
    value = named("example.com/v1", "Widget", spec=spec)
    if pod_spec(value, with_images=True) is not None:
        assert may_be_workload("Widget", dump(value))
        assert may_be_workload("Widget", json.dumps(value))


# -- patches ---------------------------------------------------------------------------------------

PATCHES = {
    "replicas": {"spec": {"replicas": 3}},
    "resources": {"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {}}]}}}},
    "an annotation": {"metadata": {"name": "web", "annotations": {"a": "b"}}},
    "a container less": {"spec": {"template": {"spec": {"containers": [{"name": "web", "$patch": "delete"}]}}}},
    "the object itself": {"$patch": "delete"},
    "other containers": {"spec": {"template": {"spec": {"containers": [*POD_SPEC["containers"], {"$patch": "replace"}]}}}},
    "a volume less": {"spec": {"template": {"spec": {"volumes": [{"name": "x", "$patch": "delete"}]}}}},
}  # fmt: skip


@pytest.mark.parametrize("name", PATCHES)
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_a_patch_is_a_note_and_is_not_written(name: str, kind: str) -> None:
    value = {**named("apps/v1", kind), **PATCHES[name]}
    found = check(value)
    (words,) = notes(found)
    assert words.endswith("this is a patch, not an object: check what it is applied to")
    assert (found.problems, found.checked) == ((), ())
    fixed = fix_text(Manifest("f.yaml", dump(value)), RESTRICTED, FixOptions())
    assert (fixed.splices, fixed.problems, len(fixed.others)) == ((), (), 1)


def test_a_json_patch_is_a_note() -> None:
    found = check([{"op": "remove", "path": "/spec/template/spec/hostPID"}])
    assert len(notes(found)) == 1 and not found.problems


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"])
def test_no_object_that_an_api_server_takes_is_a_patch(kind: str) -> None:
    value = workload(kind, "web")
    ((location,),) = (locate(value, {}),)
    location.value["spec"]["volumes"] = [
        {"name": "x", "csi": {"driver": "d", "volumeAttributes": {"$patch": "delete"}}}
    ]
    assert len(check(value).checked) == 1


@pytest.mark.parametrize(
    "value",
    [
        named("apps/v1", "Deployment", spec={}),
        named("apps/v1", "Deployment", spec={"selector": {"matchLabels": {"a": "b"}}}),
        named("apps/v1", "Deployment", spec={"template": {"spec": {"containers": "web"}}}),
        named("v1", "Pod", spec={"containers": []}),
    ],
)
def test_half_an_object_is_still_an_error(value: dict[str, Any]) -> None:
    assert check(value).problems


# -- what other programs render --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "words"),
    [
        ("helm.toolkit.fluxcd.io/v2", "HelmRelease", {"chart": {}}, "helm template CHART | kubectl harden check -f -"),
        ("helm.cattle.io/v1", "HelmChart", {"chart": "x"}, "helm template CHART | kubectl harden check -f -"),
        ("argoproj.io/v1alpha1", "Application", {}, "argocd app manifests NAME | kubectl harden check -f -"),
        ("argoproj.io/v1alpha1", "ApplicationSet", {}, "argocd app manifests NAME | kubectl harden check -f -"),
        ("kustomize.toolkit.fluxcd.io/v1", "Kustomization", {"path": "./my app"}, "kubectl harden check -k './my app'"),
        ("kustomize.toolkit.fluxcd.io/v1", "Kustomization", None, "kubectl harden check -k DIRECTORY"),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization", {}, "kubectl harden check -k DIRECTORY"),
    ],
)
def test_what_another_program_renders_is_named_with_the_command_that_judges_it(
    api_version: str, kind: str, spec: Any, words: str
) -> None:
    found = check(named(api_version, kind, spec=spec), named("app.k8s.io/v1", kind, spec=spec))
    (told,) = notes(found)
    assert told.startswith(f"{kind} shop/web: ") and told.endswith(words)
    assert not found.problems


def test_the_objects_of_a_template_are_judged_and_fixed_where_they_are() -> None:
    objects = [workload("Deployment", "one"), named("v1", "Service"), workload("Job", "two")]
    for api_version in ("template.openshift.io/v1", "v1"):
        value = {**named(api_version, "Template"), "objects": objects, "parameters": [{"name": "X"}]}
        found = check(value)
        items = [(item.identity.name, item.identity.source.item) for item in found.checked]  # type: ignore[union-attr]
        assert items == [("one", 0), ("two", 2)]
        assert [other.kind for other in found.others] == ["Service"]
        fixed = fix_text(Manifest("f.yaml", dump(value)), RESTRICTED, FixOptions())
        assert len(fixed.objects) == 2 and not fixed.problems
    other = {**named("example.com/v1", "Template"), "objects": objects}
    assert [other.kind for other in check(other).others] == ["Template"]


def test_a_legacy_deployment_config_is_judged() -> None:
    assert holds_pods("", "DeploymentConfig", {})
    assert len(check(named("v1", "DeploymentConfig", spec={"template": {"spec": POD_SPEC}})).checked) == 1

"""Pod templates are found where each kind keeps them, and edits go to the object's own fields."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.errors import InputError, UsageError
from kubectl_harden.field_path import parse_pointer, pointer
from kubectl_harden.pod_security.pod_templates import _BUILT_IN, _CUSTOM, _KNATIVE, locate, parse_pod_path
from tests.yaml_text.test_editor import after_of, fixed

TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
POINTERS = [
    (group, kind, text)
    for table in (_BUILT_IN, _CUSTOM, _KNATIVE)
    for (group, kind), texts in table.items()
    for text in texts
]


def at(parts: tuple[str | int, ...], value: Any) -> Any:
    if not parts:
        return value
    head, rest = parts[0], parts[1:]
    if head == "*":
        return {"Worker": at(rest, value)} if "ReplicaSpecs" in str(parts) else [at(rest, value)]
    return {head: at(rest, value)}


@pytest.mark.parametrize(("group", "kind", "text"), POINTERS)
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_every_kind_of_the_tables(group: str, kind: str, text: str, version: str) -> None:
    value = {
        "apiVersion": f"{group}/{version}" if group else version,
        "kind": kind,
        **at(parse_pointer(text), TEMPLATE),
    }
    locations = locate(value, {})
    assert locations is not None
    assert [location.value["spec"] for location in locations] == [TEMPLATE["spec"]]
    node: Any = value
    for part in locations[0].path:
        node = node[part]
    assert node["spec"] is TEMPLATE["spec"]


@pytest.mark.parametrize("api_version", ["extensions/v1beta1", "apps/v1beta1", "apps/v1beta2", "apps/v1"])
def test_retired_groups(api_version: str) -> None:
    assert locate({"apiVersion": api_version, "kind": "Deployment", "spec": {"template": TEMPLATE}}, {})


def test_other_kinds_hold_no_pod() -> None:
    assert locate({"apiVersion": "v1", "kind": "Service"}, {}) is None
    assert locate({"apiVersion": "example.com/v1", "kind": "Deployment"}, {}) is None
    assert locate({"apiVersion": 1, "kind": None}, {}) is None


def test_a_missing_template_is_an_error_for_built_in_kinds() -> None:
    with pytest.raises(InputError, match="there is no pod template here"):
        locate({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {}}, {})
    assert locate({"apiVersion": "apps.kruise.io/v1", "kind": "UnitedDeployment", "spec": {}}, {}) == []


@pytest.mark.parametrize("text", ["Widget", "=x", "Widget.example.com=spec", "=/spec"])
def test_pod_path_says_how_it_is_written(text: str) -> None:
    with pytest.raises(UsageError, match=r"write KIND\.GROUP=/json/pointer"):
        parse_pod_path(text)


def test_pointers_round_trip() -> None:
    path = ("metadata", "annotations", "a/b~c", "")
    assert parse_pointer(pointer(path)) == path


def test_several_templates_in_one_object() -> None:
    pods = "\n".join(
        f"  - name: {name}\n    template:\n      spec:\n        template:\n          spec:\n            containers:\n            - name: c\n              image: i"
        for name in ("driver", "worker")
    )
    found = fixed(
        f"apiVersion: jobset.x-k8s.io/v1alpha2\nkind: JobSet\nmetadata: {{name: j}}\nspec:\n  replicatedJobs:\n{pods}\n"
    )
    assert not found.problems
    assert [pointer(item.identity.pod_path) for item in found.planned] == [
        "/spec/replicatedJobs/0/template/spec/template",
        "/spec/replicatedJobs/1/template/spec/template",
    ]
    assert after_of(found).count("runAsNonRoot: true") == 2


def test_what_is_not_the_standards_business_stays() -> None:
    text = """\
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  automountServiceAccountToken: yes
  initContainers:
  - name: proxy
    image: proxy:latest
    restartPolicy: Always   # a native sidecar
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
  containers:
  - name: c
    image: i
    resources: {limits: {cpu: 0.5, memory: 1e9}}
    env: [{name: N, value: "0x10"}]
"""
    after = after_of(fixed(text))
    old, new = text.splitlines(), after.splitlines()
    assert [line for line in new if line in old] == old
    assert "limits: {cpu: 0.5, memory: 1e9}" in after

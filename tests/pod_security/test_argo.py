"""The pods of Argo Workflows: made of several fields of an object, and edited where these are."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kubectl_harden.errors import InputError
from kubectl_harden.field_path import parse_pointer, pointer
from kubectl_harden.pod_security.pod_templates import locate
from tests.yaml_text.test_editor import after_of, fixed

ARGO = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  generateName: build-
spec:
  entrypoint: main
  volumes:
  - name: work
    hostPath: {path: /tmp/work}
  templates:
  - name: main
    container:
      image: app   # the step
      volumeMounts:
      - {name: work, mountPath: /work}
    sidecars:
    - name: helper
      image: helper
  - name: script
    script:
      image: python
      source: |
        kind: Pod
  - name: steps
    steps: []
"""


def test_argo_workflows_are_edited_where_their_fields_are() -> None:
    found = fixed(ARGO)
    assert not found.problems
    assert [item.plan.after for item in found.planned] == ["restricted", "restricted"]
    security = (
        "securityContext:\n{0}  allowPrivilegeEscalation: false\n{0}  capabilities:\n{0}    drop:\n{0}    - ALL\n"
    )
    assert "      - {name: work, mountPath: /work}\n      " + security.format("      ") in after_of(found)
    assert "      image: helper\n      " + security.format("      ") in after_of(found)
    assert "        kind: Pod\n      " + security.format("      ") in after_of(found)
    assert after_of(found).endswith(
        "    steps: []\n  securityContext:\n    runAsNonRoot: true\n    seccompProfile:\n      type: RuntimeDefault\n"
    )
    assert "  - {name: work, emptyDir: {}}\n" in after_of(found) or "    emptyDir: {}\n" in after_of(found)
    assert after_of(fixed(after_of(found))) == after_of(found)


def workflow(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": spec}


APP = {"container": {"name": "runner", "image": "i"}}
SOCK = {"name": "sock", "hostPath": {"path": "/s"}}
MOUNT = {"name": "sock", "mountPath": "/s"}
MOUNTS = {"container": {"image": "i", "volumeMounts": [MOUNT]}}


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        # (a path of the pod, its value, where it stands), by template
        ({"templates": [APP]}, [("spec/containers/0/name", "main", "templates/0/container/name")]),
        ({"templates": [{**APP, "steps": []}]}, [("spec/containers/0/image", "i", "templates/0/container/image")]),
        ({"templates": [{"dag": {}, "script": {"image": "i"}}]}, []),
        ({"templates": [{"steps": [], "sidecars": [{"name": "s"}]}]}, []),
        ({"templates": [{"resource": {}, "sidecars": [{"name": "s"}]}]}, [("spec/containers/0/name", "s", "templates/0/sidecars/0/name")]),
        # All volumes of the template come into its pod, and those of the workflow that are mounted and that it does not have.
        ({"templates": [{**APP, "volumes": [SOCK]}]}, [("spec/volumes/0/name", "sock", "templates/0/volumes/0/name")]),
        ({"templates": [APP], "volumes": [SOCK]}, [("spec/volumes/0", None, "templates/0/volumes/0")]),
        ({"templates": [MOUNTS], "volumes": [SOCK]}, [("spec/volumes/0/name", "sock", "volumes/0/name")]),
        ({"templates": [{**MOUNTS, "volumes": [{"name": "o"}, SOCK]}], "volumes": [SOCK]}, [("spec/volumes/1/name", "sock", "templates/0/volumes/1/name")]),
        ({"templates": [{**MOUNTS, "volumes": [{"name": "o"}, SOCK]}], "volumes": [SOCK]}, [("spec/volumes/2", None, "templates/0/volumes/2")]),
        ({"templates": [{**MOUNTS, "volumes": [{"name": "o"}]}], "volumes": [SOCK]}, [("spec/volumes/1/name", "sock", "volumes/0/name")]),
        ({"templates": [{**MOUNTS, "volumes": [{"name": "o"}]}], "volumes": [SOCK]}, [("spec/volumes/2", None, "templates/0/volumes/1")]),
        ({"templates": [{"containerSet": {"volumeMounts": [MOUNT], "containers": [{"name": "a", "volumeMounts": [{"name": "o"}]}]}}], "volumes": [SOCK]},
         [("spec/containers/0/volumeMounts/1/name", "sock", "templates/0/containerSet/volumeMounts/0/name")]),
        ({"templates": [{"containerSet": {"volumeMounts": [MOUNT], "containers": [{"name": "a", "volumeMounts": [{"name": "o"}]}]}}]},
         [("spec/containers/0/volumeMounts/2", None, "templates/0/containerSet/containers/0/volumeMounts/1")]),
        # The pod's securityContext is the template's, else the workflow's; annotations are merged.
        ({"templates": [APP], "securityContext": {"runAsUser": 1}}, [("spec/securityContext/runAsUser", 1, "securityContext/runAsUser")]),
        ({"templates": [{**APP, "securityContext": {}}], "securityContext": {"runAsUser": 1}}, [("spec/securityContext/runAsUser", None, "templates/0/securityContext/runAsUser")]),
        ({"templates": [{**APP, "metadata": {"annotations": {"a": "t"}}}], "podMetadata": {"annotations": {"a": "w", "b": "w"}}}, [("metadata/annotations/b", "w", "podMetadata/annotations/b")]),
        ({"templates": [{**APP, "metadata": {"annotations": {"a": "t"}}}], "podMetadata": {"annotations": {"a": "w"}}}, [("metadata/annotations/a", "t", "templates/0/metadata/annotations/a")]),
        # Inline templates
        ({"templates": [{"steps": [[{"name": "x"}], [{"name": "y", "inline": APP}]]}]}, [("spec/containers/0/image", "i", "templates/0/steps/1/0/inline/container/image")]),
        ({"templates": [{"dag": {"tasks": [{"name": "y", "inline": APP}]}}]}, [("spec/containers/0/image", "i", "templates/0/dag/tasks/0/inline/container/image")]),
        ({"templates": [{"dag": {"tasks": [{"name": "y", "inline": {"steps": [[{"name": "z", "inline": APP}]]}}]}}]},
         [("spec/containers/0/image", "i", "templates/0/dag/tasks/0/inline/steps/0/0/inline/container/image")]),
        # Defaults: objects are merged, lists by their keys or not at all, what is empty counts as absent.
        ({"templates": [{"container": {"image": ""}}], "templateDefaults": APP}, [("spec/containers/0/image", "i", "templateDefaults/container/image")]),
        ({"templates": [{"script": {"source": "x"}}], "templateDefaults": APP}, [("spec/containers/0/image", None, "templates/0/script/image")]),
        ({"templates": [APP], "templateDefaults": {"container": {"securityContext": {"privileged": True}}}}, [("spec/containers/0/securityContext/privileged", True, "templateDefaults/container/securityContext/privileged")]),
        ({"templates": [APP], "templateDefaults": {"container": {"securityContext": {"privileged": True}}}}, [("spec/containers/0/securityContext/runAsUser", None, "templates/0/container/securityContext/runAsUser")]),
        ({"templates": [{**APP, "sidecars": [{"name": "b"}, {"name": "a"}]}], "templateDefaults": {"sidecars": [{"name": "a", "image": "d"}, {"name": "c"}]}},
         [("spec/containers/3/image", "d", "templateDefaults/sidecars/0/image")]),
        ({"templates": [{"container": {"image": "i", "securityContext": {"capabilities": {"add": ["A"]}}}}], "templateDefaults": {"container": {"securityContext": {"capabilities": {"add": ["B", "C"]}}}}},
         [("spec/containers/0/securityContext/capabilities/add/1", None, "templates/0/container/securityContext/capabilities/add/1")]),
        ({"templates": [MOUNTS], "templateDefaults": {"volumes": [SOCK]}}, [("spec/volumes/0/hostPath", {"path": "/s"}, "templateDefaults/volumes/0/hostPath")]),
        # What is no template
        ({"templates": [None, 1, {"container": 1}, {"steps": [1, [1]], "dag": 1}], "templateDefaults": 1, "volumes": 1}, [("spec/containers/0", 1, "templates/2/container")]),
        ({"templates": {}}, []),
    ],
)  # fmt: skip
def test_the_pods_of_workflows(spec: dict[str, Any], found: list[tuple[str, Any, str]]) -> None:
    locations = locate(workflow(**spec), {})
    assert locations is not None and len(locations) == len(found)
    for location, (path, value, where) in zip(locations, found, strict=True):
        node: Any = location.value
        parts = parse_pointer("/" + path)
        for part in parts:
            keyed = isinstance(node, list)
            node = (node[int(part)] if int(part) < len(node) else None) if keyed else (node or {}).get(part)
        assert node == value
        of_pod = tuple(int(part) if str(part).isdigit() else part for part in parts)
        assert pointer(location.in_object(of_pod)) == f"/spec/{where}"


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("hostNetwork: true", "sets hostNetwork, and so"),
        ('{"hostPID": false}', "sets hostPID, and so"),
        ("securityContext: {}\nvolumes: []", "sets securityContext, volumes, and so"),
        ('{"$patch": "replace"}', "sets $patch, and so"),
        ("containers: [{name: main, securityContext: {}}]", "sets containers.securityContext, and so"),
        ("containers: [{name: other, image: i}]", "sets containers, and so"),
        ("containers: [{name: main, $patch: delete}]", "sets containers.$patch, and so"),
        ("containers: [1]", "sets containers, and so"),
        ("containers: [{name: {a: b}, image: i}]", "sets containers, and so"),
        ("initContainers: 1", "sets initContainers, and so"),
        ("containers: null", "sets containers, and so"),
        ("{{=asJson(inputs.parameters.patch)}}", "cannot be read before its parameters are filled in"),
        ("- a", "cannot be read before its parameters are filled in"),
        ("a: [", "cannot be read before its parameters are filled in"),
        ("nodeSelector: {a: b}", ""),
        ('{"containers": [{"name": "main", "resources": {"limits": {"memory": "{{inputs.parameters.m}}"}}}]}', ""),
        ("initContainers: [{name: init, resources: {}}]", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("place", ["workflow", "template", "defaults"])
def test_a_pod_that_a_patch_decides_cannot_be_judged(patch: str, why: str, place: str) -> None:
    here = {"podSpecPatch": patch}
    spec: dict[str, Any] = {"templates": [{**APP, **here} if place == "template" else APP]}
    spec |= here if place == "workflow" else {"templateDefaults": here} if place == "defaults" else {}
    (location,) = locate(workflow(**spec), {}) or ()
    if not why:
        assert location.pod().containers[0].name == "main"
        return
    with pytest.raises(InputError, match=re.escape(why)) as error:
        location.pod()
    where = {"workflow": (), "template": ("templates", 0), "defaults": ("templateDefaults",)}[place]
    assert location.in_object(error.value.path or ()) == ("spec", *where, "podSpecPatch")

"""What the next write from the manifests does to edits: foretold, and then done by kubectl and Helm themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.live.reapply import LAST_APPLIED, reapplied
from kubectl_harden.model import Identity, LiveSource, Policy
from kubectl_harden.planning.json_patch import apply
from kubectl_harden.planning.subject import Subject
from kubectl_harden.pod_security.risks import Judgement
from tests.live.test_custom_resources import create, kinds, rollout
from tests.live.test_undo import hard_case
from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload
from tests.support.writers import Writers

__all__ = ["kinds"]

KEYED = ("containers", "initContainers", "volumes", "volumeMounts", "ports")


@pytest.fixture
def writers(namespace: Namespace, tmp_path: Path) -> Writers:
    """kubectl and Helm in the test's namespace."""
    return Writers(namespace, tmp_path)


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield the fields in which two objects differ: items of keyed lists by their key, of others the list."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            below = f"{path}.{key}".lstrip(".")
            if key not in old or key not in new:
                yield below
            else:
                yield from differences(old[key], new[key], below)
    elif isinstance(old, list) and path.rpartition(".")[2] in KEYED:
        ours, theirs = ({key_of(item): item for item in items} for items in (old, new))
        for key in sorted({*ours, *theirs}):
            if key not in ours or key not in theirs:
                yield f"{path}[{key}]"
            else:
                yield from differences(ours[key], theirs[key], f"{path}[{key}]")
    elif old != new:
        yield path


def key_of(item: dict[str, Any]) -> str:
    return str(next(item[key] for key in ("mountPath", "containerPort", "name") if key in item))


def fields(told: list[dict[str, Any]], kind: str, before: Any) -> set[str]:
    """Return foretold fields, their list items named by keys instead of their indexes before."""
    return {named(field, before) for item in told for field in item[kind]}


def named(field: str, value: Any) -> str:
    out = ""
    for part in re.findall(r"\[\d+\]|[^.\[\]]+", field):
        if part.startswith("["):
            value = value[int(part[1:-1])]
            out += f"[{key_of(value)}]"
        else:
            value = value.get(part) if isinstance(value, dict) else None
            out += f".{part}"
    return out.lstrip(".")


def insecure(**container: Any) -> dict[str, Any]:
    value = workload("Deployment", "web")
    value["spec"]["template"]["spec"]["containers"][0] |= container
    return value


def hard() -> dict[str, Any]:
    value = hard_case()
    spec = value["spec"]["template"]["spec"]
    spec["volumes"].append({"name": "data", "hostPath": {"path": "/srv"}})
    del spec["containers"][0]["securityContext"]["privileged"]
    spec["containers"][0]["securityContext"]["capabilities"]["add"] = ["NET_ADMIN", "NET_BIND_SERVICE"]
    return value


INPUTS = {
    "nothing of it is in the manifest": workload("Deployment", "web"),
    "values and lists": insecure(
        securityContext={"allowPrivilegeEscalation": True, "capabilities": {"add": ["NET_ADMIN"], "drop": ["KILL"]}}
    ),
    "an object that is emptied": insecure(securityContext={"seLinuxOptions": {"user": "system_u"}}),
    "a null": insecure(securityContext=None),
    "what the API server refuses then": insecure(securityContext={"privileged": True, "capabilities": {"add": ["KILL"]}}),
    "many": hard(),
    "only removals": workload("Deployment", "web", hostPID=True, hostIPC=True, hostNetwork=True),
    "a sidecar": workload(
        "Deployment", "web", hostPID=True, initContainers=[{"name": "init", "image": "example.com/init:1",
                                                           "securityContext": {"privileged": True}}]
    ),
}  # fmt: skip
FIX = ("fix", "deploy/web", "--apply", "--yes", "-o", "json", "--even-if-managed")
FIX = (*FIX, "--host-path", "gone=remove", "--host-path", "cache=emptyDir", "--host-path", "data=emptyDir")


def template(namespace: Namespace) -> Any:
    return {"spec": {"template": namespace.get("Deployment", "web")["spec"]["template"]}}


@pytest.mark.parametrize("name", INPUTS)
def test_client_side_apply_takes_back_what_was_foretold(
    name: str, namespace: Namespace, harden: Harden, writers: Writers
) -> None:
    assert (done := writers.apply(INPUTS[name])).returncode == 0, done
    namespace.eventually(namespace.ready_pods)
    before = template(namespace)
    fixed = harden(*FIX)
    assert fixed.json["workloads"][0]["outcome"]["state"] == "applied", fixed
    after = template(namespace)
    told = fixed.json["workloads"][0]["nextWrite"]
    again = writers.apply(INPUTS[name])
    now = template(namespace)
    if told and told[0]["refused"]:
        assert "cannot set `allowPrivilegeEscalation` to false" in again.stderr
        assert now == after
        return
    assert again.returncode == 0, again
    foretold = fields(told, "takesBack", before)
    assert {item["by"] for item in told} <= {"kubectl apply"}
    assert not any(item["conflictsOn"] for item in told)
    # An edit may replace a volume as a whole.
    found = {field.removesuffix(".hostPath").removesuffix(".emptyDir") for field in differences(after, now)}
    assert found == foretold


@pytest.mark.parametrize("name", INPUTS)
def test_server_side_apply_conflicts_where_it_was_foretold(
    name: str, namespace: Namespace, harden: Harden, writers: Writers
) -> None:
    assert (done := writers.apply(INPUTS[name], server_side=True)).returncode == 0, done
    namespace.eventually(namespace.ready_pods)
    before = template(namespace)
    fixed = harden(*FIX)
    assert fixed.json["workloads"][0]["outcome"]["state"] == "applied", fixed
    told = fixed.json["workloads"][0]["nextWrite"]
    foretold = [field for item in told for field in item["conflictsOn"]]
    after = template(namespace)
    again = writers.apply(INPUTS[name], server_side=True)
    if foretold:
        count = len(foretold)
        assert f"Apply failed with {count} conflict{'s' if count > 1 else ''}" in again.stderr, (again, foretold)
        # The API server names list items by their keys.
        for field in foretold:
            assert field.rpartition("]")[2] in again.stderr
        return
    if told and told[0]["refused"]:
        assert "cannot set `allowPrivilegeEscalation` to false" in again.stderr
        return
    assert again.returncode == 0, again
    now = template(namespace)
    assert {*differences(after, now)} == fields(told, "takesBack", before)


@pytest.mark.parametrize(("installed", "helm"), [(3, 3), (3, 4), (4, 4)])
def test_helm_does_what_was_foretold(
    installed: int, helm: int, namespace: Namespace, harden: Harden, writers: Writers
) -> None:
    assert (done := writers.upgrade(installed)).returncode == 0, done
    namespace.eventually(namespace.ready_pods)
    before = template(namespace)
    refused = harden("fix", "deploy/web", "--apply", "--yes")
    assert "managed by Helm release" in " ".join(refused.err.split())
    assert template(namespace) == before
    fixed = harden(*FIX)
    (told,) = fixed.json["workloads"][0]["nextWrite"]
    security = "spec.template.spec.containers[0].securityContext"
    assert told["by"] == "helm upgrade"
    after = template(namespace)
    again = writers.upgrade(helm, "--set", "replicas=2")
    if installed == 3:
        replaced = (f"{security}.allowPrivilegeEscalation", f"{security}.capabilities.add")
        assert sorted(told["takesBack"]) == [*replaced, "spec.template.spec.hostPID"]
        assert again.returncode == 0, again
        assert {*differences(template(namespace), after)} == fields([told], "takesBack", before)
    else:
        assert told["conflictsOn"] == [f"{security}.allowPrivilegeEscalation"]
        assert told["takesBack"] == [f"{security}.capabilities.add", "spec.template.spec.hostPID"]
        assert 'conflict with "kubectl-harden"' in again.stderr
        forced = writers.upgrade(helm, "--set", "replicas=2", "--force-conflicts")
        assert forced.returncode == 0, forced
        foretold = fields([told], "takesBack", before) | fields([told], "conflictsOn", before)
        assert {*differences(template(namespace), after)} == foretold


def test_people_read_it_before_the_question(namespace: Namespace, harden: Harden, writers: Writers) -> None:
    writers.apply(INPUTS["values and lists"])
    shown = " ".join(harden("fix", "deploy/web").err.split())
    for field in ("allowPrivilegeEscalation", "capabilities.add", "capabilities.drop"):
        assert (
            f"spec.template.spec.containers[0].securityContext.{field}" in shown.partition("kubectl apply reverts")[2]
        )
    assert "kubectl harden fix -f FILE --write" in shown


def test_a_survey_says_it_before_a_migration(namespace: Namespace, harden: Harden, writers: Writers) -> None:
    writers.apply(INPUTS["values and lists"])
    namespace.create(workload("Deployment", "other"))
    survey = harden("migrate", namespace.name, "--level", "restricted")
    note = "the next kubectl apply reverts or conflicts with edits of 1 workload: make the change in the manifests too"
    assert note in " ".join(survey.err.split())
    report = harden("migrate", namespace.name, "--level", "restricted", "-o", "json").json
    told = {item["name"]: item["nextWrite"] for item in report["namespaces"][0]["workloads"]}
    assert [item["by"] for item in told["web"]] == ["kubectl apply"]
    assert told["other"] == []


def test_lists_of_custom_resources_come_back_whole(
    kinds: None, namespace: Namespace, harden: Harden, writers: Writers
) -> None:
    value = rollout("web")
    create(namespace, "argoproj.io", "rollouts", {**value, "metadata": {"name": "other"}})
    assert (done := writers.apply(value)).returncode == 0, done
    fixed = harden("fix", "rollout/web", "--apply", "--yes", "-o", "json")
    (told,) = fixed.json["workloads"][0]["nextWrite"]
    assert told["takesBack"] == ["spec.template.spec.containers"]
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace.name}/rollouts/web"
    after = namespace.plane.request("GET", path)["spec"]["template"]["spec"]
    writers.apply(value)
    now = namespace.plane.request("GET", path)["spec"]["template"]["spec"]
    assert now == {**after, "containers": value["spec"]["template"]["spec"]["containers"]}


def subject(value: dict[str, Any]) -> Subject:
    identity = Identity(LiveSource("", "", None), "v1", "Pod", "shop", "web", ())
    return Subject(value, identity, Policy("restricted", 30))


@pytest.mark.parametrize("annotation", ["", "{", "[]", "null", '{"spec": 1}'])
def test_an_annotation_that_says_nothing(annotation: str) -> None:
    value: Any = {"apiVersion": "v1", "metadata": {"annotations": {LAST_APPLIED: annotation}}, "spec": {"a": {"b": 1}}}
    edit = Judgement("safe", "").edit("replace", ("spec", "a", "b"), 2)
    found = reapplied(subject(value), (), [edit], apply(value, [edit]))
    assert [item.takes_back for item in found] == ([("spec.a.b",)] if "spec" in annotation else [])


def test_after_server_side_apply_the_annotation_does_not_count() -> None:
    last = json.dumps({"spec": {"hostPID": True}})
    value: Any = {
        "apiVersion": "v1",
        "metadata": {"annotations": {LAST_APPLIED: last}},
        "spec": {"hostPID": True},
    }
    edit = Judgement("safe", "").edit("remove", ("spec", "hostPID"))
    goal = apply(value, [edit])
    entry = {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:hostPID": {}}}}
    assert [item.by for item in reapplied(subject(value), (), [edit], goal)] == ["kubectl apply"]
    assert [item.by for item in reapplied(subject(value), [entry], [edit], goal)] == ["kubectl apply --server-side"]

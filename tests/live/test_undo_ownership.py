"""Who owns which field: after a change is taken back, whoever owned it before."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.live.ownership import Changed, changed_fields, fields_of, inverted, members, transferred, transfers
from tests.support.control_plane import ApiError, Namespace
from tests.support.harden import Harden, workload
from tests.support.proxy import Fault, FaultProxy, Request
from tests.support.writers import Writers, owners

PARTS = ("f:a", 'k:{"name":"x"}')
MEMBERS = [member for depth in (1, 2, 3) for member in product(PARTS, repeat=depth)]
WRITERS = [(name, operation) for name in ("a", "b") for operation in ("Apply", "Update")]


def entries(sets: list[set[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "manager": name,
            "operation": operation,
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": fields_of(of),
        }
        for (name, operation), of in zip(WRITERS, sets, strict=True)
        if of
    ]


MANAGED = st.lists(st.sets(st.sampled_from(MEMBERS), max_size=5), min_size=4, max_size=4).map(entries)


@given(st.sets(st.sampled_from(MEMBERS)))
def test_field_sets_are_read_as_they_are_written(of: set[Any]) -> None:
    assert members(fields_of(of)) == of


def owned(managed: list[dict[str, Any]]) -> set[Any]:
    return {(entry["manager"], entry["operation"], members(entry["fieldsV1"])) for entry in managed}


@given(before=MANAGED, after=MANAGED)
def test_transfers_lead_there_and_back(before: Any, after: Any) -> None:
    changes = transfers(before, after)
    assert owned(transferred(before, changes)) == owned(after)
    assert owned(transferred(after, inverted(changes))) == owned(before)


@given(before=MANAGED, after=MANAGED)
def test_what_others_write_meanwhile_stays_theirs(before: Any, after: Any) -> None:
    other = {"manager": "other", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:z": {}}}
    status = {
        "manager": "a",
        "operation": "Update",
        "apiVersion": "v1",
        "subresource": "status",
        "fieldsV1": {"f:a": {}},
    }
    back = transferred([*after, other, status], inverted(transfers([*before, status], [*after, status])))
    assert other in back
    assert status in back
    assert owned([entry for entry in back if entry not in (other, status)]) == owned(before)


def test_which_fields_of_a_manager_changed() -> None:
    before: Any = {
        "spec": {
            "pid": True,
            "list": [{"name": "a", "x": 1}, {"name": "b", "x": {"y": 1}}],
            "atomic": ["p"],
            "empty": {},
        }
    }
    after: Any = {"spec": {"list": [{"name": "b", "x": {"y": 2}}], "atomic": ["p", "q"], "empty": {"more": 1}}}
    fields = {
        "f:spec": {
            "f:pid": {},
            "f:list": {
                'k:{"name":"a"}': {".": {}, "f:name": {}, "f:x": {}},
                'k:{"name":"b"}': {".": {}, "f:x": {"f:y": {}}},
            },
            "f:atomic": {},
            "f:empty": {},
            "f:never": {},
        }
    }
    assert changed_fields({"fieldsV1": fields}, before, after) == [
        Changed(("spec", "atomic"), gone=False),
        Changed(("spec", "list", 0), gone=True),
        Changed(("spec", "list", 1, "x", "y"), gone=False),
        Changed(("spec", "pid"), gone=True),
    ]
    assert changed_fields({"fieldsV1": fields}, before, before) == []


@pytest.fixture
def writers(namespace: Namespace, tmp_path: Path) -> Writers:
    """kubectl and Helm in the test's namespace."""
    return Writers(namespace, tmp_path)


def deployment(namespace: Namespace) -> dict[str, Any]:
    value: dict[str, Any] = namespace.get("Deployment", "web")
    return value


def manifest(image: str = "example.com/app:1", *, escalate: bool = True) -> dict[str, Any]:
    value = workload("Deployment", "web", image, hostPID=escalate)
    container = value["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"] = {
        "allowPrivilegeEscalation": escalate,
        "capabilities": {"add": ["NET_ADMIN"] if escalate else ["SYS_TIME"]},
    }
    return value


WRITES: dict[str, Callable[..., Any]] = {
    "kubectl apply": lambda writers, then: writers.apply(manifest(escalate=not then)),
    "kubectl apply --server-side": lambda writers, then: writers.apply(manifest(escalate=not then), server_side=True),
    "helm 3": lambda writers, then: writers.upgrade(3, "--set", f"escalate={str(not then).lower()}"),
    "helm 4": lambda writers, then: writers.upgrade(4, "--set", f"escalate={str(not then).lower()}"),
}


@pytest.mark.parametrize("tool", WRITES)
def test_after_undo_the_next_write_of_each_tool_is_taken(
    tool: str, namespace: Namespace, harden: Harden, writers: Writers
) -> None:
    write = WRITES[tool]
    assert (first := write(writers, then=False)).returncode == 0, first
    namespace.eventually(namespace.ready_pods)
    before = owners(deployment(namespace))
    fixed = harden("fix", "deploy/web", "--apply", "--yes", "--even-if-managed")
    assert fixed.code == 0, fixed
    assert owners(deployment(namespace)) != before
    generation = deployment(namespace)["metadata"]["generation"]
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 0, undone
    assert owners(deployment(namespace)) == before
    # Giving fields back is no change of the spec, and starts no rollout.
    assert deployment(namespace)["metadata"]["generation"] == generation + 1
    assert (after := write(writers, then=True)).returncode == 0, after
    security = deployment(namespace)["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert security["allowPrivilegeEscalation"] is False


def test_an_undo_that_is_undone_takes_the_fields_again(namespace: Namespace, harden: Harden, writers: Writers) -> None:
    writers.apply(manifest(), server_side=True)
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    fixed = owners(deployment(namespace))
    assert harden("undo", "--last", "--yes").code == 0
    run = harden("undo").out.split()[0]
    assert harden("undo", run, "--yes").code == 0
    assert owners(deployment(namespace)) == fixed


@pytest.mark.parametrize("tool", WRITES)
def test_an_undo_that_was_killed_before_it_gave_the_fields_back(
    tool: str, namespace: Namespace, harden: Harden, writers: Writers, proxy: FaultProxy
) -> None:
    assert (first := WRITES[tool](writers, then=False)).returncode == 0, first
    namespace.eventually(namespace.ready_pods)
    before, spec = owners(deployment(namespace)), deployment(namespace)["spec"]
    assert harden("fix", "deploy/web", "--apply", "--yes", "--even-if-managed").code == 0
    proxy.wait_until_idle()
    process: list[Any] = []

    def kill() -> None:
        process[0].kill()
        process[0].wait()

    writes = []

    def second(request: Request) -> bool:
        writes.extend([request] if request.is_write and request.path.endswith("/deployments/web") else [])
        return len(writes) == 2 and request.is_write

    proxy.rules.append(lambda request: Fault(503, before=kill) if second(request) else None)
    process.append(harden.start("undo", "--last", "--yes"))
    process[0].communicate(timeout=60)
    proxy.rules.clear()
    assert (deployment(namespace)["spec"], owners(deployment(namespace)) == before) == (spec, False)
    told = harden("undo", "--last", "--dry-run")
    assert (told.code, "its fields belong to kubectl-harden" in " ".join(told.err.split())) == (1, True), told
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 0, undone
    assert (deployment(namespace)["spec"], owners(deployment(namespace))) == (spec, before)
    assert harden("undo", "--last", "--yes").err == "error: there is nothing to undo\n"


def test_a_rollback_gives_the_fields_back(namespace: Namespace, harden: Harden, writers: Writers) -> None:
    writers.apply(manifest("example.com/runs-as-root:1"), server_side=True)
    namespace.eventually(namespace.ready_pods)
    before = owners(deployment(namespace))
    failed = harden("fix", "deploy/web", "--apply", "--yes", "--timeout", "60s")
    assert "ROLLED BACK" in failed.err, failed
    assert owners(deployment(namespace)) == before
    after = writers.apply(manifest("example.com/runs-as-root:1", escalate=False), server_side=True)
    assert after.returncode == 0, after


def test_what_another_manager_took_meanwhile_stays_its_own(
    namespace: Namespace, harden: Harden, writers: Writers
) -> None:
    writers.apply(manifest(), server_side=True)
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    path = f"{namespace.path('Deployment', 'web')}?fieldManager=scaler"
    patch = {"metadata": {"labels": {"tier": "x"}}, "spec": {"replicas": 2}}
    namespace.plane.request("PATCH", path, patch, kind="application/merge-patch+json")
    assert harden("undo", "--last", "--yes").code == 0
    by_name = {entry["manager"]: entry for entry in owners(deployment(namespace))}
    assert set(by_name) == {"kubectl", "scaler"}
    assert by_name["scaler"]["fieldsV1"]["f:spec"] == {"f:replicas": {}}


def test_a_recreated_pod_belongs_to_whom_it_belonged_to(namespace: Namespace, harden: Harden, writers: Writers) -> None:
    # A token's volume has another name in every pod.
    writers.apply(workload("Pod", "shell", automountServiceAccountToken=False), server_side=True)
    before = owners(namespace.get("Pod", "shell"))
    assert harden("fix", "pod/shell", "--apply", "--yes", "--recreate").code == 0
    assert owners(namespace.get("Pod", "shell")) != before
    undone = harden("undo", "--last", "--yes")
    assert undone.code == 0, undone
    assert owners(namespace.get("Pod", "shell")) == before


@pytest.mark.parametrize("applied", [True, False])
def test_labels_of_namespaces_belong_to_whom_they_belonged_to(
    applied: bool, namespace: Namespace, harden: Harden, writers: Writers
) -> None:
    path = f"/api/v1/namespaces/{namespace.name}"
    if applied:
        labels = {"pod-security.kubernetes.io/warn": "baseline"}
        value = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name, "labels": labels}}
        assert (done := writers.apply(value, server_side=True)).returncode == 0, done
    before = owners(namespace.plane.request("GET", path))
    migrated = harden("migrate", namespace.name, "--level", "restricted", "--apply", "--yes")
    assert migrated.code == 0, migrated
    assert owners(namespace.plane.request("GET", path)) != before
    assert harden("undo", "--last", "--yes").code == 0
    assert owners(namespace.plane.request("GET", path)) == before


def test_fields_that_could_not_be_given_back_are_told(namespace: Namespace, harden: Harden, writers: Writers) -> None:
    writers.apply(manifest(), server_side=True)
    assert harden("fix", "deploy/web", "--apply", "--yes").code == 0
    plane = namespace.plane
    policy = f"keep-{namespace.name}"
    base = "/apis/admissionregistration.k8s.io/v1"
    rules = [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}]
    kept = "object.spec != oldObject.spec || request.options.?fieldManager.orValue('') != 'kubectl-harden'"
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    spec = {
        "matchConstraints": {"resourceRules": rules, "namespaceSelector": selector},
        "validations": [{"expression": kept, "message": "owners stay"}],
    }
    plane.request("POST", f"{base}/validatingadmissionpolicies", {"metadata": {"name": policy}, "spec": spec})
    bound = {"policyName": policy, "validationActions": ["Deny"]}
    plane.request("POST", f"{base}/validatingadmissionpolicybindings", {"metadata": {"name": policy}, "spec": bound})
    try:
        namespace.eventually(lambda: denied(namespace))
        undone = harden("undo", "--last", "--yes")
        assert undone.code == 0, undone
        assert "its fields still belong to kubectl-harden in managedFields" in " ".join(undone.err.split())
    finally:
        plane.request("DELETE", f"{base}/validatingadmissionpolicybindings/{policy}")
        plane.request("DELETE", f"{base}/validatingadmissionpolicies/{policy}")


def denied(namespace: Namespace) -> bool:
    """Whether the policy is in force by now."""
    path = f"{namespace.path('Deployment', 'web')}?fieldManager=kubectl-harden&dryRun=All"
    try:
        namespace.plane.request(
            "PATCH", path, {"metadata": {"labels": {"x": "y"}}}, kind="application/merge-patch+json"
        )
    except ApiError as error:
        return "owners stay" in str(error)
    return False

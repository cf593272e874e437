"""The policy in force on API servers with a configuration of their own: what is said of it, and never weaker."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.support.control_plane import TOKEN, ApiError, ControlPlane, Namespace
from tests.support.harden import Harden, workload
from tests.support.oracle import module_directory

CONTROLLER = "system:serviceaccount:kube-system:replicaset-controller"
PLAIN: dict[str, Any] = {
    f"{mode}{suffix}": text
    for mode in ("enforce", "warn", "audit")
    for suffix, text in (("", "privileged"), ("-version", "latest"))
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    # As Talos ships it.
    "baseline": {"defaults": {**PLAIN, "enforce": "baseline", "warn": "restricted", "audit": "restricted"}},
    # As RKE2 with its CIS profile, and Rancher.
    "restricted": {"defaults": {**PLAIN, "enforce": "restricted", "warn": "restricted", "audit": "restricted"}},
    # As OpenShift, which warns and audits before it enforces.
    "warned": {"defaults": {**PLAIN, "warn": "restricted", "audit": "restricted"}},
    # Whoever asks is exempt, and the controllers are not.
    "exempt user": {
        "defaults": {**PLAIN, "enforce": "restricted", "warn": "restricted"},
        "exemptions": {"usernames": ["admin"], "namespaces": ["exempt"], "runtimeClasses": ["sandboxed"]},
    },
    "pinned": {"defaults": {**PLAIN, "enforce": "baseline", "enforce-version": "v1.28", "warn": "baseline"}},
}
LABELS: dict[str, dict[str, str]] = {
    "unlabelled": {},
    "enforced": {"enforce": "baseline"},
    "opened": {"enforce": "privileged"},
    "warned": {"warn": "baseline", "audit": "baseline"},
    "old": {"enforce": "baseline", "enforce-version": "v1.20"},
}


@cache
def violating() -> tuple[dict[str, Any], ...]:
    """The official fixtures, of which each violates one control of restricted."""
    root = module_directory("k8s.io/pod-security-admission") / "test" / "testdata" / "restricted" / "v1.37" / "fail"
    found = tuple(yaml.safe_load(path.read_text()) for path in sorted(root.glob("*.yaml")))
    assert len(found) == 76
    return found


class Configured(NamedTuple):
    """An API server with a configuration, and the command that talks to it."""

    plane: ControlPlane
    name: str
    directory: Path

    def namespace(self, name: str, labels: dict[str, str]) -> Namespace:
        made = Namespace(self.plane, name, labels)
        self.plane.request("POST", f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
        return made

    def harden(self, namespace: Namespace) -> Harden:
        return Harden(namespace, self.directory)

    def said(self, namespace: str) -> list[str]:
        """What admission says of each fixture when a controller makes it: refused, warned, or nothing."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda pod: self._said(namespace, pod), violating()))

    def _said(self, namespace: str, pod: dict[str, Any]) -> str:
        spec = {**pod["spec"], "serviceAccountName": "default", "automountServiceAccountToken": False}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {**pod["metadata"], "name": "p"}, "spec": spec}
        response = self.plane._http.request(
            "POST",
            f"{self.plane.server}/api/v1/namespaces/{namespace}/pods?dryRun=All",
            body=json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {TOKEN}",
                "Content-Type": "application/json",
                "Impersonate-User": CONTROLLER,
            },
            retries=False,
        )
        words = json.loads(response.data).get("message", "")
        if response.status == 201:
            return "warned" if "PodSecurity" in response.headers.get("Warning", "") else ""
        if response.status == 422:
            return "invalid"
        assert "violates PodSecurity" in words, (response.status, words)
        return "refused"


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def configured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    directory = tmp_path_factory.mktemp("configured")
    configuration = {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        **CONFIGURATIONS[request.param],
    }
    file = directory / "admission.json"
    plugin = {"name": "PodSecurity", "configuration": configuration}
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}
    file.write_text(json.dumps({**head, "plugins": [plugin]}))
    plane = ControlPlane(directory / "plane", controllers=False, flags=(f"--admission-control-config-file={file}",))
    yield Configured(plane, request.param, directory)
    plane.stop()


STRENGTH = {"": 0, "warned": 1, "refused": 2, "invalid": 3}
"""Of one fixture the API itself says no, before admission is asked."""


@pytest.mark.parametrize("level", ["baseline", "restricted", "highest"])
def test_no_apply_makes_admission_weaker(configured: Configured, level: str) -> None:
    names = {}
    for word, labels in LABELS.items():
        names[f"{word}-{level}"] = labels
    spaces = [configured.namespace(name, labels) for name, labels in names.items()]
    if level == "baseline":
        spaces.append(configured.namespace("exempt", {}))
    before = {space.name: configured.said(space.name) for space in spaces}
    done = configured.harden(spaces[0])("migrate", *before, "--level", level, "--apply", "--yes", "-o", "json")
    assert done.code in (0, 1), done
    outcomes = {item["name"]: item for item in done.json["namespaces"]}
    for space in spaces:
        after = configured.said(space.name)
        for pod, first, now in zip(violating(), before[space.name], after, strict=True):
            assert STRENGTH[now] >= STRENGTH[first], (space.name, pod["metadata"]["name"], first, now)
        state = outcomes[space.name].get("outcome", outcomes[space.name])["state"]
        exempt = configured.name == "exempt user" and space.name == "exempt"
        if state in ("enforced", "done"):
            # What is said to be enforced is: a pod of each control that the level has is refused.
            assert "refused" in after
            assert not exempt
            if level == "restricted" and configured.name != "pinned" and not space.name.startswith("old"):
                assert after.count("refused") >= 74
                assert set(after) <= {"refused", "invalid"}
        if exempt:
            assert state == "blocked"


def test_what_is_in_force_decides_and_is_said(configured: Configured) -> None:
    space = configured.namespace(f"c-{uuid.uuid4().hex[:8]}", {})
    space.create(workload("Deployment", "agent", hostNetwork=True), workload("Deployment", "web"))
    harden = configured.harden(space)
    found = {item["name"]: item for item in harden("check", "-n", space.name, "-o", "json").json["workloads"]}
    level, origin = {
        "baseline": ("baseline", "cluster default"),
        "restricted": ("restricted", "cluster default"),
        "warned": ("restricted", "cluster default"),
        "pinned": ("baseline", "cluster default"),
        # Whoever asks is exempt, so that a silent dry-run shows nothing.
        "exempt user": ("restricted", "nothing known to be in force"),
    }[configured.name]
    assert {(item["policy"]["level"], item["policy"]["origin"]) for item in found.values()} == {(level, origin)}
    assert bool(found["web"]["violations"]) == (level == "restricted")
    assert found["agent"]["violations"]
    text = harden("check", "-n", space.name)
    version = "v1.28" if configured.name == "pinned" else "latest"
    assert f"not {level}:{version} ({origin})" in text.out
    # A plan makes what is demanded, and no more.
    plan = {item["name"]: item for item in harden("fix", "-n", space.name, "-o", "json").json["workloads"]}
    assert bool(plan["web"]["edits"]) == (level == "restricted")
    labelled = configured.namespace(f"c-{uuid.uuid4().hex[:8]}", {"enforce": "baseline"})
    labelled.create(workload("Deployment", "agent", hostNetwork=True))
    policy = harden("check", "-n", labelled.name, "-o", "json").json["workloads"][0]["policy"]
    assert (policy["level"], policy["origin"]) == ("baseline", "enforce label")


def test_what_is_refused_by_a_default_is_rejected(configured: Configured) -> None:
    space = configured.namespace(f"r-{uuid.uuid4().hex[:8]}", {})
    space.create(workload("ReplicaSet", "agent", hostNetwork=True))
    enforced = CONFIGURATIONS[configured.name]["defaults"]["enforce"]
    level = "baseline" if enforced == "privileged" else enforced
    words = f'pods "agent-x" is forbidden: violates PodSecurity "{level}:latest": host namespaces (hostNetwork=true)'
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words,
                 "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    path = space.path("ReplicaSet", "agent") + "/status"
    status = {"status": {"replicas": 0, "conditions": [condition]}}
    configured.plane.request("PATCH", path, status, kind="application/merge-patch+json")
    found = configured.harden(space)("rejected", "-n", space.name)
    if enforced == "privileged":
        assert found.code == 0, found
        return
    assert found.code == 1, found
    assert "fixed since" not in found.out
    assert "host namespaces" in found.out


def test_a_survey_says_what_is_enforced_and_by_whom(configured: Configured) -> None:
    space = configured.namespace(f"s-{uuid.uuid4().hex[:8]}", {})
    found = configured.harden(space)("migrate", space.name, "--level", "restricted", "-o", "json")
    (item,) = found.json["namespaces"]
    default = CONFIGURATIONS[configured.name]["defaults"]
    version = default["enforce-version"]
    policy = "privileged" if default["enforce"] == "privileged" else f"{default['enforce']}:{version}"
    assert item["inForce"]["enforce"] == {"policy": policy, "origin": "cluster default"}
    assert item["inForce"]["audit"] == {"policy": "privileged", "origin": "not known"}
    assert item["state"] == ("done" if default["enforce"] == "restricted" else "ready")
    text = configured.harden(space)("migrate", space.name).out
    row = next(line for line in text.splitlines() if space.name in line)
    assert (default["enforce"] if default["enforce"] != "privileged" else "–") in row
    assert ("enforced by the API server's default" in text) == (default["enforce"] != "privileged")


def test_who_may_not_create_pods_is_told_what_is_not_known(configured: Configured) -> None:
    space = configured.namespace(f"v-{uuid.uuid4().hex[:8]}", {})
    space.create(workload("Deployment", "web"))
    group = "rbac.authorization.k8s.io"
    everything = {"apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["get", "list"]}
    subject = {"apiGroup": group, "kind": "User", "name": "viewer"}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": "viewer"}
    with suppress(ApiError):
        configured.plane.request(
            "POST", f"/apis/{group}/v1/clusterroles", {"metadata": {"name": "viewer"}, "rules": [everything]}
        )
        configured.plane.request(
            "POST",
            f"/apis/{group}/v1/clusterrolebindings",
            {"metadata": {"name": "viewer"}, "roleRef": role, "subjects": [subject]},
        )
    found = configured.harden(space)("check", "-n", space.name, "--as", "viewer")
    assert found.code == 1, found
    assert "nothing known to be in force" in found.out
    assert "you may not create pods" in found.err

"""What kubectl's own dry-run of an enforce label says of a namespace, beside ``check``: docs/comparison.md tells it."""

from __future__ import annotations

import os
import subprocess

from tests.support.control_plane import Namespace, executable
from tests.support.harden import Harden, workload


def warnings(harden: Harden, namespace: Namespace) -> list[str]:
    """Return the warnings of a server dry-run of enforce=restricted."""
    done = subprocess.run(
        [executable("kubectl"), "label", "--dry-run=server", "--overwrite", "namespace", namespace.name,
         "pod-security.kubernetes.io/enforce=restricted"],
        env={**os.environ, **harden.environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr.splitlines()


def test_what_the_dry_run_of_a_label_says_and_what_it_leaves_out(harden: Harden, namespace: Namespace) -> None:
    namespace.create(workload("Deployment", "web", replicas=2), workload("Deployment", "api"))
    namespace.create(workload("Deployment", "idle", replicas=0), workload("CronJob", "nightly"))
    namespace.eventually(lambda: len(namespace.pods()) == 3)
    head, *groups = warnings(harden, namespace)
    assert (
        head
        == f'Warning: existing pods in namespace "{namespace.name}" violate the new PodSecurity enforce level "restricted:latest"'
    )
    # One line for all pods that violate the same, with the name of one of them and the reasons alone.
    (group,) = groups
    name, _, reasons = group.removeprefix("Warning: ").partition(" (and 2 other pods): ")
    assert name in {pod["metadata"]["name"] for pod in namespace.pods()}
    assert (
        reasons == "allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"
    )
    # What has no pods now is not judged at all: with the label in place, its next pods are rejected.
    for left_out in ("idle", "nightly", "container", "must set"):
        assert left_out not in group
    report = harden("check", "-n", namespace.name, "--level", "restricted", "-o", "json").json
    named = {f"{item['kind']}/{item['name']}" for item in report["workloads"] if not item["allowed"]}
    assert named == {"Deployment/web", "Deployment/api", "Deployment/idle", "CronJob/nightly"}
    for item in report["workloads"]:
        words = [violation["reason"] for violation in item["violations"]]
        assert ", ".join(words) == reasons
        assert all('container "' in violation["detail"] for violation in item["violations"])

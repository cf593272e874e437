"""A whole migration of many Deployments, with controllers and pods, carried through.

    make bench-migration

Starts the control plane of the tests, creates 2,000 Deployments in 100 namespaces and waits for their pods; then
``kubectl harden migrate -A --apply`` takes all to restricted, and the script checks that every namespace enforces
it and every pod is ready. It prints how long that took and how many requests the API server got of it, and what
``kubectl rollout restart`` of the same Deployments, one after the other in each namespace and as many namespaces at a
time, takes on the same control plane: the floor for anything that waits for rollouts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.live import fill
from benchmarks.run import HARDEN, measure
from tests.support.control_plane import ControlPlane, executable, is_ready

AUDITED = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
"""Every request: the counters of /metrics do not tell the controllers' from others'."""


class Requests(NamedTuple):
    """How many requests the API server got of a client: watches, and all others."""

    watches: int
    others: int


def requests(plane: ControlPlane, agent: str) -> Requests:
    """Count the requests of a client, by how its User-Agent begins, in the audit log."""
    verbs: dict[str, str] = {}
    with plane.audit_log.open(encoding="utf-8") as log:
        for line in log:
            # The last line may be on its way.
            if line.endswith("\n") and (event := json.loads(line)).get("userAgent", "").startswith(agent):
                verbs[event["auditID"]] = event["verb"]
    watches = sum(verb == "watch" for verb in verbs.values())
    return Requests(watches, len(verbs) - watches)


def deployments(plane: ControlPlane) -> list[Any]:
    items: list[Any] = plane.request("GET", "/apis/apps/v1/deployments")["items"]
    return items


def wait(plane: ControlPlane, total: int) -> None:
    """Wait until all Deployments are available."""
    while sum(item["status"].get("availableReplicas", 0) for item in deployments(plane)) < total:
        time.sleep(1)


def restart(namespace: str) -> None:
    """Restart the Deployments of a namespace, one after the other."""
    kubectl = str(executable("kubectl"))
    names = subprocess.check_output([kubectl, "get", "deploy", "-n", namespace, "-o", "name"], text=True).split()
    for name in names:
        for command in ("restart", "status"):
            subprocess.run([kubectl, "rollout", command, name, "-n", namespace], check=True, capture_output=True)


def main() -> None:
    """Run the migration and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--namespaces", type=int, default=100)
    parser.add_argument("--deployments", type=int, default=20, help="in each namespace")
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--peer", type=int, default=8, help="namespaces to restart by kubectl, to compare; 0: none")
    arguments = parser.parse_args()
    total = arguments.namespaces * arguments.deployments
    with tempfile.TemporaryDirectory() as directory:
        policy = Path(directory, "audited.json")
        policy.write_text(json.dumps(AUDITED))
        plane = ControlPlane(Path(directory), flags=(f"--audit-policy-file={policy}", "--audit-log-maxsize=10000"))
        try:
            os.environ["KUBECONFIG"] = str(plane.kubeconfig)
            os.environ["XDG_STATE_HOME"] = directory
            fill(plane, arguments.namespaces, arguments.deployments)
            wait(plane, total)
            peer, restarts = 0.0, Requests(0, 0)
            if arguments.peer:
                begun = time.perf_counter()
                with ThreadPoolExecutor(arguments.parallel) as pool:
                    list(pool.map(restart, [f"team-{index:03}" for index in range(arguments.peer)]))
                scale = arguments.namespaces / arguments.peer
                peer = (time.perf_counter() - begun) * scale
                restarts = Requests(*(round(count * scale) for count in requests(plane, "kubectl/")))
            command = [str(HARDEN), "migrate", "-A", "--level", "restricted", "--apply", "--yes",
                       "--parallel", str(arguments.parallel)]  # fmt: skip
            wall, memory = measure(command)
            asked = requests(plane, "kubectl-harden")
            enforcing = plane.request(
                "GET", "/api/v1/namespaces?labelSelector=pod-security.kubernetes.io/enforce=restricted"
            )
            pods = [
                pod
                for pod in plane.request("GET", "/api/v1/pods")["items"]
                if not pod["metadata"].get("deletionTimestamp")
            ]
            again, _ = measure(command)
        finally:
            plane.stop()
    teams = [item for item in enforcing["items"] if item["metadata"]["name"].startswith("team-")]
    print(f"{total:,} Deployments in {arguments.namespaces} namespaces, {arguments.parallel} at a time")
    print(f"{len(teams)} namespaces enforce restricted, {sum(map(is_ready, pods)):,} of {len(pods):,} pods ready\n")
    print("| command | wall | peak memory | watches | other requests |\n| --- | ---: | ---: | ---: | ---: |")
    if peer:
        name = f"kubectl rollout restart and status (of {arguments.peer} namespaces, in proportion)"
        print(f"| {name} | {peer:.0f} s | | {restarts.watches:,} | {restarts.others:,} |")
    print(f"| migrate -A --apply | {wall:.0f} s | {memory:.0f} MiB | {asked.watches:,} | {asked.others:,} |")
    print(f"| the same again, nothing left to do | {again:.1f} s | | | |")


if __name__ == "__main__":
    main()

"""Wall time and peak memory of check -A beside kubectl get, on a control plane with many Deployments.

    make bench-live

Starts the control plane of the tests (no controllers: a Deployment is all there is), creates 5,000
Deployments in 100 namespaces, and runs the commands in turn; the table shows medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.run import HARDEN, measure
from tests.support.control_plane import ControlPlane, executable
from tests.support.harden import workload


def fill(plane: ControlPlane, namespaces: int, deployments: int) -> None:
    """Create the Deployments; each has a few more fields than it needs, as real ones have."""
    more = {
        "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
        "env": [{"name": f"SETTING_{index}", "value": "x" * 40} for index in range(8)],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
    }

    def one(index: int) -> None:
        namespace = f"team-{index:03}"
        plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        for number in range(deployments):
            value = workload("Deployment", f"app-{number:03}")
            value["spec"]["template"]["spec"]["containers"][0].update(more)
            plane.request("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", value)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(namespaces)))


def main() -> None:
    """Run the comparison and print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--namespaces", type=int, default=100)
    parser.add_argument("--deployments", type=int, default=50, help="in each namespace")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        plane = ControlPlane(Path(directory), controllers=False)
        try:
            fill(plane, arguments.namespaces, arguments.deployments)
            os.environ["KUBECONFIG"] = str(plane.kubeconfig)
            commands = {
                "kubectl get deploy -A -o json": [str(executable("kubectl")), "get", "deploy", "-A", "-o", "json"],
                "kubectl harden check -A": [str(HARDEN), "check", "-A"],
                "kubectl harden check -A -o json": [str(HARDEN), "check", "-A", "-o", "json"],
                "kubectl harden check deploy -A": [str(HARDEN), "check", "deploy", "-A"],
            }
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
            for _ in range(arguments.rounds):
                for name, command in commands.items():
                    runs[name].append(measure(command))
        finally:
            plane.stop()
    total = arguments.namespaces * arguments.deployments
    print(f"{total:,} Deployments in {arguments.namespaces} namespaces\n")
    print("| command | wall | peak memory |\n| --- | ---: | ---: |")
    for name, results in runs.items():
        wall = statistics.median(run[0] for run in results)
        memory = statistics.median(run[1] for run in results)
        print(f"| {name} | {wall:.2f} s | {memory:.0f} MiB |")


if __name__ == "__main__":
    main()

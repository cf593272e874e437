"""Wall time and peak memory of a survey of many namespaces, beside a bare LIST of the same objects.

    make bench-survey

Starts the control plane of the tests (no controllers: a Deployment is all there is), creates 10,000
Deployments in 400 namespaces, and runs, in turn, a Python process that lists them with one request and decodes
the answer, and ``kubectl harden migrate -A``; the table shows medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.live import fill
from benchmarks.run import HARDEN, measure
from tests.support.control_plane import TOKEN, ControlPlane

BARE = """
import json, sys, urllib3
server, certificate, token = sys.argv[1:]
pool = urllib3.PoolManager(ca_certs=certificate)
answer = pool.request("GET", server + "/apis/apps/v1/deployments", headers={"Authorization": "Bearer " + token})
assert len(json.loads(answer.data)["items"]) > 0
"""

LIST, SURVEY = "LIST and json.loads in Python, nothing else", "kubectl harden migrate -A"


def main() -> None:
    """Run the comparison and print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--namespaces", type=int, default=400)
    parser.add_argument("--deployments", type=int, default=25, help="in each namespace")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        plane = ControlPlane(Path(directory), controllers=False)
        try:
            fill(plane, arguments.namespaces, arguments.deployments)
            os.environ["KUBECONFIG"] = str(plane.kubeconfig)
            report = str(Path(directory) / "report.html")
            survey = [str(HARDEN), "migrate", "-A", "--level", "restricted"]
            commands = {
                LIST: [sys.executable, "-c", BARE, plane.server, str(plane.certificate), TOKEN],
                SURVEY: survey,
                f"{SURVEY} -o json": [*survey, "-o", "json"],
                f"{SURVEY} --report": [*survey, "--report", report],
            }
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
            for _ in range(arguments.rounds):
                for name, command in commands.items():
                    runs[name].append(measure(command))
            size = Path(report).stat().st_size / 1e6
        finally:
            plane.stop()
    total = arguments.namespaces * arguments.deployments
    print(f"{total:,} Deployments in {arguments.namespaces} namespaces (report: {size:.1f} MB)\n")
    print("| command | wall | peak memory |\n| --- | ---: | ---: |")
    for name, results in runs.items():
        wall = statistics.median(run[0] for run in results)
        memory = statistics.median(run[1] for run in results)
        print(f"| {name} | {wall:.2f} s | {memory:.0f} MiB |")
    ratio = statistics.median(one[0] / other[0] for one, other in zip(runs[SURVEY], runs[LIST], strict=True))
    print("\n| goal | at most | wall |\n| --- | ---: | ---: |")
    print(f"| {SURVEY}, times {LIST} | 2 | {ratio:.2f} |")


if __name__ == "__main__":
    main()

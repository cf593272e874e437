"""A cluster of very many pods, made straight in the API and kept: 20,000 Deployments with 100,000 pods.

    make bench-fleet BENCH="--directory DIR [--namespaces 500] [--deployments 40] [--pods 5] [--only kubectl,check]"

Starts the control plane of the tests without controllers in ``--directory``, and creates what is missing there: each
Deployment with its ReplicaSet and its pods, owner references and pod templates as the controllers write them. The
same apps run in every namespace, one pod in ``--naked`` is nobody's. A directory that is filled is used again. Then it
runs, in turn, what is compared; the table shows medians of wall time, of CPU time (of the command and its children
alone: the API server's is not in it), of peak memory, and how many requests the API server got.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import urllib3

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.run import HARDEN
from tests.support.control_plane import TOKEN, ControlPlane, executable
from tests.support.harden import workload

MORE = {
    "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
    "env": [{"name": f"SETTING_{index}", "value": "x" * 40} for index in range(8)],
    "ports": [{"containerPort": 8080, "name": "http"}],
    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
}
"""A few more fields than a container needs, as real ones have."""

READ = """
import json, sys, urllib3
server, certificate, token, *paths = sys.argv[1:]
pool = urllib3.PoolManager(ca_certs=certificate)
for path in paths:
    more = ""
    while more is not None:
        answer = pool.request("GET", f"{server}{path}?limit=500{more}", headers={"Authorization": "Bearer " + token})
        token_of_next = json.loads(answer.data)["metadata"].get("continue")
        more = f"&continue={token_of_next}" if token_of_next else None
"""
"""A bare LIST: page by page, decoded and thrown away."""


KUBECTL, CHECK = "kubectl get pods,deploy -A -o json", "kubectl harden check -A"
LIST, SURVEY = "LIST of the same objects in pages and json.loads, nothing else", "kubectl harden migrate -A"


class Run(NamedTuple):
    """What a command took: seconds by the clock and of CPU, MiB, and requests to the API server."""

    wall: float
    cpu: float
    memory: float
    requests: int


class Fleet(NamedTuple):
    """How much there is: in each namespace so many Deployments, of so many pods each."""

    namespaces: int
    deployments: int
    pods: int
    naked: int

    @property
    def words(self) -> str:
        total = self.namespaces * self.deployments
        return f"{total:,} Deployments and {total * self.pods:,} pods in {self.namespaces:,} namespaces"


def objects(fleet: Fleet, namespace: str, create: Any) -> None:
    """Create the objects of a namespace by ``create(path, object)``, which returns the object with its uid."""
    create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    for number in range(fleet.deployments):
        name = f"app-{number:03}"
        value = workload("Deployment", name, replicas=fleet.pods)
        containers = value["spec"]["template"]["spec"]["containers"]
        containers[0].update(MORE)
        containers.append({**containers[0], "name": "sidecar", "ports": [{"containerPort": 9090}]})
        deployment = create(f"/apis/apps/v1/namespaces/{namespace}/deployments", value)
        child = f"{name}-5d8c7f9b6"
        template = deployment["spec"]["template"]
        labels = {**template["metadata"]["labels"], "pod-template-hash": "5d8c7f9b6"}
        spec = {
            "replicas": fleet.pods,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        }
        metadata = {"name": child, "labels": labels, "ownerReferences": owner("Deployment", deployment)}
        made = create(f"/apis/apps/v1/namespaces/{namespace}/replicasets", {"metadata": metadata, "spec": spec})
        for index in range(fleet.pods):
            metadata = {"name": f"{child}-{index:05}", "labels": labels}
            if (number * fleet.pods + index) % fleet.naked:
                metadata["ownerReferences"] = owner("ReplicaSet", made)
            pod = {"metadata": metadata, "spec": {**template["spec"], "nodeName": f"node-{index}"}}
            create(f"/api/v1/namespaces/{namespace}/pods", pod)


def owner(kind: str, value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the owner reference that a controller writes."""
    name, uid = value["metadata"]["name"], value["metadata"]["uid"]
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True}]


def fill(plane: ControlPlane, fleet: Fleet, threads: int) -> None:
    """Create what is missing; which namespaces are whole is written down as they are."""
    done = plane.directory / "namespaces"
    done.mkdir(exist_ok=True)
    http = urllib3.PoolManager(ca_certs=str(plane.certificate), maxsize=threads)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    def create(path: str, value: dict[str, Any]) -> dict[str, Any]:
        answer = http.request("POST", plane.server + path, body=json.dumps(value), headers=headers, retries=False)
        if answer.status == 409:
            name = value["metadata"]["name"]
            answer = http.request("GET", f"{plane.server}{path}/{name}", headers=headers, retries=False)
        if answer.status >= 300:
            raise RuntimeError(answer.data.decode()[:500])
        found: dict[str, Any] = json.loads(answer.data)
        return found

    def one(namespace: str) -> None:
        objects(fleet, namespace, create)
        (done / namespace).touch()

    names = [f"team-{index:03}" for index in range(fleet.namespaces)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, [name for name in names if not (done / name).exists()]))


@contextmanager
def filled(directory: Path, fleet: Fleet, threads: int) -> Iterator[ControlPlane]:
    """Start a control plane without controllers in a directory, with the fleet in it."""
    size = directory / "fleet.json"
    if size.exists() and json.loads(size.read_text()) != list(fleet):
        raise SystemExit(f"{directory} holds another fleet: name another directory, or delete it")
    plane = ControlPlane(directory, controllers=False, flags=("--audit-log-path=",))
    try:
        size.write_text(json.dumps(fleet))
        begun = time.perf_counter()
        fill(plane, fleet, threads)
        print(f"{fleet.words}; made in {time.perf_counter() - begun:.0f} s\n", flush=True)
        yield plane
    finally:
        plane.stop()


def requests(plane: ControlPlane) -> int:
    """Return how many requests the API server has got, by its own count, but those of this script."""
    counts = re.findall(r"(?m)^apiserver_request_total\{(.*)\} ([0-9.e+]+)$", plane.request("GET", "/metrics"))
    mine = ('resource="leases"', 'subresource="/metrics"', 'subresource="/readyz"')
    return sum(int(float(count)) for labels, count in counts if not any(word in labels for word in mine))


def measured(plane: ControlPlane, command: list[str]) -> Run:
    """Run a command whose output is thrown away."""
    before = requests(plane)
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    wall = time.perf_counter() - begun
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, requests(plane) - before)


def commands(plane: ControlPlane) -> dict[str, list[str]]:
    """Return what is compared, by the names that the table has."""
    apps = ("deployments", "replicasets", "statefulsets", "daemonsets")
    core = ("pods", "namespaces", "resourcequotas", "replicationcontrollers", "podtemplates")
    paths = [*(f"/apis/apps/v1/{name}" for name in apps), *(f"/apis/batch/v1/{name}" for name in ("jobs", "cronjobs"))]
    read = [*paths, *(f"/api/v1/{name}" for name in core)]
    bare = [sys.executable, "-c", READ, plane.server, str(plane.certificate), TOKEN]
    return {
        KUBECTL: [str(executable("kubectl")), "get", "pods,deploy", "-A", "-o", "json"],
        CHECK: [str(HARDEN), "check", "-A"],
        "kubectl harden check -A --level restricted": [str(HARDEN), "check", "-A", "--level", "restricted"],
        LIST: [*bare, *read],
        SURVEY: [str(HARDEN), "migrate", "-A", "--level", "restricted"],
    }


def main() -> None:
    """Run the comparison and print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, required=True, help="where the cluster is, and stays")
    parser.add_argument("--namespaces", type=int, default=500)
    parser.add_argument("--deployments", type=int, default=40, help="in each namespace")
    parser.add_argument("--pods", type=int, default=5, help="of each Deployment")
    parser.add_argument("--naked", type=int, default=1000, help="one pod in so many has no owner")
    parser.add_argument("--threads", type=int, default=16, help="that create the objects")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="words of what is to run, with commas")
    parser.add_argument("--keep-running", action="store_true", help="print the kubeconfig and wait, measure nothing")
    arguments = parser.parse_args()
    fleet = Fleet(arguments.namespaces, arguments.deployments, arguments.pods, arguments.naked)
    with filled(arguments.directory.absolute(), fleet, arguments.threads) as plane:
        os.environ["KUBECONFIG"] = str(plane.kubeconfig)
        if arguments.keep_running:
            print(plane.kubeconfig, flush=True)
            sys.stdin.read()
            return
        words = [word for word in arguments.only.split(",") if word]
        chosen = {name: line for name, line in commands(plane).items() if not words or any(w in name for w in words)}
        runs: dict[str, list[Run]] = {name: [] for name in chosen}
        for _ in range(arguments.rounds):
            for name, line in chosen.items():
                runs[name].append(measured(plane, line))
    print("| command | wall | CPU | peak memory | requests |\n| --- | ---: | ---: | ---: | ---: |")
    for name, results in runs.items() if arguments.rounds else ():
        wall, cpu, memory, asked = (statistics.median(column) for column in zip(*results, strict=True))
        print(f"| {name} | {wall:.2f} s | {cpu:.2f} s | {memory:.0f} MiB | {asked:,.0f} |")
    if arguments.rounds:
        goals(runs)
        print(f"\n{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")


def goals(runs: Mapping[str, Sequence[Run]]) -> None:
    """Print what is to be reached: medians of the ratios of runs side by side."""
    print("\n| goal | at most | wall | CPU |\n| --- | ---: | ---: | ---: |")
    for name, peer, most in ((CHECK, KUBECTL, 0.1), (SURVEY, LIST, 2)):
        pairs = list(zip(runs.get(name, ()), runs.get(peer, ()), strict=True))
        if pairs:
            wall, cpu = (statistics.median(one[at] / other[at] for one, other in pairs) for at in (0, 1))
            print(f"| {name}, times {peer} | {most} | {wall:.2f} | {cpu:.2f} |")
    for run in runs.get(CHECK, ())[:1]:
        print(f"| memory of {CHECK}, MiB | 80 | {run.memory:.0f} | |")


if __name__ == "__main__":
    main()

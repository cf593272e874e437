"""Plays the README's story of fifty namespaces on the control plane of the tests, and takes its picture.

    make story

Prints what the commands print: the survey, a run that is killed, the same command again, and the way back; checks
that everything ends as it began; and writes docs/report.png from the report, as Chromium shows it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.browser import browser, install_browser
from tests.support.control_plane import ControlPlane
from tests.support.fleet import Fleet, helm, safe
from tests.support.harden import workload

ROOT = Path(__file__).parents[1]
PRODUCTS = (
    "accounts", "ads", "analytics", "api-gateway", "auth", "billing", "cart", "catalog", "chat", "checkout", "cms",
    "crm", "data-lake", "email", "experiments", "feeds", "fraud", "images", "inventory", "invoices", "loyalty",
    "maps", "notifications", "orders", "payments", "pricing", "profiles", "ranking", "returns", "search", "shipping",
    "shop", "taxes", "video",
)  # fmt: skip
TEAMS = ("commerce", "growth", "data", "platform")


def mounting(value: dict[str, Any], **paths: str) -> dict[str, Any]:
    """Return a workload that mounts paths of its node."""
    spec = value["spec"]["template"]["spec"]
    spec["volumes"] = [{"name": name, "hostPath": {"path": path}} for name, path in paths.items()]
    spec["containers"][0]["volumeMounts"] = [
        {"name": name, "mountPath": f"/host{path}"} for name, path in paths.items()
    ]
    return value


def privileged(value: dict[str, Any]) -> dict[str, Any]:
    """Return a workload that runs privileged."""
    value["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    return value


def build(fleet: Fleet) -> None:
    """Make the fifty namespaces."""
    for index, name in enumerate(PRODUCTS):
        objects = [workload("Deployment", name, replicas=2), workload("Deployment", f"{name}-worker")]
        if index % 3 == 0:
            objects.append(workload("StatefulSet", f"{name}-db"))
        if index % 4 == 0:
            objects.append(workload("CronJob", f"{name}-report"))
        if index % 7 == 3:
            objects = [safe(value) for value in objects if value["kind"] != "CronJob"]
        fleet.add(name, *objects, labels={"team": TEAMS[index % 4]})
    for name in ("grafana", "ingress", "keycloak", "vault"):
        fleet.add(name, helm(workload("Deployment", name)), labels={"team": "platform"})
    fleet.add("monitoring", mounting(workload("DaemonSet", "node-exporter", hostPID=True), proc="/proc", sys="/sys"),
              workload("Deployment", "alerts"), labels={"team": "platform"})  # fmt: skip
    fleet.add("logging", mounting(workload("DaemonSet", "fluent-bit"), logs="/var/log"), labels={"team": "platform"})
    fleet.add(
        "builds",
        mounting(workload("Deployment", "builder"), docker="/var/run/docker.sock"),
        labels={"team": "platform"},
    )
    fleet.add("storage", mounting(privileged(workload("DaemonSet", "csi-node")), plugins="/var/lib/kubelet/plugins"))
    fleet.add("network", workload("DaemonSet", "proxy", hostNetwork=True), labels={"team": "platform"})
    fleet.add("gpu", privileged(workload("DaemonSet", "driver")), labels={"team": "data"})
    fleet.add("debug", workload("Pod", "shell"))
    root = workload("Deployment", "reports", "example.com/runs-as-root:1")
    fleet.add("legacy", root, workload("Deployment", "portal"), labels={"team": "commerce"})
    fleet.add("sandbox")
    for name in ("docs", "status", "www"):
        fleet.add(name, safe(workload("Deployment", name)), enforce="restricted", warn="restricted", audit="restricted")
    fleet.running()


def shown(line: str) -> str:
    """Return a command line without what only this script needs."""
    return line.replace(f" --report {os.environ['REPORT']}", " --report report.html")


def run(line: str, *, kill_after: float | None = None) -> None:
    """Print a command, run it, and print what it says."""
    print(f"\n$ kubectl harden {shown(line)}", flush=True)
    begun = time.perf_counter()
    command = [str(Path(sys.executable).with_name("kubectl-harden")), *line.split()]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        print("Killed")
    process.wait()
    print(f"[exit code {process.returncode} after {time.perf_counter() - begun:.1f} s]", flush=True)


def main() -> None:
    """Play the story."""
    install_browser()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.html"
        plane = ControlPlane(Path(directory) / "plane")
        os.environ.update(KUBECONFIG=str(plane.kubeconfig), XDG_STATE_HOME=directory, REPORT=str(report))
        try:
            fleet = Fleet(plane, named=False)
            build(fleet)
            before = fleet.state()
            run("migrate -A --exclude default --level highest")
            apply = "migrate -A --exclude default --level highest --apply --yes"
            run(apply, kill_after=4)
            run(f"{apply} --report {report}")
            run(f"{apply}")
            run("undo --last --yes --parallel 8")
            run("undo --last --yes --parallel 8")
            print(f"\nas it was before: {fleet.state() == before}")
        finally:
            plane.stop()
        with browser() as page:
            page.set_window_size(1280, 1100)
            page.get(f"file://{report}")
            page.save_screenshot(str(ROOT / "docs" / "report.png"))


if __name__ == "__main__":
    main()

"""Time and peak memory of check and fix beside their peers, paired in one run, and how far the goals are met.

    make bench BENCH="--corpus DIR [--kube-score FILE] [--checkov FILE] [--crds DIR]"

Every round runs every command once, in turn, so that noise falls on all alike; the tables show
medians. The archive has rows where make dist has built it, kustomizations and charts where kubectl
and helm are. kube-score comes by ``go install github.com/zegl/kube-score/cmd/kube-score@v1.20.0``,
checkov 3.3 by pip. CRDs are taken from the Go module sigs.k8s.io/gateway-api unless named.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
HARDEN = Path(sys.executable).with_name("kubectl-harden")
SMALL = HERE.parent / "examples" / "rejected-deployment.yaml"


class Run(NamedTuple):
    """One run of a command: seconds, seconds of processors, and the peak MiB of the largest of its processes."""

    wall: float
    cpu: float
    memory: float


Runs = dict[str, list[Run]]
"""The runs of several commands, in the order of the rounds."""


def timed(command: list[str]) -> Run:
    """Run a command once, with its children."""
    before = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    wall = time.perf_counter() - before
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(command: list[str]) -> tuple[float, float]:
    """Return wall seconds and peak MiB of one run of a command."""
    run = timed(command)
    return run.wall, run.memory


def compare(title: str, commands: dict[str, list[str]], rounds: int) -> Runs:
    """Print one block of the table, and return the runs."""
    results: Runs = {name: [] for name in commands}
    for command in commands.values():
        timed(command)  # warms the file cache
    for _ in range(rounds):
        for name, command in commands.items():
            results[name].append(timed(command))
    for name, runs in results.items():
        wall, cpu, memory = (statistics.median(each) for each in zip(*runs, strict=True))
        print(f"| {title} | {name} | {wall:.3f} s | {cpu:.3f} s | {memory:.0f} MiB |", flush=True)
    return results


def times(runs: Runs, one: str, other: str) -> tuple[float, float]:
    """Return how many times another command's wall and CPU time one takes: the medians of the rounds."""
    pairs = list(zip(runs[one], runs[other], strict=True))
    return statistics.median(a.wall / b.wall for a, b in pairs), statistics.median(a.cpu / b.cpu for a, b in pairs)


def above(runs: Runs, one: str, other: str) -> tuple[float, float]:
    """Return how many seconds of wall and CPU time one command takes more: the medians of the rounds."""
    pairs = list(zip(runs[one], runs[other], strict=True))
    return statistics.median(a.wall - b.wall for a, b in pairs), statistics.median(a.cpu - b.cpu for a, b in pairs)


def manifests(directory: Path) -> list[str]:
    """Return the YAML and JSON files below a directory."""
    return sorted(str(path) for path in directory.rglob("*") if path.suffix in (".yaml", ".yml", ".json"))


def gateway_crds() -> Path:
    """Return the directory of the gateway API's CRDs, from the Go module proxy."""
    module = "sigs.k8s.io/gateway-api@v1.2.1"
    found = subprocess.check_output(["go", "mod", "download", "-json", module], cwd="/", text=True)
    import json

    return Path(json.loads(found)["Dir"]) / "config" / "crd"


def unpacked(directory: str) -> Path | None:
    """Unpack the archive that make dist has built, as krew does it, and return the link that starts it."""
    archives = list((HERE.parent / "dist").glob("kubectl-harden_v*.tar.gz"))
    if not archives:
        return None
    with tarfile.open(archives[0]) as tar:
        tar.extractall(directory, filter="data")
    link = Path(directory, "bin-kubectl-harden")
    link.symlink_to(Path(directory, "kubectl-harden", "kubectl-harden"))
    return link


class Goal(NamedTuple):
    """What is to be reached: at most so much, and what was measured of wall and CPU time."""

    what: str
    most: float
    measured: tuple[float, float]


def builds(directory: Path, rounds: int) -> list[Goal]:
    """Print the rows of what kubectl and helm build, and return the goals."""
    examples = HERE.parent / "examples"
    goals = []
    if shutil.which("kubectl"):
        for name in ("kustomize", "fixed"):
            shutil.copytree(examples / "kustomize", directory / name)
        before, after = (str(directory / name / "overlays" / "prod") for name in ("kustomize", "fixed"))
        subprocess.run([HARDEN, "fix", "-k", after, "--write"], capture_output=True)
        itself = "kubectl kustomize, before and after"
        runs = compare("a kustomization", {
            "kubectl harden check -k": [str(HARDEN), "check", "-k", before],
            "kubectl harden fix -k": [str(HARDEN), "fix", "-k", before],
            "kubectl kustomize": ["kubectl", "kustomize", before],
            itself: ["sh", "-c", 'kubectl kustomize "$0" && kubectl kustomize "$1"', before, after],
        }, rounds)  # fmt: skip
        goals.append(Goal("fix -k, above kubectl's own two builds", 0.2, above(runs, "kubectl harden fix -k", itself)))
    if shutil.which("helm"):
        shutil.copytree(examples / "helm-chart", directory / "chart")
        shutil.copytree(directory / "chart", directory / "fixed-chart")
        subprocess.run([HARDEN, "fix", "--helm-chart", directory / "fixed-chart", "--write"], capture_output=True)
        for title, chart in (("a chart that violates nothing", "fixed-chart"), ("a chart, its values found", "chart")):
            path = str(directory / chart)
            commands = {
                f"kubectl harden {name}": [str(HARDEN), name, "--helm-chart", path] for name in ("check", "fix")
            }
            runs = compare(title, {**commands, "helm template": ["helm", "template", path]}, rounds)
            for name in commands:
                goals.append(Goal(f"{name} of {title}, above helm template", 0.2, above(runs, name, "helm template")))
    return goals


def main() -> None:
    """Run all scenarios and print two Markdown tables: what was measured, and the goals."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--kube-score", default=shutil.which("kube-score"))
    parser.add_argument("--checkov", default=shutil.which("checkov"))
    parser.add_argument("--crds", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    score, checkov = arguments.kube_score, arguments.checkov
    goals: list[Goal] = []
    print("| input | command | wall | CPU | peak memory |\n| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as temporary:
        corpus = Path(temporary) / "corpus"
        _copy(arguments.corpus, corpus)
        # kube-score ends at the first file that it cannot read, so all get only what it can.
        for file in manifests(corpus) if score else []:
            if "Failed to score" in subprocess.run([score, "score", file], capture_output=True, text=True).stderr:
                Path(file).unlink()
        many = Path(temporary) / "many"
        for index in range(20):
            shutil.copytree(corpus, many / f"copy{index:02}")
        crds = Path(temporary) / "crds"
        _copy(arguments.crds or gateway_crds(), crds)
        shutil.copy(SMALL, crds / "web.yaml")
        more_crds = Path(temporary) / "more-crds"
        for index in range(20):
            shutil.copytree(crds, more_crds / str(index))
        bare, archive = "python -c 'import click, yaml'", "the archive's kubectl harden check"
        small = {bare: [sys.executable, "-c", "import click, yaml"]}
        link = unpacked(temporary)
        if link is not None:
            small[archive] = [str(link), "check", "-f", str(SMALL)]
        check, fix, peer = "kubectl harden check", "kubectl harden fix", "kube-score score"
        for title, directory, rounds in (
            ("one small file", None, arguments.rounds * 3),
            (f"corpus, {len(manifests(corpus))} files", corpus, arguments.rounds),
            (f"corpus 20 times, {len(manifests(many))} files", many, arguments.rounds),
            ("CRDs (1.4 MB) and one Deployment", crds, arguments.rounds),
            ("the same 20 times", more_crds, arguments.rounds),
        ):
            target = ["-f", str(SMALL)] if directory is None else ["-f", str(directory), "-R"]
            files = [str(SMALL)] if directory is None else manifests(directory)
            commands = dict(small) if directory is None else {}
            commands |= {check: [str(HARDEN), "check", *target], fix: [str(HARDEN), "fix", *target]}
            if score:
                commands[peer] = [score, "score", *files]
            runs = compare(title, commands, rounds)
            if directory is None:
                goals.append(Goal("check of one small file, times a bare import", 1.35, times(runs, check, bare)))
            if archive in runs:
                goals.append(Goal("check of the archive, times the package's", 1, times(runs, archive, check)))
            if directory is many and score:
                goals += [
                    Goal(f"{name} of {len(files)} files, times kube-score", most, times(runs, name, peer))
                    for name, most in ((check, 0.4), (fix, 1.2))
                ]
            if checkov and directory in (None, corpus):
                where = ["-f", str(SMALL)] if directory is None else ["-d", str(directory)]
                compare(title, {"checkov": [checkov, *where, "--framework", "kubernetes", "--quiet", "--compact"]}, 1)
        goals += builds(Path(temporary), arguments.rounds)
    print("\n| goal | at most | wall | CPU |\n| --- | ---: | ---: | ---: |")
    for goal in goals:
        print(f"| {goal.what} | {goal.most} | {goal.measured[0]:.2f} | {goal.measured[1]:.2f} |")


def _copy(source: Path, target: Path) -> None:
    """Copy a directory, so that its files can be written."""
    shutil.copytree(source, target)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    main()

"""Wall time and peak memory of check and fix beside their peers, paired in one run.

    make bench BENCH="--corpus DIR [--kube-score FILE] [--checkov FILE] [--crds DIR]"

Every round runs every command once, in turn, so that noise falls on all alike; the table shows
medians. kube-score comes by ``go install github.com/zegl/kube-score/cmd/kube-score@v1.20.0``,
checkov 3.3 by pip. CRDs are taken from the Go module sigs.k8s.io/gateway-api unless named.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
HARDEN = Path(sys.executable).with_name("kubectl-harden")
SMALL = HERE.parent / "examples" / "rejected-deployment.yaml"


def measure(command: list[str]) -> tuple[float, float]:
    """Return wall seconds and peak MiB (of the process and its children) of one run."""
    before = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return time.perf_counter() - before, usage.ru_maxrss / 1024


def compare(title: str, commands: dict[str, list[str]], rounds: int) -> None:
    """Print one block of the table."""
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for name, command in commands.items():
        measure(command)  # warms the file cache
        results[name] = []
    for _ in range(rounds):
        for name, command in commands.items():
            results[name].append(measure(command))
    for name, runs in results.items():
        wall = statistics.median(run[0] for run in runs)
        memory = statistics.median(run[1] for run in runs)
        print(f"| {title} | {name} | {wall:.3f} s | {memory:.0f} MiB |", flush=True)


def manifests(directory: Path) -> list[str]:
    """Return the YAML and JSON files below a directory."""
    return sorted(str(path) for path in directory.rglob("*") if path.suffix in (".yaml", ".yml", ".json"))


def gateway_crds() -> Path:
    """Return the directory of the gateway API's CRDs, from the Go module proxy."""
    module = "sigs.k8s.io/gateway-api@v1.2.1"
    found = subprocess.check_output(["go", "mod", "download", "-json", module], cwd="/", text=True)
    import json

    return Path(json.loads(found)["Dir"]) / "config" / "crd"


def main() -> None:
    """Run all scenarios and print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--kube-score", default=shutil.which("kube-score"))
    parser.add_argument("--checkov", default=shutil.which("checkov"))
    parser.add_argument("--crds", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    score, checkov = arguments.kube_score, arguments.checkov
    print("| input | command | wall | peak memory |\n| --- | --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as temporary:
        corpus = Path(temporary) / "corpus"
        shutil.copytree(arguments.corpus, corpus)
        for path in [corpus, *corpus.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        # kube-score ends at the first file that it cannot read, so all get only what it can.
        for file in manifests(corpus) if score else []:
            if "Failed to score" in subprocess.run([score, "score", file], capture_output=True, text=True).stderr:
                Path(file).unlink()
        many = Path(temporary) / "many"
        for index in range(20):
            shutil.copytree(corpus, many / f"copy{index:02}")
        crds = Path(temporary) / "crds"
        shutil.copytree(arguments.crds or gateway_crds(), crds)
        for path in crds.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.copy(SMALL, crds / "web.yaml")
        more_crds = Path(temporary) / "more-crds"
        for index in range(20):
            shutil.copytree(crds, more_crds / str(index))
        small = {"python -c 'import click, yaml'": [sys.executable, "-c", "import click, yaml"]}
        for title, directory, rounds in (
            ("one small file", None, arguments.rounds * 3),
            (f"corpus, {len(manifests(corpus))} files", corpus, arguments.rounds),
            (f"corpus 20 times, {len(manifests(many))} files", many, arguments.rounds),
            ("CRDs (1.4 MB) and one Deployment", crds, arguments.rounds),
            ("the same 20 times", more_crds, arguments.rounds),
        ):
            target = ["-f", str(SMALL)] if directory is None else ["-f", str(directory), "-R"]
            files = [str(SMALL)] if directory is None else manifests(directory)
            commands = small if directory is None else {}
            commands = {
                **commands,
                "kubectl harden check": [str(HARDEN), "check", *target],
                "kubectl harden fix": [str(HARDEN), "fix", *target],
            }
            if score:
                commands["kube-score score"] = [score, "score", *files]
            compare(title, commands, rounds)
            if checkov and directory in (None, corpus):
                where = ["-f", str(SMALL)] if directory is None else ["-d", str(directory)]
                compare(title, {"checkov": [checkov, *where, "--framework", "kubernetes", "--quiet", "--compact"]}, 1)


if __name__ == "__main__":
    main()

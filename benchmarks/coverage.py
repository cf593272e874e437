"""How many of the official fixtures that violate one control of Restricted other checkers see.

    python benchmarks/coverage.py [--kube-score FILE] [--checkov FILE]

Each fixture of the newest policy version fails one control and no other. A checker sees it where it reports a check for
the fixture that it does not report for the plain pod that meets Restricted (pass/base_linux.yaml). kubectl harden is
measured the same way.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.tools import module_directory

HARDEN = Path(sys.executable).with_name("kubectl-harden")
Reports = Callable[[Path], set[str]]


def output(*command: object) -> str:
    """Return what a program prints, whatever its exit code."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False).stdout


def harden(file: Path) -> set[str]:
    """Return the controls that kubectl harden names."""
    report = json.loads(output(HARDEN, "check", "-f", file, "-o", "json"))
    return {violation["check"] for workload in report["workloads"] for violation in workload["violations"]}


def kube_score(program: str) -> Reports:
    """Return what asks kube-score, optional tests included."""

    def ask(file: Path) -> set[str]:
        found = json.loads(output(program, "score", "-o", "json", "--enable-optional-test",
                                  "container-seccomp-profile", file) or "[]")  # fmt: skip
        return {
            check["check"]["id"] for item in found or [] for check in item["checks"] or []
            if check["grade"] < 10 and not check["skipped"]
        }  # fmt: skip

    return ask


def checkov(program: str) -> Reports:
    """Return what asks checkov."""

    def ask(file: Path) -> set[str]:
        found = json.loads(
            output(program, "-f", file, "--framework", "kubernetes", "-o", "json", "--compact", "--quiet")
        )
        failed = found.get("results", {}).get("failed_checks", []) if isinstance(found, dict) else []
        return {check["check_id"] for check in failed}

    return ask


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kube-score")
    parser.add_argument("--checkov")
    given = parser.parse_args()
    tools: dict[str, Reports] = {"kubectl harden": harden}
    if given.kube_score:
        tools["kube-score"] = kube_score(given.kube_score)
    if given.checkov:
        tools["checkov"] = checkov(given.checkov)
    levels = module_directory("k8s.io/pod-security-admission", "oracle") / "test" / "testdata" / "restricted"
    newest = max(levels.iterdir(), key=lambda path: int(path.name.removeprefix("v1.")))
    controls: dict[str, list[Path]] = defaultdict(list)
    for file in sorted((newest / "fail").iterdir()):
        controls[file.stem.rstrip("0123456789")].append(file)
    print(f"fixtures of restricted {newest.name}\n| control | fixtures | {' | '.join(tools)} |")
    print("| --- | ---: |" + " ---: |" * len(tools))
    known = {name: ask(newest / "pass" / "base_linux.yaml") for name, ask in tools.items()}
    totals = dict.fromkeys(tools, 0)
    for control, files in controls.items():
        seen = {name: sum(bool(ask(file) - known[name]) for file in files) for name, ask in tools.items()}
        for name, count in seen.items():
            totals[name] += count
        print(f"| {control} | {len(files)} | {' | '.join(str(count) for count in seen.values())} |", flush=True)
    print(f"| all | {sum(map(len, controls.values()))} | {' | '.join(map(str, totals.values()))} |")


if __name__ == "__main__":
    main()

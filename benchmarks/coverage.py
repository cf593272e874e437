"""How many of the official fixtures that violate one control of Restricted other checkers see.

    python benchmarks/coverage.py [--kube-score FILE] [--checkov FILE] [--kyverno FILE] [--trivy FILE]

Each fixture of the newest policy version fails one control and no other. A checker sees it where it reports a check
for the fixture that it does not report for the plain pod that meets Restricted (pass/base_linux.yaml). All pods are
asked about twice, and either answer counts: as they are, and with a high runAsUser where they set none, since what a
checker says of a missing runAsUser hides what it says of a wrong one. kubectl harden is measured the same way. The last
line counts the pods that meet Restricted and get a report that the plain pod does not get.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.tools import module_directory

HARDEN = Path(sys.executable).with_name("kubectl-harden")
PASS = "pass-"
PLAIN = f"{PASS}base_linux.yaml"
USER = 10001
TRIVY_PSS = frozenset(
    f"KSV-{number:04}" for number in (1, 2, 8, 12, 17, 22, 23, 24, 25, 26, 27, 28, 30, 103, 104, 105, 106)
)
"""The checks in pkg/compliance/k8s-pss-restricted-0.1.yaml of trivy-checks v1.12.2, which Trivy v0.74.0 requires."""
Reports = dict[str, set[str]]
"""What is reported, by the name of the file."""


def output(*command: object) -> str:
    """Return what a program prints, whatever its exit code."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False).stdout


def harden(directory: Path) -> Reports:
    """Return the controls that kubectl harden names."""
    report = json.loads(output(HARDEN, "check", "-f", directory, "-o", "json"))
    return {
        Path(workload["source"]["file"]).name: {violation["check"] for violation in workload["violations"]}
        for workload in report["workloads"]
    }


def kube_score(program: str) -> Callable[[Path], Reports]:
    """Return what asks kube-score, optional tests included."""

    def ask(directory: Path) -> Reports:
        out: Reports = defaultdict(set)
        for file in directory.iterdir():
            found = json.loads(output(program, "score", "-o", "json", "--enable-optional-test",
                                      "container-seccomp-profile", file) or "[]")  # fmt: skip
            out[file.name] |= {
                check["check"]["id"] for item in found or [] for check in item["checks"] or []
                if check["grade"] < 10 and not check["skipped"]
            }  # fmt: skip
        return out

    return ask


def checkov(program: str) -> Callable[[Path], Reports]:
    """Return what asks checkov."""

    def ask(directory: Path) -> Reports:
        out: Reports = defaultdict(set)
        found = json.loads(
            output(program, "-d", directory, "--framework", "kubernetes", "-o", "json", "--compact", "--quiet")
        )
        for check in found["results"]["failed_checks"]:
            out[Path(check["file_path"]).name].add(check["check_id"])
        return out

    return ask


def scanner(program: str) -> Callable[[Path], Reports]:
    """Return what asks a scanner of benchmarks/: trivy.go with all its checks, or kyverno.go."""

    def ask(directory: Path) -> Reports:
        return {file: set(checks) for file, checks in json.loads(output(program, directory)).items()}

    return ask


def trivy_pss(program: str) -> Callable[[Path], Reports]:
    """Return what asks Trivy's scanner, with the checks of its compliance report k8s-pss-restricted-0.1."""

    def ask(directory: Path) -> Reports:
        return {file: checks & TRIVY_PSS for file, checks in scanner(program)(directory).items()}

    return ask


def with_user(manifest: str) -> str:
    """Return a pod with a high runAsUser, unless it sets one itself."""
    pod = yaml.safe_load(manifest)
    if "runAsUser" not in manifest and "windowsOptions" not in manifest:
        pod["spec"].setdefault("securityContext", {})["runAsUser"] = USER
    return str(yaml.safe_dump(pod))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    askers = {"kube-score": kube_score, "checkov": checkov, "kyverno": scanner, "trivy": scanner,
              "trivy k8s-pss-restricted": trivy_pss}  # fmt: skip
    for program in ("kube-score", "checkov", "kyverno", "trivy"):
        parser.add_argument(f"--{program}", metavar="FILE")
    given = vars(parser.parse_args())
    tools: dict[str, Callable[[Path], Reports]] = {"kubectl harden": harden}
    for name, asker in askers.items():
        if program := given[name.split()[0].replace("-", "_")]:
            tools[name] = asker(program)
    levels = module_directory("k8s.io/pod-security-admission", "oracle") / "test" / "testdata" / "restricted"
    newest = max(levels.iterdir(), key=lambda path: int(path.name.removeprefix("v1.")))
    files = sorted((newest / "fail").iterdir())
    meeting = sorted((newest / "pass").iterdir())
    controls: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, set[str]] = {name: set() for name in tools}
    for variant in (str, with_user):
        with tempfile.TemporaryDirectory() as directory:
            for file in [*meeting, *files]:
                name = f"{PASS}{file.name}" if file in meeting else file.name
                Path(directory, name).write_text(variant(file.read_text()))
            for name, ask in tools.items():
                found = ask(Path(directory))
                seen[name] |= {file for file, checks in found.items() if checks - found.get(PLAIN, set())}
    for file in files:
        controls[file.stem.rstrip("0123456789")].append(file.name)
    print(f"fixtures of restricted {newest.name}\n| control | fixtures | {' | '.join(tools)} |")
    print("| --- | ---: |" + " ---: |" * len(tools))
    for control, names in controls.items():
        counts = [len(seen[tool] & set(names)) for tool in tools]
        print(f"| {control} | {len(names)} | {' | '.join(map(str, counts))} |")
    totals = [len(seen[tool] & {file.name for file in files}) for tool in tools]
    print(f"| all | {len(files)} | {' | '.join(map(str, totals))} |")
    wrong = [sum(name.startswith(PASS) for name in seen[tool]) for tool in tools]
    print(f"| none, they meet Restricted | {len(meeting) - 1} | {' | '.join(map(str, wrong))} |")


if __name__ == "__main__":
    main()

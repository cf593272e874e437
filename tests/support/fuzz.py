"""Mutated manifests, read by the command and by the official code: nothing crashes, hangs, hides or is written wrongly.

    python -m tests.support.fuzz [--documents N] [--seed N] [DIRECTORY ...]

The documents are mutations of the YAML and JSON files below the directories (of the examples, where none is named).
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kubectl_harden.json_values import same
from kubectl_harden.manifests.check import check_text
from kubectl_harden.manifests.fix import fix_text
from kubectl_harden.manifests.policies import Policies
from kubectl_harden.manifests.reader import Item, Manifest, read
from kubectl_harden.model import Other, Policy, Problem
from kubectl_harden.objects import api_group, held_by, item_kind
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.pod_templates import holds_pods
from kubectl_harden.pod_security.policy import NEWEST
from kubectl_harden.yaml_text.editor import spliced
from tests.support.oracle import Oracle

LONGEST: float = 5
"""Seconds for one document."""

PIECES = [
    "kind: Pod", "kind: ConfigMap", '"kind": Pod', '"k\\u0069nd": Pod', "? kind\n: Pod", "!!str kind: Pod", "&k kind: Pod", "*k : Pod", "<<: *k", "<<: {kind: Pod}",
    "items:\n- kind: Pod", "items: []", "kind: &k Pod", "kind: *k", "kind: >-\n  Pod", "{kind: Pod}", "{a: x,\nkind: ConfigMap\n}", '"x\nkind: ConfigMap\n"', "|\n x", "|1\n x",
    "---\n", "--- # c\n", "...\n", "%YAML 1.1\n", "\ufeff", "\r", "\x85", "\u2028", "\u2029", "\t", "# kubectl-harden/allow: runAsNonRoot: x\n", "{{ .Values.x }}", "{{", "}}",
    "[a:]", "[", "]", "{", "}", '"', "'", ":", ": ", ",", "#", " #", "&a ", "*a", "!!binary ", "!!int ", "9" * 400, "1e999", ".inf", "null", "~", "-", "- ", "\\", "\n\n", "\n ",
    "privileged: true", "hostPID: true", "securityContext: {}", "securityContext:\n", "containers: []", "capabilities: {add: [SYS_ADMIN]}", "spec: null\n", "metadata: []\n",
]  # fmt: skip


def mutated(text: str, other: str, rnd: random.Random) -> str:
    """Return a text with some changes, a few of them large."""
    for _ in range(rnd.choice((1, 1, 1, 2, 2, 3, 5))):
        place = rnd.randrange(len(text) + 1)
        lines = text.split("\n")
        line = rnd.randrange(len(lines))
        match rnd.randrange(11):
            case 0 | 1 | 2:
                text = text[:place] + rnd.choice(PIECES) + text[place:]
            case 3:
                text = text[:place] + text[place + rnd.choice((1, 1, 1, 5, 50)) :]
            case 4:
                lines.insert(line, rnd.choice((*PIECES, lines[rnd.randrange(len(lines))])))
                text = "\n".join(lines)
            case 5:
                del lines[line]
                text = "\n".join(lines)
            case 6:
                end = min(len(lines), line + rnd.choice((1, 1, 3, 1000)))
                lines[line:end] = [rnd.choice((" ", " ", "  ")) + item for item in lines[line:end]]
                text = "\n".join(lines)
            case 7:
                lines[line] = lines[line][rnd.choice((1, 2)) :]
                text = "\n".join(lines)
            case 8:
                start = rnd.randrange(len(other) + 1)
                text = text[:place] + other[start : start + rnd.choice((10, 100, 1000))] + text[place:]
            case 9:
                text = text.replace("\n", rnd.choice(("\r\n", "\r", "\n\n")), rnd.choice((1, 3, -1)))
            case _:
                text = text[:place] + text[place : place + rnd.choice((2, 20))] * rnd.choice((2, 50)) + text[place:]
    return text


def objects(values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the objects of documents as kubectl sees them, those of Lists one by one."""
    for value in values:
        if not isinstance(value, dict) or not value.get("kind") or not value.get("apiVersion"):
            continue
        held = held_by(value)
        if held is None:
            yield value
        else:
            yield from objects(item_kind(value, item) for item in held[1])


class Fuzzer:
    """Holds what the command makes of a document against the official reader."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.counts: Counter[str] = Counter()
        self.failures: list[tuple[str, str]] = []
        self.policy = Policy("restricted", NEWEST)

    def _fail(self, what: str, text: str) -> None:
        self.counts[what] += 1
        self.failures.append((what, text))

    def run(self, text: str) -> None:
        """Try one document."""
        self.counts["documents"] += 1
        began = time.monotonic()
        previous = signal.signal(signal.SIGALRM, _late)
        signal.alarm(60)
        try:
            self._try(text)
        except TimeoutError:
            self._fail("hangs", text)
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            self._fail(f"crashes: {type(error).__name__}", text)
        else:
            if time.monotonic() - began > LONGEST:
                self._fail("hangs", text)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)

    def _try(self, text: str) -> None:
        manifest = Manifest("f.yaml", text)
        found = list(read(manifest, Policies(self.policy)))
        problems = [item for item in found if isinstance(item, Problem)]
        theirs = self._read(text)
        checked = check_text(manifest, Policies(self.policy))
        fixed = fix_text(manifest, Policies(self.policy), FixOptions())
        told = [problem.message for problem in (*problems, *checked.problems, *fixed.problems)]
        for message in told:
            if "is a bug" in message:
                self._fail("crashes: " + message.partition("; this")[0][-60:], text)
        seen = [(item.subject.identity.kind, item.subject.identity.name) for item in found if isinstance(item, Item)]
        # A patch is told, and is not hidden.
        notes = [item.note for item in found if isinstance(item, Other) and item.note is not None]
        wrong = {problem.document for problem in (*problems, *notes)}
        for index, value in enumerate(theirs):
            for one in objects([value]):
                if not holds_pods(api_group(str(one["apiVersion"])), str(one["kind"]), {}):
                    continue
                self.counts["pods"] += 1
                metadata = one.get("metadata")
                name = metadata.get("name") if isinstance(metadata, dict) else None
                if not any(kind == one["kind"] for kind, _ in seen) and not wrong & {index, None}:
                    self._fail("hidden pods", text)
                elif isinstance(name, str) and name and (one["kind"], name) not in seen and not wrong & {index, None}:
                    self._fail("hidden pods", text)
        if fixed.splices:
            self.counts["fixes"] += 1
            self._hold(text, spliced(text, fixed.splices), theirs, fixed.objects)

    def _hold(self, text: str, after: str, before: list[Any], changed: Iterable[tuple[Any, Any, Any]]) -> None:
        """Note a wrong write: an object that is not what was planned, or another one that has changed."""
        old, new = list(objects(before)), list(objects(self._read(after)))
        planned = [(was, now) for _, was, now in changed]
        alike = len(old) == len(new) and all(
            same(was, now) or any(same(was, a) and same(now, b) for a, b in planned)
            for was, now in zip(old, new, strict=True)
        )
        if not alike:
            self._fail("wrong writes", text)

    def _read(self, text: str) -> list[Any]:
        """Return the values of a text up to the first fault, by the official reader."""
        return [item["json"] for item in self.oracle.stream(text.encode()) if "error" not in item]


def _late(_signal: int, _frame: object) -> None:
    raise TimeoutError


def seeds(directories: Iterable[Path]) -> list[str]:
    """Return the texts that are mutated."""
    files = (file for directory in directories for file in sorted(directory.rglob("*")))
    texts = (file.read_text(errors="replace") for file in files if file.suffix in (".yaml", ".yml", ".json"))
    return [text for text in texts if len(text) < 20_000]


def fuzz(directories: Iterable[Path], documents: int, seed: int, oracle: Oracle) -> Fuzzer:
    """Try a number of mutated documents."""
    rnd = random.Random(seed)
    texts = seeds(directories)
    fuzzer = Fuzzer(oracle)
    for _ in range(documents):
        text = mutated(rnd.choice(texts), rnd.choice(texts), rnd)
        try:
            text.encode()
        except UnicodeEncodeError:
            continue
        fuzzer.run(text)
    return fuzzer


def main() -> None:
    """Print the figures, and write what fails to files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directories", nargs="*", type=Path, default=[Path("examples")])
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("build/fuzz"))
    arguments = parser.parse_args()
    oracle = Oracle()
    fuzzer = fuzz(arguments.directories, arguments.documents, arguments.seed, oracle)
    oracle.close()
    sys.stdout.write(f"{dict(fuzzer.counts)}\n")
    for number, (what, text) in enumerate(fuzzer.failures):
        arguments.failures.mkdir(parents=True, exist_ok=True)
        name = "".join(character if character.isalnum() else "-" for character in what)[:60]
        (arguments.failures / f"{number:03}-{name}.yaml").write_text(text, newline="")


if __name__ == "__main__":
    main()

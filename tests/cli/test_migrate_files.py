"""``migrate -f`` as people and pipelines meet it: outputs, exit codes, refusals.

``reports/migrate_files.py`` and ``reports/states.py`` are tested through it.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.pod_security.namespace_labels import PREFIX
from tests.manifests.test_migrate import CHART, NAMESPACE, needs_baseline, text, tree, unfixable
from tests.support.command import run
from tests.support.harden import workload


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tree(tmp_path, {"ns.yaml": NAMESPACE, "apps/web.json": text(), "apps/job.json": text("CronJob", "job")})


def migrate(directory: Path, *arguments: str, **more: Any) -> tuple[int, str, str]:
    done = run("migrate", "-f", ".", "-R", *arguments, cwd=directory, **more)
    # No cluster is asked, whatever is configured.
    return done.returncode, done.stdout.decode(), " ".join(done.stderr.decode().split())


def contents(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_the_diff_is_what_is_written(repository: Path) -> None:
    before = contents(repository)
    code, diff, told = migrate(repository, "--level", "highest", KUBECONFIG="/nonexistent")
    assert code == 1
    assert contents(repository) == before
    assert "+ – baseline restricted 2 2 shop" in told
    assert "1 Namespace, 2 workloads: 1 reached by edits of workloads; 2 workloads in 3 files to edit; --write" in told
    assert "Files do not show what else runs in their namespaces" in told
    copy = tree(repository / "copy", {name: data.decode() for name, data in before.items()})
    subprocess.run(["git", "apply", "-"], input=diff.encode(), cwd=copy, check=True)
    applied = contents(copy)
    for file in copy.rglob("*"):
        file.is_file() and file.unlink()
    code, out, told = migrate(repository, "--level", "highest", "--write")
    assert (code, out) == (0, "")
    assert "2 workloads in 3 files edited" in told
    assert contents(repository) == applied
    code, out, told = migrate(repository, "--level", "highest")
    assert (code, out) == (0, "")
    assert "1 at the highest level that their workloads allow already" in told


def test_the_highest_is_reached_where_some_stay_at_baseline(tmp_path: Path) -> None:
    other = NAMESPACE.replace("shop", "other")
    volumes = [{"name": "share", "nfs": {"server": "files.example.com", "path": "/"}}]
    stays = workload("Deployment", "files", volumes=volumes)
    stays["metadata"]["namespace"] = "other"
    stays["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "share", "mountPath": "/share"}]
    tree(tmp_path, {"ns.yaml": NAMESPACE, "other.yaml": other, "web.json": text(), "files.json": json.dumps(stays)})
    assert migrate(tmp_path, "--level", "highest")[0] == 1
    assert migrate(tmp_path, "--level", "highest", "--write")[0] == 0
    code, out, told = migrate(tmp_path, "--level", "highest")
    assert (code, out) == (0, "")
    assert "2 at the highest level that their workloads allow already (1 restricted, 1 baseline)" in told
    assert "held back from restricted by restrictedVolumes (1)" in told
    assert migrate(tmp_path)[0] == 1


def test_what_holds_back_is_named_with_its_place_and_what_to_do(repository: Path) -> None:
    tree(repository, {"apps/agent.json": unfixable()})
    code, diff, told = migrate(repository)
    assert code == 1
    assert "ns.yaml" in diff and "web.json" not in diff
    assert "shop is held back from restricted by DaemonSet shop/agent ./apps/agent.json:" in told
    assert "the container runtime socket" in told
    assert "held back from restricted by" in told
    code, out, _ = migrate(repository, "--write")
    assert (code, out) == (1, "")
    assert migrate(repository)[:2] == (1, "")


def test_json(repository: Path) -> None:
    tree(repository, {"apps/nfs.json": needs_baseline(), "lost.json": text("Pod", "lost", None)})
    code, out, told = migrate(repository, "--level", "highest", "-o", "json")
    assert code == 1
    report = json.loads(out)
    assert (report["kind"], report["target"], report["written"]) == ("MigrationReport", {"level": "highest", "version": None}, False)  # fmt: skip
    (item,) = report["namespaces"]
    assert (item["name"], item["state"], item["meets"], item["reaches"]) == ("shop", "ready", "baseline", "baseline")
    assert item["goal"] == {"level": "baseline", "version": "latest"}
    (entry,) = item["objects"]
    assert entry["source"] == {"file": "./ns.yaml", "document": 0, "line": 1}
    assert entry["inForce"]["enforce"] == {"policy": "privileged", "origin": "not known"}
    assert entry["labelEdits"][f"{PREFIX}enforce"] == "baseline"
    (blocker,) = item["blockers"]
    assert (blocker["object"], blocker["check"]) == ("Deployment shop/root", "restrictedVolumes")  # fmt: skip
    assert blocker["source"]["file"] == "./apps/nfs.json"
    assert [(one["name"], one["edited"]) for one in item["workloads"]] == [("job", False), ("root", False), ("web", False)]  # fmt: skip
    assert [one["name"] for one in report["unplaced"]] == ["lost"]
    assert report["summary"]["ready"] == report["summary"]["namespaces"] == 1
    assert "what names no namespace may be deployed into any of these" in told
    assert "no label says what shop enforces now" in told
    written = json.loads(migrate(repository, "--level", "highest", "-o", "json", "--write")[1])
    assert written["written"] is True
    assert json.loads(migrate(repository, "--level", "highest", "-o", "json")[1])["namespaces"][0]["state"] == "done"


def test_wide_has_the_labels(repository: Path) -> None:
    told = migrate(repository, "-o", "wide")[2]
    assert "./ns.yaml:1: labels none; to set: enforce=restricted, warn=restricted, audit=restricted" in told


def test_what_cannot_be_read_is_an_error(repository: Path) -> None:
    tree(repository, {"broken.yaml": "a: b: c\n"})
    code, _, told = migrate(repository, "--write")
    assert code == 3
    assert "error: ./broken.yaml:1" in told
    assert f"{PREFIX}enforce:" not in (repository / "ns.yaml").read_text()
    assert "runAsNonRoot" in (repository / "apps" / "web.json").read_text()


def test_a_chart_is_named(repository: Path) -> None:
    tree(repository, CHART)
    code, _, told = migrate(repository, "--write")
    assert code == 1
    assert "held back from restricted by charts (1)" in told
    (repository / ".kubectl-harden.yaml").write_text("exclude: [charts/]\n")
    code, _, told = migrate(repository, "--write")
    assert code == 0
    assert "excludes" in told


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("-f", "ns.yaml", "--apply"), "-f works on files, which --write edits, without a cluster: leave out --apply"),
        (("-f", "ns.yaml", "-A", "--plan-out", "x"), "leave out -A, --plan-out"),
        (("-f", "ns.yaml", "-l", "a=b"), "leave out -l"),
        (("-f", "ns.yaml", "--no-trial"), "leave out --trial"),
        (("-f", "ns.yaml", "--timeout", "5m"), "leave out --timeout"),
        (("-f", "ns.yaml", "-o", "markdown"), "-o markdown is for a cluster"),
        (("-f", "ns.yaml", "shop"), '"shop" is not a file: with -f, -n shop names a namespace'),
        (("-f", "ns.yaml", "--policy-version", "1.30"), 'unknown policy version "1.30"'),
        (("-f", "-", "--write"), "stdin is not a file"),
        (("-A", "--write"), "--write is about files"),
        (("shop", "-R"), "-R is about files"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(repository: Path, arguments: tuple[str, ...], words: str) -> None:
    before = contents(repository)
    done = run("migrate", *arguments, cwd=repository)
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert contents(repository) == before


def test_which_files_and_namespaces(repository: Path) -> None:
    tree(repository, {"other.yaml": NAMESPACE.replace("shop", "other"), "skip": "other\n"})
    two = ("-f", "ns.yaml", "-f", "other.yaml", "-f", "apps")
    for arguments, code in (
        ((*two, "-n", "shop"), 1),
        ((*two, "--exclude-from", "skip"), 1),
        (("-f", "ns.yaml,other.yaml,apps", "--exclude", "oth*"), 1),
        (("-f", "ns.yaml", "apps/web.json", "apps/job.json"), 1),
    ):
        done = run("migrate", *arguments, "-o", "json", cwd=repository)
        assert (done.returncode, [item["name"] for item in json.loads(done.stdout)["namespaces"]]) == (code, ["shop"])
    assert run("migrate", *two, "-n", "shopp", cwd=repository).returncode == 3
    stream = NAMESPACE + "---\n" + text()
    assert re.search(rb"(?m)^\+ .* shop$", run("migrate", "-f", "-", stdin=stream).stderr)
    assert b".: workloads in its subdirectories are not read" in run("migrate", "-f", ".", cwd=repository).stderr
    none = run("migrate", "-f", "apps", cwd=repository)
    # Where workloads go to namespaces that nobody declares, nothing is said to be well.
    assert (none.returncode, none.stdout) == (1, b"")
    assert b"no Namespaces found in these files" in none.stderr


def test_words_of_files_are_escaped(tmp_path: Path) -> None:
    name = "a\x1b[31mb"
    tree(tmp_path, {"ns.yaml": json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}), "web.json": text(namespace=name)})  # fmt: skip
    for output in ("text", "wide", "json"):
        done = run("migrate", "-f", ".", "-o", output, cwd=tmp_path)
        assert b"\x1b" not in done.stderr
        assert done.returncode == 1

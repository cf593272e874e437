"""The page of live namespaces, before and after a migration, with the runs that are kept."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.browser import browser
from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload


def test_what_a_migration_changed_stands_on_the_page(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    namespace.create(workload("Deployment", "web", replicas=0))
    page, runs = tmp_path / "page.html", tmp_path / "runs"
    command = ("migrate", namespace.name, "--report", str(page), "--history", str(runs))
    assert harden(*command).code == 1
    assert "This is the first run that is kept in" in page.read_text()
    assert f"kubectl harden migrate {namespace.name} --level restricted --apply" in page.read_text()
    done = harden(*command, "--apply", "--yes")
    assert done.code == 0, done
    (first, second) = sorted(runs.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    seen = [json.loads(file.read_text())["namespaces"] for file in (first, second)]
    assert [one[0]["enforces"] for one in seen] == ["–", "restricted"]
    assert [one[0]["workloads"] for one in seen] == [
        {"Deployment web": ["baseline"]},
        {"Deployment web": ["restricted"]},
    ]
    with browser() as chromium:
        chromium.get(f"file://{page}")
        overview = chromium.find_element("id", "overview").text
        assert "Enforced before\n1 enforce nothing 100 %\nEnforced now\n1 enforce restricted 100 %" in overview
        changes = chromium.find_element("id", "changes").text
        assert f"{namespace.name} / Deployment web baseline → restricted" in changes
        assert f"{namespace.name}: – → restricted" in changes
        assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_check_is_compared_with_checks_of_the_same_cluster_and_namespace(
    namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    namespace.create(workload("Deployment", "web", replicas=0, hostPID=True))
    runs = str(tmp_path / "runs")
    command = ("check", "-n", namespace.name, "-o", "html", "--history", runs)
    assert "This is the first run" in harden(*command).out
    namespace.create(workload("Deployment", "new", replicas=0))
    again = harden(*command).out
    assert "1 workload is new" in again
    assert f"<code>kubectl harden fix deployment/new -n {namespace.name}" in again
    other = harden("check", "deploy/web", "-n", namespace.name, "-o", "html", "--history", runs)
    assert "This is the first run" in other.out
    assert "has 2 runs of other inputs, with which this one is not compared" in other.err.replace("\n", " ")


def test_a_history_that_cannot_be_kept_begins_nothing(namespace: Namespace, harden: Harden, tmp_path: Path) -> None:
    namespace.create(workload("Deployment", "web", replicas=0))
    (tmp_path / "file").write_text("")
    page = tmp_path / "page.html"
    command = (
        "migrate",
        namespace.name,
        "--apply",
        "--yes",
        "--report",
        str(page),
        "--history",
        str(tmp_path / "file"),
    )
    done = harden(*command)
    assert (done.code, page.exists()) == (2, False)
    assert "enforce" not in json.dumps(namespace.plane.request("GET", f"/api/v1/namespaces/{namespace.name}"))


def test_a_run_that_cannot_be_kept_still_tells_how_to_take_it_back(
    namespace: Namespace, harden: Harden, tmp_path: Path
) -> None:
    namespace.create(workload("Deployment", "web", replicas=0))
    page = tmp_path / "page.html"
    command = ("migrate", namespace.name, "--apply", "--yes", "--report", str(page), "--history", "/proc/self/fd")
    done = harden(*command)
    assert done.code != 0
    assert "To undo it: kubectl harden undo" in (done.out + done.err).replace("\n", " ")
    assert "not written" in done.err

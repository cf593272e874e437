"""What a migration changes in checkouts, as text, JSON, Markdown and on the page."""

from __future__ import annotations

from pathlib import Path

from kubectl_harden.manifests.checkout import Checkout
from kubectl_harden.migration.at_source import Open, Outlook, Repository, SourceChanges, states
from kubectl_harden.migration.model import Aim, Survey
from kubectl_harden.plan_model import FileFix
from kubectl_harden.reports.migrate_source import (
    diffs,
    source_json,
    source_lines,
    source_markdown,
    source_page,
    source_summary,
)
from kubectl_harden.reports.output import shown
from kubectl_harden.reports.report import report_page
from tests.support.browser import browser
from tests.support.surveys import survey

HOSTILE = "<img src=x onerror=boom()>\x1b[2J"
FILE = FileFix("/src/fleet/apps/web.yaml", f"a: 1   # {HOSTILE}\n", ((0, 4, "a: 2"),), (), ())
NEW = FileFix("/src/fleet/apps/new.yaml", "", ((0, 0, "b: 1\n"),), (), ())
REPOSITORY = Repository(
    Checkout("/src/fleet", branch="main"),
    ("https://git.example.com/fleet",),
    (FILE, NEW),
    {"Deployment shop/web": ("apps/web.yaml", "apps/new.yaml")},
    {"shop": {"pod-security.kubernetes.io/warn": "restricted"}},
    ("Kustomization flux/apps",),
    (f"note {HOSTILE}",),
)
CHANGES = SourceChanges(
    (REPOSITORY,),
    (Open("Deployment shop/api", "shop", "its files meet the level already"),),
    (Open("Deployment shop/db", "shop", f"why {HOSTILE}"), Open("Deployment shop/mq", "shop", f"why {HOSTILE}")),
    (
        Outlook("shop", "restricted:latest", "", ("Deployment shop/db: managed by others",)),
        Outlook("crm", "baseline:v1.30"),
    ),
    written=False,
)


def text(changes: SourceChanges) -> str:
    return " ".join(shown("".join(source_lines(changes, columns=90)), colour=False).split())


def test_people_are_told_what_to_commit_where_and_what_is_left() -> None:
    told = text(CHANGES)
    assert (
        "To commit and push, once --write has written it, in /src/fleet (https://git.example.com/fleet, branch main): "
        "apps/new.yaml, apps/web.yaml. Kustomization flux/apps will apply it."
    ) in told
    assert "Namespace shop: pod-security.kubernetes.io/warn=restricted" in told
    assert "No proved change at its source Deployment shop/db, Deployment shop/mq: why" in told
    assert (
        "Meets the level in its files, but not yet in the cluster Deployment shop/api: its files meet the level already"
        in told
    )
    assert "shop: stays held back from restricted:latest after that by Deployment shop/db: managed by others" in told
    assert "crm: after that the same command takes it to baseline:v1.30" in told
    assert "\x1b" not in told
    assert "Commit and push in /src/fleet" in text(CHANGES._replace(written=True))
    assert [line for meaning, line in diffs(CHANGES) if meaning == "strong"] == [
        "--- a/apps/web.yaml",
        "+++ b/apps/web.yaml",
        "--- /dev/null",
        "+++ b/apps/new.yaml",
    ]


def test_the_last_line() -> None:
    assert source_summary(CHANGES) == (
        "1 workload to edit at the source in 2 files of 1 repository; --write edits them; 1 written, wait for reconcile "
        "(commit and push); 2 without a proved change at the source"
    )
    assert "1 workload edited at the source in 2 files of 1 repository: commit and push; " in source_summary(
        CHANGES._replace(written=True)
    )
    assert source_summary(SourceChanges((), (), (), (), written=True)) == ""
    assert not SourceChanges((), (), (), (), written=True).is_open


def test_programs_get_the_files_with_digests_and_diffs() -> None:
    found = source_json(CHANGES)
    (part,) = found["repositories"]  # type: ignore[misc]
    web, new = part["files"]  # type: ignore[index]
    assert (web["path"], web["before"], web["after"]) == ("apps/web.yaml", *states(FILE))
    assert web["before"] != web["after"]
    assert (new["path"], new["before"]) == ("apps/new.yaml", None)
    assert web["diff"].startswith("--- a/apps/web.yaml\n+++ b/apps/web.yaml\n@@ -1 +1 @@\n-a: 1")
    assert part["workloads"] == [  # type: ignore[index]
        {"name": "Deployment shop/web", "files": ["apps/web.yaml", "apps/new.yaml"]}
    ]


def test_markdown_is_not_taken_for_html() -> None:
    told = "".join(source_markdown(CHANGES))
    assert "## Changes in https://git.example.com/fleet" in told
    assert "- [ ] Deployment shop/web: apps/web.yaml, apps/new.yaml" in told
    assert "<img" not in told and "\x1b" not in told


def test_the_page_shows_the_diffs(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    aim = Aim("restricted", detailed=True)
    with browser() as page:
        for changes, hidden in ((CHANGES, False), (None, True)):
            path.write_text(report_page(survey(3, 2), aim, [], changes=changes))
            page.get(f"file://{path}")
            assert page.execute_script("return document.documentElement.dataset.ready") == "yes"
            assert page.execute_script("return document.getElementById('source') === null") is hidden
            if not hidden:
                told = page.execute_script("return document.getElementById('source').textContent")
                assert "+a: 2" in told and "onerror=boom()" in told and "No proved change at its source" in told
                assert page.execute_script("return document.querySelectorAll('#source img').length") == 0
        assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert source_page(None) == []
    assert "\x1b" not in str(source_page(CHANGES))
    assert 'id="source"' not in report_page(Survey(()), aim, [])

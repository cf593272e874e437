"""The page in a real browser, on a desk and on a phone: ``reports/page_charts.py``, ``reports/page_model.py``,
``reports/page_history.py`` and ``cli/page.py``.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from kubectl_harden.migration.model import Aim
from kubectl_harden.reports.history import History, Run, Seen, history_of
from kubectl_harden.reports.page import page_text
from kubectl_harden.reports.page_charts import BY_LEVEL, percent
from kubectl_harden.reports.page_model import About, Cell, Chart, Page, Part, Reason, Space, Workload
from kubectl_harden.reports.report import report_page, run_of
from tests.support.browser import browser
from tests.support.command import run
from tests.support.surveys import survey

WIDTHS = (1280, 390)
HOSTILE = (
    "</script><script>document.title='broken'</script>",
    '"><img src=x onerror="document.title=\'broken\'">',
    "' onclick='alert(1)",
    "<!--",
    "a\x1b]0;x\x07\u202eb\nc\r\x00",
    "=HYPERLINK(\"http://x\")",
    "&lt;b&gt;",
    "${1}`\\u003c",
)  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


def opened(chromium: Any, path: Path, width: int = 1280, address: str = "") -> Any:
    mobile = width < 500
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chromium.get_log("browser")
    # Another address of the same file is no new page.
    chromium.get("about:blank")
    chromium.get(f"file://{path}{address}")
    assert chromium.execute_script("return document.documentElement.dataset.ready") == "yes"
    return chromium


def written(tmp_path: Path, about: About | None = None, namespaces: int = 12, workloads: int = 5) -> Path:
    path = tmp_path / "page.html"
    about = about or About("prod", "2026-11-28T21:15:00Z")
    path.write_text(report_page(survey(namespaces, workloads), Aim("restricted", detailed=True), [], about=about))
    return path


def faults(page: Any) -> list[Any]:
    return [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def shown(page: Any, where: str) -> list[str]:
    script = (
        "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).map(e => e.dataset.n)"
    )
    found: list[str] = page.execute_script(script, where)
    return found


def numbers(page: Any, title: str) -> dict[str, int]:
    """Return the counts of a bar by their words, and hold the bar's parts to them."""
    script = """const figure = [...document.querySelectorAll("figure")].find(f => f.innerText.startsWith(arguments[0]));
    const wide = figure.querySelector(".bar").getBoundingClientRect().width;
    return [...figure.querySelectorAll("li")].filter(li => !li.hidden).map(li => [li.dataset.w, li.querySelector("strong").textContent,
      li.querySelector("small").textContent, [...figure.querySelectorAll(".bar span")].find(s => s.dataset.v === li.dataset.v).getBoundingClientRect().width / wide]);"""
    found = page.execute_script(script, title)
    counts = {words: int(count.replace(",", "")) for words, count, _, _ in found}
    whole = sum(counts.values())
    for words, _, share, part in found:
        assert share == percent(counts[words], whole)
        assert part == pytest.approx(counts[words] / whole, abs=0.02)
    return counts


@pytest.mark.parametrize("width", WIDTHS)
def test_filters_move_the_bars_and_stand_in_the_address(chromium: Any, tmp_path: Path, width: int) -> None:
    path = written(tmp_path)
    page = opened(chromium, path, width)
    assert numbers(page, "Workloads: level met now") == {"restricted": 15, "baseline": 42, "privileged": 3}
    page.execute_script(
        "const t = document.getElementById('team'); t.value = 'sre'; t.dispatchEvent(new Event('change'))"
    )
    assert page.current_url.endswith("#team=sre")
    assert numbers(page, "Workloads: level met now") == {"baseline": 12, "privileged": 3}
    assert numbers(page, "Namespaces: on the way") == {"held back": 3}
    assert page.find_element(By.ID, "h-ns").text == "Namespaces (3 of 12, 15 workloads)"
    level = "const l = document.getElementById('level'); l.value = 'privileged'; l.dispatchEvent(new Event('change'))"
    page.execute_script(level)
    assert page.current_url.endswith("#team=sre&level=privileged")
    address = page.current_url
    # The address is the view: whoever opens it sees the same.
    page = opened(chromium, path, width, "#" + address.partition("#")[2])
    assert numbers(page, "Workloads: level met now") == {"privileged": 3}
    assert page.execute_script("return document.getElementById('team').value") == "sre"
    page.execute_script("document.querySelector('#controls a[data-v=restrictedVolumes]').click()")
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert page.current_url.endswith("#control=restrictedVolumes")
    assert numbers(page, "Workloads: level met now") == {"privileged": 3}
    page.execute_script("location.hash = 'q=no-such-thing'")
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert page.find_element(By.ID, "nothing").is_displayed()
    assert faults(page) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(chromium: Any, tmp_path: Path, width: int) -> None:
    page = opened(chromium, written(tmp_path), width)
    page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")
    wide = """return [...document.querySelectorAll("body *")].filter(e => !e.closest("pre") && e.checkVisibility())
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert page.execute_script(wide) == []
    assert page.execute_script("return innerWidth") == width


def test_a_namespace_opens_to_workloads_with_reasons_and_commands(chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, written(tmp_path))
    assert shown(page, ".w") == []
    space = page.find_element(By.CSS_SELECTOR, ".ns[data-n=team-001] > summary")
    space.click()
    names = shown(page, ".w")
    assert names == ["DaemonSet agent", *(f"Deployment app-0{number}" for number in range(1, 5))]
    agent = page.find_element(By.CSS_SELECTOR, ".ns[data-n=team-001] .w")
    assert "held back: restrictedVolumes" in agent.text
    agent.find_element(By.TAG_NAME, "summary").click()
    assert "restricted volume types (volume" in agent.text and "mounts the container runtime socket" in agent.text
    # Across the width: not in the column of the name.
    inside = agent.find_element(By.CSS_SELECTOR, ".reason")
    assert inside.size["width"] > 1000
    page.execute_async_script("setTimeout(arguments[0], 50)")
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    agent.find_element(By.CSS_SELECTOR, ".cmd button").click()
    page.execute_async_script("setTimeout(arguments[0], 100)")
    copied = page.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], e => arguments[0](String(e)))"
    )
    assert copied == "kubectl harden fix daemonset/agent -n team-001"
    assert agent.find_element(By.CSS_SELECTOR, ".cmd button").text == "copied"
    assert faults(page) == []


def downloaded(page: Any, directory: Path, button: str, name: str) -> str:
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(directory)})
    page.execute_script("document.getElementById(arguments[0]).click()", button)
    for _ in range(200):
        # The name is taken by an empty file until the whole one is moved there.
        if (directory / name).is_file() and (directory / name).stat().st_size:
            break
        time.sleep(0.05)
    text = (directory / name).read_bytes().decode("utf-8")
    (directory / name).unlink()
    return text


def test_csv_and_json_are_what_is_shown(chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, written(tmp_path), 1280, "#team=sre&level=privileged")
    value = json.loads(downloaded(page, tmp_path, "json", "pod-security.json"))
    assert value["filters"] == {"team": "sre", "level": "privileged"}
    assert value["summary"] == {"namespaces": 3, "workloads": 3}
    assert [item["namespace"] for item in value["workloads"]] == ["team-001", "team-005", "team-009"]
    first = value["workloads"][0]
    assert first["workload"] == "DaemonSet agent"
    assert first["heldBackBy"] == ["restrictedVolumes"]
    assert first["commands"] == ["kubectl harden fix daemonset/agent -n team-001"]
    assert any("restricted volume types" in reason for reason in first["reasons"])
    text = downloaded(page, tmp_path, "csv", "pod-security.csv")
    assert text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert [(row["namespace"], row["workload"], row["level"]) for row in rows] == [
        (f"team-00{number}", "DaemonSet agent", "privileged") for number in (1, 5, 9)
    ]
    assert faults(page) == []


def hostile(words: str) -> Page:
    reason = Reason(words, words, words, (words,), (words,), (words,), words, words)
    item = Workload(words, "baseline", "restricted", words, words, words, words, words, (words,), (words,), (reason,),
                    (words,), (words,), words, words, words, words, (words,))  # fmt: skip
    space = Space(words, (Cell(words),), (item,), words, "baseline", "restricted", words, words, words, words, (words,),
                  (reason,), (words,), (words,))  # fmt: skip
    key = (words, words, words)
    before = Run("2026-11-01T00:00:00Z", words, {key: Seen("privileged", words)}, {(words, words): "–"})
    now = Run("2026-11-02T00:00:00Z", words, {key: Seen("baseline", words)}, {(words, words): words}, 1)
    return Page("migrate", words, (space, space._replace(cluster="")), ("Held to",),
                (Chart(words, "w", "l", BY_LEVEL), Chart(words, "ns", "s", ((words, "none", words),))),
                words, words, words, words, words, (words,), (Part(words, (words,), words),),
                history_of(words, words, (before,))._replace(now=now))  # fmt: skip


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_names_stay_text(chromium: Any, tmp_path: Path, words: str) -> None:
    path = tmp_path / "page.html"
    path.write_text("".join(page_text(hostile(words))), encoding="utf-8")
    page = opened(chromium, path)
    assert page.title != "broken"
    assert page.execute_script("return [document.images.length, document.scripts.length]") == [0, 1]
    script = """return [...document.querySelectorAll("*")].filter(e => [...e.attributes].some(a => a.name.startsWith("on"))).length"""
    assert page.execute_script(script) == 0
    value = json.loads(downloaded(page, tmp_path, "json", "pod-security.json"))
    seen = value["workloads"][0]["workload"]
    assert "\x1b" not in seen and "\u202e" not in seen
    if words.isprintable():
        assert seen == words
    # A link with the words filters by them, and finds both.
    page.execute_script("document.querySelector('#controls a').click()")
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert len([name for name in page.execute_script("return works.map(w => w.shown)") if name]) == 2
    rows = list(csv.reader(io.StringIO(downloaded(page, tmp_path, "csv", "pod-security.csv").removeprefix("\ufeff"))))
    assert not any(cell.startswith(("=", "+", "@", "\t")) for row in rows for cell in row)
    page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert page.title != "broken"
    assert faults(page) == []


def test_only_the_pages_own_script_may_run(chromium: Any, tmp_path: Path) -> None:
    path = written(tmp_path, namespaces=2)
    path.write_text(path.read_text().replace("</footer>", "</footer><script>document.title = 'broken'</script>"))
    page = opened(chromium, path)
    assert page.title == "Namespaces on their way to restricted"
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_without_a_script_all_is_there(chromium: Any, tmp_path: Path) -> None:
    path = written(tmp_path, namespaces=4)
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get("about:blank")
        chromium.get(f"file://{path}")
        assert not chromium.find_element(By.ID, "filters").is_displayed()
        assert "15 baseline" not in chromium.find_element(By.ID, "overview").text
        assert "14 baseline 70 %" in chromium.find_element(By.ID, "overview").text
        for summary in chromium.find_elements(By.CSS_SELECTOR, ".ns > summary"):
            summary.click()
        item = chromium.find_element(By.CSS_SELECTOR, ".ns[data-n=team-000] .w")
        item.find_element(By.TAG_NAME, "summary").click()
        assert "kubectl harden fix deployment/app-00 -n team-000" in item.text
        link = item.find_element(By.CSS_SELECTOR, "a.edits")
        link.click()
        edits = chromium.find_element(By.ID, str(link.get_attribute("href")).partition("#")[2])
        assert edits.is_displayed() and "runAsNonRoot: true" in edits.text
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_namespaces_are_open(chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, written(tmp_path, namespaces=3))
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        heights = page.execute_script(
            "return [...document.querySelectorAll('.w')].map(e => e.getBoundingClientRect().height)"
        )
        assert len(heights) == 15 and all(heights)
        assert not page.find_element(By.ID, "filters").is_displayed()
        assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_in_the_dark_it_is_dark(chromium: Any, tmp_path: Path) -> None:
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    try:
        page = opened(chromium, written(tmp_path, namespaces=2))
        colours = page.execute_script("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
        assert colours == ["rgb(21, 23, 26)", "rgb(230, 232, 235)"]
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_history_shows_progress_and_what_changed(chromium: Any, tmp_path: Path) -> None:
    found = survey(4, 3)
    about = About("prod", "2026-11-28T21:15:00Z", history=History("runs", "x"))
    now = run_of(found, [], about, 0)
    first = Run("2026-11-01T06:00:00Z", "x", {key: Seen("privileged", seen.team) for key, seen in now.workloads.items()},
                {("", "team-000"): "baseline"})  # fmt: skip
    last = {**now.workloads, ("", "team-000", "Deployment app-01"): Seen("privileged"),
            ("", "team-003", "Deployment app-02"): Seen("restricted"), ("", "old", "Pod x"): Seen("baseline")}  # fmt: skip
    del last["", "team-001", "DaemonSet agent"]
    second = first._replace(made="2026-11-14T06:00:00Z", workloads=last)
    part = first._replace(made="2026-11-20T06:00:00Z", workloads={}, problems=3)
    history = history_of("runs", "x", (first, second, part))._replace(now=now)
    path = tmp_path / "page.html"
    path.write_text(report_page(found, Aim("restricted", detailed=True), [], about=about._replace(history=history)))
    for width in WIDTHS:
        page = opened(chromium, path, width)
        assert "Since the last run (2026-11-14 06:00 UTC)" in page.find_element(By.ID, "changes").text
        text = page.find_element(By.ID, "changes").get_attribute("textContent")
        assert "1 workload meets a higher levelteam-000 / Deployment app-01 privileged → baseline" in text
        assert "1 workload is newteam-001 / DaemonSet agent privileged" in text
        assert "1 workload no longer existsold / Pod x baseline" in text
        assert "1 namespace enforces a different levelteam-000: baseline → –" in text
        columns = page.find_elements(By.CSS_SELECTOR, "#progress > .columns .column")
        assert [column.get_attribute("title") for column in columns][2].endswith("(not all could be read)")
        assert len(columns) == 4
        assert [row.get_attribute("textContent") for row in page.find_elements(By.CSS_SELECTOR, "#by-team td:first-child")] == [
            "payments", "search", "sre"]  # fmt: skip
        assert faults(page) == []


def test_a_history_that_begins_says_so(tmp_path: Path) -> None:
    found = survey(1, 1)
    about = About(history=History("runs", "x"))
    history = History("runs", "x", now=run_of(found, [], about, 0))
    text = report_page(found, Aim("restricted", detailed=True), [], about=about._replace(history=history))
    assert "This is the first run that is kept in runs" in text


def test_many_runs_are_thinned_out(tmp_path: Path) -> None:
    found = survey(1, 1)
    now = run_of(found, [], About("", "2026-11-28T21:15:00Z"), 0)
    runs = tuple(
        now._replace(made=f"2026-{month:02}-{day:02}T00:00:00Z") for month in range(1, 10) for day in range(1, 28)
    )
    history = history_of("runs", "x", runs)._replace(now=now)
    text = report_page(found, Aim("restricted", detailed=True), [], about=About(history=history))
    assert "; 244 runs, of which 30 are drawn." in text
    # All of them, and those of the one team.
    assert text.count('class="column"') == 2 * 30
    assert 'title="2026-01-01 00:00' in text and 'title="2026-11-28 21:15' in text


def test_the_command_keeps_runs_and_compares_them(tmp_path: Path) -> None:
    def pod(image: str, more: str) -> str:
        return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: shop}}\nspec: {{{more}containers: [{{name: c, image: {image}}}]}}\n"

    (tmp_path / "pod.yaml").write_text(pod("a", "hostPID: true, "))
    arguments = ("check", "-f", "pod.yaml", "-o", "html", "--history", "runs")
    first = run(*arguments, cwd=tmp_path)
    assert first.returncode == 1
    assert "This is the first run that is kept in runs" in first.stdout.decode()
    (tmp_path / "pod.yaml").write_text(pod("a", ""))
    (tmp_path / "runs" / "README").write_text("mine")
    second = run(*arguments, cwd=tmp_path)
    assert second.returncode == 1
    assert "1 workload meets a higher level" in second.stdout.decode()
    assert "runs/README is not a run that --history kept, and is left alone" in second.stderr.decode()
    assert len(list((tmp_path / "runs").glob("*.json"))) == 2
    assert (tmp_path / "runs" / "README").read_text() == "mine"
    # Another input has a history of its own.
    (tmp_path / "other.yaml").write_text(pod("b", ""))
    other = run("check", "-f", "other.yaml", "-o", "html", "--history", "runs", cwd=tmp_path)
    assert "This is the first run" in other.stdout.decode()
    assert "runs has 2 runs of other inputs, with which this one is not compared" in other.stderr.decode()
    refused = run("check", "-f", "pod.yaml", "--history", "runs", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.decode()) == (
        2,
        "error: --history is for -o html, whose page shows it\n",
    )
    refused = run("migrate", "-A", "--history", "runs", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.decode()) == (
        2,
        "error: --history is for --report, whose page shows it\n",
    )


def test_three_hundred_workloads_are_no_long_list(chromium: Any, tmp_path: Path) -> None:
    documents = []
    for number in range(300):
        documents.append(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}, namespace: team-{number % 15}}}\n"
                         "spec: {containers: [{name: c, image: a}]}\n")  # fmt: skip
    (tmp_path / "all.yaml").write_text("---\n".join(documents))
    (tmp_path / "page.html").write_bytes(run("check", "-f", "all.yaml", "-o", "html", cwd=tmp_path).stdout)
    for width, most in ((1280, 2500), (390, 4500)):
        page = opened(chromium, tmp_path / "page.html", width)
        assert page.execute_script("return document.documentElement.scrollHeight") < most
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        assert numbers(page, "Workloads by the level") == {"baseline": 300}


@pytest.mark.parametrize(("part", "whole", "shown"), [(0, 0, "–"), (0, 3, "0 %"), (1, 3, "33 %"), (3, 3, "100 %"),
                                                      (999, 1000, "99 %"), (1, 1000, "1 %")])  # fmt: skip
def test_a_share_is_neither_all_nor_nothing_by_rounding(part: int, whole: int, shown: str) -> None:
    assert percent(part, whole) == shown


def test_several_clusters_stand_one_below_the_other(chromium: Any, tmp_path: Path) -> None:
    def space(cluster: str, name: str, *levels: str) -> Space:
        works = tuple(Workload(f"Pod {index}", level, level) for index, level in enumerate(levels))
        return Space(name, (Cell("restricted"),), works, cluster, min(levels))

    spaces = (
        space("eu", "shop", "baseline", "restricted"),
        space("us", "shop", "baseline"),
        space("us", "a", "privileged"),
    )
    page_of = Page("check", "Pods", spaces, ("Held to",), (Chart("Workloads", "w", "l", BY_LEVEL),))
    path = tmp_path / "page.html"
    path.write_text("".join(page_text(page_of)))
    for width in WIDTHS:
        page = opened(chromium, path, width)
        headings = [element.text for element in page.find_elements(By.CSS_SELECTOR, ".cluster h3")]
        assert headings == ["eu", "us"]
        script = "return [...document.querySelectorAll('#clusters tbody tr')].filter(r => !r.hidden).map(r => [...r.cells].map(c => c.textContent))"
        assert page.execute_script(script) == [["eu", "", "2", "50 %"], ["us", "", "2", "0 %"]]
        page.execute_script("document.querySelector('#clusters a[data-v=us]').click()")
        page.execute_async_script("setTimeout(arguments[0], 50)")
        assert page.current_url.endswith("#cluster=us")
        assert shown(page, ".ns") == ["shop", "a"]
        assert numbers(page, "Workloads") == {"baseline": 1, "privileged": 1}
        assert page.execute_script(script) == [["us", "", "2", "0 %"]]
        assert [element.text for element in page.find_elements(By.CSS_SELECTOR, ".cluster h3") if element.text] == [
            "us"
        ]
        assert faults(page) == []

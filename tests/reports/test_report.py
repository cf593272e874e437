"""The page to show around, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from kubectl_harden.live.apply import Outcome
from kubectl_harden.migration.migrate import Migrated
from kubectl_harden.migration.model import Aim, Survey
from kubectl_harden.reports.page_model import About
from kubectl_harden.reports.report import field_diff, report_page
from tests.support.browser import browser
from tests.support.harden import workload
from tests.support.surveys import namespace, survey

SEVERE = ("SEVERE", "WARNING")
COUNT = "return [...document.querySelectorAll('.w')].filter(e => !e.hidden).length"
ROWS = {
    "ns": "return [...document.querySelectorAll('.ns')].filter(e => !e.hidden).map(e => [...e.querySelector('summary').children].map(c => c.textContent))",
    "wl": "return [...document.querySelectorAll('.w')].filter(e => !e.hidden && !e.closest('.ns').hidden).map(e => [e.closest('.ns').dataset.n, e.dataset.n, e.dataset.o || ''])",
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


def opened(chromium: Any, tmp_path: Path, found: Survey, done: list[Migrated] | None = None) -> Any:
    path = tmp_path / "report.html"
    about = About("prod", "2026-11-28T21:15:00Z")
    path.write_text(report_page(found, Aim("restricted", detailed=True), done or [], about=about))
    chromium.get_log("browser")
    chromium.get(f"file://{path}")
    assert chromium.execute_script("return document.documentElement.dataset.ready") == "yes"
    return chromium


def rows(page: Any, table: str) -> list[list[str]]:
    script = f"return [...document.querySelectorAll('#{table} tbody tr')].filter(r => !r.hidden).map(r => [...r.cells].map(c => c.textContent))"
    found: list[list[str]] = page.execute_script(ROWS.get(table, script))
    return found


def faults(page: Any) -> list[Any]:
    return [entry for entry in page.get_log("browser") if entry["level"] in SEVERE]


def test_hundreds_of_namespaces_and_ten_thousand_workloads(chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, survey(400, 25))
    assert len(rows(page, "ns")) == 400
    assert page.find_element("id", "h-ns").text == "Namespaces (400)"
    assert "400 namespaces · 10,000 workloads" in page.find_element("tag name", "header").text
    assert page.execute_script(COUNT) == 10_000
    # Namespaces are closed: the page is as long as they are.
    assert page.execute_script("return document.body.scrollHeight") < 400 * 60 + 2000
    assert faults(page) == []


def test_filters_and_sorting_work_from_the_keyboard(chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, survey(40, 5))
    ActionChains(page).send_keys("/").perform()
    assert page.switch_to.active_element.get_attribute("id") == "q"
    ActionChains(page).send_keys("team-01", Keys.ENTER).perform()
    assert {row[0] for row in rows(page, "ns")} == {f"team-0{index}" for index in range(10, 20)}
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    assert len(rows(page, "ns")) == 40
    # Tab to the state, and choose by typing.
    ActionChains(page).send_keys(Keys.TAB).send_keys("held").perform()
    assert {row[1] for row in rows(page, "ns")} == {"✗ held back"}
    assert len(rows(page, "ns")) == 20
    page.find_element("css selector", ".heads span:nth-child(1) button").send_keys(Keys.ENTER)
    names = [row[0] for row in rows(page, "ns")]
    assert names == sorted(names)
    page.find_element("css selector", ".heads span:nth-child(1) button").send_keys(Keys.SPACE)
    assert [row[0] for row in rows(page, "ns")] == names[::-1]
    assert page.find_element("css selector", ".heads span").get_attribute("aria-sort") == "descending"
    page.find_element("css selector", "button[type=reset]").send_keys(Keys.ENTER)
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert len(rows(page, "ns")) == 40
    page.execute_script(
        "const c = document.getElementById('cause'); c.value = 'restrictedVolumes'; c.dispatchEvent(new Event('change'))"
    )
    assert {row[7] for row in rows(page, "ns")} == {"restrictedVolumes (1)"}
    assert {row[1] for row in rows(page, "wl")} == {"DaemonSet agent"}
    assert rows(page, "causes") == [["restrictedVolumes", "10", "10"]]
    assert [[row[0], row[2], row[4]] for row in rows(page, "teams")] == [["sre", "10", "10"]]
    assert faults(page) == []


def test_a_workload_opens_to_its_diff_and_its_risks(chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, Survey((namespace("shop", [workload("Deployment", "web", hostPID=True)]),)))
    page.find_element("css selector", ".w summary").send_keys(Keys.ENTER)
    page.execute_async_script("setTimeout(arguments[0], 50)")
    lines = page.execute_script(
        "return [...document.querySelectorAll('.w pre span')].map(s => [s.className, s.textContent])"
    )
    assert ["at", "@ spec.template.spec"] in lines
    assert ["del", "- hostPID: true"] in lines
    assert ["add", "+ runAsNonRoot: true"] in lines or ["add", "+   runAsNonRoot: true"] in lines
    text = page.find_element("css selector", ".w").text
    assert "review: " in text
    assert "kubectl harden fix deployment/web -n shop" in text
    assert "from privileged to restricted: hostNamespaces, " in text
    assert faults(page) == []


def test_before_and_after_a_migration(chromium: Any, tmp_path: Path) -> None:
    found = Survey(
        (namespace("good", [workload("Deployment", "web")]), namespace("bad", [workload("Deployment", "old")]))
    )
    good, bad = found.namespaces
    done = [
        Migrated("good", "enforced", "", good, (), (Outcome(good.workloads[0].proposal, "applied"),),
                 {"pod-security.kubernetes.io/enforce": "restricted"}, (1, 1)),
        Migrated("bad", "failed", "it broke", bad, (), (Outcome(bad.workloads[0].proposal, "rolled back"),), {}),
    ]  # fmt: skip
    page = opened(chromium, tmp_path, found, done)
    by_name = {row[0]: row for row in rows(page, "ns")}
    assert by_name["good"][1:3] == ["enforced", "– → restricted"]
    assert by_name["bad"][1:3] == ["failed", "–"]
    assert {f"{row[0]} / {row[1]}": row[2] for row in rows(page, "wl")} == {
        "good / Deployment web": "applied",
        "bad / Deployment old": "rolled back",
    }
    overview = page.find_element("id", "overview").text
    assert "Enforced before\n2 enforce nothing 100 %" in overview
    assert "Enforced now\n1 enforce restricted 50 %\n1 enforce nothing 50 %" in overview
    assert "Workloads: level met now\n1 restricted 50 %\n1 baseline 50 %" in overview
    # What is counted by control is what is violated now.
    assert {row[2] for row in rows(page, "controls")} == {"1"}
    assert "it broke" in page.execute_script("return document.body.textContent")
    assert faults(page) == []


def test_what_a_newer_policy_version_makes_new_stands_with_the_workload() -> None:
    found = namespace("shop", [workload("Deployment", "web")])
    newly = found.workloads[0]._replace(newly=("hostProbesAndHostLifecycle",))
    page = report_page(Survey((found._replace(workloads=(newly,)),)), Aim("restricted", detailed=True), [])
    assert "fails at the policy version to compare with, and not today: hostProbesAndHostLifecycle" in page


def test_nothing_that_is_secret_gets_into_the_page(tmp_path: Path) -> None:
    value = workload("Deployment", "web", volumes=[{"name": "s", "secret": {"secretName": "the-secrets-name"}}])
    value["metadata"]["annotations"] = {"note": "HIDDEN-annotation"}
    container = value["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "PASSWORD", "value": "HIDDEN-env"}]
    container["command"] = ["sh", "-c", "chown -R app /data && exec server --token HIDDEN-argument"]
    container["args"] = ["--password=HIDDEN-args"]
    found = Survey((namespace("shop", [value]),))
    page = report_page(found, Aim("restricted", detailed=True), [])
    assert "HIDDEN" not in page
    assert "the-secrets-name" not in page
    assert "chown" in page


def test_names_cannot_break_out_of_the_page(chromium: Any, tmp_path: Path) -> None:
    evil = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>"
    found = namespace("shop", [workload("Deployment", "web")])
    found = found._replace(team=evil, blockers=(*found.blockers,))
    page = opened(chromium, tmp_path, Survey((found,)))
    assert page.title != "broken"
    assert page.execute_script("return document.images.length") == 0
    assert faults(page) == []


def test_the_page_asks_nothing_of_the_network(chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, survey(4, 2))
    assert (
        page.execute_script(
            "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
        )
        == 0
    )
    text = (tmp_path / "report.html").read_text()
    assert "http://" not in text
    assert "https://" not in text


def test_field_diff() -> None:
    patch = [
        {"op": "replace", "path": "/spec/hostPID", "value": False},
        {"op": "remove", "path": "/spec/volumes/1"},
        {"op": "add", "path": "/spec/containers/0/securityContext", "value": {"privileged": False}},
        {"op": "add", "path": "/spec/containers/0/securityContext/capabilities/drop/-", "value": "ALL"},
    ]
    before = {"/spec/hostPID": True, "/spec/volumes/1": {"name": "x", "hostPath": {"path": "/"}}}
    assert list(field_diff(patch, before)) == [
        "@ spec",
        "- hostPID: true",
        "+ hostPID: false",
        "@ spec.volumes",
        "- - name: x",
        "-   hostPath:",
        "-     path: /",
        "@ spec.containers[0]",
        "+ securityContext:",
        "+   privileged: false",
        "@ spec.containers[0].securityContext.capabilities.drop",
        "+ - ALL",
    ]

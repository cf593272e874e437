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
from kubectl_harden.reports.report import field_diff, report_page
from tests.support.browser import browser
from tests.support.harden import workload
from tests.support.surveys import namespace, survey

SEVERE = ("SEVERE", "WARNING")
COUNT = "return document.getElementById('wl').tBodies[0].rows.length"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


def opened(chromium: Any, tmp_path: Path, found: Survey, done: list[Migrated] | None = None) -> Any:
    path = tmp_path / "report.html"
    path.write_text(report_page(found, Aim("restricted", detailed=True), done or [], where="prod", made="today"))
    chromium.get_log("browser")
    chromium.get(f"file://{path}")
    assert chromium.execute_script("return document.documentElement.dataset.ready") == "yes"
    return chromium


def rows(page: Any, table: str) -> list[list[str]]:
    script = "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(r => [...r.cells].map(c => c.textContent))"
    found: list[list[str]] = page.execute_script(script, table)
    return found


def faults(page: Any) -> list[Any]:
    return [entry for entry in page.get_log("browser") if entry["level"] in SEVERE]


def test_hundreds_of_namespaces_and_ten_thousand_workloads(chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, survey(400, 25))
    assert len(rows(page, "ns")) == 400
    assert page.find_element("id", "h-wl").text == "Workloads (10,000)"
    first = page.execute_script(COUNT)
    assert 0 < first < 10_000
    for _ in range(60):
        page.execute_script("scrollTo(0, document.body.scrollHeight)")
        page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 20))")
        if page.execute_script(COUNT) == 10_000:
            break
    assert page.execute_script(COUNT) == 10_000
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
    assert {row[1] for row in rows(page, "ns")} == {"held back"}
    assert len(rows(page, "ns")) == 20
    page.find_element("css selector", "#ns th:nth-child(1) button").send_keys(Keys.ENTER)
    names = [row[0] for row in rows(page, "ns")]
    assert names == sorted(names)
    page.find_element("css selector", "#ns th:nth-child(1) button").send_keys(Keys.SPACE)
    assert [row[0] for row in rows(page, "ns")] == names[::-1]
    assert page.find_element("css selector", "#ns th").get_attribute("aria-sort") == "descending"
    page.find_element("css selector", "button[type=reset]").send_keys(Keys.ENTER)
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert len(rows(page, "ns")) == 40
    page.execute_script(
        "const c = document.getElementById('cause'); c.value = 'restrictedVolumes'; c.dispatchEvent(new Event('change'))"
    )
    assert {row[7] for row in rows(page, "ns")} == {"restrictedVolumes"}
    assert {row[0].split(" / ")[1] for row in rows(page, "wl")} == {"DaemonSet agent"}
    assert rows(page, "causes") == [["restrictedVolumes", "10", "10"]]
    assert rows(page, "teams") == [["sre", "10", "10"]]
    assert faults(page) == []


def test_a_workload_opens_to_its_diff_and_its_risks(chromium: Any, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, Survey((namespace("shop", [workload("Deployment", "web", hostPID=True)]),)))
    page.find_element("css selector", "#wl summary").send_keys(Keys.ENTER)
    page.execute_async_script("setTimeout(arguments[0], 50)")
    lines = page.execute_script(
        "return [...document.querySelectorAll('#wl pre span')].map(s => [s.className, s.textContent])"
    )
    assert ["at", "@ spec.template.spec"] in lines
    assert ["del", "- hostPID: true"] in lines
    assert ["add", "+ runAsNonRoot: true"] in lines or ["add", "+   runAsNonRoot: true"] in lines
    assert "review: " in page.find_element("id", "wl").text
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
    assert {row[0]: row[5] for row in rows(page, "wl")} == {
        "good / Deployment web": "applied",
        "bad / Deployment old": "rolled back",
    }
    assert faults(page) == []


def test_nothing_that_is_secret_gets_into_the_page(tmp_path: Path) -> None:
    value = workload("Deployment", "web", volumes=[{"name": "s", "secret": {"secretName": "the-secrets-name"}}])
    value["metadata"]["annotations"] = {"note": "HIDDEN-annotation"}
    container = value["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "PASSWORD", "value": "HIDDEN-env"}]
    container["command"] = ["sh", "-c", "chown -R app /data && exec server --token HIDDEN-argument"]
    container["args"] = ["--password=HIDDEN-args"]
    found = Survey((namespace("shop", [value]),))
    page = report_page(found, Aim("restricted", detailed=True), [], where="", made="")
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

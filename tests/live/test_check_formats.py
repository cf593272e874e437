"""The reports that other programs read, of live workloads: they have no file."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from junitparser import Error, Failure, JUnitXml

from kubectl_harden.reports.formats import FORMATS
from tests.reports.test_sarif import schema  # noqa: F401 (a fixture)
from tests.support.control_plane import Namespace
from tests.support.harden import Harden, workload


@pytest.fixture(autouse=True)
def web(namespace: Namespace) -> None:
    pod = workload("Pod", "solo")
    pod["metadata"]["annotations"] = {"kubectl-harden/allow": "runAsNonRoot: it must"}
    namespace.create(workload("Deployment", "web", hostPID=True), pod)


def test_sarif(schema: Any, namespace: Namespace, harden: Harden) -> None:  # noqa: F811
    done = harden("check", "deploy/web", "pod/solo", "deploy/missing", "-o", "sarif")
    log = json.loads(done.out)
    jsonschema.Draft4Validator(schema).validate(log)
    (run,) = log["runs"]
    places = {
        logical["fullyQualifiedName"]
        for result in run["results"]
        for place in result["locations"]
        for logical in place["logicalLocations"]
    }
    assert places == {f"{namespace.name}/Deployment/web", f"{namespace.name}/Pod/solo"}
    assert "physicalLocation" not in done.out
    prints = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
    assert len(set(prints)) == len(prints) == 9
    again = json.loads(harden("check", "deploy/web", "-o", "sarif").out)["runs"][0]["results"]
    assert {r["partialFingerprints"]["primaryLocationLineHash"] for r in again} < set(prints)
    (suppressed,) = (r for r in run["results"] if "suppressions" in r)
    assert suppressed["suppressions"][0]["justification"] == "it must"
    (notification,) = run["invocations"][0]["toolExecutionNotifications"]
    assert "missing" in notification["message"]["text"]


def test_junit(namespace: Namespace, harden: Harden) -> None:
    done = harden("check", "deploy/web", "pod/solo", "deploy/missing", "-o", "junit")
    suites = {suite.name: list(suite) for suite in JUnitXml.fromstring(done.out.encode())}
    assert suites.keys() == {namespace.name, "(cluster)"}
    for case in suites[namespace.name]:
        (failure,) = case.result
        assert isinstance(failure, Failure)
        assert not failure.text.startswith(" ")
        assert case.classname == namespace.name
    (case,) = suites["(cluster)"]
    assert isinstance(case.result[0], Error)
    assert all(element.get("file") is None for element in ElementTree.fromstring(done.out).iter("testcase"))


def test_github_annotations_and_the_page_name_no_file(namespace: Namespace, harden: Harden) -> None:
    lines = harden("check", "deploy/web", "-o", "github").out.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("::error title=") and f"Deployment {namespace.name}/web" in line for line in lines)
    page = harden("check", "deploy/web", "-o", "html").out
    assert f'data-n="{namespace.name}"' in page
    assert "<strong>Deployment web</strong>" in page
    assert f"<code>kubectl harden fix deployment/web -n {namespace.name}" in page
    assert "<small></small>" not in page


@pytest.mark.parametrize("form", [name for name, form in FORMATS.items() if not form.files])
def test_every_format_of_everything(form: str, namespace: Namespace, harden: Harden) -> None:
    done = harden("check", "-n", namespace.name, "-o", form)
    assert (done.code, "web" in done.out, "bug" in done.err) == (1, True, False)

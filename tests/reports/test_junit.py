"""JUnit reports, as others read them."""

from __future__ import annotations

from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped

from tests.support.command import GOOD, REJECTED, run


def test_junit_is_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED + "---\n" + GOOD)
    (tmp_path / "ok.yaml").write_text(
        "# kubectl-harden/allow: runAsNonRoot: <&\u200b>\n" + GOOD.replace("runAsNonRoot: true, ", "")
    )
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    done = run("check", "-f", ".", "-o", "junit", cwd=tmp_path)
    (tmp_path / "report.xml").write_bytes(done.stdout)
    report = JUnitXml.fromfile(str(tmp_path / "report.xml"))
    assert (report.tests, report.failures, report.errors, report.skipped) == (4, 1, 1, 1)
    suites = {suite.name: list(suite) for suite in report}
    web, good = suites["./web.yaml"]
    assert (web.name, good.name, good.result) == ("Deployment shop/web", "Pod good", [])
    (failure,) = web.result
    assert isinstance(failure, Failure) and failure.type == "restricted:v1.37"
    assert failure.message.startswith("host namespaces (hostNetwork=true), allowPrivilegeEscalation != false (")
    assert "./web.yaml:15 hostNamespaces: host namespaces" in failure.text
    assert isinstance(suites["./ok.yaml"][0].result[0], Skipped)
    assert isinstance(suites["./bad.yaml"][0].result[0], Error)
    assert done.returncode == 3

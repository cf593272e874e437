"""The report of `check` as a page, in a real browser."""

from __future__ import annotations

from pathlib import Path

from tests.support.browser import browser
from tests.support.command import GOOD, REJECTED, run

ACCEPTED = "# kubectl-harden/allow: hostNamespaces: 100%, sure: it listens\n"


def test_a_page_to_read(tmp_path: Path) -> None:
    """In a real browser: what is below the level comes first, evidence stands beside it, and names stay names."""
    evil = "<script>document.title='broken'</script>"
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "web.yaml").write_text(
        ACCEPTED.replace("it listens", evil)
        + REJECTED.replace("image: registry", 'command: ["chown", "x", "y"]\n          image: registry')
    )
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    (tmp_path / "page.html").write_bytes(run("check", "-f", ".", "-o", "html", cwd=tmp_path).stdout)
    with browser() as page:
        page.get(f"file://{tmp_path / 'page.html'}")
        assert page.title == "Pod Security: what admission would say"
        spaces = [head.text for head in page.find_elements("css selector", ".ns > summary strong")]
        assert spaces == ["shop", "(no namespace)"]
        page.find_element("id", "unfold").click()
        heads = [head.text for head in page.find_elements("css selector", ".w > summary > strong")]
        assert heads == ["Deployment web", "Pod good"]
        assert page.find_element("css selector", "#problems h2").text == "Not checked (1)"
        page.find_element("css selector", ".w > summary").click()
        text = page.find_element("tag name", "body").text
        assert f"accepted: 100%, sure: {evil}" in text
        assert "./web.yaml:23" in text
        assert "/spec/template/spec/containers/0/securityContext/runAsNonRoot" in text
        assert 'container "web" runs chown' in text and "(manifest)" in text
        assert "mapping values are not allowed" in text
        assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_what_was_not_looked_at_does_not_meet_its_level(tmp_path: Path) -> None:
    """With --only and --skip a page must not say that all is well."""
    (tmp_path / "web.yaml").write_text(REJECTED)
    page = run("check", "-f", "web.yaml", "-o", "html", "--only", "hostProcess", cwd=tmp_path).stdout.decode()
    assert 'data-s="not looked at in full"' in page
    assert 'data-s="meets its level"' not in page
    assert "violations of other controls are left out here, but not by Pod Security admission" in page


def test_teams_are_by_a_label_of_the_workloads(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(
        REJECTED.replace("metadata:", "metadata:\n  labels: {team: sales, owner: ops}", 1)
    )
    page = run("check", "-f", "web.yaml", "-o", "html", cwd=tmp_path).stdout.decode()
    assert '<tr data-g="sales">' in page and 'data-t="sales"' in page
    page = run("check", "-f", "web.yaml", "-o", "html", "--team-label", "owner", cwd=tmp_path).stdout.decode()
    assert '<tr data-g="ops">' in page and "sales" not in page

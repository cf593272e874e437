"""The report of ``check`` in Markdown, and ``reports/markdown.py``."""

from __future__ import annotations

from pathlib import Path

from kubectl_harden.reports.markdown import markdown_code, markdown_text
from tests.support.command import GOOD, REJECTED, run


def test_the_sum_and_what_each_violates(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(REJECTED)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("a: [")
    done = run("check", "-f", ".", "-o", "markdown", cwd=tmp_path)
    text = done.stdout.decode()
    assert done.returncode == 3
    assert text.startswith("## ✗ Pod Security\n\n2 workloads: 1 below restricted:v1.37 (6 violations); ")
    assert "### Not checked\n\n- ./bad.yaml:" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| `Deployment shop/web`"))
    assert "| privileged |" in row and "`hostNamespaces` host namespaces: hostNetwork=true" in row
    assert "Pod good" not in text


def test_tables_of_several_and_all_is_well(tmp_path: Path) -> None:
    other = REJECTED.replace("namespace: shop", "namespace: other", 1)
    shown = run("check", "-f", "-", "-o", "markdown", stdin=f"{REJECTED}\n---\n{other}").stdout.decode()
    assert "| Control | Workloads | Violations |" in shown and "| runAsNonRoot | 2 | 2 |" in shown
    assert "| Namespace | Workloads | Below | Privileged | Baseline | Restricted |" in shown
    assert "| other | 1 | 1 | 1 | 0 | 0 |" in shown
    good = run("check", "-f", "-", "-o", "markdown", stdin=GOOD)
    assert (good.returncode, good.stdout.decode()) == (
        0, "## ✓ Pod Security\n\n1 workload: all meet restricted:v1.37.\n"
    )  # fmt: skip


def test_what_is_left_out_is_told_and_is_not_well(tmp_path: Path) -> None:
    shown = run("check", "-f", "-", "-o", "markdown", "--only", "procMount", stdin=REJECTED).stdout.decode()
    assert "## ✓" not in shown and "6 violations of other controls are left out here" in shown


def test_what_a_file_says_is_shown_as_it_is(tmp_path: Path) -> None:
    evil = REJECTED.replace("name: cache", "name: '<script>|*x*'")
    shown = run("check", "-f", "-", "-o", "markdown", stdin=evil).stdout.decode()
    assert "<script>" not in shown and "&lt;script>\\|\\*x\\*" in shown


def test_text_of_others_is_not_markup() -> None:
    assert markdown_text("[a](http://b) `c`\n<d> | e_f") == "\\[a\\](http://b) \\`c\\` &lt;d> \\| e\\_f"
    assert markdown_code("a`|b\x1b") == "a'\\|b\\x1b"

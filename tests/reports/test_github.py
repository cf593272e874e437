"""Annotations of GitHub."""

from __future__ import annotations

from pathlib import Path

from tests.support.command import REJECTED, run

ACCEPTED = "# kubectl-harden/allow: hostNamespaces: 100%, sure: it listens\n"


def test_github_annotations(tmp_path: Path) -> None:
    (tmp_path / "a,b.yaml").write_text(ACCEPTED + REJECTED)
    (tmp_path / "bad.yaml").write_text("a: b: c\n")
    lines = run("check", "-f", ".", "-o", "github", cwd=tmp_path).stdout.decode().splitlines()
    assert lines[0] == (
        "::notice file=./a%2Cb.yaml,line=16,title=hostNamespaces::Deployment shop/web: host namespaces "
        "(hostNetwork=true), accepted: 100%25, sure: it listens"
    )
    assert lines[1].startswith("::error file=./a%2Cb.yaml,line=22,title=allowPrivilegeEscalation::Deployment shop/web:")
    assert lines[-1].startswith("::error file=./bad.yaml,line=1,title=not checked::mapping values are not allowed")
    assert len(lines) == 7

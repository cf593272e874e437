"""What -v tells of calls."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from kubectl_harden.cluster.call_log import LOG, log_calls
from kubectl_harden.errors import Unreachable
from kubectl_harden.reports.output import line
from tests.support.answering_server import Server, connected


def test_calls_are_told_without_what_a_terminal_acts_on(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(LOG.handlers), LOG.propagate, LOG.level
    evil = "\x1b]0;title\x07\nfake line\u202e\u2028\U000e0041\u00ad"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(
            b"HTTP/1.1 200 O\x1b[31mK\r\nContent-Length: %d\r\n\r\n" % len(evil.encode()) + evil.encode()
        )

    server.answer = answer
    try:
        log_calls(line, bodies=True)
        with pytest.raises(Unreachable):
            connected(tmp_path, server).request("GET", "/version")
    finally:
        LOG.handlers[:], LOG.propagate = before[:2]
        LOG.setLevel(before[2])
    told = capsys.readouterr().err
    assert "t0ken" not in told
    assert [line for line in told.splitlines() if not line.isprintable()] == []
    assert "\\x1b]0;title\\x07\\nfake line\\u202e\\u2028\\U000e0041\\xad" in told
    assert len(told.splitlines()) == 2

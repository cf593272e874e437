"""Credentials of a kubeconfig: what of them is sent, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubectl_harden.cluster.connection import Connection
from kubectl_harden.cluster.kubeconfig import ClusterOptions
from kubectl_harden.errors import ClusterError
from tests.support.answering_server import Server, connected


@pytest.mark.parametrize(
    "user", ["    token: |\n      t0ken\n", '    token: "t0ken\\r\\n"', "    tokenFile: TOKEN", '    token: " t0ken "']
)
def test_white_space_around_a_token_is_not_sent(tmp_path: Path, server: Server, user: str) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    connected(tmp_path, server, user.replace("TOKEN", str(tmp_path / "token"))).request("GET", "/version")
    assert server.asked[0][1]["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize("bad", ["SEK\\nRET", "SEK\\r\\nHost: RET", "SEK\\0RET", "SEK\\x1bRET", "SEK\\x7fRET"])
@pytest.mark.parametrize(
    "user", ['    token: "BAD"', '    token: t\n    as: "BAD"', '    token: t\n    as: a\n    as-groups: ["BAD"]']
)
def test_a_credential_that_no_header_can_carry_is_not_shown(
    tmp_path: Path, server: Server, user: str, bad: str
) -> None:
    with pytest.raises(ClusterError, match=r"the credentials cannot be sent: (Authorization|Impersonate)") as error:
        connected(tmp_path, server, user.replace("BAD", bad)).request("GET", "/version")
    assert "SEK" not in str(error.value) and "RET" not in str(error.value)
    assert server.asked == []


def test_names_are_sent_as_client_go_sends_them(tmp_path: Path, server: Server) -> None:
    connected(tmp_path, server, as_user="Zoë ✓", as_groups=("größe",)).request("GET", "/version")
    headers = server.asked[0][1]
    assert headers["Impersonate-User"].encode("latin-1").decode() == "Zoë ✓"
    assert headers["Impersonate-Group"].encode("latin-1").decode() == "größe"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "users: 5",
        "contexts: [1]\ncurrent-context: c",
        "contexts: [{name: c, context: 7}]\ncurrent-context: c",
        "a",
        "current-context: [a]",
    ],
)
def test_a_kubeconfig_of_other_types(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(ClusterError):
        Connection(ClusterOptions(kubeconfig=str(path)))

"""Credentials of a kubeconfig: what of them is sent, and what is said of them."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from kubectl_harden.cluster.connection import Connection
from kubectl_harden.cluster.kubeconfig import ClusterOptions, entries_of
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


@pytest.mark.parametrize("section", ["contexts", "clusters", "users"])
def test_two_of_one_name_in_a_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str) -> None:
    """As kubectl does; of two files, the first that has a name counts."""
    entries = {
        "contexts": "{name: a, context: {cluster: a, user: a}}",
        "clusters": '{name: a, cluster: {server: "https://127.0.0.1:1"}}',
        "users": "{name: a, user: {token: t}}",
    }

    def text(twice: str) -> str:
        parts = [f"{name}: [{', '.join([entry] * (2 if name == twice else 1))}]" for name, entry in entries.items()]
        return "\n".join((*parts, "current-context: a\n"))

    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text(text(section))
    with pytest.raises(ClusterError, match=f'has two {section} named "a"'):
        Connection(ClusterOptions(kubeconfig=str(one)))
    with pytest.raises(ClusterError, match=f'has two {section} named "a"'):
        entries_of(str(one), "contexts")
    one.write_text(text(""))
    other.write_text(text(""))
    monkeypatch.setenv("KUBECONFIG", f"{one}{os.pathsep}{other}")
    assert entries_of(None, "contexts") == ["a"]


def test_a_context_without_a_cluster_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text("contexts: [{name: a, context: {user: b}}]\nusers: [{name: b, user: {token: t}}]")
    with pytest.raises(ClusterError, match='the context "a" of the kubeconfig names no cluster'):
        Connection(ClusterOptions(kubeconfig=str(path), context="a"))


def test_a_certificate_that_is_none_is_not_taken_for_a_server_that_is_away(tmp_path: Path, server: Server) -> None:
    server.url = server.url.replace("http:", "https:")
    data = base64.b64encode(b"no certificate").decode()
    user = f"    client-certificate-data: {data}\n    client-key-data: {data}"
    with pytest.raises(ClusterError, match="a certificate or key of the kubeconfig cannot be used"):
        connected(tmp_path, server, user).request("GET", "/version")
    assert server.asked == []

"""Logins, redirects and proxies between a client and a registry: who is told which credentials."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.evidence.registry import ImageError, Registry, parse_reference
from kubectl_harden.evidence.registry_client import challenges, origin
from kubectl_harden.evidence.registry_login import Keyring
from tests.support.registry import Front, Images, fronted, reply

LOGIN = f"Basic {base64.b64encode(b'ann:secret').decode()}"


def user_of(front: Front, directory: Path, name: str = "base:1", *trusted: Front, login: bool = True) -> Any:
    """Ask a front for an image as ann (or nobody), trusting its certificate and those of others."""
    directory.mkdir(exist_ok=True)
    pems = [Path(each.certificates(directory)).read_text() for each in (front, *trusted)]
    (directory / "all.pem").write_text("".join(pems))
    config = {"auths": {front.host: {"username": "ann", "password": "secret"}}} if login else {}
    registry = Registry(Keyring(config), certificates=str(directory / "all.pem"))
    return registry.config(parse_reference(f"{front.host}/{name}"), (), 10)[0].get("User")


def told(front: Front) -> set[str]:
    """Return the credentials that a front was told."""
    return {asked.authorization for asked in front.asked} - {""}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", {}),
        ("Basic", {"basic": {}}),
        ('Basic realm="a b"', {"basic": {"realm": "a b"}}),
        (
            'Bearer realm="https://a/t",service=reg,scope="repository:a:pull,push"',
            {"bearer": {"realm": "https://a/t", "service": "reg", "scope": "repository:a:pull,push"}},
        ),
        (
            'BASIC realm="x, Bearer y=z", , bearer Realm = "q\\"\\\\", Negotiate',
            {"basic": {"realm": "x, Bearer y=z"}, "bearer": {"realm": 'q"\\'}, "negotiate": {}},
        ),
    ],
)
def test_challenges(header: str, expected: dict[str, dict[str, str]]) -> None:
    assert challenges(header) == expected


@pytest.mark.parametrize("header", ['Bearer realm="open', "Bearer realm=", "=", 'Bearer "a"', "Bearer\x00 a=b", "é;"])
def test_what_is_not_a_challenge(header: str) -> None:
    with pytest.raises(ValueError, match="not a challenge"):
        challenges(header)


@given(st.text(alphabet='aB=", \\\t;é', max_size=60))
def test_any_header_is_a_challenge_or_is_not(header: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(scheme == scheme.lower() for scheme in challenges(header))


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://R.io:443/other?x", True),
        ("https://evil.io@r.io/", True),
        ("http://r.io/", False),
        ("https://r.io:444/", False),
        ("https://r.io.evil.io/", False),
        ("https://r.io@evil.io/", False),
        ("https://evil.io\\@r.io/", False),
        ("https://evil.io#@r.io/", False),
    ],
)
def test_which_urls_are_of_the_same_host(url: str, same: bool) -> None:
    assert (origin(url) == origin("https://r.io/v2/")) is same


def test_a_realm_of_plain_http_is_asked_by_https(images: Images, tmp_path: Path) -> None:
    images.make("upgraded:1", "1000")
    with fronted(images, tls=True, logins={"ann": "secret"}) as front:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{front.host}/token?a=b c",service=s,scope="x y"'}
        front.answer = lambda handler: (
            handler.headers.get("Authorization") is None and reply(handler, 401, b"{}", challenge)
        )
        assert user_of(front, tmp_path, "upgraded:1") == "1000"
        assert front.asked[1].path == "/token?a=b+c&service=s&scope=x&scope=y"


def test_a_basic_login_is_sent_where_it_is_asked_for(images: Images, tmp_path: Path) -> None:
    images.make("basic:1", "1000")
    challenge = {"WWW-Authenticate": 'Basic realm="r"'}
    with fronted(images, tls=True) as front:
        front.answer = lambda handler: (
            handler.headers.get("Authorization") != LOGIN and reply(handler, 401, b"{}", challenge)
        )
        assert user_of(front, tmp_path, "basic:1") == "1000"
        assert told(front) == {LOGIN}
        front.asked.clear()
        with pytest.raises(ImageError, match="refuses to tell without a login"):
            user_of(front, tmp_path, "basic:1", login=False)
        assert told(front) == set()


@pytest.mark.parametrize(
    "challenge", ["Negotiate", "Digest realm=x", None, "=", 'Bearer service="s"', 'Bearer realm="/t"']
)
def test_no_login_is_sent_for_another_challenge(images: Images, tmp_path: Path, challenge: str | None) -> None:
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    with fronted(images, tls=True) as front:
        front.answer = lambda handler: reply(handler, 401, b"{}", headers)
        with pytest.raises(ImageError):
            user_of(front, tmp_path)
        assert told(front) == set()


def test_a_redirect_on_the_same_host_keeps_the_login_and_one_to_another_port_loses_it_for_good(
    images: Images, tmp_path: Path
) -> None:
    images.make("there:1", "1000")
    challenge = {"WWW-Authenticate": "Basic realm=r"}

    with fronted(images, tls=True) as other, fronted(images, tls=True) as front:

        def locked(handler: Any) -> bool:
            if handler.headers.get("Authorization") != LOGIN:
                return reply(handler, 401, b"{}", challenge)
            if handler.path.startswith("/v2/here/"):
                return reply(handler, 307, b"", {"Location": handler.path.replace("here", "there")})
            if "/blobs/" in handler.path:
                return reply(handler, 302, b"", {"Location": f"https://{other.host}/back{handler.path}"})
            return False

        def back(handler: Any) -> bool:
            return reply(handler, 302, b"", {"Location": f"https://{front.host}/blob{handler.path[5:]}"})

        front.answer, other.answer = locked, back
        with pytest.raises(ImageError, match="refuses"):
            user_of(front, tmp_path, "here:1", other)
        # The manifest came over a redirect with the login; the blob's way led elsewhere and back.
        paths = [(asked.path.split("/")[1:3], bool(asked.authorization)) for asked in front.asked]
        assert (["v2", "there"], True) in paths
        assert [asked.authorization for asked in other.asked] == [""] * len(other.asked) != []
        assert {authorized for (first, _), authorized in paths if first == "blob"} == {False}


def test_the_endpoint_of_tokens_is_told_the_login_and_where_it_leads_is_not(images: Images, tmp_path: Path) -> None:
    with fronted(images, tls=True, logins={"ann": "secret"}) as front, fronted(images, tls=True) as other:
        moved = {"Location": f"https://{other.host}/token"}
        front.answer = lambda handler: handler.path.startswith("/token") and reply(handler, 307, b"", moved)
        other.answer = lambda handler: reply(handler, 200, json.dumps({"token": "for-ann"}).encode())
        user_of(front, tmp_path, "base:1", other)
        assert told(front) == {LOGIN, "Bearer for-ann"}
        assert [asked.path for asked in other.asked] == ["/token"]
        assert told(other) == set()


def test_a_challenge_of_where_a_redirect_leads_is_not_answered(images: Images, tmp_path: Path) -> None:
    with fronted(images, tls=True) as front, fronted(images, tls=True) as other:
        front.answer = lambda handler: reply(handler, 307, b"", {"Location": f"https://{other.host}{handler.path}"})
        for challenge in ("Basic realm=r", f'Bearer realm="https://{other.host}/token"'):
            other.answer = lambda handler, words=challenge: reply(handler, 401, b"{}", {"WWW-Authenticate": words})
            with pytest.raises(ImageError, match="refuses"):
                user_of(front, tmp_path, "base:1", other)
        assert told(front) | told(other) == set()
        assert not any(asked.path.startswith("/token") for asked in other.asked)


def test_redirects_end(images: Images, tmp_path: Path) -> None:
    with fronted(images, tls=True) as front:
        front.answer = lambda handler: reply(handler, 302, b"", {"Location": handler.path})
        with pytest.raises(ImageError, match="redirects more than 10 times"):
            user_of(front, tmp_path, login=False)
        assert len(front.asked) == 11


@pytest.mark.parametrize("target", ["file:///etc/passwd", "https://[::1/x", "ftp://a/b", "https://a:b/"])
def test_a_redirect_to_nowhere(images: Images, tmp_path: Path, target: str) -> None:
    with fronted(images, tls=True) as front:
        front.answer = lambda handler: reply(handler, 302, b"", {"Location": target})
        with pytest.raises(ImageError, match="does not answer as a registry does"):
            user_of(front, tmp_path, login=False)


def test_https_that_answers_or_is_not_trusted_is_not_asked_by_http(images: Images, tmp_path: Path) -> None:
    """On one's own machine, too, where plain HTTP is tried."""
    with fronted(images, tls=True) as front:
        registry = Registry(Keyring({}))
        with pytest.raises(ImageError, match=r"its certificate is not trusted: .*CERTIFICATE_VERIFY_FAILED"):
            registry.config(parse_reference(f"{front.host}/base:1"), (), 10)
        challenge = {"WWW-Authenticate": 'Bearer realm="https://127.0.0.1:1/token"'}
        front.answer = lambda handler: reply(handler, 401, b"{}", challenge)
        with pytest.raises(ImageError, match=r"127\.0\.0\.1:1 cannot be reached: .*refused"):
            user_of(front, tmp_path)


def test_it_is_the_status_that_says_too_often(images: Images, tmp_path: Path) -> None:
    with fronted(images) as front:
        front.answer = lambda handler: reply(handler, 500, b"{}", {"Retry-After": "0"})
        with pytest.raises(ImageError, match="answers 500"):
            Registry(Keyring({})).config(parse_reference(f"{front.host}/app429:429"), (), 10)
        assert len(front.asked) == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_authorities_that_cannot_be_read(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for other in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "none.pem"))
    with pytest.raises(ImageError, match=r"none\.pem cannot be read as CA certificates: No such file"):
        Registry(Keyring({})).config(parse_reference(f"{images.host}/base:1"), (), 10)


def test_an_answer_that_breaks_off(images: Images, tmp_path: Path) -> None:
    def broken(handler: Any) -> bool:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc")
        return True

    with fronted(images, tls=True) as front:
        front.answer = broken
        with pytest.raises(ImageError, match="breaks off its answer"):
            user_of(front, tmp_path)


# -- proxies ------------------------------------------------------------------------------------------------


class Tunnel(http.server.BaseHTTPRequestHandler):
    """A proxy for https: CONNECT leads to the server's ``target``, whatever is asked for."""

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))  # type: ignore[attr-defined]
        with socket.create_connection(self.server.target) as target:  # type: ignore[attr-defined]
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=self._pass, args=(target, self.connection), daemon=True)
            back.start()
            self._pass(self.connection, target)
            back.join()
        self.close_connection = True

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def tunnel(front: Front) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Run a proxy that leads to a front; yields its address, and what it is asked for with which login."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tunnel)
    server.daemon_threads, server.block_on_close = True, False
    server.asked, server.target = [], ("127.0.0.1", int(front.host.split(":")[1]))  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names no proxy yet."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_of_the_environment_is_used_with_its_login_and_told_no_other(
    images: Images, tmp_path: Path, environment: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    images.make("proxied:1", "1000")
    with fronted(images, tls=True, logins={"ann": "secret"}) as front, tunnel(front) as (address, asked):
        environment.setenv(variable, f"{scheme}me:p%40ss@{address}")
        assert user_of(front, tmp_path, "proxied:1") == "1000"
        assert asked and set(asked) == {(front.host, f"Basic {base64.b64encode(b'me:p@ss').decode()}")}
        assert told(front) == {LOGIN, "Bearer for-ann"}


@pytest.mark.parametrize("but", ["127.0.0.1", "10.0.0.0/8,127.0.0.0/8", "*", "{host}"])
def test_no_proxy_is_asked_for_what_no_proxy_names(
    images: Images, tmp_path: Path, environment: pytest.MonkeyPatch, but: str
) -> None:
    images.make("direct:1", "1000")
    with fronted(images, tls=True) as front, tunnel(front) as (address, asked):
        environment.setenv("HTTPS_PROXY", f"http://{address}")
        environment.setenv("NO_PROXY", but.format(host=front.host))
        assert user_of(front, tmp_path, "direct:1") == "1000"
        assert asked == []


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://me:hunter2@127.0.0.1:1", "cannot be reached through the proxy that the environment names: .*refused"),
        ("gopher://me:hunter2@127.0.0.1:1", "the proxy that the environment names cannot be used"),
        ("http://me:hunter2@[::1", "the proxy that the environment names cannot be used"),
    ],
)
def test_proxies_that_do_not_work(
    images: Images, tmp_path: Path, environment: pytest.MonkeyPatch, proxy: str, words: str
) -> None:
    environment.setenv("ALL_PROXY", proxy)
    with fronted(images, tls=True) as front, pytest.raises(ImageError, match=words) as caught:
        user_of(front, tmp_path)
    assert "hunter2" not in str(caught.value)

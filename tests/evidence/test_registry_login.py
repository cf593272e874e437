"""Logins of registries: whose they are, where they come from, and where they must not go."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.evidence.registry import ImageError
from kubectl_harden.evidence.registry_login import Keyring, docker_config
from tests.support.registry import Images, config_of, fronted, registry, reply


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_an_anonymous_token(images: Images, tmp_path: Path) -> None:
    images.make("open:1", "1000")
    with fronted(images, tls=True, logins={"": ""}) as front:
        found = registry(tmp_path, certificates=front.certificates(tmp_path))
        assert config_of(found, f"{front.host}/open:1")["User"] == "1000"
        assert any(asked.path.startswith("/token") for asked in front.asked)


def test_dockers_configuration_a_pull_secret_and_wrong_ones(images: Images, tmp_path: Path) -> None:
    images.make("closed:1", "1000")
    with fronted(images, tls=True, logins={"ann": "secret-1"}) as front:
        image, trusted = f"{front.host}/closed:1", {"certificates": front.certificates(tmp_path)}
        mine = {"auths": {f"https://{front.host}/v2/": auth("ann", "secret-1")}}
        assert config_of(registry(tmp_path, mine, **trusted), image)["User"] == "1000"
        pull = {"auths": {front.host: {"username": "ann", "password": "secret-1"}}}
        assert config_of(registry(tmp_path / "2", {}, **trusted), image, pull)["User"] == "1000"
        # A wrong pull secret does not stand in the way of the right login.
        wrong = {"auths": {front.host: auth("bob", "guess")}}
        assert config_of(registry(tmp_path / "3", mine, **trusted), image, wrong)["User"] == "1000"
        with pytest.raises(ImageError) as caught:
            config_of(registry(tmp_path / "4", wrong, **trusted), image)
        assert "refuses" in str(caught.value)
        assert "guess" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "host", "repository", "expected"),
    [
        ("registry.example.com", "registry.example.com", "a/b", True),
        ("https://registry.example.com", "registry.example.com", "a", True),
        ("registry.example.com/a", "registry.example.com", "a/b", True),
        ("registry.example.com/a", "registry.example.com", "ab/b", False),
        ("*.example.com", "registry.example.com", "a", True),
        ("*.example.com", "a.b.example.com", "a", False),
        ("registry.example.com:5000", "registry.example.com", "a", False),
        ("https://index.docker.io/v1/", "docker.io", "library/nginx", True),
        ("other.example.com", "registry.example.com", "a", False),
    ],
)
def test_which_keys_are_for_an_image(key: str, host: str, repository: str, expected: bool) -> None:
    ring = Keyring({"auths": {key: auth("u", "p")}})
    assert bool(list(ring.logins(host, repository))) is expected


def helper(directory: Path, name: str, script: str) -> None:
    path = directory / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_credential_helpers_and_stores(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    helper(
        tmp_path, "good", 'read host; echo "$host" >> "$0.asked"; echo \'{"Username": "ann", "Secret": "secret-2"}\''
    )
    images.make("helped:1", "1000")
    with fronted(images, tls=True, logins={"ann": "secret-2"}) as front:
        trusted = {"certificates": front.certificates(tmp_path)}
        for index, config in enumerate(({"credHelpers": {front.host: "good"}}, {"credsStore": "good"})):
            found = registry(tmp_path / str(index), config, **trusted)
            for _ in range(3):
                assert config_of(found, f"{front.host}/helped:1")["User"] == "1000"
        # Once for each registry, whatever is asked of it.
        assert (tmp_path / "docker-credential-good.asked").read_text().split() == [front.host] * 2


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exec sleep 600", "did not answer within 0.5 s"),
        ("echo 'the secret is hunter2'; exit 3", "failed with exit code 3"),
        ('echo \'{"Secret": "hunter2"}\'', "did not answer with a credential"),
        (None, "cannot be run: No such file or directory"),
    ],
    ids=["hangs", "fails", "nonsense", "missing"],
)
def test_helpers_that_fail(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, words: str
) -> None:
    monkeypatch.setattr("kubectl_harden.evidence.registry_login.HELPER_SECONDS", 0.5)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if script is not None:
        helper(tmp_path, "bad", script)
    images.make("closed:2", "1000")
    with fronted(images, tls=True, logins={"ann": "x"}) as front:
        found = registry(tmp_path, {"credHelpers": {front.host: "bad"}}, certificates=front.certificates(tmp_path))
        with pytest.raises(ImageError) as caught:
            config_of(found, f"{front.host}/closed:2")
    assert f"credential helper docker-credential-bad {words}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_login_is_not_sent_in_clear_text(images: Images, tmp_path: Path) -> None:
    with fronted(images, logins={"ann": "secret-3"}) as front:
        found = registry(tmp_path, {"auths": {front.host: auth("ann", "secret-3")}})
        with pytest.raises(ImageError, match="wants a login over plain HTTP"):
            config_of(found, f"{front.host}/base:1")
        sent = "".join(asked.authorization for asked in front.asked)
    assert "Basic" not in sent


def test_a_configuration_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert docker_config() == ({}, "")
    (tmp_path / "config.json").write_text("{no json: hunter2")
    config, trouble = docker_config()
    assert config == {}
    assert "not readable" in trouble
    assert "hunter2" not in trouble


def test_redirects_are_followed_without_the_login(images: Images, tmp_path: Path) -> None:
    images.make("moved:1", "1000")
    with fronted(images, tls=True) as other, fronted(images, tls=True, logins={"ann": "secret-4"}) as front:
        pems = "".join(Path(f.certificates(tmp_path)).read_text() for f in (front, other))
        (tmp_path / "both.pem").write_text(pems)

        def move(handler: Any) -> bool:
            if "/blobs/" in handler.path and handler.headers.get("Authorization"):
                return reply(
                    handler, 307, b"", {"Location": f"https://localhost:{other.host.split(':')[1]}{handler.path}"}
                )
            return False

        front.answer = move
        found = registry(
            tmp_path, {"auths": {front.host: auth("ann", "secret-4")}}, certificates=str(tmp_path / "both.pem")
        )
        assert config_of(found, f"{front.host}/moved:1")["User"] == "1000"
        assert [asked.authorization for asked in other.asked] == [""]


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/", "/token"])
def test_https_is_not_left_for_http(images: Images, tmp_path: Path, where: str) -> None:
    images.make("plain:1", "1000")
    logins = {"ann": "secret-5"}
    with fronted(images) as plain, fronted(images, tls=True, logins=logins) as front:
        moved = {"Location": f"http://{plain.host}/v2/plain/manifests/1"}
        front.answer = lambda handler: where in handler.path and reply(handler, 307, b"", moved)
        config = {"auths": {front.host: auth("ann", "secret-5")}}
        found = registry(tmp_path, config, certificates=front.certificates(tmp_path))
        with pytest.raises(ImageError, match="redirects from https to plain http"):
            config_of(found, f"{front.host}/plain:1")
        assert plain.asked == []


def test_a_realm_of_plain_http_is_asked_over_https(images: Images, tmp_path: Path) -> None:
    images.make("realm:1", "1000")
    with fronted(images) as plain, fronted(images, tls=True) as front:
        challenge = {
            "WWW-Authenticate": f'Bearer realm="http://{plain.host}/token",service="s",scope="repository:a:pull"'
        }
        front.answer = lambda handler: reply(handler, 401, b"{}", challenge)
        config = {"auths": {front.host: auth("ann", "secret-6")}}
        with pytest.raises(ImageError):
            config_of(registry(tmp_path, config, certificates=front.certificates(tmp_path)), f"{front.host}/realm:1")
        assert plain.asked == []


@pytest.mark.parametrize("token", ['"SECRET\\n"', '"SECRET\\u0000"', '" SECRET"', "7", "{}", '"SECRET\\ud800"', "null"])
def test_a_token_that_no_header_can_carry_is_not_shown(images: Images, tmp_path: Path, token: str) -> None:
    with fronted(images, tls=True, logins={"": ""}) as front:
        body = f'{{"token": {token}}}'.encode()
        front.answer = lambda handler: handler.path.startswith("/token") and reply(handler, 200, body)
        with pytest.raises(ImageError) as error:
            config_of(registry(tmp_path, certificates=front.certificates(tmp_path)), f"{front.host}/base:1")
        assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    "auth", [b"\xff", "é", "====", "a", 7, None, {}, "\ud800", base64.b64encode(b"\xff:\xff").decode()]
)
def test_logins_that_are_none(auth: Any) -> None:
    for entry in ({"auth": auth}, {"username": auth, "password": auth}, auth):
        assert list(Keyring({"auths": {"r.io": entry}}).logins("r.io", "a")) == [] or isinstance(auth, str)

"""Image configurations from a real registry, through a front that wants logins, hangs, lies and redirects."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.evidence.images import Answer, asker, image_facts
from kubectl_harden.evidence.images import Images as Lookup
from kubectl_harden.evidence.registry import ImageError, Reference, Registry, parse_reference
from kubectl_harden.evidence.registry_login import Keyring, docker_config
from tests.support.registry import Images, fronted, reply

KINDS = {
    "oci": "application/vnd.oci.image.manifest.v1+json",
    "docker": "application/vnd.docker.distribution.manifest.v2+json",
}


def registry(tmp_path: Path, config: dict[str, Any] | None = None, **options: Any) -> Registry:
    return Registry(Keyring(config or {}), **{"cache": str(tmp_path / "cache"), **options})


def config_of(found: Registry, image: str, *secrets: dict[str, Any], seconds: float = 10) -> dict[str, Any]:
    return found.config(parse_reference(image), secrets, seconds)[0]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", ("docker.io", "library/nginx", "latest", "")),
        ("nginx:1.25", ("docker.io", "library/nginx", "1.25", "")),
        ("bitnami/redis", ("docker.io", "bitnami/redis", "latest", "")),
        ("docker.io/nginx:1", ("docker.io", "library/nginx", "1", "")),
        ("index.docker.io/a/b", ("docker.io", "a/b", "latest", "")),
        ("localhost/x", ("localhost", "x", "latest", "")),
        ("localhost:5000/x:2", ("localhost:5000", "x", "2", "")),
        ("registry.example.com/a/b/c:v1.0_x", ("registry.example.com", "a/b/c", "v1.0_x", "")),
        ("r.io/a@sha256:" + "a" * 64, ("r.io", "a", "latest", "sha256:" + "a" * 64)),
        ("r.io/a:1@sha256:" + "b" * 64, ("r.io", "a", "1", "sha256:" + "b" * 64)),
        ("[::1]:5000/a", ("[::1]:5000", "a", "latest", "")),
    ],
)
def test_names_of_images(image: str, expected: tuple[str, ...]) -> None:
    assert parse_reference(image) == Reference(*expected)


@pytest.mark.parametrize(
    "image", ["", "UPPER", "a b", "nginx:", "nginx@sha256:12", "{{ .Values.image }}", "$(IMAGE)", "http://x/y"]
)
def test_what_is_no_name_of_an_image(image: str) -> None:
    with pytest.raises(ImageError):
        parse_reference(image)


def test_by_tag_and_by_digest_and_again_without_the_registry(images: Images, tmp_path: Path) -> None:
    image = images.make("kept:1", "1000:2000", ports=("80/tcp",))
    found = config_of(registry(tmp_path), image)
    assert (found["User"], found["ExposedPorts"]) == ("1000:2000", {"80/tcp": {}})
    pinned = f"{image.rsplit(':', 1)[0]}@{images.digest(image)}"
    assert config_of(registry(tmp_path), pinned) == found
    # The cache alone knows it by now: nothing listens there.
    elsewhere = pinned.replace(images.host, "127.0.0.1:1")
    assert config_of(registry(tmp_path), elsewhere) == found


def test_a_cache_that_was_tampered_with_is_not_believed(images: Images, tmp_path: Path) -> None:
    image = images.make("tampered:1", "1000")
    digest = images.digest(image)
    pinned = f"{image.rsplit(':', 1)[0]}@{digest}"
    config_of(registry(tmp_path), pinned)
    kept = tmp_path / "cache" / digest.replace(":", "-")
    kept.write_text(kept.read_text().replace("config", "konfig"))
    assert config_of(registry(tmp_path), pinned)["User"] == "1000"


def test_the_platform_decides(images: Images, tmp_path: Path) -> None:
    one, other = images.make("amd:1", "1000"), images.make("arm:1", "nobody")
    index = images.index("many:1", {"linux/amd64": one, "linux/arm64": other})
    assert config_of(registry(tmp_path), index)["User"] == "1000"
    assert config_of(registry(tmp_path, platform="linux/arm64"), index)["User"] == "nobody"
    with pytest.raises(ImageError, match=r"there is none for windows/amd64, only for linux/amd64, linux/arm64"):
        config_of(registry(tmp_path, platform="windows/amd64"), index)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_manifests_of_both_kinds(images: Images, tmp_path: Path, kind: str) -> None:
    content = json.dumps({"os": "linux", "config": {"User": "7"}}).encode()
    digest = images.put_blob("kinds", content)
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(content)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": described, "layers": []}).encode()
    images.put("kinds", "1", manifest, kind)
    assert config_of(registry(tmp_path), f"{images.host}/kinds:1")["User"] == "7"


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (b"no json", "its configuration is no JSON"),
        (b"[]", "its configuration is no JSON object"),
        (b'{"config": 7}', "its configuration is none of a container image"),
        (b'{"a chart": true}', "its configuration is none of a container image"),
        (b"[" * 100_000, "its configuration is no JSON"),
    ],
)
def test_configurations_that_are_none(images: Images, tmp_path: Path, blob: bytes, words: str) -> None:
    digest = images.put_blob("odd", blob)
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(blob)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": KINDS["oci"], "config": described, "layers": []}).encode()
    images.put("odd", "1", manifest, KINDS["oci"])
    with pytest.raises(ImageError, match=words):
        config_of(registry(tmp_path), f"{images.host}/odd:1")


def test_it_does_not_exist(images: Images, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=rf"{images.host} has no nothing/here:9"):
        config_of(registry(tmp_path), f"{images.host}/nothing/here:9")


# -- logins ---------------------------------------------------------------------------------------------


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
        ("exec sleep 600", "gave no answer within 0.5 s"),
        ("echo 'the secret is hunter2'; exit 3", "failed with exit code 3"),
        ('echo \'{"Secret": "hunter2"}\'', "answered what is no credential"),
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


# -- faults ---------------------------------------------------------------------------------------------


def test_a_registry_that_hangs_ends_with_the_time_limit(images: Images, tmp_path: Path) -> None:
    with fronted(images) as front:
        front.answer = lambda handler: time.sleep(30) or True
        start = time.monotonic()
        with pytest.raises(ImageError, match="gave no answer in time"):
            config_of(registry(tmp_path), f"{front.host}/base:1", seconds=1)
        assert time.monotonic() - start < 10


def test_a_manifest_of_100_mib_is_not_read(images: Images, tmp_path: Path) -> None:
    sent = 0

    def flood(handler: Any) -> bool:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Content-Length", str(100 << 20))
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b" " * (1 << 20))
                sent += 1
        except OSError:
            pass
        return True

    with fronted(images) as front:
        front.answer = flood
        with pytest.raises(ImageError, match="sends more than 4 MiB"):
            config_of(registry(tmp_path), f"{front.host}/base:1")
    assert sent < 50


def test_a_registry_that_drips(images: Images, tmp_path: Path) -> None:
    def drip(handler: Any) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b" " * 70_000)
                time.sleep(0.3)
        except OSError:
            pass
        return True

    with fronted(images) as front:
        front.answer = drip
        with pytest.raises(ImageError, match=r"too slowly|in time"):
            config_of(registry(tmp_path), f"{front.host}/base:1", seconds=1)


def test_asked_too_often_it_waits_as_told_or_says_so(images: Images, tmp_path: Path) -> None:
    images.make("busy:1", "1000")
    left = 1

    def busy(handler: Any) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and reply(handler, 429, b"{}", {"Retry-After": "1"})

    with fronted(images) as front:
        front.answer = busy
        assert config_of(registry(tmp_path), f"{front.host}/busy:1")["User"] == "1000"
        left = 1000
        with pytest.raises(ImageError, match=r"asked too often \(429\)"):
            config_of(registry(tmp_path / "2"), f"{front.host}/busy:1", seconds=0.5)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_other_refusals(images: Images, tmp_path: Path, status: int) -> None:
    with fronted(images) as front:
        front.answer = lambda handler: reply(handler, status, b"<html>no</html>")
        with pytest.raises(ImageError, match=str(status)):
            config_of(registry(tmp_path), f"{front.host}/base:1")


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


def test_a_registry_that_lies(images: Images, tmp_path: Path) -> None:
    image = images.make("true:1", "1000")
    digest = images.digest(image)
    lie = json.dumps({"schemaVersion": 2, "config": {"digest": "sha256:" + "0" * 64}}).encode()
    with fronted(images) as front:
        front.answer = lambda handler: "/manifests/" in handler.path and reply(handler, 200, lie)
        with pytest.raises(ImageError, match="something else than what that digest names"):
            config_of(registry(tmp_path), f"{front.host}/true@{digest}")
        front.answer = lambda handler: "/blobs/" in handler.path and reply(handler, 200, b'{"config": {"User": "9"}}')
        with pytest.raises(ImageError, match="something else than what that digest names"):
            config_of(registry(tmp_path / "2"), f"{front.host}/true:1")
        for nonsense in (b"", b"{", b"[]", b'{"config": 1}', b'{"manifests": [7]}', b'{"manifests": 7}', b"\xff\xfe"):
            front.answer = lambda handler, body=nonsense: reply(handler, 200, body)
            with pytest.raises(ImageError):
                config_of(registry(tmp_path / "3"), f"{front.host}/true:1")
        front.answer = lambda handler: reply(handler, 401, b"{}", {"WWW-Authenticate": "nonsense"})
        with pytest.raises(ImageError):
            config_of(registry(tmp_path / "4"), f"{front.host}/true:1")


def test_certificates_of_ones_own(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.make("tls:1", "1000")
    with fronted(images, tls=True) as front:
        image = f"{front.host}/tls:1"
        with pytest.raises(ImageError):
            config_of(registry(tmp_path), image)
        monkeypatch.setenv("SSL_CERT_FILE", front.certificates(tmp_path))
        assert config_of(registry(tmp_path), image)["User"] == "1000"


def test_a_mirror_is_asked_in_its_stead(images: Images, tmp_path: Path) -> None:
    images.make("hub/library/nginx:1", "101")
    found = registry(tmp_path, mirrors={"docker.io": f"{images.host}/hub"})
    assert config_of(found, "nginx:1")["User"] == "101"


# -- many together --------------------------------------------------------------------------------------


def test_500_images_of_a_registry_that_hangs_take_the_time_limit_and_no_longer(images: Images, tmp_path: Path) -> None:
    with fronted(images) as front:
        front.answer = lambda handler: time.sleep(60) or True
        many = {f"{front.host}/app{number}:1": () for number in range(500)}
        lookup = Lookup(asker(registry(tmp_path)), 1.5)
        start = time.monotonic()
        lookup.prepare(many)
        lookup.prepare({f"{front.host}/more:1": ()})
        assert time.monotonic() - start < 6
        assert all(lookup.answer(image).config is None and lookup.answer(image).trouble for image in many)


def test_500_images_are_asked_for_once_each_some_at_a_time() -> None:
    import threading

    asked: list[str] = []
    now, most, lock = 0, 0, threading.Lock()

    def ask(image: str, secrets: Any, seconds: float) -> Answer:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
            asked.append(image)
        time.sleep(0.002)
        with lock:
            now -= 1
        return Answer({"User": image})

    lookup = Lookup(ask, 60)
    many = [f"r.io/app{number}" for number in range(500)]
    lookup.prepare(dict.fromkeys(many, ()))
    lookup.prepare(dict.fromkeys(many, ()))
    assert sorted(asked) == sorted(many)
    assert 1 < most <= 16
    assert all(lookup.answer(image).config == {"User": image} for image in many)


def test_a_dead_registry_is_not_asked_again_and_others_are(images: Images, tmp_path: Path) -> None:
    images.make("alive:1", "1000")
    lookup = Lookup(asker(registry(tmp_path)), 20)
    lookup.prepare({"127.0.0.1:1/a:1": (), "127.0.0.1:1/b:1": (), f"{images.host}/alive:1": ()})
    assert lookup.answer(f"{images.host}/alive:1").config == {
        "User": "1000",
        **(lookup.answer(f"{images.host}/alive:1").config or {}),
    }
    assert "cannot be reached" in lookup.answer("127.0.0.1:1/a:1").trouble
    assert "cannot be reached" in lookup.answer("127.0.0.1:1/b:1").trouble


def test_digests_are_those_of_the_content(images: Images, tmp_path: Path) -> None:
    image = images.make("digest:1", "1000")
    _, digest = registry(tmp_path).config(parse_reference(image), (), 10)
    assert digest == images.digest(image)
    for kept in (tmp_path / "cache").iterdir():
        assert f"sha256-{hashlib.sha256(kept.read_bytes()).hexdigest()}" == kept.name


# -- registries that are not friends ----------------------------------------------------------------------


def flood(handler: Any) -> bool:
    """Send 100 MiB."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(100):
            handler.wfile.write(b" " * (1 << 20))
    handler.close_connection = True
    return True


def test_the_token_endpoint_has_the_same_limit(images: Images, tmp_path: Path) -> None:
    with fronted(images, tls=True, logins={"": ""}) as front:
        front.answer = lambda handler: handler.path.startswith("/token") and flood(handler)
        with pytest.raises(ImageError, match="sends more than 4 MiB"):
            config_of(registry(tmp_path, certificates=front.certificates(tmp_path)), f"{front.host}/base:1")


def test_what_comes_with_a_redirect_or_a_challenge_has_it_too(images: Images, tmp_path: Path) -> None:
    def flooding(status: int, headers: dict[str, str]) -> Any:
        def answer(handler: Any) -> bool:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(100):
                    handler.wfile.write(b" " * (1 << 20))
            handler.close_connection = True
            return True

        return answer

    with fronted(images) as front:
        for status, headers in ((302, {"Location": "/elsewhere"}), (401, {"WWW-Authenticate": "Basic realm=x"})):
            front.answer = flooding(status, headers)
            with pytest.raises(ImageError, match="sends more than 4 MiB"):
                config_of(registry(tmp_path), f"{front.host}/base:1")


def test_an_answer_that_trickles_in_ends_with_the_time_limit(images: Images, tmp_path: Path) -> None:
    def trickle(handler: Any) -> bool:
        with contextlib.suppress(OSError):
            for _ in range(300):
                handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                time.sleep(0.1)
        return True

    with fronted(images) as front:
        front.answer = trickle
        start = time.monotonic()
        with pytest.raises(ImageError, match=r"too slowly|in time"):
            config_of(registry(tmp_path), f"{front.host}/base:1", seconds=1)
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/", "/token"])
def test_https_is_not_left_for_http(images: Images, tmp_path: Path, where: str) -> None:
    images.make("plain:1", "1000")
    logins = {"ann": "secret-5"}
    with fronted(images) as plain, fronted(images, tls=True, logins=logins) as front:
        moved = {"Location": f"http://{plain.host}/v2/plain/manifests/1"}
        front.answer = lambda handler: where in handler.path and reply(handler, 307, b"", moved)
        config = {"auths": {front.host: auth("ann", "secret-5")}}
        found = registry(tmp_path, config, certificates=front.certificates(tmp_path))
        with pytest.raises(ImageError, match="leads from https to plain http"):
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


INDEXES = (
    b'{"manifests": [7]}', b'{"manifests": 7}', b'{"manifests": [{"platform": 7}]}', b'{"manifests": [{}]}',
    b'{"manifests": [{"digest": "../../../other/manifests/1"}]}', b'{"manifests": null}', b"[", b"7",
    b'{"manifests": [{"platform": {"os": ["linux"]}, "digest": 7}]}', b'{"config": {"digest": "../x"}}',
)  # fmt: skip


@pytest.mark.parametrize("index", INDEXES)
def test_a_cached_index_that_is_bad_is_dropped_and_asked_for_again(
    images: Images, tmp_path: Path, index: bytes
) -> None:
    digest = f"sha256:{hashlib.sha256(index).hexdigest()}"
    with fronted(images) as front:
        front.answer = lambda handler: reply(handler, 200, index)
        found = registry(tmp_path)
        for _ in range(2):
            front.asked.clear()
            with pytest.raises(ImageError):
                config_of(found, f"{front.host}/bad@{digest}")
            assert [asked.path for asked in front.asked] == [f"/v2/bad/manifests/{digest}"]


CONFIGS = (
    ({"User": 7}, "User is not a string"),
    ({"User": ["a"]}, "User is not a string"),
    ({"ExposedPorts": 5}, "ExposedPorts is not an object"),
    ({"ExposedPorts": ["80/tcp"]}, "ExposedPorts is not an object"),
    ({"Volumes": True}, "Volumes is not an object"),
    ({"Entrypoint": "sh"}, "Entrypoint is not a list"),
    ({"Cmd": [7]}, r"Cmd\[0\] is not a string"),
)


@pytest.mark.parametrize(("config", "words"), CONFIGS)
def test_a_configuration_of_other_types_is_the_problem_of_its_image(
    images: Images, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    content = json.dumps({"os": "linux", "config": config}).encode()
    digest = images.put_blob("types", content)
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(content)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": KINDS["oci"], "config": described, "layers": []}).encode()
    images.put("types", "1", manifest, KINDS["oci"])
    with pytest.raises(ImageError, match=words):
        config_of(registry(tmp_path), f"{images.host}/types:1")
    good = images.make("good:1", "1000")
    lookup = Lookup(asker(registry(tmp_path)), 20)
    lookup.prepare({f"{images.host}/types:1": (), good: ()})
    (fact,) = image_facts(f"{images.host}/types:1", lookup.answer(f"{images.host}/types:1"), {})
    assert (fact.kind, lookup.answer(good).trouble) == ("unknown", "")


@pytest.mark.parametrize(
    ("user", "value"),
    [("1000", 1000), ("1000:50", 1000), ("0", 0), ("", 0), (":5", 0), ("00", 0), ("²", "²"), ("٣", "٣"), ("app", "app"),
     ("9" * 5_000, "9" * 5_000), ("-1", "-1"), ("1_000", "1_000"), (" 7", " 7")],
)  # fmt: skip
def test_the_user_of_an_image(user: str, value: Any) -> None:
    facts = [fact for fact in image_facts("i", Answer({"User": user}), {}) if fact.kind == "user"]
    assert [fact.value for fact in facts] == [value]


@pytest.mark.parametrize("port", ["²/tcp", "٣", "9" * 5_000, "-80", "0/tcp", "80a"])
def test_a_port_that_is_none(port: str) -> None:
    assert list(image_facts("i", Answer({"User": "1", "ExposedPorts": {port: {}}}), {}))[1:] == []


@pytest.mark.parametrize(
    "auth", [b"\xff", "é", "====", "a", 7, None, {}, "\ud800", base64.b64encode(b"\xff:\xff").decode()]
)
def test_logins_that_are_none(auth: Any) -> None:
    for entry in ({"auth": auth}, {"username": auth, "password": auth}, auth):
        assert list(Keyring({"auths": {"r.io": entry}}).logins("r.io", "a")) == [] or isinstance(auth, str)

"""Image configurations from a real registry, through a front that lies and redirects."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from kubectl_harden.evidence.registry import ImageError, Reference, parse_reference
from tests.support.registry import KINDS, Images, config_of, fronted, registry, reply


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
    with pytest.raises(ImageError, match=r"there is no image for windows/amd64, only for linux/amd64, linux/arm64"):
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
        (b"no json", "its configuration is not JSON"),
        (b"[]", "its configuration is not a JSON object"),
        (b'{"config": 7}', "its configuration is not that of a container image"),
        (b'{"a chart": true}', "its configuration is not that of a container image"),
        (b"[" * 100_000, "its configuration is not JSON"),
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


@pytest.mark.parametrize("status", [403, 500, 503])
def test_other_refusals(images: Images, tmp_path: Path, status: int) -> None:
    with fronted(images) as front:
        front.answer = lambda handler: reply(handler, status, b"<html>no</html>")
        with pytest.raises(ImageError, match=str(status)):
            config_of(registry(tmp_path), f"{front.host}/base:1")


def test_a_registry_that_lies(images: Images, tmp_path: Path) -> None:
    image = images.make("true:1", "1000")
    digest = images.digest(image)
    lie = json.dumps({"schemaVersion": 2, "config": {"digest": "sha256:" + "0" * 64}}).encode()
    with fronted(images) as front:
        front.answer = lambda handler: "/manifests/" in handler.path and reply(handler, 200, lie)
        with pytest.raises(ImageError, match="something other than what that digest names"):
            config_of(registry(tmp_path), f"{front.host}/true@{digest}")
        front.answer = lambda handler: "/blobs/" in handler.path and reply(handler, 200, b'{"config": {"User": "9"}}')
        with pytest.raises(ImageError, match="something other than what that digest names"):
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


def test_digests_are_those_of_the_content(images: Images, tmp_path: Path) -> None:
    image = images.make("digest:1", "1000")
    _, digest = registry(tmp_path).config(parse_reference(image), (), 10)
    assert digest == images.digest(image)
    for kept in (tmp_path / "cache").iterdir():
        assert f"sha256-{hashlib.sha256(kept.read_bytes()).hexdigest()}" == kept.name


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

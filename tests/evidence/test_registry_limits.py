"""Registries that hang, drip or flood: an answer has a time limit and a size."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.evidence.registry import ImageError
from tests.support.registry import Images, config_of, fronted, registry, reply


def test_a_registry_that_hangs_ends_with_the_time_limit(images: Images, tmp_path: Path) -> None:
    with fronted(images) as front:
        front.answer = lambda handler: time.sleep(30) or True
        start = time.monotonic()
        with pytest.raises(ImageError, match="did not answer in time"):
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
        with pytest.raises(ImageError, match=r"limits the number of requests \(429\)"):
            config_of(registry(tmp_path / "2"), f"{front.host}/busy:1", seconds=0.5)


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

"""Images, asked for together: what becomes of their configurations, and of registries that do not answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from kubectl_harden.evidence.images import Answer, asker, image_facts
from kubectl_harden.evidence.images import Images as Lookup
from kubectl_harden.evidence.registry import ImageError
from tests.support.registry import KINDS, Images, config_of, fronted, registry


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

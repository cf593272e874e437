"""Helm's releases, decoded: also those that are cut off, made to do harm, or not releases at all."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.errors import InputError
from kubectl_harden.live.helm_release import LARGEST, TYPE, decoded, payload, release_of

MANIFEST = """---
# Source: web/templates/config.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
data:
  text: |
    # Source: web/templates/other.yaml
    kind: Deployment
---
# Source: web/charts/db/templates/db.yaml
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: web
---
# Source: web/templates/web.yaml
# Source: web/templates/not-this-one.yaml
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
---
# Source: web/templates/far.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  namespace: elsewhere
  name: far
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: rendered-again}
---
# Source: web/templates/list.yaml
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: CronJob
  metadata: {name: listed}
"""
RELEASE: dict[str, Any] = {
    "name": "front",
    "namespace": "shop",
    "version": 3,
    "info": {"status": "deployed"},
    "chart": {"metadata": {"name": "web", "version": "1.2.0"}},
    "config": {"password": "hunter2"},
    "manifest": MANIFEST,
    "hooks": [
        {"path": "web/templates/hook.yaml", "manifest": "apiVersion: batch/v1\nkind: Job\nmetadata: {name: hook}"}
    ],
}


def encoded(value: Any) -> str:
    return base64.b64encode(gzip.compress(json.dumps(value).encode())).decode()


def live(kind: str, name: str, namespace: str = "shop", version: str = "apps/v1") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


@pytest.mark.parametrize(
    ("value", "template"),
    [
        (live("StatefulSet", "web"), "web/charts/db/templates/db.yaml"),
        (live("Deployment", "web"), "web/templates/web.yaml"),
        (live("Deployment", "web", version="apps/v1beta1"), "web/templates/web.yaml"),
        (live("Deployment", "web", "elsewhere"), None),
        (live("Deployment", "web", version="example.com/v1"), None),
        (live("Deployment", "far", "elsewhere"), "web/templates/far.yaml"),
        (live("Deployment", "far"), None),
        (live("Deployment", "we"), None),
        (live("Deployment", "rendered-again"), ""),
        (live("CronJob", "listed", version="batch/v1"), "web/templates/list.yaml"),
        (live("Job", "hook", version="batch/v1"), "web/templates/hook.yaml"),
    ],
)
def test_which_template_made_an_object(value: dict[str, Any], template: str | None) -> None:
    release = release_of(decoded(encoded(RELEASE)))
    assert (release.name, release.revision, release.status) == ("front", 3, "deployed")
    assert (release.chart, release.version, release.has_values) == ("web", "1.2.0", True)
    assert release.template_of(value) == template


def test_two_templates_that_make_the_same_object_are_not_told_apart() -> None:
    one = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
    manifest = f"---\n# Source: a/templates/1.yaml\n{one}---\n# Source: a/templates/2.yaml\n{one}"
    assert release_of({**RELEASE, "manifest": manifest}).template_of(live("Deployment", "web")) == ""


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, '{"kind": ' * 200_000, "a: " + "[" * 50_000, "&a [*a]", "kind: !!x Deployment\n" * 9],
    ids=range(5),
)
def test_what_no_parser_takes_is_not_the_object(text: str) -> None:
    release = release_of({**RELEASE, "manifest": f"# Source: a/b\n# Deployment web\n{text}"})
    assert len(release.documents) == 2
    assert release.template_of(live("Deployment", "web")) is None


def test_work_that_nobody_needs_is_not_done() -> None:
    one = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
    large = release_of({**RELEASE, "manifest": f"# Source: a/b\n{one}# {'x' * (2 << 20)}"})
    assert large.template_of(live("Deployment", "web")) is None
    many = release_of({**RELEASE, "manifest": f"---\n# Source: a/b\n{one}# {'x' * (1 << 20)}\n" * 5})
    assert many.template_of(live("Deployment", "web")) == ""


def test_a_release_from_before_helm_compressed_them() -> None:
    assert decoded(base64.b64encode(json.dumps(RELEASE).encode()).decode()) == RELEASE


def test_what_holds_a_release() -> None:
    text = encoded(RELEASE)
    inner = base64.b64encode(text.encode()).decode()
    assert payload({"kind": "Secret", "type": TYPE, "data": {"release": inner}}) == text
    assert payload({"kind": "ConfigMap", "data": {"release": text}}) == text
    for value in (
        {"kind": "Secret", "type": "Opaque", "data": {"release": inner}},
        {"kind": "ConfigMap", "data": {"other": text}},
        {"kind": "ConfigMap", "data": []},
        {"kind": "ConfigMap"},
    ):
        with pytest.raises(InputError, match="does not hold a release"):
            payload(value)


def bomb() -> str:
    """A gigabyte of JSON in two megabytes, compressed twice over nothing: only what is unpacked counts."""
    return base64.b64encode(gzip.compress(b'"' + b"a" * (LARGEST + 1) + b'"')).decode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("%%%", "not complete base64"),
        (encoded(RELEASE)[:-3], "not complete base64"),
        (encoded(RELEASE)[: len(encoded(RELEASE)) // 8 * 4], "cut off"),
        (base64.b64encode(b"\x1f\x8b\x08 nothing of the kind").decode(), "cannot be unpacked|cut off"),
        (base64.b64encode(b"\x1f\x8b\x08\xff\xff\xff").decode(), "cannot be unpacked|cut off"),
        (bomb(), "larger than 32 MiB"),
        (base64.b64encode(b"a" * (LARGEST + 1)).decode(), "larger than 32 MiB"),
        (base64.b64encode(gzip.compress(b"[" * 100_000)).decode(), "not JSON"),
        (base64.b64encode(b'{"a": ' + b"1" * 10_000 + b"}").decode(), "not JSON"),
        (base64.b64encode(b"\xff\xfe").decode(), "not JSON"),
        ("", "not JSON"),
        (encoded([]), "not a JSON object"),
        (encoded(None), "not a JSON object"),
    ],
    ids=range(13),
)
def test_what_is_not_a_release(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        decoded(text)


@pytest.mark.parametrize("name", [None, "", 7, ["front"]])
def test_a_release_has_a_name(name: Any) -> None:
    with pytest.raises(InputError, match="no name"):
        release_of({**RELEASE, "name": name})


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.lists(
    st.sampled_from([*MANIFEST.splitlines(), "---", "metadata: []", "kind: [", "items: [3, null, {}]", "\t", "{"])
    | st.text(max_size=9)
).map("\n".join)
FIELDS = {
    "name": st.just("front") | JSON,
    "namespace": JSON,
    "version": JSON,
    "info": JSON | st.fixed_dictionaries({"status": JSON}),
    "chart": JSON | st.fixed_dictionaries({"metadata": JSON | st.fixed_dictionaries({"name": JSON, "version": JSON})}),
    "config": JSON,
    "manifest": JSON | DOCUMENTS,
    "hooks": JSON | st.lists(st.fixed_dictionaries({"path": JSON, "manifest": JSON | DOCUMENTS}) | JSON, max_size=3),
}


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_whatever_a_release_holds_is_read_or_said_to_be_unreadable(value: dict[str, Any]) -> None:
    try:
        release = release_of(decoded(encoded(value)))
    except InputError:
        return
    assert type(release.revision) is int
    for wanted in (live("Deployment", "web"), live("CronJob", "listed")):
        assert isinstance(release.template_of(wanted), str | None)


@given(
    st.text()
    | st.binary().map(lambda data: base64.b64encode(data).decode())
    | st.binary().map(lambda data: base64.b64encode(b"\x1f\x8b\x08" + data).decode())
)
def test_whatever_stands_in_its_place_is_unreadable(text: str) -> None:
    try:
        decoded(text)
    except InputError:
        return
    assert isinstance(json.loads(base64.b64decode(text)), dict)


@given(st.integers(min_value=0, max_value=400), st.integers(min_value=0, max_value=255))
def test_one_byte_that_was_changed_on_the_way(at: int, byte: int) -> None:
    data = bytearray(gzip.compress(json.dumps(RELEASE).encode(), mtime=0))
    data[at % len(data)] = byte
    try:
        assert decoded(base64.b64encode(data).decode()) == RELEASE
    except InputError:
        return

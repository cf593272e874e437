"""Metadata in Kubernetes' protobuf: it says what its JSON says, and bytes that are something else are an error."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.cluster.protobuf import PREFIX, metadata_list
from tests.support.protobuf import KIND, encoded, field

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
OWNER = st.fixed_dictionaries(
    {"kind": TEXT, "name": TEXT, "uid": TEXT, "apiVersion": TEXT, "controller": st.booleans()}
)
METADATA = st.fixed_dictionaries(
    {"name": TEXT, "uid": TEXT, "resourceVersion": TEXT},
    optional={
        "namespace": TEXT,
        "labels": st.dictionaries(TEXT, TEXT, min_size=1, max_size=3),
        "ownerReferences": st.lists(OWNER, min_size=1, max_size=3),
    },
)


@given(st.lists(METADATA, max_size=4), st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
def test_what_is_encoded_is_read(items: list[dict[str, Any]], more: str) -> None:
    value, found = metadata_list(encoded(items, more=more))
    metadata = {"resourceVersion": "7", **({"continue": more} if more else {})}
    assert value == {**KIND, "metadata": metadata, "items": []}
    assert list(found) == [{"metadata": item} for item in items]


SMALL: list[dict[str, Any]] = [
    {"name": "a", "uid": "u", "resourceVersion": "1", "labels": {"a": "b"}},
    {"name": "b", "uid": "v", "resourceVersion": "2", "ownerReferences": [{"kind": "Job", "controller": True}]},
]


WHOLE = encoded(SMALL)


@pytest.mark.parametrize("length", range(len(PREFIX), WHOLE.rindex(field(3, ""))))
def test_what_is_cut_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match=r"cut|longer|no list"):
        list(metadata_list(WHOLE[:length])[1])


@given(st.data())
def test_any_bytes_are_read_or_an_error(data: st.DataObject) -> None:
    text = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(len(PREFIX), len(text) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        list(metadata_list(bytes(text))[1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PREFIX + field(3, "gzip"), "the list is encoded"),
        (PREFIX + b"\x0b\x00", "no wire type 3"),
        (PREFIX + b"\x08" + b"\xff" * 11, "too long"),
        (PREFIX + b"\x12\x7f", "longer than its message"),
        (PREFIX + b"\x09\x00", "is cut"),
    ],
)
def test_other_bytes(text: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metadata_list(text)

"""Streams are cut where kubectl cuts them."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.discovery import cannot_hold_pod
from kubectl_harden.pod_security.pod_templates import pod_kinds
from kubectl_harden.yaml_text.documents import SKIPPED, Document, Fault, documents
from tests.support.oracle import Oracle

LINES = [
    "---", "--- # c", "--- x", "---x", " ---", "...", "a: 1", "b: |", "  x", "  ---", "# c", "", "{c: d}", '{"a": 1}', '{"a": 1,', '"b": 2}', "[1]",
    "\ufeffa: 1", "null", "- i", "%YAML 1.1", '{"a": 1}{"b": 2}', '{"a": 1}   ', '{"n": 1.5E2, "s": "\\ud800x", "m": 80.0}', "  {", "  }", "a: 1\r",
    "---\r",
]  # fmt: skip


def normal(value: Any) -> Any:
    """Write numbers and lone surrogates as encoding/json does."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [normal(item) for item in value]
    return {normal(k): normal(v) for k, v in value.items()} if isinstance(value, dict) else value


@given(
    marks=st.sampled_from(["", "\ufeff"]),
    lines=st.lists(st.sampled_from(LINES), min_size=1, max_size=8),
    ended=st.booleans(),
)
def test_documents_are_those_of_kubectl(oracle: Oracle, marks: str, lines: list[str], ended: bool) -> None:
    text = marks + "\n".join(lines) + ("\n" if ended else "")
    theirs = oracle.stream(text.encode())
    ours = list(documents(text))
    good = [json.dumps(normal(item.get("json")), sort_keys=True) for item in theirs if "error" not in item]
    read = [json.dumps(normal(item.value), sort_keys=True) for item in ours if isinstance(item, Document)]
    if good == [json.dumps(normal(item.get("json")), sort_keys=True) for item in theirs]:
        assert read == good
        assert len(ours) == len(good)
    else:
        # kubectl stops at an error; here it is a fault, and what stands before and behind is read too.
        assert read[: len(good)] == good
        assert any(isinstance(item, Fault) for item in ours)
    assert [item.index for item in ours] == list(range(len(ours)))
    for item in ours:
        if isinstance(item, Document):
            assert text[item.start : item.end] == item.text


SPREAD = [
    "a: 1",
    "a: 2",
    "&a b: *a",
    "a: &x 1",
    "b: *x",
    "a: 1 # c",
    "'a': 1",
    '"a": 1',
    "a: |+",
    "%TAG ! tag:x,2002:",
    "\ufeff",
    "\t",
]


def told(found: Document | Fault) -> tuple[Any, ...]:
    """Return all that there is to know of a document, or of what is wrong with it."""
    if isinstance(found, Fault):
        return found.index, found.offset, found.message
    return (
        found.index, found.start, found.end, found.text, json.dumps(found.value), found.is_json, found.repeated,
        found.offset_of(("a",)), found.offset_of(("b",)),
    )  # fmt: skip


@given(
    mark=st.sampled_from(["", "\ufeff", "\ufeff\ufeff"]),
    parts=st.lists(st.lists(st.sampled_from([*LINES, *SPREAD]), max_size=4), min_size=1, max_size=4),
    breaks=st.sampled_from(["\n", "\r\n"]),
    ended=st.booleans(),
)
def test_what_has_been_read_is_read_as_ever(mark: str, parts: list[list[str]], breaks: str, ended: bool) -> None:
    pieces = [breaks.join(lines) + breaks for lines in parts]
    text = mark + f"---{breaks}".join(pieces)
    text = text if ended else text.rstrip("\r\n")
    # Read on their own, behind other documents, as JSON and as YAML: as an edited document is for its proof.
    apart = [piece for each in pieces for piece in (each, mark + each, f"---{breaks}{each}", each.rstrip("\r\n"))]
    apart += [found.text for found in documents(text) if isinstance(found, Document)]
    read = [found for piece in (*apart, text) for way in (None, False, True) for found in documents(piece, as_json=way)]
    known = {found.text: found for found in read if isinstance(found, Document)}
    assert list(map(told, documents(text, known=known))) == list(map(told, documents(text)))


def test_a_document_that_has_been_read_is_not_parsed_again() -> None:
    (before,) = documents("b: 1\nb: {a: 2}\n")
    assert isinstance(before, Document)
    first, found, again = documents("c: 1\n---\nb: 1\nb: {a: 2}\n---\nb: 1\nb: {a: 2}\n", known={before.text: before})
    assert isinstance(first, Document)
    assert isinstance(found, Document)
    assert isinstance(again, Document)
    assert first.value == {"c": 1}
    assert found.value is before.value
    assert (found.index, found.start, found.repeated, found.offset_of(("b", "a"))) == (1, 9, ((14, "b"),), 18)
    assert (again.index, again.start, again.repeated) == (2, 28, ((33, "b"),))


def test_a_text_that_was_json_elsewhere_is_parsed_where_it_is_yaml() -> None:
    text = r'{"a": "x\/y"}'
    (as_json,) = documents(text, as_json=True)
    assert isinstance(as_json, Document)
    assert as_json.value == {"a": "x/y"}
    _, found = documents(f"a: 1\n---\n{text}", known={as_json.text: as_json})
    assert isinstance(found, Fault)
    assert found.message == "found unknown escape character"


def test_what_was_skipped_elsewhere_is_parsed_where_it_is_not() -> None:
    (skipped,) = documents("a: 1\n", lambda _: True)
    assert isinstance(skipped, Document)
    (found,) = documents("a: 1\n", known={skipped.text: skipped})
    assert isinstance(found, Document)
    assert found.value == {"a": 1}


def test_a_separator_at_the_start_belongs_to_its_document() -> None:
    found = list(documents("---\na: 1\n---\nb: 2\n"))
    assert [item.text for item in found if isinstance(item, Document)] == ["---\na: 1\n", "b: 2\n"]


def test_skipped_documents_are_checked_for_syntax() -> None:
    text = "kind: ConfigMap\na: b\n---\nkind: ConfigMap\na: b: c\n"
    good, bad = documents(text, lambda body: cannot_hold_pod(body, pod_kinds({})))
    assert isinstance(good, Document)
    assert good.value is SKIPPED
    assert isinstance(bad, Fault)
    assert bad.message == "mapping values are not allowed in this context"

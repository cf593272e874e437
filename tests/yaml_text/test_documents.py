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

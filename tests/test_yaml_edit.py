"""Edits keep every byte that is not theirs. Byte claims are compared as bytes."""

from __future__ import annotations

import difflib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.fixing import fix_text
from kubectl_harden.model import Edit, FileFix
from kubectl_harden.policy import NEWEST, Policy
from kubectl_harden.remediate import FixOptions
from tests.support.pods import valid_templates
from tests.support.profile import fewer
from tests.support.styles import json_texts, yaml_texts
from tests.test_remediate import workload

RESTRICTED = Policy("restricted", NEWEST)
OBJECTS = st.builds(workload, valid_templates(), st.sampled_from(["Pod", "Deployment"]))


def fixed(text: str, **options: Any) -> FileFix:
    return fix_text("f.yaml", text, policy=RESTRICTED, options=FixOptions(**options))


def edits_of(found: FileFix) -> list[Edit]:
    return [edit for item in found.planned for edit in item.plan.edits]


def is_addition(edit: Edit) -> bool:
    return edit.op == "add"


def assert_lawful(text: str, found: FileFix) -> None:
    """Assert what every edit of every text must hold to."""
    assert not found.problems
    again = fixed(found.after, max_risk="breaks")
    assert again.after == found.after
    assert not edits_of(again)
    old, new = text.split("\n"), found.after.split("\n")
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    gone = [line for tag, i1, i2, _, _ in matcher.get_opcodes() if tag in ("replace", "delete") for line in old[i1:i2]]
    edits = edits_of(found)
    # A line goes only where a field is replaced or removed, or where brackets or an empty value are filled in.
    if all(is_addition(edit) for edit in edits) and not any(mark in text for mark in "{["):
        assert not [line for line in gone if line.strip("\ufeff\r") and line != old[-1]]
    assert text.startswith("\ufeff") == found.after.startswith("\ufeff")
    assert text.endswith("\n") == found.after.endswith("\n")
    if "\r\n" in text:
        assert found.after.count("\n") == found.after.count("\r\n")
    else:
        assert "\r" not in found.after


@fewer(4)
@given(written=yaml_texts(OBJECTS))
def test_yaml_in_any_style(written: tuple[Any, str]) -> None:
    _, text = written
    assert_lawful(text, fixed(text, max_risk="breaks"))


@fewer(4)
@given(written=json_texts(OBJECTS))
def test_json_in_any_style(written: tuple[Any, str]) -> None:
    _, text = written
    found = fixed(text, max_risk="breaks")
    assert not found.problems
    assert fixed(found.after, max_risk="breaks").after == found.after
    lines = text.count("\n") > 1
    assert (found.after.count("\n") > 1) == lines
    if not lines:
        assert (", " in found.after) == (", " in text)


@fewer(8)
@given(written=st.lists(yaml_texts(OBJECTS), min_size=2, max_size=3), position=st.integers(0, 2))
def test_other_documents_keep_their_bytes(written: list[tuple[Any, str]], position: int) -> None:
    texts = [text.removeprefix("\ufeff") for _, text in written]
    other = (
        "# kept as it is\nkind: ConfigMap\napiVersion: v1\nmetadata: {name:   x}\ndata:\n    a: |\n      kind: Pod\n"
    )
    texts.insert(min(position, len(texts)), other)
    text = "\n---\n".join(texts)
    found = fixed(text, max_risk="breaks")
    assert not found.problems
    assert other in found.after
    assert found.after.split("\n---\n")[texts.index(other)] == other

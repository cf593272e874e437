"""Any change of any document: the meaning is proved, and what does not change keeps its bytes and its comments."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.json_values import same
from kubectl_harden.reports.diff import unified
from kubectl_harden.reports.output import patched
from kubectl_harden.yaml_text.documents import Document, documents
from kubectl_harden.yaml_text.editor import edit_document, spliced
from kubectl_harden.yaml_text.tree import MAPPING, SEQUENCE, Node, key_of
from tests.reports.test_diff import changes_in, fewest_changes, lines_of
from tests.support.styles import TREES, changed, ends_alike, json_texts, owners, yaml_texts

Owner = tuple[str, ...]
_COMMENT = re.compile(r"# c\d+\.")


def only(text: str) -> Document:
    (document,) = documents(text)
    assert isinstance(document, Document)
    return document


def places(node: Node, value: Any, path: Owner = ()) -> list[tuple[int, Owner]]:
    """Return where the keys and items of a document start; of repeated keys only the last counts."""
    out: list[tuple[int, Owner]] = []
    if node.kind == MAPPING:
        last = {key_of(key): (key, child) for key, child in node.pairs()}
        for name, (key, child) in last.items():
            out += [(key.start, (*path, name)), *places(child, value[name], (*path, name))]
    elif node.kind == SEQUENCE:
        for child, item, here in zip(node.children, value, item_paths(value, path), strict=True):
            out += [(child.start, here), *places(child, item, here)]
    return out


def item_paths(value: list[Any], path: Owner) -> list[Owner]:
    return [found for found in owners(value, path) if len(found) == len(path) + 1]


def line_owners(text: str) -> dict[Owner, str]:
    """Return the lines of a text by the key or item that each begins with."""
    document = only(text)
    root = document.tree()
    assert root is not None
    lines: dict[int, tuple[int, int, Owner]] = {}
    for start, owner in places(root, document.value):
        line = text.count("\n", 0, document.start + start)
        lines[line] = min(lines.get(line, (1 << 60, 0, owner)), (start, -len(owner), owner))
    split = text.split("\n")
    return {owner: split[line] for line, (_, _, owner) in lines.items()}


def values_of(value: Any, path: Owner = ()) -> dict[Owner, Any]:
    """Return what stands at each path."""
    found = {path: value}
    if isinstance(value, dict):
        for key, item in value.items():
            found.update(values_of(item, (*path, key)))
    elif isinstance(value, list):
        for item, here in zip(value, item_paths(value, path), strict=True):
            found.update(values_of(item, here))
    return found


def assert_comments_stay_with_their_keys(before: str, after: str, goal: Any) -> None:
    stays = values_of(goal)
    lines = line_owners(after)
    for owner, line in line_owners(before).items():
        for comment in _COMMENT.findall(line):
            if owner in stays:
                assert comment in lines[owner], (owner, comment)
            else:
                assert comment not in after, (owner, comment)


def assert_untouched(before: str, after: str, old: Any, goal: Any) -> None:
    """Assert that the lines of scalars that stay are there as they were, in their order, but for a dash before them."""
    was, stays = values_of(old), values_of(goal)
    wanted = [
        bare(line)
        for owner, line in line_owners(before).items()
        if owner in stays
        and same(was[owner], stays[owner])
        and not isinstance(was[owner], dict | list)
        and not any(bracket in line for bracket in "{}[]")
    ]
    there = iter([bare(line) for line in after.split("\n")])
    assert [line for line in wanted if line not in there] == []


def bare(line: str) -> str:
    """Return a line without what its neighbours decide: a dash before it, commas."""
    return line.rstrip("\r").lstrip("\ufeff -").replace(",", "")


def assert_lawful(text: str, goal: Any) -> str:
    """Assert what holds for a change of any document, and return the new text."""
    document = only(text)
    splices = edit_document(document, goal)
    after = spliced(text, splices)
    assert same(only(after).value, goal)
    assert not edit_document(only(after), goal)
    assert text.startswith("\ufeff") == after.startswith("\ufeff")
    assert ends_alike(text, after)
    assert changes_in(patched(unified("f.yaml", text, splices), colour=False, terminal=False)) == fewest_changes(
        lines_of(text), lines_of(after)
    )
    return after


@given(written=yaml_texts(TREES, marked=True), data=st.data())
def test_any_change_of_yaml(written: tuple[Any, str], data: st.DataObject) -> None:
    _, text = written
    old = only(text).value
    goal = data.draw(changed(old))
    if goal:
        after = assert_lawful(text, goal)
        assert_comments_stay_with_their_keys(text, after, goal)
        assert_untouched(text, after, old, goal)


BEHIND_BLOCK_SCALARS = {
    "all blank lines": ("a: |+\n  x\n\nb: 1\n\n# c\nd: 2\n", "a: |+\n  x\n\n# c\nd: 2\n"),
    "blanks": ("a: |\n  x\nb: |\n  y\n     \nc: 1\n     \nd: 2\n", "a: |\n  x\nd: 2\n"),
    "blank lines that mean nothing": ("a: |\n  x\nb: 1\n\nd: 2\n", "a: |\n  x\n\nd: 2\n"),
}


@pytest.mark.parametrize("name", BEHIND_BLOCK_SCALARS)
def test_a_block_scalar_takes_in_no_blanks_of_what_goes(name: str) -> None:
    before, after = BEHIND_BLOCK_SCALARS[name]
    goal = {key: value for key, value in only(before).value.items() if key in "ad"}
    assert assert_lawful(before, goal) == after


@given(written=json_texts(TREES), data=st.data())
def test_any_change_of_json(written: tuple[Any, str], data: st.DataObject) -> None:
    _, text = written
    goal = data.draw(changed(only(text).value))
    if goal:
        assert_lawful(text, goal)

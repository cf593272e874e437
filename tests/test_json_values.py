"""JSON values: a draft shares what it does not change, and leaves the original alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.json_differences import align, differences
from kubectl_harden.json_values import ABSENT, Draft, same, value_at

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
ROOTS = st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1, max_size=3)


def containers(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return []
    return [path, *(found for key, item in items for found in containers(item, (*path, key)))]


@given(ROOTS, st.data())
def test_changes_show_in_the_draft_alone(value: dict[str, Any], data: st.DataObject) -> None:
    before = json.dumps(value)
    draft = Draft(value)
    expected = json.loads(before)
    for step in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(containers(draft.value)))
        there, here = draft.at(path), expected
        for part in path:
            here = here[part]
        for target in (there, here):
            if isinstance(target, dict):
                target["a"] = step
            else:
                target.append(step)
    assert draft.value == expected
    assert json.dumps(value) == before


def test_what_is_not_on_the_way_is_shared() -> None:
    value = {"a": {"b": [1]}, "c": {"d": 1}}
    draft = Draft(value)
    draft.at(("a", "b")).append(2)
    assert draft.value["c"] is value["c"]
    assert value["a"]["b"] == [1]


def test_missing_objects_are_made_only_where_asked() -> None:
    draft = Draft({"a": None})
    draft.at(("a", "b"), make=True)["c"] = 1
    assert draft.value == {"a": {"b": {"c": 1}}}
    with pytest.raises(KeyError):
        draft.at(("x",))


def put(value: Any, path: tuple[str | int, ...], new: Any) -> None:
    for part in path[:-1]:
        value = value[part]
    value[path[-1]] = new


@given(ROOTS, ROOTS)
def test_differences_lead_from_one_value_to_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Where they say that nothing differs, nothing does; where lists keep their lengths they rebuild the new value."""
    found = list(differences(old, new))
    assert (not found) == same(old, new)
    for path, before, after in found:
        assert not same(before, after)
        if after is not ABSENT:
            assert same(_at(new, path), after)
    if all(before is not ABSENT and after is not ABSENT for _, before, after in found):
        for path, _, after in found:
            put(old, path, after)
        assert same(old, new)


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


A, B, C, D = ({"name": name, "mode": "0440"} for name in "abcd")
CHANGED = {"name": "b", "mode": 288}
ALIGNED = {
    "one goes and another comes": ([A, B, C], [B, C, D], [(0, None), (1, 0), (2, 1), (None, 2)]),
    "one changes": ([A, B], [A, CHANGED], [(0, 0), (1, 1)]),
    "one goes, one changes, one comes": ([A, B, C], [CHANGED, C, D], [(0, None), (1, 0), (2, 1), (None, 2)]),
    "another in its place": ([A], [B], [(0, None), (None, 0)]),
    "strings": (["X", "all", "Y"], ["ALL", "Y", "Z"], [(0, None), (1, 0), (2, 1), (None, 2)]),
    "a prefix of capabilities": (["CAP_X"], ["X"], [(0, 0)]),
    "mounts of one volume": (
        [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}],
        [{"name": "v", "mountPath": "/b"}, {"name": "v", "mountPath": "/c"}],
        [(0, None), (1, 0), (None, 1)],
    ),
    "no names": ([{"x": 1}, {"x": 2}], [{"x": 1}, {"x": 3}], [(0, 0), (1, 1)]),
    "in the middle": ([A, C], [A, B, C], [(0, 0), (None, 1), (1, 2)]),
    "nothing": ([], [], []),
}


@pytest.mark.parametrize("name", ALIGNED)
def test_items_are_paired_by_what_they_are(name: str) -> None:
    old, new, pairs = ALIGNED[name]
    assert align(old, new) == pairs


@given(st.lists(VALUES, max_size=5), st.lists(VALUES, max_size=5))
def test_every_item_is_paired_once_and_in_order(old: list[Any], new: list[Any]) -> None:
    pairs = align(old, new)
    assert [i for i, _ in pairs if i is not None] == list(range(len(old)))
    assert [j for _, j in pairs if j is not None] == list(range(len(new)))


@given(ROOTS)
def test_the_value_at_a_path(root: Any) -> None:
    for path in containers(root):
        found: Any = root
        for part in path:
            found = found[part]
        assert value_at(root, path) is found
        assert value_at(root, (*path, "z")) is ABSENT
        assert value_at(root, (*path, 9)) is ABSENT
    assert value_at({"a": None, "b": ["x"]}, ("a",)) is None
    assert value_at({"a": None, "b": "x"}, ("b", 0)) is ABSENT

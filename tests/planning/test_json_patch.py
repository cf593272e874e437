"""The way back: an inverse patch takes every patch back, and nothing else."""

from __future__ import annotations

from typing import Any

import jsonpatch
from hypothesis import assume, given
from hypothesis import strategies as st

from kubectl_harden.json_values import copied, same
from kubectl_harden.planning.json_patch import in_force, inverse_of, moved_on
from tests.support.profile import fewer

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["a", "b"])
KEYS = st.sampled_from(["a", "b", "c/d", "e~f"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=4)


def places(value: Any, pointer: str = "") -> list[str]:
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        here = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
        found += [here, *places(item, here)]
    return found


@st.composite
def patches(draw: st.DrawFn) -> tuple[Any, list[dict[str, Any]], Any]:
    """A value, a patch of it, and what the patch makes of it."""
    before = draw(OBJECTS)
    value = copied(before)
    operations: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 4))):
        known = places(value)
        if not known:
            break
        where = draw(st.sampled_from(known))
        op = draw(st.sampled_from(["add", "replace", "remove", "append", "new"]))
        if op in ("append", "new"):
            parent = jsonpatch.JsonPointer(where).resolve(value)
            if isinstance(parent, list):
                where += "/-"
            elif isinstance(parent, dict):
                where += "/new"
            else:
                continue
            op = "add"
        operation = {"op": op, "path": where}
        if op != "remove":
            operation["value"] = draw(VALUES)
        operations.append(operation)
        value = jsonpatch.apply_patch(value, [operation])
    assume(operations)
    return before, operations, value


@given(case=patches())
def test_there_and_back(case: tuple[Any, list[dict[str, Any]], Any]) -> None:
    before, operations, after = case
    inverse = inverse_of(before, after, operations)
    assert moved_on(after, inverse) is None
    assert same(jsonpatch.apply_patch(after, inverse), before)
    # The inverse has an inverse.
    again = inverse_of(after, before, inverse)
    assert same(jsonpatch.apply_patch(before, again), after)


@given(case=patches(), other=st.sampled_from(["x", 7, None, [1]]))
@fewer(2)
def test_a_value_that_was_set_and_is_another_now_is_noticed(
    case: tuple[Any, list[dict[str, Any]], Any], other: Any
) -> None:
    before, operations, after = case
    inverse = inverse_of(before, after, operations)
    tests = [step for step in inverse if step["op"] == "test"]
    assume(inverse and inverse[0]["op"] == "test" and not same(tests[0]["value"], other))
    changed = jsonpatch.apply_patch(after, [{"op": "replace", "path": inverse[0]["path"], "value": other}])
    assert moved_on(changed, inverse) == inverse[0]["path"]


@given(case=patches())
@fewer(2)
def test_what_is_taken_back_is_in_force(case: tuple[Any, list[dict[str, Any]], Any]) -> None:
    before, operations, after = case
    inverse = inverse_of(before, after, operations)
    assume(len(operations) == 1 and operations[0]["op"] != "remove")
    assume(not operations[0]["path"].rpartition("/")[2].isdigit())
    assert in_force(before, inverse)
    assert in_force(after, inverse) == same(before, after)


def test_what_the_server_leaves_out_comes_back() -> None:
    before = {"hostNetwork": True, "name": "x"}
    operations = [{"op": "replace", "path": "/hostNetwork", "value": False}]
    inverse = inverse_of(before, {"name": "x"}, operations)
    assert inverse == [{"op": "add", "path": "/hostNetwork", "value": True}]
    assert moved_on({"name": "x", "hostNetwork": False}, inverse) == "/hostNetwork"


def test_what_the_server_did_not_take_is_not_taken_back() -> None:
    assert inverse_of({}, {}, [{"op": "add", "path": "/a", "value": 1}]) == []


def test_what_the_server_puts_where_something_was_removed_is_expected_there() -> None:
    """A pod has ``securityContext: {}`` where nothing is left of it."""
    before = {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}
    inverse = inverse_of(before, {"securityContext": {}}, [{"op": "remove", "path": "/securityContext"}])
    assert moved_on({"securityContext": {}}, inverse) is None
    assert same(jsonpatch.apply_patch({"securityContext": {}}, inverse), before)
    assert moved_on({"securityContext": {"runAsUser": 1}}, inverse) == "/securityContext"
    assert in_force(before, inverse)

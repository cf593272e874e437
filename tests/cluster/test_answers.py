"""Answers are read within limits, and have the shapes of what they say they are.

This is the test of ``cluster/shapes.py``, too.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.cluster.answers import DEEPEST, UNWANTED, checked, decoded, error_of, items_in, opened
from kubectl_harden.cluster.shapes import SHAPES
from kubectl_harden.errors import ClusterError, Conflict, Denied, NotPermitted, Unreachable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_is_read_as_it_is(value: Any) -> None:
    assert decoded(json.dumps(value).encode(), "GET /x") == value


@given(st.lists(st.sampled_from(["[", '{"a":']), max_size=300), st.text('[]{}"\\', max_size=20))
def test_the_depth_is_counted(started: list[str], text: str) -> None:
    """Brackets in strings do not count."""
    inner = json.dumps([text, text])
    body = "".join(started) + inner + "".join("]" if item == "[" else "}" for item in reversed(started))
    if len(started) + 1 <= DEEPEST:
        decoded(body.encode(), "GET /x")
    else:
        with pytest.raises(Unreachable, match="nested"):
            decoded(body.encode(), "GET /x")


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{", b"[NaN]", b"-Infinity", b"1" * 5_000, b"\xef\xbb\xbf{}", "{}".encode("utf-16")]
)
def test_what_is_not_json(body: bytes) -> None:
    with pytest.raises(Unreachable, match="GET /x: the answer is not JSON; is this an API server"):
        decoded(body, "GET /x")


# -- Pods of which only some are read ----------------------------------------------------------------------

TEXTS = st.sampled_from(["", '"', '},{"metadata":{"name":"x"', ',"managedFields":[', "\\", "]}", "ä😀"]) | st.text(
    st.characters(codec="utf-8"), max_size=4
)


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    """A Pod, mostly as API servers write it, with text in it that looks like the parts that it is cut at."""
    text = draw(TEXTS)
    metadata = {"name": draw(st.sampled_from("abc")), "namespace": text, "uid": "u", "resourceVersion": "1"}
    metadata |= {"annotations": {text: text}, "managedFields": [{"manager": text}, {"manager": "x"}]}
    left_out = draw(st.sampled_from([None, None, None, "managedFields", "namespace", "name"]))
    metadata.pop(left_out, None)
    if draw(st.integers(0, 4)) == 0:
        metadata = dict(sorted(metadata.items()))
    claim = {"volumeClaimTemplate": {"metadata": {"managedFields": [1]}, "spec": {}}}
    spec = {"volumes": [{"ephemeral": claim}, {"name": text}], "containers": [{"env": [{"value": text}]}]}
    return {"metadata": metadata, "spec": spec, "status": {}}


@given(st.lists(pods(), max_size=6), st.sets(st.sampled_from("abc")), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_pods_that_are_not_wanted_are_passed_over(
    items: list[dict[str, Any]], names: set[str], separators: tuple[str, str]
) -> None:
    """The others come as they are, and each stands in its place."""

    def wanted(item: Any) -> bool:
        return item["metadata"].get("name") in names

    value = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}
    body = json.dumps(value, separators=separators, ensure_ascii=False).encode()
    read, found = opened(body, "GET /x", wanted)
    assert [*items_in(read, ("v1", "Pod"), "GET /x"), *found] == (
        [item if wanted(item) else UNWANTED for item in items] if separators == (",", ":") else items
    )


def by_name(item: Any) -> bool:
    """Whether an object is wanted: those that are called w are."""
    return bool(item["metadata"].get("name") == "w")


def pod_of(name: str, **more: Any) -> dict[str, Any]:
    """Return a Pod as API servers write it: metadata, spec, status."""
    metadata = {"name": name, "namespace": "n", "uid": "u", "resourceVersion": "1", "managedFields": [{"manager": "m"}]}
    return {"metadata": metadata, "spec": {}, "status": {}, **more}


def read_pods(items: list[Any]) -> list[object]:
    value = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}
    read, found = opened(json.dumps(value, separators=(",", ":")).encode(), "GET /x", by_name)
    return [*items_in(read, ("v1", "Pod"), "GET /x"), *found]


NAMES = st.sampled_from("uuw")
INNER = (
    NAMES.map(pod_of) | st.just({"x": {}}) | st.fixed_dictionaries({"metadata": st.fixed_dictionaries({"name": NAMES})})
)


@given(
    st.lists(
        st.tuples(NAMES, st.sampled_from(["metadata", "spec", "status", "more"]), st.lists(INNER, max_size=3)),
        min_size=1,
        max_size=4,
    )
)
def test_no_pod_is_lost_or_invented_where_a_list_in_a_pod_holds_objects(
    given_pods: list[tuple[str, str, list[Any]]],
) -> None:
    """No API server knows such a list (``test_find_pages`` asks); were there one, an error is the worst that comes of it."""
    items = []
    for name, place, inner in given_pods:
        item = pod_of(name)
        item[place] = {**item.get(place, {}), "inner": inner, "after": {}}
        items.append(item)
    with contextlib.suppress(Unreachable):
        assert read_pods(items) == [item if by_name(item) else UNWANTED for item in items]


ENDINGS: list[dict[str, Any]] = [{"status": None}, {"more": 1}, {"more": []}, {"more": "}},{"}, {"more": {}}]


@given(st.lists(st.tuples(NAMES, st.sampled_from(ENDINGS), st.booleans()), max_size=5))
def test_no_pod_is_lost_however_pods_begin_and_end(given_pods: list[tuple[str, dict[str, Any], bool]]) -> None:
    """What is no API server's may have another order, or no status: that a pod is followed by another is not missed."""
    items = [{**({"kind": "Pod"} if kind else {}), **pod_of(name, **more)} for name, more, kind in given_pods]
    assert read_pods(items) == [item if by_name(item) else UNWANTED for item in items]


def test_most_of_a_pod_that_is_not_wanted_is_not_read() -> None:
    pod = '{"metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"1","managedFields":[]},"spec":{?}}'
    last = pod.replace("?", "")
    body = f'{{"kind":"PodList","apiVersion":"v1","metadata":{{}},"items":[{pod},{pod},{last}]}}'.encode()
    assert list(opened(body, "GET /x", lambda _: False)[1]) == [UNWANTED] * 3
    with pytest.raises(Unreachable, match="not JSON"):
        list(opened(body, "GET /x", lambda _: True)[1])


# -- shapes -----------------------------------------------------------------------------------------------


METADATA = {"name": "a", "namespace": "x", "uid": "u", "resourceVersion": "1", "creationTimestamp": "t"}
CONTAINER = {
    "name": "app", "image": "i", "command": ["a"], "ports": [{"containerPort": 80}],
    "securityContext": {"runAsUser": 1, "privileged": False, "capabilities": {"add": ["A"], "drop": ["ALL"]}},
    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
}  # fmt: skip
POD_SPEC = {
    "containers": [CONTAINER], "hostNetwork": False, "securityContext": {"sysctls": [{"name": "a", "value": "b"}]},
    "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
}  # fmt: skip
POD = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {**METADATA, "labels": {"a": "b"}}, "spec": POD_SPEC,
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
               "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "r"}}}]},
}  # fmt: skip
DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**METADATA, "ownerReferences": [
        {"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u", "controller": True}]},
    "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In"}]},
             "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC}},
    "status": {"replicas": 1, "conditions": [{"type": "Progressing", "status": "True"}]},
}  # fmt: skip


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all values in a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in places(item, (*path, key)))]


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    made = copy.deepcopy(value)
    if not path:
        return new
    at = made
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = new
    return made


@pytest.mark.parametrize("value", [POD, DEPLOYMENT], ids=["Pod", "Deployment"])
def test_every_value_of_another_type_is_found(value: dict[str, Any]) -> None:
    """Whatever is read of an object is looked at; apiVersion and kind may be left out."""
    about = value["apiVersion"], value["kind"]
    assert checked(copy.deepcopy(value), about, "GET /x") == value
    for path in places(value):
        at = value
        for part in path:
            at = at[part]  # type: ignore[index]
        for other in (7.5, "text", 7, True, [7.5], {"a": 7.5}):
            if type(other) is type(at) or path == ("metadata", "annotations"):
                continue
            with pytest.raises(Unreachable, match=r"GET /x: the answer is .*; is this an API server"):
                checked(replaced(value, path, other), about, "GET /x")


@pytest.mark.parametrize("value", [POD, DEPLOYMENT], ids=["Pod", "Deployment"])
def test_null_is_missing(value: dict[str, Any]) -> None:
    """Either it is an error, or the field is gone."""
    about = value["apiVersion"], value["kind"]
    for path in places(value)[1:]:
        if len(path) == 1 and path[0] in ("apiVersion", "kind"):
            continue
        try:
            found = checked(replaced(value, path, None), about, "GET /x")
        except Unreachable:
            continue
        assert path not in places(found), path


@given(st.sampled_from(sorted(SHAPES)), JSON)
def test_nothing_but_an_error_comes_of_any_value(about: tuple[str, str], value: Any) -> None:
    for given_value in (value, {"metadata": value}, {"metadata": METADATA, "spec": value, "status": value}):
        with contextlib.suppress(Unreachable):
            checked(copy.deepcopy(given_value), about, "GET /x")


@given(JSON, JSON, JSON, JSON)
def test_nothing_but_an_error_comes_of_any_list(version: Any, kind: Any, metadata: Any, items: Any) -> None:
    for value in (items, {"apiVersion": version, "kind": kind, "metadata": metadata, "items": items},
                  {"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": items}):  # fmt: skip
        with contextlib.suppress(Unreachable):
            assert isinstance(items_in(copy.deepcopy(value), ("v1", "Pod"), "GET /x"), list)


# -- errors -----------------------------------------------------------------------------------------------


@given(st.sampled_from([300, 302, 400, 401, 403, 404, 409, 410, 415, 422, 429, 500, 503, 999]), JSON, JSON, JSON)
def test_any_status_is_an_error(status: int, message: Any, reason: Any, details: Any) -> None:
    for value in (message, {"kind": "Status", "message": message, "reason": reason, "details": details}):
        for what in ("GET /x", "PATCH /x"):
            error = error_of(status, json.dumps(value).encode(), what)
            assert isinstance(error, ClusterError) and str(error)


def status_of(message: str, code: int) -> ClusterError:
    return error_of(code, json.dumps({"kind": "Status", "message": message}).encode(), "GET /x")


def test_what_rbac_forbids() -> None:
    told = 'pods is forbidden: User "a \\"b\\" c" cannot list resource "pods" in API group "" in the namespace "n"'
    error = status_of(told, 403)
    assert isinstance(error, NotPermitted) and (error.verb, error.resource) == ("list", "pods")
    assert str(error) == "not allowed to list pods in namespace n (RBAC)"


def test_strict_decoding_comes_to_the_point() -> None:
    error = error_of(422, json.dumps({"kind": "Status", "details": {"kind": "Pod"}, "message":
        'x is invalid: patch: Invalid value: "{"a": "Invalid value: "{}": "}": strict decoding error: y'}).encode(), "PATCH /x")  # fmt: skip
    assert isinstance(error, Denied) and str(error) == "strict decoding error: y"


def test_a_patch_that_does_not_apply() -> None:
    assert isinstance(error_of(422, b'{"kind": "Status", "message": "m", "details": {}}', "PATCH /x"), Conflict)
    assert isinstance(error_of(422, b'{"kind": "Status", "message": "m", "details": {}}', "POST /x"), Denied)


@pytest.mark.parametrize(
    "piece",
    ['User "', 'User "" cannot ', 'User "a" cannot b resource "', ': Invalid value: "{', '}": ', "\\", '"', " cannot ", "1 ",
     'User "x" cannot get resource "y" in API group "'],
)  # fmt: skip
@pytest.mark.parametrize("code", [403, 422])
def test_messages_of_servers_are_read_in_time(piece: str, code: int) -> None:
    """200 KB in well under a second: anything worse than linear takes minutes."""
    began = time.monotonic()
    status_of(piece * (200_000 // len(piece)), code)
    assert time.monotonic() - began < 2


def test_messages_have_a_longest_form() -> None:
    assert len(str(status_of("x" * 10_000_000, 400))) < 100_000
    assert re.search("HTTP status 400", str(error_of(400, b"", "GET /x")))


@given(
    st.lists(JSON, max_size=4), JSON, st.sampled_from([None, 1]), st.permutations(["kind", "apiVersion", "metadata"])
)
def test_items_one_by_one_are_those_of_the_whole(
    items: Any, metadata: Any, indent: int | None, order: list[str]
) -> None:
    head = {"kind": "PodList", "apiVersion": "v1", "metadata": metadata}
    value = {**{key: head[key] for key in order}, "items": items}
    for text in (json.dumps(value, indent=indent), json.dumps(value, separators=(",", ":"))):
        first, later = opened(text.encode(), "GET /x")
        assert [*first["items"], *later] == items
        assert {**first, "items": items} == value


@given(st.lists(JSON, min_size=1, max_size=3), st.data())
def test_a_list_that_is_cut_or_goes_on_is_no_answer(items: Any, data: st.DataObject) -> None:
    value = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
    text = json.dumps(value, separators=(",", ":"))
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    for wrong in (
        cut,
        f"{text}]",
        f"{text}}}",
        text[:-2] + ",]}",
        text[:-1] + ',"items":[]}',
        text.replace('"items":[', '"items":[,', 1),
    ):
        with pytest.raises(Unreachable, match="the answer is not JSON"):
            list(opened(wrong.encode(), "GET /x")[1])


def test_an_item_that_is_nested_too_deeply_is_no_answer() -> None:
    deep = '{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[' + "[" * 200 + "]" * 200 + "]}"
    with pytest.raises(Unreachable, match="nested more than"):
        opened(deep.encode(), "GET /x")

"""Types of fields are those of the API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.errors import InputError
from kubectl_harden.pod_security.pod import Pod
from kubectl_harden.pod_security.pod_schema import type_table
from tests.support.oracle import Oracle
from tests.support.pods import templates
from tests.support.profile import fewer

WRONG = st.sampled_from(
    [
        None,
        True,
        7,
        -1,
        1.5,
        2**31,
        2**63,
        "",
        "7",
        "true",
        "1Gi",
        "1gi",
        ".5",
        "-1e3",
        "1.",
        "2026-01-31T12:00:00+02:00",
        [],
        ["x"],
        [None],
        {},
        {"a": 1},
        {"name": "x"},
    ]
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths_of(item, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    out = json.loads(json.dumps(value))
    node = out
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = new
    return out


@fewer(2)
@given(template=templates(), choice=st.integers(0, 10_000), wrong=WRONG)
def test_wrong_types_are_errors_where_they_are_to_the_api_server(
    oracle: Oracle, template: dict[str, Any], choice: int, wrong: Any
) -> None:
    template["spec"]["terminationGracePeriodSeconds"] = 30
    template["metadata"]["creationTimestamp"] = "2026-01-31T12:00:00Z"
    template["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
    template["spec"]["containers"][0]["env"] = [{"name": "A", "value": "b"}]
    paths = [path for path in paths_of(template) if path not in (("metadata",), ("spec",), ("spec", "containers"))]
    changed = replaced(template, paths[choice % len(paths)], wrong)
    answer = oracle.ask(op="admit", object={"apiVersion": "v1", "kind": "Pod", **changed})
    refused = None
    try:
        Pod(changed, is_pod=True)
    except InputError as error:
        refused = str(error)
    assert (refused is None) == ("error" not in answer), (refused, answer.get("error"))


def test_the_type_table_is_current(oracle: Oracle) -> None:
    assert type_table() == oracle.ask(op="types")["types"]

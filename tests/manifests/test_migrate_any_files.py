"""Any files with Namespaces and workloads: what is written, held against the official evaluator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.manifests.migrate import plan_migration, write_migration
from kubectl_harden.manifests.namespace_plans import Aim, Migration
from kubectl_harden.manifests.reader import Inputs
from kubectl_harden.objects import held_by, item_kind
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.pod_security.namespace_labels import PREFIX, policies_of
from kubectl_harden.pod_security.policy import NEWEST
from kubectl_harden.yaml_text.editor import spliced
from tests.manifests.test_migrate import objects
from tests.support.oracle import Oracle
from tests.support.profile import fewer
from tests.support.styles import json_texts, streams, yaml_texts
from tests.yaml_text.test_editor import OBJECTS


def _placed(value: dict[str, Any], namespace: str | None) -> dict[str, Any]:
    metadata = {**value.get("metadata", {}), "name": "x"}
    return {**value, "metadata": metadata if namespace is None else {**metadata, "namespace": namespace}}


LEVELS = st.sampled_from(["privileged", "baseline", "restricted"])
VERSIONS = st.sampled_from(["latest", "v1.20", "v1.24", "v1.30", "v1.99"])
LABELS = st.dictionaries(
    st.sampled_from([f"{PREFIX}{mode}" for mode in ("enforce", "warn", "audit")]), LEVELS, max_size=2
)
PINNED = st.dictionaries(
    st.sampled_from([f"{PREFIX}{mode}-version" for mode in ("enforce", "warn")]), VERSIONS, max_size=1
)
NAMESPACES = st.builds(
    lambda name, labels, pinned: {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**labels, **pinned}}},
    st.sampled_from(["a", "b"]), LABELS, PINNED,
)  # fmt: skip
WORKLOADS = st.builds(_placed, OBJECTS, st.sampled_from(["a", "a", "b", None]))
EITHER = st.one_of(NAMESPACES, WORKLOADS, WORKLOADS)
FILES = st.lists(
    st.one_of(streams(EITHER), yaml_texts(EITHER).map(lambda made: made[1]), json_texts(EITHER).map(lambda made: made[1])),
    min_size=1, max_size=4,
)  # fmt: skip


@fewer(20)
@given(
    texts=FILES, first=yaml_texts(NAMESPACES), level=st.sampled_from(["baseline", "restricted", "highest"]),
    risk=st.sampled_from(["safe", "review", "breaks"]), version=st.sampled_from([None, "latest", "v1.26"]),
)  # fmt: skip
def test_no_workload_violates_what_is_enforced_and_a_second_run_changes_nothing(
    oracle: Oracle, texts: list[str], first: tuple[Any, str], level: Any, risk: Any, version: str | None
) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        for number, content in enumerate([first[1], *texts]):
            (directory / f"{number}.yaml").write_bytes(content.encode())
        inputs = Inputs((name,), recursive=True)
        aim = Aim(level, version, FixOptions(risk))
        before = {file.name: file.read_bytes().decode() for file in directory.iterdir()}
        found = plan_migration(inputs, aim)
        assert {file.name: file.read_bytes().decode() for file in directory.iterdir()} == before
        done = write_migration(found, inputs)
        assert done.problems == found.problems
        after = {file.name: file.read_bytes().decode() for file in directory.iterdir()}
        shown = {Path(fix.file).name: spliced(fix.before, fix.splices) for fix in found.files}
        assert {**before, **shown} == after
        _assert_only_plans_and_labels(before, after, found)
        _assert_nothing_violates(oracle, after, found)
        again = plan_migration(inputs, aim)
        assert not again.files
        assert [item.state in ("done", "blocked") for item in again.namespaces] == [True] * len(again.namespaces)


def _assert_only_plans_and_labels(before: dict[str, str], after: dict[str, str], found: Migration) -> None:
    edited = {(item.identity.kind, item.identity.name) for one in found.namespaces for item in one.edited}
    for name, content in before.items():
        for (_, old), (_, new) in zip(objects(content), objects(after[name]), strict=True):
            if old.get("kind") == "Namespace":
                had, has = (value["metadata"].get("labels") or {} for value in (old, new))
                assert {key: has[key] for key in had if not key.startswith(PREFIX)}.items() <= had.items()
                for mode, policy in policies_of(had, NEWEST).items():
                    now = policies_of(has, NEWEST)[mode]
                    assert _rank(now.level) >= _rank(policy.level)
            else:
                assert old == new or (old["kind"], old["metadata"]["name"]) in edited


def _rank(level: str) -> int:
    return ["privileged", "baseline", "restricted"].index(level)


def _assert_nothing_violates(oracle: Oracle, after: dict[str, str], found: Migration) -> None:
    """Every Namespace whose label was raised, or that is said to be at its goal, refuses none of its workloads."""
    promised = {item.name for item in found.namespaces if item.state != "blocked"}
    raised = {item.name for item in found.namespaces for wanted in item.labels if f"{PREFIX}enforce" in wanted}
    assert raised <= promised
    listed = [value for content in after.values() for entry in oracle.stream(content.encode()) for value in _leaves(entry.get("json"))]  # fmt: skip
    for namespace in listed:
        if namespace["kind"] != "Namespace" or namespace["metadata"]["name"] not in promised:
            continue
        policy = policies_of(namespace["metadata"].get("labels") or {}, NEWEST)["enforce"]
        for value in listed:
            if value["metadata"].get("namespace") == namespace["metadata"]["name"] and policy.level != "privileged":
                assert oracle.verdicts(op="admit", object=value)[policy.level, policy.minor] == []


def _leaves(value: Any) -> Iterator[dict[str, Any]]:
    held = held_by(value)
    if held is not None:
        for item in held[1]:
            yield from _leaves(item_kind(value, item))
    elif isinstance(value, dict) and value.get("kind"):
        yield value if "metadata" in value else {**value, "metadata": {}}

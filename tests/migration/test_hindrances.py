"""Which pods a workload keeps, and the commands that replace them; tests/live/test_migrate_hindrances.py runs the commands."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_harden.cluster.api import Resource, of_kind
from kubectl_harden.cluster.command import Commands
from kubectl_harden.live.find import Live
from kubectl_harden.live.propose import ApplyOptions, Proposal
from kubectl_harden.migration.hindrances import hindrances, keeper_of, old_pods
from kubectl_harden.migration.model import Aim, Blocker, PodVerdict, Surveyed
from kubectl_harden.model import Policy
from kubectl_harden.planning.options import FixOptions
from tests.support.harden import workload

GOAL = Policy("restricted", 30, "v1.30")
PATCH = ({"op": "add", "path": "/spec/template/spec/securityContext", "value": {}},)
CLONE_SET = Resource("apps.kruise.io", "v1alpha1", "clonesets", "CloneSet")


def a_pod(name: str, owner: str, **more: Any) -> PodVerdict:
    return PodVerdict(name, f"uid-{name}", "runAsNonRoot != true", owner, "", False, False, **more)


def live(value: dict[str, Any], resource: Resource | None = None, **spec: Any) -> Live:
    metadata = {**value["metadata"], "namespace": "shop", "uid": "u", "resourceVersion": "1"}
    return Live.of(
        resource or of_kind(value["kind"]), {**value, "metadata": metadata, "spec": {**value["spec"], **spec}}, GOAL
    )


def told(found: Live, pods: list[PodVerdict], aim: Aim, *, patched: bool = True) -> list[Blocker]:
    """Return the blockers of one workload for the pods that are its own."""
    proposal = Proposal(found, (), PATCH if patched else (), {})
    keeper = keeper_of(found)
    keepers = {proposal.name: keeper} if keeper is not None else {}
    item = Surveyed(proposal, "baseline", "restricted")
    return list(hindrances(Commands(("--context", "a b")), old_pods(keepers, [item], pods), aim, GOAL))


@given(
    partition=st.integers(0, 12), start=st.integers(0, 12), ordinal=st.integers(0, 30), current=st.booleans(),
    patched=st.booleans(),
)  # fmt: skip
def test_a_partition_keeps_old_pods_below_it(
    partition: int, start: int, ordinal: int, current: bool, patched: bool
) -> None:
    """As newVersionedStatefulSetPod: ordinals below start + partition are at the current revision."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    found = live(workload("StatefulSet", "db"), updateStrategy=strategy, ordinals={"start": start})
    found = found.changed({**found.value, "status": {"updateRevision": "db-2"}})
    revision = "db-2" if current else "db-1"
    pod = a_pod(f"db-{ordinal}", "StatefulSet shop/db", labels={"controller-revision-hash": revision})
    kept = partition > 0 and ordinal < start + partition and (patched or not current)
    assert bool(told(found, [pod], Aim("restricted"), patched=patched)) == kept


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Deployment", {}),
        ("Deployment", {"strategy": {"type": "Recreate"}}),
        ("StatefulSet", {"updateStrategy": {"type": "RollingUpdate"}}),
        ("DaemonSet", {"updateStrategy": {"type": "RollingUpdate"}}),
    ],
)
def test_what_rolls_out_keeps_nothing(kind: str, spec: dict[str, Any]) -> None:
    assert keeper_of(live(workload(kind, "web"), **spec)) is None


@pytest.mark.parametrize("more", [{"deleted": True}, {}])
def test_pods_that_go_or_have_ended_are_not_kept(more: dict[str, Any]) -> None:
    pod = a_pod("bare-1", "ReplicaSet shop/bare", **more)
    pod = pod if more else pod._replace(finished=True)
    assert told(live(workload("ReplicaSet", "bare")), [pod], Aim("restricted")) == []


def test_many_pods_are_deleted_by_their_label_and_revision() -> None:
    owner, end = "DaemonSet shop/agent", ["--context", "a b"]
    labels = {"controller-revision-hash": "5f"}
    found = live(workload("DaemonSet", "agent"), updateStrategy={"type": "OnDelete"})
    for count in (10, 11):
        named = [f"agent-{index}" for index in range(count)]
        (blocker,) = told(found, [a_pod(name, owner, labels=labels) for name in named], Aim("restricted"))
        by_name = ["kubectl", "delete", "pods", *named, "-n", "shop", *end]
        by_label = ["kubectl", "delete", "pods", "-n", "shop", "-l", "app=agent,controller-revision-hash in (5f)", *end]
        assert shlex.split(blocker.commands[-1]) == (by_name if count == 10 else by_label)


def test_the_fix_has_the_options_of_the_migration() -> None:
    value = {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "metadata": {"name": "web"}, "spec": {}}
    aim = Aim("restricted", "v1.30", FixOptions("breaks"), ApplyOptions(even_if_managed=True),
              {("apps.kruise.io", "CloneSet"): ("/spec/template",)})  # fmt: skip
    (blocker,) = told(live(value, CLONE_SET), [a_pod("web-1", "CloneSet shop/web")], aim)
    assert shlex.split(blocker.commands[0]) == [
        *("kubectl", "harden", "fix", "cloneset.apps.kruise.io/web", "-n", "shop", "--level", "restricted"),
        *("--policy-version", "v1.30", "--max-risk", "breaks", "--even-if-managed"),
        *("--pod-path", "CloneSet.apps.kruise.io=/spec/template", "--apply", "--context", "a b"),
    ]
    assert shlex.split(blocker.commands[1])[:4] == ["kubectl", "delete", "pods", "web-1"]


def test_a_workload_that_cannot_be_fixed_is_told_of_first() -> None:
    found = live(workload("ReplicaSet", "bare"))
    keeper = keeper_of(found)
    assert keeper is not None
    refused = Surveyed(Proposal(found, (), PATCH, {}, refusal="managed by Helm"), "baseline", "baseline")
    pod = a_pod("bare-1", "ReplicaSet shop/bare")
    assert old_pods({"ReplicaSet shop/bare": keeper}, [refused], [pod]) == []

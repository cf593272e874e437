"""Surveys made without a cluster, from real plans of made-up workloads."""

from __future__ import annotations

from typing import Any

from kubectl_harden.cluster.api import Cluster, of_kind
from kubectl_harden.live.find import Live
from kubectl_harden.live.propose import ApplyOptions, propose
from kubectl_harden.migration.model import Aim, NamespaceSurvey, ServerWord, Survey, Surveyed, plan_blockers
from kubectl_harden.model import Policy
from kubectl_harden.planning.json_patch import touched
from kubectl_harden.pod_security.in_force import in_force
from kubectl_harden.pod_security.namespace_labels import policy_of_words
from tests.support.fleet import helm, safe, socket_agent
from tests.support.harden import workload

GOAL = Policy("restricted", 37, "latest")
TEAMS = ("payments", "sre", "search", "")
_NOTHING = policy_of_words("privileged:latest", 37)
UNLABELLED = in_force({}, 37, {"enforce": _NOTHING, "warn": _NOTHING})


def surveyed(value: dict[str, Any], namespace: str, number: int, team: str = "") -> Surveyed:
    """Return a workload as a detailed survey has it."""
    metadata = {"uid": f"{namespace}-{number}", "resourceVersion": str(number), "namespace": namespace}
    value = {**value, "metadata": {**value["metadata"], **metadata}}
    live = Live.of(of_kind(value["kind"]), value, GOAL)
    proposal = propose(Cluster(None), live, Aim("restricted").planning, ApplyOptions(), dry_run=False)  # type: ignore[arg-type]
    (planned,) = proposal.planned
    before = touched(value, proposal.patch)
    after = planned.plan.before if proposal.refusal else planned.plan.after
    return Surveyed(proposal.counted(), planned.plan.before, after, team, before, "0")


def namespace(name: str, values: list[dict[str, Any]], team: str = "") -> NamespaceSurvey:
    """Return the survey of a namespace with these workloads."""
    workloads = tuple(surveyed(value, name, index, team) for index, value in enumerate(values))
    blockers = tuple(plan_blockers(workloads, GOAL))
    changed = any(item.proposal.patch for item in workloads)
    levels = ("privileged", "baseline", "restricted")
    now = min((item.now for item in workloads), key=levels.index, default="restricted")
    after = min((item.after for item in workloads), key=levels.index, default="restricted")
    state = "blocked" if blockers else "fixable" if changed else "ready"
    return NamespaceSurvey(name, f"uid-{name}", "1", {}, GOAL, GOAL, now, after, state, workloads, (), blockers,
                           ServerWord(False, "made up"), {}, {}, team, in_force=UNLABELLED)  # type: ignore[arg-type]  # fmt: skip


def survey(namespaces: int, workloads: int) -> Survey:
    """Return a survey of many namespaces of every sort."""
    made = []
    for index in range(namespaces):
        values = [
            workload("Deployment", f"app-{number:02}", f"example.com/app:{number}") for number in range(workloads)
        ]
        values[0] = (values[0], socket_agent(), helm(values[0]), safe(values[0]))[index % 4]
        if index % 4 == 3:
            values = [safe(value) for value in values]
        made.append(namespace(f"team-{index:03}", values, TEAMS[index % len(TEAMS)]))
    return Survey(tuple(made))

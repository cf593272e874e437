"""A survey as the reports of the Kubernetes policy working group, which dashboards show.

Sources: the CustomResourceDefinitions reports.openreports.io (openreports.io/v1alpha1) and
policyreports.wgpolicyk8s.io (wgpolicyk8s.io/v1alpha2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from kubectl_harden.cluster.api import Resource
from kubectl_harden.json_values import mappings
from kubectl_harden.migration.model import NamespaceSurvey, Survey, Surveyed
from kubectl_harden.model import RISKS
from kubectl_harden.plan_model import Remaining
from kubectl_harden.pod_security.policy import worded

__all__ = ["api_of", "joined", "reports"]

Api = Literal["openreports.io/v1alpha1", "wgpolicyk8s.io/v1alpha2"]
_APIS: Final[tuple[tuple[Api, str], ...]] = (
    ("openreports.io/v1alpha1", "openreports.io"),
    ("wgpolicyk8s.io/v1alpha2", "wgpolicyk8s.io"),
)
SOURCE: Final = "kubectl-harden"
CLUSTER: Final = "kubectl-harden/cluster"
"""The annotation of a report that names its cluster, where there are several."""
_NAME: Final = "kubectl-harden"
_RESULTS: Final = ("pass", "fail", "warn", "error", "skip")


def api_of(resources: Iterable[Resource]) -> tuple[Api, str]:
    """Return the newer API of the two that a cluster has, and a note where it has neither."""
    groups = {resource.group for resource in resources}
    for api, group in _APIS:
        if group in groups:
            return api, ""
    return _APIS[0][0], (
        "the cluster has neither openreports.io nor wgpolicyk8s.io: install their CustomResourceDefinitions before "
        "these reports are applied"
    )


def reports(found: Survey, api: Api, now: int, cluster: str = "") -> dict[str, object]:
    """Return a List of one report per namespace; ``now`` is the time in seconds since 1970.

    Where there are several clusters, each report and result says which ``cluster`` it is of.
    """
    items = [_report(item, api, now, cluster) for item in found.namespaces]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def joined(lists: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """Return one List of the reports of several clusters."""
    items = [item for one in lists for item in mappings(one["items"])]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _report(item: NamespaceSurvey, api: Api, now: int, cluster: str) -> dict[str, object]:
    properties = {"cluster": cluster} if cluster else {}
    results = [result for workload in item.workloads for result in _results(item, workload, now, properties)]
    counts = {word: sum(result["result"] == word for result in results) for word in _RESULTS}
    head: dict[str, Any] = {
        "apiVersion": api,
        "kind": "Report" if api.startswith("openreports") else "PolicyReport",
        "metadata": {
            "name": _NAME,
            "namespace": item.name,
            "labels": {"app.kubernetes.io/managed-by": SOURCE},
            **({"annotations": {CLUSTER: cluster}} if cluster else {}),
        },
    }
    if api.startswith("openreports"):
        head["source"] = SOURCE
    scope = {"apiVersion": "v1", "kind": "Namespace", "name": item.name, "uid": item.uid}
    return {**head, "scope": scope, "summary": counts, "results": results}


def _results(
    item: NamespaceSurvey, workload: Surveyed, now: int, of_cluster: dict[str, str]
) -> Iterator[dict[str, object]]:
    """Yield a result for each violated control, or one that nothing is violated; ``of_cluster`` are properties of all
    of them.
    """
    edits = [edit for planned in workload.proposal.planned for edit in planned.plan.edits]
    left = [remaining for planned in workload.proposal.planned for remaining in planned.plan.remaining]
    cured = dict.fromkeys(check for edit in edits for check in edit.checks)
    held = {remaining.check for remaining in left}
    refusal = workload.proposal.refusal
    words, fix = ("a patch fixes it", "automatic") if refusal is None else (refusal, "by hand")
    for check in cured:
        if check not in held:
            risk = max((edit.risk for edit in edits if check in edit.checks), key=RISKS.index)
            yield _result(item, workload, now, check, "fail", words, {**of_cluster, "fix": fix, "risk": risk})
    for remaining in left:
        yield _result(item, workload, now, remaining.check, "fail", _words(remaining), {**of_cluster, "fix": "by hand"})
    if workload.proposal.problems:
        words = "; ".join(problem.message for problem in workload.proposal.problems)
        yield _result(item, workload, now, "", "error", words, of_cluster)
    elif not cured and not left:
        yield _result(item, workload, now, "", "pass", f"meets {item.goal}", of_cluster)


def _words(remaining: Remaining) -> str:
    return f"{worded(remaining.reason, remaining.detail)}: {remaining.why}"


def _result(
    item: NamespaceSurvey,
    workload: Surveyed,
    now: int,
    check: str,
    result: str,
    message: str,
    properties: dict[str, str],
) -> dict[str, object]:
    live = workload.proposal.live
    subject = {
        "apiVersion": live.resource.api_version,
        "kind": live.resource.kind,
        "name": live.name,
        "namespace": live.namespace,
        "uid": live.uid,
    }
    level = {"level": workload.now, "reaches": workload.after}
    return {
        "source": SOURCE,
        "policy": f"pod-security-{item.goal.level}",
        **({"rule": check} if check else {}),
        "category": "Pod Security Standards",
        "severity": "high" if workload.now == "privileged" else "medium" if workload.now == "baseline" else "info",
        "result": result,
        "scored": True,
        "message": message,
        "resources": [subject],
        "properties": {**level, **properties, **({"team": workload.team} if workload.team else {})},
        "timestamp": {"seconds": now, "nanos": 0},
    }

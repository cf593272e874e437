"""The CheckReport: the report of ``check`` for programs, as JSON and YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kubectl_harden.field_path import pointer
from kubectl_harden.model import Checked, Policy
from kubectl_harden.reports.entries import identity_json, problem_json
from kubectl_harden.reports.goals import policy_json, workload_policy_json
from kubectl_harden.reports.origin import origin_json
from kubectl_harden.reports.tally import Report, Tally
from kubectl_harden.reports.terminal import json_text
from kubectl_harden.yaml_text.tree import dump

__all__ = ["json", "yaml"]


def _workload_json(checked: Checked, head: Policy) -> dict[str, object]:
    return {
        **identity_json(checked.identity),
        **workload_policy_json(checked.identity, checked.policy, head),
        "level": checked.level,
        "allowed": not checked.violations and not checked.left_out,
        "violations": [
            {
                "check": violation.check,
                "level": violation.level,
                "reason": violation.reason,
                "detail": violation.detail,
                "paths": [pointer(path) for path in violation.paths],
                "line": violation.line,
                **({"accepted": violation.accepted} if violation.accepted else {}),
                **({"known": True} if violation.known else {}),
            }
            for violation in checked.violations
        ],
        **({"leftOut": checked.left_out} if checked.left_out else {}),
        **_pods_json(checked),
        **({"advice": checked.advice} if checked.advice else {}),
        **({"podsRefused": checked.pods_refused} if checked.pods_refused else {}),
        **origin_json(checked.origin),
        **_before_json(checked),
    }


def _before_json(checked: Checked) -> dict[str, object]:
    before = checked.before
    return {} if before is None else {"before": {"policy": policy_json(before.policy), "allowed": before.met}}


def _pods_json(checked: Checked) -> dict[str, object]:
    pods = checked.pods
    if pods is None:
        return {}
    # Only pods that meet the policy are listed, and those that are older than the admission policy.
    return {
        "pods": {
            "level": pods.level,
            "violations": [],
            "running": pods.running,
            "proved": pods.proved,
            "completedBy": list(pods.by),
            **({"older": list(pods.older)} if pods.older else {}),
        }
    }


def _head(policy: Policy) -> dict[str, Any]:
    return {
        "apiVersion": "kubectl-harden/v1",
        "kind": "CheckReport",
        "policy": policy_json(policy),
    }


def json(report: Report) -> Iterator[str]:
    """Yield the CheckReport as JSON."""
    yield json_text(_head(report.policy))[:-2] + ',\n  "workloads": ['
    separator = "\n    "
    for checked in report.results:
        yield separator + json_text(_workload_json(checked, report.policy)).replace("\n", "\n    ")
        separator = ",\n    "
    yield "\n  ],\n" + json_text(_tail(report.tally))[2:] + "\n"


def yaml(report: Report) -> Iterator[str]:
    """Yield the CheckReport as YAML."""
    workloads = [_workload_json(checked, report.policy) for checked in report.results]
    yield dump({**_head(report.policy), "workloads": workloads, **_tail(report.tally)})


def _tail(tally: Tally) -> dict[str, object]:
    errors = [problem_json(problem) for problem in tally.problems]
    audit = {} if tally.audit is None else {"auditLog": tally.audit}
    clusters = {"clusters": [{"cluster": name, **one.summary()} for name, one in tally.clusters.items()]}
    return {**audit, "errors": errors, **(clusters if tally.clusters else {}), "summary": tally.summary()}

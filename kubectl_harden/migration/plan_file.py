"""A migration's plan as a file: written at one time, reviewed, and carried out exactly at another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from kubectl_harden.atomic_files import write_new
from kubectl_harden.errors import InputError
from kubectl_harden.field_path import pointer
from kubectl_harden.json_values import json_line, same
from kubectl_harden.live.propose import ApplyOptions, Proposal
from kubectl_harden.migration.model import Aim, NamespaceSurvey, Survey, Surveyed
from kubectl_harden.migration.survey import digest_of
from kubectl_harden.model import HostPathChoice
from kubectl_harden.planning.companions import Asked
from kubectl_harden.planning.json_patch import in_force
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.text_files import read_json

__all__ = ["MigrationPlan", "drift", "plan_value", "read_plan", "write_plan"]

VERSION: Final = "kubectl-harden/v1"
KIND: Final = "MigrationPlan"


class MigrationPlan(NamedTuple):
    """A plan that was read: what was asked, and each namespace as the file has it.

    ``sources`` are the checkouts that were named, ``files`` what their files are before and after (by digest, None for
    one that is new), by the url of the repository and the path there.
    """

    aim: Aim
    server: str
    namespaces: dict[str, dict[str, Any]]
    sources: tuple[str, ...] = ()
    files: Mapping[tuple[str, str], tuple[str | None, str]] = {}
    context: object = None


def plan_value(found: Survey, aim: Aim, server: str, context: str | None, made: str) -> dict[str, object]:
    """Return the file's content: ``made`` is the time (RFC 3339), ``found`` a detailed survey."""
    fix, allowed = aim.fix, aim.apply
    return {
        "apiVersion": VERSION,
        "kind": KIND,
        "made": made,
        "server": server,
        "context": context,
        "options": {
            "level": aim.level,
            "policyVersion": aim.version,
            "maxRisk": fix.max_risk,
            "only": sorted(fix.only),
            "skip": sorted(fix.skip),
            "hostPaths": {name: list(choice) for name, choice in fix.host_paths.items()},
            "companions": fix.asked._asdict(),
            "recreate": allowed.recreate,
            "evenIfManaged": allowed.even_if_managed,
            "trial": allowed.trial,
            "atAdmission": aim.at_admission,
            "podPaths": [[*kind, list(paths)] for kind, paths in aim.pod_paths.items()],
        },
        "namespaces": [_namespace_value(item) for item in found.namespaces],
    }


def _namespace_value(item: NamespaceSurvey) -> dict[str, object]:
    blocked = item.state == "blocked"
    return {
        "name": item.name,
        "uid": item.uid,
        "resourceVersion": item.version,
        "labels": dict(item.labels),
        "goal": str(item.goal),
        "state": item.state,
        "setLabels": {**item.warn_labels, **({} if blocked else item.enforce_labels)},
        "workloads": [_workload_value(workload) for workload in item.workloads],
        "heldBackBy": [
            {
                "object": blocker.subject,
                "check": blocker.check,
                "what": blocker.what,
                "why": blocker.why,
                "commands": list(blocker.commands),
            }
            for blocker in item.blockers
        ],
    }


def _workload_value(item: Surveyed) -> dict[str, object]:
    live = item.proposal.live
    metadata = live.value["metadata"]
    out: dict[str, Any] = {
        "apiVersion": live.resource.api_version,
        "kind": live.resource.kind,
        "name": live.name,
        "uid": live.uid,
        "resourceVersion": metadata["resourceVersion"],
        "templateDigest": item.digest,
        "before": item.now,
        "after": item.after,
        "patch": list(item.proposal.patch),
    }
    edits = [edit for planned in item.proposal.planned for edit in planned.plan.edits]
    if edits:
        out["edits"] = [
            {"path": pointer(edit.path), "checks": list(edit.checks), "risk": edit.risk, "why": edit.why}
            for edit in edits
        ]
    if item.proposal.by_policy:
        out["atAdmission"] = item.proposal.by_policy
    if item.proposal.refusal is not None:
        out["notApplicable"] = item.proposal.refusal
    return out


def write_plan(path: str, value: dict[str, object]) -> None:
    """Write a plan; the file is written as a whole or not at all. Raises HardenError."""
    write_new(path, json_line(value, indent=2) + "\n")


def read_plan(path: str) -> MigrationPlan:
    """Return the plan in a file. Raises InputError, with the place, where it is not a plan."""
    try:
        value = read_json(path)
    except InputError as error:
        raise InputError(f"{path}: {error.args[0]}") from None
    if not isinstance(value, dict) or (value.get("apiVersion"), value.get("kind")) != (VERSION, KIND):
        raise InputError(f"{path}: this is not a {KIND} of {VERSION}: make one with migrate --plan-out")
    try:
        options = value["options"]
        fix = FixOptions(
            options["maxRisk"],
            frozenset(options["only"]),
            frozenset(options["skip"]),
            {name: HostPathChoice(*choice) for name, choice in options["hostPaths"].items()},
            _asked(options.get("companions", {})),
        )
        aim = Aim(
            options["level"],
            options["policyVersion"],
            fix,
            ApplyOptions(options["recreate"], options["evenIfManaged"], options.get("trial")),
            {(group, kind): tuple(paths) for group, kind, paths in options["podPaths"]},
            at_admission=str(options.get("atAdmission", "")),
        )
        namespaces = {item["name"]: item for item in value["namespaces"]}
        for item in namespaces.values():
            for key in ("uid", "labels", "goal", "state", "setLabels"):
                item[key]
            for workload in item["workloads"]:
                for key in ("apiVersion", "kind", "name", "uid", "templateDigest", "patch"):
                    workload[key]
        at_source = value.get("atSource", {"sources": [], "repositories": []})
        return MigrationPlan(
            aim,
            value["server"],
            namespaces,
            tuple(map(str, at_source["sources"])),
            _files(at_source["repositories"]),
            value.get("context"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: {KIND} lacks or misspells {error}; make it again with --plan-out") from None


def _files(repositories: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[str | None, str]]:
    return {
        (url, file["path"]): (file["before"], file["after"])
        for one in repositories
        for url in one["urls"]
        for file in one["files"]
    }


def _asked(value: dict[str, Any]) -> Asked:
    return Asked(**{**value, "writable": tuple((name, path) for name, path in value.get("writable", ()))})


def _by_policy(proposal: Proposal, item: Mapping[str, object]) -> bool:
    """Whether the policy that a plan makes for a workload is there."""
    return bool(proposal.by_policy) and proposal.by_policy == item.get("atAdmission")


def drift(planned: dict[str, Any], found: NamespaceSurvey, proposals: Sequence[Proposal]) -> list[str]:
    """Return how a namespace differs from a plan: nothing where the plan can be carried out exactly.

    What an earlier run has already carried out is not a difference.
    """
    if planned["uid"] != found.uid:
        return ["the namespace was deleted and recreated since the plan was made"]
    out = []
    wanted = planned["setLabels"]
    for key in sorted({*planned["labels"], *found.labels}):
        now = found.labels.get(key)
        if now != planned["labels"].get(key) and now != wanted.get(key):
            out.append(f"its label {key} was {planned['labels'].get(key)} and is {now}")
    if planned["goal"] != str(found.goal) and not out:
        out.append(f"the plan takes it to {planned['goal']}, but now it would be taken to {found.goal}")
    if planned["state"] == "blocked" and found.state != "blocked" and not out:
        out.append("it was held back when the plan was made, and no longer is")
    known = {item["uid"]: item for item in planned["workloads"]}
    for proposal in proposals:
        live = proposal.live
        item = known.pop(live.uid, None)
        if item is None:
            if proposal.patch or any(p.plan.remaining for p in proposal.planned):
                out.append(f"{proposal.name} violates the level and is not in the plan")
            continue
        patch = item["patch"]
        if patch and not proposal.patch and (in_force(live.value, patch) or _by_policy(proposal, item)):
            continue
        if digest_of(live) != item["templateDigest"]:
            out.append(f"{proposal.name}: its pod template was changed since the plan was made")
        elif not same(json.loads(json.dumps(proposal.patch)), patch):
            out.append(f"{proposal.name}: its patch would be different now")
    out.extend(
        f"{item['kind']} {found.name}/{item['name']} is gone, or was recreated"
        for item in known.values()
        if item["patch"] and item["kind"] not in ("Pod", "Job")
    )
    return out

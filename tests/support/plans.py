"""Objects to plan for, and their plans."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from kubectl_harden.model import Learned, Level
from kubectl_harden.plan_model import Plan
from kubectl_harden.planning.options import FixOptions
from kubectl_harden.planning.plan import plan
from kubectl_harden.pod_security.pod_templates import locate
from kubectl_harden.pod_security.policy import NEWEST, Policy

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def workload(template: dict[str, Any], kind: str) -> dict[str, Any]:
    if kind == "Pod":
        metadata = {"name": "p", **template["metadata"]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }


def made(
    value: dict[str, Any],
    policy: Policy,
    options: FixOptions,
    learned: Learned = _NOTHING,
    accepted: Mapping[str, str] = _NOTHING,
) -> Plan:
    locations = locate(value, {})
    assert locations is not None
    return plan(value, locations[0], policy, options, learned, accepted=accepted)


def pod(**spec: Any) -> dict[str, Any]:
    containers = spec.pop("containers", [{"name": "c", "image": "i"}])
    return workload({"metadata": {}, "spec": {**spec, "containers": containers}}, "Deployment")


def restricted(value: dict[str, Any], **options: Any) -> Plan:
    level: Level = "restricted"
    return made(value, Policy(level, NEWEST), FixOptions(**options))

"""Whether a rollout needs room for an extra pod, and whether the namespace's quotas have it.

Sources: the rolling update of Deployments (pkg/controller/deployment/util, ResolveFenceposts), and
kubernetes.io/docs/concepts/policy/resource-quotas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from math import ceil, floor
from typing import Any, Final

__all__ = ["deletes_first", "parse_quantity", "shortage", "surges"]

_SUFFIXES: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(1000),
    **{letter: Decimal(1000) ** (power + 2) for power, letter in enumerate("MGTPE")},
    **{f"{letter}i": Decimal(1024) ** (power + 1) for power, letter in enumerate("KMGTPE")},
}
_QUANTITY: Final = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)([numkMGTPE]|[KMGTPE]i)?")


def parse_quantity(text: str | int | float) -> Decimal:
    """Return a quantity (``500m``, ``2Gi``) as a number. Raises ValueError."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"not a quantity: {text}")
    return Decimal(match[1]) * _SUFFIXES[match[2] or ""]


def surges(value: dict[str, Any]) -> bool:
    """Whether a rollout of a workload needs an extra pod."""
    kind, spec = value.get("kind"), value.get("spec") or {}
    if kind == "Deployment":
        replicas = spec.get("replicas", 1)
        strategy = spec.get("strategy") or {}
        if strategy.get("type") == "Recreate" or not replicas:
            return False
        rolling = strategy.get("rollingUpdate") or {}
        unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, floor)
        # Where both come to 0, the controller takes one pod down.
        return unavailable == 0 and _share(rolling.get("maxSurge", "25%"), replicas, ceil) > 0
    if kind == "DaemonSet":
        rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        return str(rolling.get("maxSurge", 0)) not in ("0", "0%")
    return False


def deletes_first(kind: str, spec: dict[str, Any]) -> bool:
    """Whether a rollout takes a pod down before another one is ready."""
    if kind == "StatefulSet":
        return True
    if kind == "DaemonSet":
        rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        return str(rolling.get("maxSurge", 0)) in ("0", "0%")
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return True
    rolling, replicas = strategy.get("rollingUpdate") or {}, spec.get("replicas", 1)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, floor)
    return unavailable > 0 or _share(rolling.get("maxSurge", "25%"), replicas, ceil) == 0


def _share(value: int | str, replicas: int, rounded: Any) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return int(rounded(replicas * int(value[:-1]) / 100))
    return int(value)


def shortage(value: dict[str, Any], quotas: Iterable[dict[str, Any]]) -> str | None:
    """Return which quota has no room for the extra pod that a rollout needs, or None.

    Quotas with scopes are not judged.
    """
    if not surges(value):
        return None
    wanted = _demand(value["spec"].get("template", {}).get("spec") or {})
    for quota in quotas:
        spec, status = quota.get("spec") or {}, quota.get("status") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        for name, hard in (status.get("hard") or {}).items():
            if name not in wanted:
                continue
            left = parse_quantity(hard) - parse_quantity((status.get("used") or {}).get(name, "0"))
            if wanted[name] > left:
                return (
                    f"its rollout needs one extra pod for a while, and the ResourceQuota {quota['metadata']['name']} "
                    f"has no room for it ({name}: {hard}, {(status.get('used') or {}).get(name, '0')} used)"
                )
    return None


def _demand(pod: dict[str, Any]) -> dict[str, Decimal]:
    """Return what one pod counts in a quota, by the quota's names."""
    out = {"pods": Decimal(1), "count/pods": Decimal(1)}
    for side in ("requests", "limits"):
        together: dict[str, Decimal] = {}
        for container in pod.get("containers") or ():
            for name, amount in ((container.get("resources") or {}).get(side) or {}).items():
                together[name] = together.get(name, Decimal(0)) + parse_quantity(amount)
        for container in pod.get("initContainers") or ():
            for name, amount in ((container.get("resources") or {}).get(side) or {}).items():
                together[name] = max(together.get(name, Decimal(0)), parse_quantity(amount))
        for name, number in together.items():
            out[f"{side}.{name}"] = number
            if side == "requests":
                out[name] = number
    return out

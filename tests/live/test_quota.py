"""Room for one pod more: quantities, strategies, quotas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity as official

from kubectl_harden.live.quota import parse_quantity, shortage, surges
from tests.support.harden import workload

SUFFIXES = ("", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(SUFFIXES))
def test_quantities_mean_what_the_kubernetes_package_says(whole: int, part: int, suffix: str) -> None:
    for text in (f"{whole}{suffix}", f"{whole}.{part}{suffix}"):
        assert parse_quantity(text) == official(text)


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1KiB", "ten"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


def deployment(replicas: int, **strategy: Any) -> dict[str, Any]:
    value = workload("Deployment", "web", replicas=replicas)
    if strategy:
        value["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": strategy}
    return value


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (deployment(1), True),
        (deployment(3), True),
        (deployment(4), False),
        (deployment(0), False),
        (deployment(10, maxUnavailable=0, maxSurge=1), True),
        (deployment(10, maxUnavailable="5%", maxSurge="50%"), True),
        (deployment(1, maxUnavailable=1, maxSurge=0), False),
        (deployment(1, maxUnavailable=0, maxSurge=0), False),
        ({**workload("Deployment", "web"), "spec": {"replicas": 1, "strategy": {"type": "Recreate"}}}, False),
        (workload("StatefulSet", "db"), False),
        (workload("DaemonSet", "agent"), False),
        (
            {
                "kind": "DaemonSet",
                "spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}}},
            },
            True,
        ),
        (workload("CronJob", "report"), False),
    ],
)
def test_which_rollouts_need_a_pod_more(value: dict[str, Any], wanted: bool) -> None:
    assert surges(value) is wanted


def quota(hard: dict[str, str], used: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}, "status": {"hard": hard, "used": used}}


def test_shortages() -> None:
    value = deployment(1)
    container = value["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi"}}
    assert shortage(value, [quota({"pods": "2"}, {"pods": "1"})]) is None
    assert "q has no room for it (pods: 2, 2 used)" in str(shortage(value, [quota({"pods": "2"}, {"pods": "2"})]))
    assert "(requests.cpu: 1" in str(shortage(value, [quota({"requests.cpu": "1"}, {"requests.cpu": "800m"})]))
    assert "(cpu: 1" in str(shortage(value, [quota({"cpu": "1"}, {"cpu": "0.8"})]))
    assert shortage(value, [quota({"requests.cpu": "1"}, {"requests.cpu": "750m"})]) is None
    assert "limits.memory" in str(shortage(value, [quota({"limits.memory": "2Gi"}, {"limits.memory": "1536Mi"})]))
    assert shortage(value, [quota({"services": "0"}, {"services": "0"})]) is None
    # What a scope means is the API server's business.
    assert shortage(value, [quota({"pods": "1"}, {"pods": "1"}, scopes=["BestEffort"])]) is None
    assert shortage(deployment(4), [quota({"pods": "4"}, {"pods": "4"})]) is None

"""Label selectors as the API server reads them, and whose pods a pod is, both without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_harden.live.mutators import BY_CONTROLLERS
from kubectl_harden.live.workload_pods import keys_of
from kubectl_harden.objects import matches

LABELS = {"app": "web", "tier": ""}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, True),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "no": "x"}}, False),
        ({"matchLabels": {"no": ""}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}, True),
        ({"matchExpressions": [{"key": "no", "operator": "In", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "no", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "no", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "no", "operator": "DoesNotExist"}]}, True),
        ({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_selectors(selector: Any, expected: bool) -> None:
    assert matches(selector, LABELS) is expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"matchLabels": {"pod-template-hash": "6f"}}, True),
        ({"matchLabels": {"app": "db", "pod-template-hash": "6f"}}, False),
        ({"matchExpressions": [{"key": "batch.kubernetes.io/job-name", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "job-name", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "my-job-name", "operator": "Exists"}]}, False),
    ],
)
def test_labels_that_controllers_add_may_be_as_a_selector_demands(selector: Any, expected: bool) -> None:
    assert matches(selector, LABELS, BY_CONTROLLERS) is expected


@pytest.mark.parametrize(
    ("owner", "labels", "keys"),
    [
        (None, {}, [("Pod", "p")]),
        (("StatefulSet", "db"), {}, [("StatefulSet", "db")]),
        (("ReplicaSet", "web-6f"), {"pod-template-hash": "6f"}, [("ReplicaSet", "web-6f"), ("Deployment", "web")]),
        (("ReplicaSet", "web-6f"), {"pod-template-hash": "7c"}, [("ReplicaSet", "web-6f")]),
        (("ReplicaSet", "bare"), {}, [("ReplicaSet", "bare")]),
        (("ReplicaSet", "ro-5d"), {"rollouts-pod-template-hash": "5d"}, [("ReplicaSet", "ro-5d"), ("Rollout", "ro")]),
        (("Job", "night-29384756"), {}, [("Job", "night-29384756"), ("CronJob", "night")]),
        (("Job", "once"), {}, [("Job", "once")]),
    ],
)
def test_whose_pod_it_is(owner: Any, labels: dict[str, str], keys: list[Any]) -> None:
    metadata: dict[str, Any] = {"name": "p", "labels": labels}
    if owner is not None:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "uid": "u", "controller": True}]
    assert list(keys_of({"metadata": metadata})) == keys
